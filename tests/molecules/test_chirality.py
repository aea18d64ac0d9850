"""Structures whose equal atoms are named the other way round, and mirror images."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from micromacro.cases.alanine import alanine_dipeptide
from micromacro.coordinates.coarse import CoarseVariable
from micromacro.coordinates.geometry import Distance
from micromacro.errors import InputError
from micromacro.molecules.chirality import alike_in_chirality
from micromacro.sampling.openmm_engine import OpenMMEngine

END_TO_END = CoarseVariable(lambda u: u[:1], np.zeros(1), np.ones(1), (False,), (Distance((1, 18)),))
METHYLS = ((0, 2, 3), (11, 12, 13), (19, 20, 21))


@pytest.fixture(scope="module")
def system():
    return alanine_dipeptide(None)


@pytest.fixture(scope="module")
def positions(system):
    return system.initial.reshape(len(system.initial), -1, 3)


def swapped(positions, structure, first, second):
    changed = positions.copy()
    changed[structure, [first, second]] = changed[structure, [second, first]]
    return changed


def test_structures_that_are_alike_stay_as_they_are(system, positions):
    np.testing.assert_array_equal(alike_in_chirality(system, positions, "system.structure"), positions)


@pytest.mark.parametrize("hydrogens", METHYLS)
@pytest.mark.parametrize("pair", [(0, 1), (0, 2), (1, 2)])
def test_hydrogens_named_the_other_way_round_change_places(system, positions, hydrogens, pair):
    changed = swapped(positions, 1, *(hydrogens[index] for index in pair))
    found = alike_in_chirality(system, changed, "system.structure")
    np.testing.assert_array_equal(found[[0, 2]], positions[[0, 2]])
    assert system.mirrored(changed.reshape(3, -1)).tolist() == [False, True, False]
    assert not system.mirrored(found.reshape(3, -1)).any()
    # the same atoms in the same places but for names, so of the same energy
    others = np.setdiff1d(np.arange(22), hydrogens)
    np.testing.assert_array_equal(found[1, others], positions[1, others])
    engine = OpenMMEngine(system, END_TO_END, workers=1, platform="Reference")
    energies = np.asarray(engine.log_density(jnp.asarray(np.stack([found[1], positions[1]]).reshape(2, -1))))
    engine.close()
    assert energies[0] == pytest.approx(energies[1], abs=1e-6)


def test_a_mirror_image_is_refused_by_its_centre(system, positions):
    changed = positions * np.where(np.arange(len(positions)) == 2, -1.0, 1.0)[:, None, None]
    with pytest.raises(InputError, match="hold one chirality at ALA2-CA, that of the first structure; got another in"):
        alike_in_chirality(system, changed, "data.trajectories")


def test_mirror_images_are_those_outside_the_space_of_coordinates(system):
    rng = np.random.default_rng(0)
    states = system.initial[rng.integers(3, size=300)] + 0.02 * rng.normal(size=(300, system.dimension))
    observed = np.asarray(jax.vmap(system.observe)(jnp.asarray(states)))
    space = system.internal.space
    outside = np.any((observed < np.array(space.lower)) | (observed > np.array(space.upper)), axis=1)
    assert 0.1 < outside.mean() < 0.9
    np.testing.assert_array_equal(system.mirrored(states), outside)
    assert not system.mirrored(np.full((1, system.dimension), np.nan)).any()
