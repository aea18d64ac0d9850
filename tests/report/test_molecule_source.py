"""What the report takes from a molecular system and its lifted structures, against mdtraj."""

import itertools

import mdtraj
import numpy as np
import pytest

from micromacro.cases.alanine import PHI, PSI, alanine_dipeptide, torsion_coarse
from micromacro.coordinates.coarse import CoarseVariable
from micromacro.coordinates.geometry import Distance
from micromacro.report import molecule_source
from micromacro.report.molecule_source import coarse_names, molecule_data


@pytest.fixture(scope="module")
def system():
    return alanine_dipeptide(None)


def test_names_are_those_of_the_backbone(system):
    assert coarse_names(system, torsion_coarse(system, (PHI, PSI))) == ["φ", "ψ"]
    assert coarse_names(system, torsion_coarse(system, (PSI[::-1],))) == ["ψ"]
    distance = CoarseVariable(lambda u: u[:1], np.zeros(1), np.ones(1), (False,), (Distance((1, 18)),))
    assert coarse_names(system, distance) == ["z1"]
    data = molecule_data(system, distance, ["z1"], [])
    assert data.units == {"z1": "nm"}
    assert data.coarse_is_angle == (False,)


def test_what_is_given_is_no_hidden_angle(system):
    x = system.initial.reshape(-1, 22, 3)
    lifted = [(np.array([0.3]), x, x[:1]), (np.array([0.4]), x, None)]
    data = molecule_data(system, torsion_coarse(system, (PHI,)), ["φ"], lifted)
    assert set(data.angles) == {"ψ"}
    expected = mdtraj.compute_psi(mdtraj.Trajectory(x, system.topology))[1][:, 0]
    np.testing.assert_allclose(data.angles["ψ"][0].exact, expected, atol=1e-5)
    assert data.angles["ψ"][1].raw is None
    assert len(data.conformers) == 2
    assert data.elements.count("C") == 6
    assert len(data.bonds) == 21
    assert molecule_data(system, torsion_coarse(system, (PHI, PSI)), ["φ", "ψ"], lifted).angles == {}


def test_several_residues_are_told_apart():
    top = mdtraj.Topology()
    chain = top.add_chain()
    for number in range(1, 4):
        residue = top.add_residue("GLY", chain, resSeq=number)
        n, ca, c = (top.add_atom(name, mdtraj.element.get_by_symbol(name[0]), residue) for name in ("N", "CA", "C"))
        top.add_bond(n, ca)
        top.add_bond(ca, c)
    named = molecule_source.backbone_torsions(top)
    assert set(named) == {"φ2", "φ3", "ψ1", "ψ2"}
    assert named["φ2"] == (2, 3, 4, 5)
    assert named["ψ1"] == (0, 1, 2, 3)


def test_without_a_backbone_chains_of_heavy_atoms_are_taken():
    top = mdtraj.Topology()
    residue = top.add_residue("BUT", top.add_chain())
    carbons = [top.add_atom(f"C{number}", mdtraj.element.carbon, residue) for number in range(1, 5)]
    hydrogen = top.add_atom("H1", mdtraj.element.hydrogen, residue)
    for first, second in [*itertools.pairwise(carbons), (carbons[0], hydrogen)]:
        top.add_bond(first, second)
    found = molecule_source._heavy_torsions(top, set(range(5)))
    assert found == {"C1–C2–C3–C4 (0-1-2-3)": (0, 1, 2, 3)}
