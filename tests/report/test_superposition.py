"""Structures laid on each other, against mdtraj and by construction."""

import mdtraj
import numpy as np
import pytest

from micromacro.report.superposition import rotation, superposed
from tests.report.dipeptide import ATOMS, place, turned

HEAVY = np.array([atom[1] != "H" for atom in ATOMS])


def test_one_structure_turned_at_random_is_laid_on_itself():
    rng = np.random.default_rng(0)
    x = place(-1.0, 2.0)
    shown = superposed(np.stack([turned(rng, x) for _ in range(5)]), HEAVY)
    np.testing.assert_allclose(shown, np.broadcast_to(shown[:1], shown.shape), atol=1e-12)
    distances = [np.linalg.norm(y[:, None] - y[None], axis=-1) for y in (shown[0], x)]
    np.testing.assert_allclose(*distances, atol=1e-12)


def test_the_fit_is_as_good_as_that_of_mdtraj():
    rng = np.random.default_rng(1)
    moving, target = (turned(rng, place(*rng.uniform(-3, 3, 2), 20, rng))[HEAVY] for _ in range(2))
    moving, target = moving - moving.mean(axis=0), target - target.mean(axis=0)
    fitted = moving @ rotation(moving, target)
    top = mdtraj.Topology()
    residue = top.add_residue("X", top.add_chain())
    for _ in range(HEAVY.sum()):
        top.add_atom("C", mdtraj.element.carbon, residue)
    expected = mdtraj.rmsd(mdtraj.Trajectory(moving, top), mdtraj.Trajectory(target, top))[0]
    assert np.sqrt(np.mean(np.sum((fitted - target) ** 2, axis=1))) == pytest.approx(expected, abs=1e-5)


def test_a_mirror_image_is_not_laid_on_its_original():
    x = place(-1.0, 2.0)
    shown = superposed(np.stack([x, x * [1, 1, -1]]), HEAVY)
    handed = [np.linalg.det(one[[6, 14, 10]] - one[8]) for one in shown]
    assert handed[0] * handed[1] < 0


def test_the_long_axes_lie_in_the_plane_and_chirality_stays():
    x = place(-1.5, 1.0)
    (shown,) = superposed(x[None], HEAVY)
    spread = np.std(shown[HEAVY], axis=0)
    assert spread[0] > spread[1] > spread[2]
    assert np.linalg.det(shown[[6, 14, 10]] - shown[8]) * np.linalg.det(x[[6, 14, 10]] - x[8]) > 0


def test_two_atoms_are_laid_on_each_other():
    pairs = np.array([[[0.0, 0, 0], [1, 0, 0]], [[5.0, 0, 0], [5, 1, 0]]])
    shown = superposed(pairs, np.array([True, True]))
    np.testing.assert_allclose(shown[0], shown[1], atol=1e-12)
    (alone,) = superposed(np.ones((1, 1, 3)), np.array([True]))
    np.testing.assert_allclose(alone, 0, atol=1e-12)
