"use strict";
(async () => {
  const contents = JSON.parse(document.getElementById("viewer-contents").textContent);
  const root = document.getElementById("viewer");
  const find = (name) => root.querySelector("." + name);
  const place = find("place"), ring = find("ring"), stage = find("stage"), save = find("save");
  const buttons = [...root.querySelectorAll(".values button")];
  const pictures = [...document.querySelectorAll("figure.conformer")];
  const boxes = { exact: find("exact"), raw: find("raw"), hydrogen: find("hydrogen") };
  let scene = null, chosen = 0, address = null, placed = false;

  // 3Dmol does not say when there is no WebGL
  function probe() {
    const canvas = document.createElement("canvas");
    const context = canvas.getContext("webgl2") || canvas.getContext("webgl");
    if (!context) throw new Error("No WebGL here");
    const given = context.getExtension("WEBGL_lose_context");
    if (given) given.loseContext();
  }

  // 3Dmol is kept compressed in the page; every browser that can show it can also unpack it
  async function load() {
    const packed = Uint8Array.from(atob(document.getElementById("viewer-library").textContent), (c) => c.charCodeAt(0));
    const plain = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
    const script = document.createElement("script");
    script.textContent = await new Response(plain).text();
    document.head.append(script);
    return window.$3Dmol.createViewer(stage, { backgroundColor: "white", antialias: true });
  }

  // bonds are those of the molecule, not guessed from distances, which a bad draw would spoil
  function add(text, colour, radius) {
    const options = { keepH: true, assignBonds: false };
    const colorfunc = (atom) => colour || contents.colours[atom.elem] || contents.otherColour;
    for (const model of text.split("ENDMDL\n").filter((one) => one.trim())) {
      const added = scene.addModel(model.replace(/^MODEL.*\n/, "") + contents.bonds, "pdb", options);
      const lone = added.selectedAtoms({}).filter((atom) => atom.bonds.length === 0).map((atom) => atom.index);
      added.setStyle({}, { stick: { radius, colorfunc } });
      added.setStyle({ index: lone }, { sphere: { radius: 3 * radius, colorfunc } });
      const heavy = added.selectedAtoms({}).some((atom) => atom.elem !== "H");
      added.setStyle({ elem: "H" }, boxes.hydrogen.checked || !heavy ? { stick: { radius: radius / 2, colorfunc } } : {});
    }
  }

  function shownText() {
    const one = contents.structures[chosen];
    return [boxes.exact.checked ? one.exact : "", boxes.raw && boxes.raw.checked && one.raw ? one.raw : ""];
  }

  function draw() {
    const [exact, raw] = shownText();
    let number = 0;
    const numbered = (exact + raw).replace(/^MODEL.*$/gm, () => "MODEL     " + String(++number).padStart(4));
    if (address) URL.revokeObjectURL(address);
    address = URL.createObjectURL(new Blob([numbered + contents.bonds + "END\n"], { type: "chemical/x-pdb" }));
    save.href = address;
    if (!scene) {
      const picture = pictures[chosen].querySelector("img").cloneNode();
      return void stage.replaceChildren(picture);
    }
    scene.removeAllModels();
    if (exact) add(exact, null, 0.09);
    if (raw) add(raw, contents.rawColour, 0.06);
    if (!placed && (exact || raw)) { scene.zoomTo(); placed = true; }
    scene.render();
  }

  function choose(index) {
    chosen = index;
    const words = index + 1 + ": " + contents.labels[index];
    find("label").textContent = words;
    stage.setAttribute("role", "img");
    stage.setAttribute("aria-label", "Conformers lifted at " + contents.labels[index]);
    save.download = "conformers-" + (index + 1) + ".pdb";
    buttons.forEach((button, other) => button.setAttribute("aria-pressed", String(other === index)));
    pictures.forEach((picture, other) => picture.classList.toggle("chosen", other === index));
    const [left, top] = contents.places[index];
    if (ring && left !== null) {
      ring.style.left = 100 * left + "%";
      ring.style.top = 100 * top + "%";
      ring.hidden = false;
    }
    draw();
  }

  // the nearest numbered value, round the period where there is one
  function nearest(event) {
    const box = place.querySelector("img").getBoundingClientRect();
    const at = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
    const away = (centre) => {
      let sum = 0;
      for (const axis of [0, 1]) {
        const period = contents.periods[axis];
        let gap = at[axis] - centre[axis];
        if (period) gap -= period * Math.round(gap / period);
        sum += (gap * (axis ? box.height : box.width)) ** 2;
      }
      return sum;
    };
    const all = contents.places.map(away);
    return all.indexOf(Math.min(...all));
  }

  for (const part of root.querySelectorAll(".script")) part.hidden = false;
  try {
    probe();
    scene = await load();
  } catch (reason) {
    find("hydrogen").parentElement.hidden = true;
    find("help").textContent = reason.message + ": a picture instead of molecules that turn.";
  }
  if (place) {
    place.classList.add("active");
    place.addEventListener("click", (event) => choose(nearest(event)));
  }
  buttons.forEach((button, index) => button.addEventListener("click", () => choose(index)));
  for (const box of Object.values(boxes)) if (box) box.addEventListener("change", draw);
  // the page scrolls past the viewer until the viewer is clicked
  const keep = (event) => { if (document.activeElement !== stage) event.stopPropagation(); };
  stage.addEventListener("wheel", keep, { capture: true });
  stage.addEventListener("mousedown", () => stage.focus());
  new ResizeObserver(() => scene && scene.resize()).observe(stage);
  choose(0);
})();
