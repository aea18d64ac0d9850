"""The pictures of a molecule in the page: complete, loading nothing, right about the structures."""

import base64
import dataclasses
import gzip
import hashlib
import json
import re
from html.parser import HTMLParser

import mdtraj
import numpy as np
import pytest

from micromacro.report import viewer
from micromacro.report.conformers import MOST_ATOMS, MOST_STRUCTURES, overlays
from micromacro.report.molecule_data import AngleDraws, LiftedConformers
from micromacro.report.page import render
from tests.report.conftest import made_up
from tests.report.dipeptide import dipeptide

VALUES = np.array([[-1.45, 1.2], [-2.7, 2.8], [1.2, -0.8]])


class Loaded(HTMLParser):
    """What a page loads, and the contents of its scripts by their `id`."""

    def __init__(self, text):
        super().__init__()
        self.sources, self.scripts, self.images, self.buttons, self.policy, self._script = [], {}, [], 0, "", None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.sources += [found[name] for name in ("src", "href", "action", "srcset", "data") if name in found]
        self.images += [found["alt"]] if tag == "img" else []
        self.buttons += tag == "button"
        self._script = found.get("id", "code") if tag == "script" else None
        if found.get("http-equiv") == "Content-Security-Policy":
            self.policy = found["content"]

    def handle_data(self, data):
        if self._script is not None:
            self.scripts[self._script] = self.scripts.get(self._script, "") + data

    def handle_endtag(self, tag):
        self._script = None


def angular(d, molecule, cells=24):
    """A made-up run along one to three torsions."""
    axis = (np.arange(cells) + 0.5) / cells * 2 * np.pi - np.pi
    z = np.stack(np.meshgrid(*[axis] * d, indexing="ij"), -1).reshape(-1, d)
    energy = 4 * (1 - np.cos(z - 1)).sum(axis=1)
    ends = {"lower": np.full(d, -np.pi), "upper": np.full(d, np.pi), "periodic": (True,) * d}
    nothing = {"closure": None, "conditional_samples": [], "reduced": {}, "basins": {}, "exact_observables": {}}
    nothing |= dict.fromkeys(["exact_free_energy", "exact_drift", "exact_diffusion"])
    names = {"coarse_names": ["φ", "ψ", "ω"][:d], "molecule": molecule}
    grid = {"z": z, "free_energy": energy, "stderr": np.full(len(z), 0.1)}
    return dataclasses.replace(made_up(d), **ends, **nothing, **names, **grid)


@pytest.fixture(scope="module")
def complete():
    """The page of a run along φ and ψ, and what it was made from."""
    data = angular(2, dipeptide(VALUES, hidden=True))
    text = render(data)
    return data, text, Loaded(text)


def test_the_page_loads_nothing_and_forbids_to(complete):
    _, text, loaded = complete
    assert all(source.startswith("data:") for source in loaded.sources)
    assert "default-src 'none'" in loaded.policy
    own = re.sub(r'src="data:[^"]*"', "", text).replace(loaded.scripts["viewer-library"], "")
    assert not re.search(r"https?:", own)


def test_the_code_of_the_viewer_is_in_the_page_as_it_was_shipped(complete):
    _, _, loaded = complete
    code = gzip.decompress(base64.b64decode(loaded.scripts["viewer-library"]))
    readme = (viewer.LIBRARY.parent / "README.md").read_text()
    assert hashlib.sha256(code).hexdigest() in readme
    assert "Redistributions" in (viewer.LIBRARY.parent / "3Dmol-LICENSE.txt").read_text()


@pytest.mark.parametrize("kind", ["exact", "raw"])
def test_conformers_in_the_page_are_those_lifted(complete, tmp_path, kind):
    data, _, loaded = complete
    contents = json.loads(loaded.scripts["viewer-contents"])
    file = tmp_path / "conformers.pdb"
    for number, (z, shown) in enumerate(zip(VALUES, contents["structures"], strict=True)):
        file.write_text(shown[kind] + contents["bonds"] + "END\n")
        read = mdtraj.load_pdb(file, standard_names=False)
        lifted = data.molecule.conformers[number]
        given = lifted.positions if kind == "exact" else lifted.raw_positions
        assert read.n_frames == MOST_STRUCTURES
        assert [atom.name for atom in read.topology.atoms] == list(data.molecule.atom_names)
        assert {(a.index, b.index) for a, b in read.topology.bonds} == set(data.molecule.bonds)
        phi = mdtraj.compute_dihedrals(read, [[4, 6, 8, 14]])[:, 0]
        np.testing.assert_allclose(phi, z[0], atol=0.02)
        picked = given[np.linspace(0, len(given) - 1, MOST_STRUCTURES).round().astype(int)]
        for one, original in zip(read.xyz, picked, strict=True):
            distances = [np.linalg.norm(x[:, None] - x[None], axis=-1) for x in (one, original)]
            np.testing.assert_allclose(*distances, atol=3e-4)
            handed = [np.linalg.det(x[[6, 14, 10]] - x[8]) for x in (one, original)]
            assert handed[0] * handed[1] > 0


def test_every_value_can_be_chosen_and_has_its_pictures(complete):
    _, text, loaded = complete
    assert loaded.buttons == len(VALUES)
    assert sum(words.startswith("Conformers lifted at") for words in loaded.images) == len(VALUES)
    assert sum(words.startswith("Histogram of ψ at") for words in loaded.images) == len(VALUES)
    assert "φ = −1.45 (−83°), ψ = 1.2 (69°)" in text


def test_places_on_the_map_are_those_of_the_values(complete):
    _, _, loaded = complete
    contents = json.loads(loaded.scripts["viewer-contents"])
    across, up = contents["periods"]
    places = np.array(contents["places"])
    assert ((places > 0) & (places < 1)).all()
    moved = np.diff(VALUES, axis=0) / (2 * np.pi)
    np.testing.assert_allclose(np.diff(places[:, 0]), across * moved[:, 0], atol=1e-9)
    np.testing.assert_allclose(np.diff(places[:, 1]), -up * moved[:, 1], atol=1e-9)


def test_names_and_titles_are_escaped():
    molecule = dipeptide(np.array([[0.5]]), draws=2)
    hostile = "</script><script>alert(1)</script>"
    names = ("<b>",) * 22
    data = dataclasses.replace(
        angular(1, dataclasses.replace(molecule, atom_names=names, units={hostile: "<i>"})),
        title=hostile,
        coarse_names=[hostile],
    )
    text = render(data)
    assert "alert(1)</script>" not in text
    assert "<b>" not in text
    assert "<i>" not in text
    assert set(Loaded(text).scripts) == {"viewer-contents", "viewer-library", "code"}


@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("raw", [False, True])
def test_one_draw_is_enough(d, raw):
    values = np.array([[0.5, -2.0, 1.0][:d]])
    molecule = dipeptide(values[:, :2], draws=1, raw=raw, hidden=d == 1)
    one = molecule.conformers[0]
    molecule = dataclasses.replace(
        molecule, conformers=(dataclasses.replace(one, z=values[0]),), coarse_is_angle=(True,) * d
    )
    loaded = Loaded(render(angular(d, molecule, cells=8)))
    contents = json.loads(loaded.scripts["viewer-contents"])
    assert contents["structures"][0]["exact"].count("MODEL") == 1
    assert (contents["structures"][0]["raw"] is not None) == raw
    assert (contents["places"] == [[None, None]]) == (d == 3)
    assert "generator" not in contents["labels"][0]


def test_without_a_free_energy_there_are_buttons_only():
    data = angular(1, dipeptide(np.array([[0.5], [1.0]]), draws=2))
    unknown = np.full(len(data.z), np.nan)
    loaded = Loaded(render(dataclasses.replace(data, free_energy=unknown, stderr=unknown)))
    assert loaded.buttons == 2
    assert not any(words.startswith("Free energy with") for words in loaded.images)


def test_without_conformers_there_is_no_viewer():
    molecule = dataclasses.replace(dipeptide(np.array([[0.5]]), draws=1), conformers=())
    text = render(angular(1, molecule))
    assert "<script" not in text
    assert "Lifted conformers" not in text


def test_broken_draws_are_not_shown():
    molecule = dipeptide(np.array([[0.5]]), draws=4)
    one = molecule.conformers[0]
    exact, raw = one.positions.copy(), one.raw_positions.copy()
    exact[0, 3, 1], exact[1, 0, 0] = np.nan, 1e4
    raw[:, 2] = np.inf
    broken = dataclasses.replace(molecule, conformers=(LiftedConformers(one.z, exact, raw),))
    (shown,) = overlays(broken)
    assert len(shown.exact) == 2
    assert shown.raw is None
    exact[:] = np.nan
    assert overlays(dataclasses.replace(molecule, conformers=(LiftedConformers(one.z, exact),))) == []


def test_large_molecules_show_fewer_structures():
    molecule = dipeptide(np.array([[0.5], [1.0]]), draws=12, raw=False)
    many = MOST_ATOMS // 2 // 3 // 22
    large = dataclasses.replace(
        molecule,
        atom_names=molecule.atom_names * many,
        elements=molecule.elements * many,
        conformers=tuple(
            dataclasses.replace(one, positions=np.tile(one.positions, (1, many, 1))) for one in molecule.conformers
        ),
    )
    assert [len(one.exact) for one in overlays(large)] == [3, 3]


def test_draws_without_an_angle_have_no_histogram():
    molecule = dipeptide(np.array([[0.5], [1.0]]), draws=2, hidden=True)
    first, second = molecule.angles["ψ"]
    lacking = dataclasses.replace(molecule, angles={"ψ": (AngleDraws(np.zeros(0)), second)})
    loaded = Loaded(render(angular(1, lacking)))
    assert sum(words.startswith("Histogram") for words in loaded.images) == 1
    assert len(first.exact)
