r"""Our diffusion maps beside pydiffmap's, datafold's and scikit-learn's: `python -m benchmarks.diffusion_maps`.

A swiss roll, ten eigenvectors, α = 1/2, 64 nearest neighbours and the same ε in $e^{-d^2 / 4 \varepsilon}$ for all: the
one our scaling of the kernel's sum finds. Each method runs in a process of its own, one after the other, and repeats;
the least seconds stand, by the clock and of the processor, and the peak of memory above that of the imports. First the
map of 300 points by all pairs is compared, and that of each size where a peer makes the same graph. The peers live in
environments of their own: `make bench-diffusion-maps` builds them.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from micromacro.diffusion_maps.bandwidth import kernel_scaling
from micromacro.diffusion_maps.memory import memory_bytes
from micromacro.diffusion_maps.neighbours import nearest_neighbours
from micromacro.diffusion_maps.settings import DiffusionMapSettings

PYTHON = {
    "micromacro": Path(sys.executable),
    "pydiffmap": Path(".venv-pydiffmap/bin/python"),
    "datafold": Path(".venv-datafold/bin/python"),
    "scikit-learn": Path(".venv-pydiffmap/bin/python"),
}
SAME_GRAPH = ("pydiffmap",)
NEIGHBOURS, COMPONENTS, SMALL = 64, 10, 300


def swiss_roll(count: int) -> np.ndarray:
    """Points `(n, 3)` of a rolled rectangle."""
    rng = np.random.default_rng(0)
    angle = 1.5 * np.pi * (1 + 2 * rng.random(count))
    return np.stack([angle * np.cos(angle), 21 * rng.random(count), angle * np.sin(angle)], axis=1)


def write_task(count: int, neighbours: int, path: Path) -> None:
    """What every method is given."""
    points = swiss_roll(count)
    epsilon = kernel_scaling(nearest_neighbours(points, neighbours).squares).bandwidth
    np.savez(path, points=points, neighbours=neighbours, epsilon=epsilon, components=COMPONENTS)


def run(method: str, task: Path, repeats: int, pythons: dict[str, Path]) -> dict[str, np.ndarray] | None:
    """What one method found and took, or nothing where it failed."""
    module = "benchmarks.own_spectral_map" if method == "micromacro" else "benchmarks.peers.spectral_maps"
    out = task.with_name(f"{method}.npz")
    words = [str(pythons[method]), "-m", module, *([] if method == "micromacro" else [method]), str(task), str(out)]
    done = subprocess.run(
        [*words, "--repeats", str(repeats)],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONWARNINGS": "ignore"},
    )
    if done.returncode:
        print(f"{method:14}failed: {' '.join(done.stderr.splitlines()[-1:])}", flush=True)
        return None
    with np.load(out) as file:
        return dict(file)


def difference(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> tuple[float, float]:
    """The largest differences of eigenvalues and of eigenvectors in the same norm and sign."""
    vectors = theirs["eigenvectors"] / np.sqrt(ours["stationary"] @ theirs["eigenvectors"] ** 2)
    vectors = vectors * np.sign(np.sum(vectors * ours["eigenvectors"] * ours["stationary"][:, None], axis=0))
    values = np.abs(theirs["eigenvalues"] - ours["eigenvalues"]).max()
    return float(values), float(np.abs(vectors - ours["eigenvectors"]).max())


def compare(count: int, neighbours: int, methods: list[str], repeats: int, pythons: dict[str, Path]) -> None:
    """One size: seconds, memory and differences of each method."""
    with tempfile.TemporaryDirectory() as folder:
        task = Path(folder) / "task.npz"
        write_task(count, neighbours, task)
        found = {method: run(method, task, repeats, pythons) for method in methods}
    ours = found["micromacro"]
    for method, one in found.items():
        if one is None:
            continue
        line = (
            f"{count:8}{method:>14}{one['wall'].min():9.2f}{one['processor'].min():9.2f}{one['peak_kib'] / 1024:9.0f}"
        )
        if ours is not None and method != "micromacro":
            line += (
                f"{one['wall'].min() / ours['wall'].min():8.1f}{one['processor'].min() / ours['processor'].min():8.1f}"
            )
            if method in SAME_GRAPH or (neighbours == count and method == "datafold"):
                line += "   {:.0e} {:.0e}".format(*difference(ours, one))
        print(line, flush=True)
    settings = DiffusionMapSettings(components=COMPONENTS, dense=0, landmarks=None, neighbours=neighbours)
    print(f"{count:8}{'bound of ours':>14}{'':18}{memory_bytes(count, 3, settings) / 2**20:9.0f}", flush=True)


def main() -> None:
    """The comparison at each size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="2000,20000")
    parser.add_argument("--alone", type=int, default=100_000, help="size at which only ours runs; 0 for none")
    parser.add_argument("--methods", default=",".join(PYTHON))
    parser.add_argument("--repeats", type=int, default=3)
    for name in PYTHON:
        parser.add_argument(f"--python-{name}", type=Path, default=PYTHON[name])
    asked = parser.parse_args()
    pythons = {name: getattr(asked, f"python_{name.replace('-', '_')}") for name in PYTHON}
    methods = asked.methods.split(",")
    print(f"{'points':>8}{'method':>14}{'seconds':>9}{'cpu s':>9}{'MiB':>9}{'ratio':>8}{'cpu':>8}   differences")
    compare(SMALL, SMALL, methods, 1, pythons)
    for count in map(int, asked.sizes.split(",")):
        compare(count, NEIGHBOURS, methods, asked.repeats, pythons)
    if asked.alone:
        compare(asked.alone, NEIGHBOURS, ["micromacro"], 1, pythons)


if __name__ == "__main__":
    main()
