"""Windows: their energies, also round a period, and where they stand."""

import jax.numpy as jnp
import numpy as np
import pytest

from micromacro.sampling.table import zero_table
from micromacro.sampling.windows import PooledBias, Windows, grid_centers, window_energy, window_spacing


@pytest.fixture(scope="module")
def torus(known):
    """A period and a bounded axis, with a flattening bias on it."""
    coarse = known.coarse_variable([-np.pi, -1.0], [np.pi, 2.0], (True, False))
    return coarse, known.table_of(coarse, 40, lambda z: np.cos(z[:, 0]) * z[:, 1])


def test_the_energy_is_harmonic_less_the_flattening(torus):
    coarse, table = torus
    stiffness, center = jnp.array([3.0, 5.0]), jnp.array([0.5, 1.0])
    z = np.array([0.9, 0.2])
    expected = 0.5 * (3.0 * 0.4**2 + 5.0 * 0.8**2) - float(table(jnp.asarray(z)))
    assert abs(float(window_energy(coarse, center, stiffness, table, jnp.asarray(z))) - expected) < 1e-12


def test_the_difference_is_taken_by_the_shortest_way_round(torus):
    coarse, table = torus
    stiffness, center = jnp.array([3.0, 0.0]), jnp.array([np.pi - 0.1, 0.0])
    for z in (-np.pi + 0.2, np.pi + 0.2, 5 * np.pi + 0.2):
        state = jnp.array([z, 0.0])
        assert abs(float(window_energy(coarse, center, stiffness, table, state)) - 1.5 * 0.3**2) < 1e-9


def test_the_pooled_biases_are_those_of_each_window(torus):
    coarse, table = torus
    rng = np.random.default_rng(0)
    flat = zero_table(coarse, 20)
    sets = (
        Windows(jnp.asarray(rng.uniform(-3, 3, (3, 2))), jnp.array([3.0, 5.0]), table),
        Windows(jnp.asarray(rng.uniform(-3, 3, (2, 2))), jnp.array([1.0, 0.0]), flat),
    )
    pooled = PooledBias(sets, coarse)
    z = jnp.asarray(rng.uniform(-4, 4, (7, 2)))
    expected = [
        [
            float(window_energy(coarse, center, one.stiffness, one.flattening, value))
            for one in sets
            for center in one.centers
        ]
        for value in z
    ]
    assert pooled.count == 5
    np.testing.assert_allclose(pooled(z), expected, rtol=1e-10, atol=1e-10)


def test_width_is_the_standard_deviation_of_a_window(torus):
    windows = Windows(jnp.zeros((1, 2)), jnp.array([4.0, 25.0]), torus[1])
    np.testing.assert_allclose(windows.width, [0.5, 0.2])
    assert windows.count == 1


def test_centres_reach_the_ends_of_a_bounded_axis_and_share_a_period(torus):
    coarse = torus[0]
    centers = grid_centers(coarse, 4)
    assert centers.shape == (16, 2)
    np.testing.assert_allclose(np.unique(centers[:, 0]), [-np.pi, -np.pi / 2, 0, np.pi / 2])
    np.testing.assert_allclose(np.unique(centers[:, 1]), [-1, 0, 1, 2])
    np.testing.assert_allclose(window_spacing(coarse, 4), [np.pi / 2, 1.0])
    np.testing.assert_allclose(window_spacing(coarse, 1), [2 * np.pi, 3.0])
