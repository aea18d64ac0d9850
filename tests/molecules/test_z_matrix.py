import numpy as np
import pytest

from micromacro.errors import InputError
from micromacro.molecules.z_matrix import bonded, choose_z_matrix, fragments

CARBON, HYDROGEN = 12.011, 1.008
# C-C(=O)-N-C(-C)-C(=O)-N-C with one hydrogen on each nitrogen and on the middle carbon
PEPTIDE = np.array([[0, 1], [1, 2], [1, 3], [3, 4], [4, 5], [4, 6], [6, 7], [6, 8], [8, 9], [3, 10], [4, 11], [8, 12]])
PEPTIDE_MASSES = np.array([CARBON] * 10 + [HYDROGEN] * 3)
PHI, PSI, OMEGA, CHI = (1, 3, 4, 6), (3, 4, 6, 8), (4, 6, 8, 9), (3, 4, 5, 13)
HEXANE_RING = np.array([[0, 1], [1, 2], [2, 3], [3, 4], [4, 5], [5, 0]])


def held(matrix, torsion):
    plain = [tuple(atoms) for atoms in matrix.torsions[~matrix.differences[3:]].tolist()]
    return torsion in plain or torsion[::-1] in plain


def random_tree(rng, count):
    return np.array([[rng.integers(atom), atom] for atom in range(1, count)])


@pytest.mark.parametrize("seed", range(5))
def test_atoms_are_placed_once_along_bonds_and_after_those_they_refer_to(seed):
    rng = np.random.default_rng(seed)
    bonds = np.vstack([random_tree(rng, 30), [[0, 29], [10, 20]]])
    matrix = choose_z_matrix(bonds, np.full(30, CARBON))
    near = bonded(bonds, 30)
    assert sorted(matrix.atoms) == list(range(30))
    place = np.argsort(matrix.atoms)
    for a, b, c, d in matrix.torsions.tolist():
        assert len({a, b, c, d}) == 4
        assert place[a] > max(place[b], place[c], place[d])
        assert b in near[a]
        assert c in near[b]
        assert d in near[b] or d in near[c]
    differences = matrix.torsions[matrix.differences[3:]]
    assert all(d in near[b] for _, b, _, d in differences.tolist())


@pytest.mark.parametrize("torsions", [(PHI,), (PSI,), (OMEGA,), (PHI, PSI), (PSI[::-1], PHI), (PHI, PSI, OMEGA)])
def test_preferred_torsions_are_coordinates(torsions):
    matrix = choose_z_matrix(PEPTIDE, PEPTIDE_MASSES, torsions)
    assert all(held(matrix, torsion) for torsion in torsions)


def test_side_chain_torsions_are_held_together_with_those_of_the_backbone():
    bonds, masses = np.vstack([PEPTIDE, [[5, 13]]]), np.append(PEPTIDE_MASSES, CARBON)
    matrix = choose_z_matrix(bonds, masses, (PHI, PSI, OMEGA, CHI))
    assert all(held(matrix, torsion) for torsion in (PHI, PSI, OMEGA, CHI))


def test_an_unusual_torsion_is_preferred_to_the_backbone():
    through_side_chain = (1, 3, 4, 5)
    assert not held(choose_z_matrix(PEPTIDE, PEPTIDE_MASSES), through_side_chain)
    assert held(choose_z_matrix(PEPTIDE, PEPTIDE_MASSES, (through_side_chain,)), through_side_chain)


def test_of_two_torsions_about_one_bond_one_is_held():
    matrix = choose_z_matrix(PEPTIDE, PEPTIDE_MASSES, (PHI, (1, 3, 4, 5)))
    assert held(matrix, PHI)
    assert not held(matrix, (1, 3, 4, 5))


@pytest.mark.parametrize("start", range(6))
def test_a_torsion_in_a_ring_is_held_wherever_it_lies(start):
    torsion = tuple((start + step) % 6 for step in range(4))
    assert held(choose_z_matrix(HEXANE_RING, np.full(6, CARBON), (torsion,)), torsion)


def test_backbone_torsions_come_without_being_asked_for_and_hydrogens_last():
    matrix = choose_z_matrix(PEPTIDE, PEPTIDE_MASSES)
    assert held(matrix, PHI)
    assert held(matrix, PSI)
    assert set(matrix.atoms[-3:]) == {10, 11, 12}


def test_hydrogens_are_told_by_their_bond_where_masses_are_repartitioned():
    ethane = np.array([[0, 1], [0, 2], [0, 3], [0, 4], [4, 5], [4, 6], [4, 7]])
    masses = np.array([2.9, 4.0, 4.0, 4.0, 2.9, 4.0, 4.0, 4.0])
    assert set(choose_z_matrix(ethane, masses).atoms[:2]) == {0, 4}


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_small_molecules_have_the_entries_that_exist(count):
    star = np.array([[0, atom] for atom in range(1, count)], int).reshape(-1, 2)
    matrix = choose_z_matrix(star, np.append(CARBON, np.full(count - 1, HYDROGEN)))
    shapes = len(matrix.bonds), len(matrix.angles), len(matrix.torsions)
    assert shapes == (count - 1, max(count - 2, 0), max(count - 3, 0))
    assert min(matrix.bonds.min(initial=0), matrix.angles.min(initial=0), matrix.torsions.min(initial=0)) == 0


def test_atoms_without_a_way_to_the_others_are_an_error():
    bonds = np.array([[0, 1], [2, 3]])
    assert fragments(bonds, 5) == [[0, 1], [2, 3], [4]]
    with pytest.raises(InputError, match="bonds must connect all atoms"):
        choose_z_matrix(bonds, np.full(5, CARBON))
