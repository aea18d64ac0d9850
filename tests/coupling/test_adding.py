"""Windows are added halfway where neighbours hardly overlap, and only there."""

from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np

from micromacro.coordinates.coarse import CoarseVariable
from micromacro.coupling.adding import WEAK_OVERLAP, missing_windows, nearby_states, with_windows
from micromacro.sampling.table import zero_table
from micromacro.sampling.windows import Windows


def windows(centers, coarse):
    return Windows(jnp.array(centers)[:, None], jnp.array([25.0]), zero_table(coarse, 20))


def chain(*neighbours):
    """An overlap matrix in which windows overlap with their neighbours as said."""
    size = len(neighbours) + 1
    matrix = np.full((size, size), 1e-12)
    for place, value in enumerate(neighbours):
        matrix[place, place + 1] = matrix[place + 1, place] = value
    return matrix + np.diag(1 - matrix.sum(axis=1))


BOUNDED = CoarseVariable(lambda q: q[:1], np.array([0.0]), np.array([4.0]), (False,))
PERIODIC = CoarseVariable(lambda q: q[:1], np.array([-np.pi]), np.array([np.pi]), (True,))


def test_nothing_is_missing_where_all_overlap():
    assert missing_windows(BOUNDED, windows([0.0, 1.0, 2.0], BOUNDED), chain(0.2, 0.1)).shape == (0, 1)


def test_a_window_is_missing_halfway_between_two_that_hardly_overlap():
    found = missing_windows(BOUNDED, windows([0.0, 1.0, 3.0, 4.0], BOUNDED), chain(0.2, WEAK_OVERLAP / 2, 0.2))
    np.testing.assert_allclose(found, [[2.0]])


def test_every_weak_link_of_the_strongest_chain_counts_and_no_other():
    found = missing_windows(BOUNDED, windows([0.0, 1.0, 3.0], BOUNDED), chain(0.01, 0.02))
    np.testing.assert_allclose(np.sort(found[:, 0]), [0.5, 2.0])


def test_halfway_is_the_short_way_round():
    found = missing_windows(
        PERIODIC, windows([-3.0, 0.0, 3.0], PERIODIC), np.array([[0.7, 0.2, 0.001], [0.2, 0.6, 0.2], [0.001, 0.2, 0.7]])
    )
    assert found.shape == (0, 1)  # joined through the middle
    found = missing_windows(PERIODIC, windows([-3.0, 2.9], PERIODIC), chain(0.01))
    halfway = (-3.0 + 2.9 + 2 * np.pi) / 2
    np.testing.assert_allclose(np.mod(found, 2 * np.pi), [[halfway]], rtol=1e-9)


def test_walkers_of_a_new_window_begin_nearby_and_not_all_at_one_state():
    rng = np.random.default_rng(0)
    x = rng.uniform(-np.pi, np.pi, (5000, 1))
    pooled = SimpleNamespace(pool=SimpleNamespace(coarse=x), position=np.concatenate([x, 10 + x], axis=1))
    found = nearby_states.__wrapped__(pooled, PERIODIC, np.array([[np.pi], [0.5]]), 40, rng)
    assert found.shape == (2, 40, 2)
    assert np.abs(np.asarray(PERIODIC.difference(found[..., :1], np.array([[[np.pi]], [[0.5]]])))).max() < 0.3
    np.testing.assert_allclose(found[..., 1], 10 + found[..., 0])
    assert len(np.unique(found[0, :, 0])) > 20


def test_new_windows_come_after_the_old_with_the_same_bias():
    old = windows([0.0, 1.0], BOUNDED)
    new = with_windows(old, np.array([[0.5]]))
    np.testing.assert_allclose(new.centers, [[0.0], [1.0], [0.5]])
    assert new.stiffness is old.stiffness
    assert new.flattening is old.flattening
