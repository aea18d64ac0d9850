"""Eigenvalues, implied time scales and autocorrelations of reduced dynamics against closed forms."""

import dataclasses

import numpy as np
import pytest

from micromacro.closures.reduced import ReducedDynamics
from micromacro.closures.spectrum import autocorrelation, slowest_modes
from micromacro.errors import InputError


def unit(z):
    return np.ones((len(z), 1, 1))


def dynamics_of(exact, lower, upper, periodic, cells, drift, diffusion=unit):
    coarse = exact.coarse([lower], [upper], [periodic])
    return ReducedDynamics.from_table(exact.table(coarse, (cells,), drift, diffusion), coarse)


def orders(errors):
    """Orders of convergence between grids of which each has twice the cells of the one before."""
    return -np.diff(np.log2(errors))


def test_ornstein_uhlenbeck_rates_are_multiples_of_the_first(exact):
    errors = []
    for cells in (60, 120, 240):
        found = slowest_modes(dynamics_of(exact, -7.0, 7.0, False, cells, lambda z: -1.5 * z, lambda z: 1.5 * unit(z)))
        errors.append(np.max(np.abs(1 / found.time_scales - 1.5 * np.arange(1, 5))))
    assert errors[-1] < 0.01
    assert np.all(orders(errors) > 1.8), errors


def test_brownian_motion_between_walls(exact):
    """D (kπ/L)², which the scheme gives as its own closed form 2D/h² (1 - cos(kπh/L))."""
    found = slowest_modes(dynamics_of(exact, 0.0, 2.0, False, 400, np.zeros_like), 3)
    k = np.arange(1, 4)
    np.testing.assert_allclose(found.eigenvalues, -2 * 200**2 * (1 - np.cos(k * np.pi / 400)), rtol=1e-8)
    np.testing.assert_allclose(1 / found.time_scales, (k * np.pi / 2) ** 2, rtol=1e-4)
    assert np.isinf(found.periods).all()


def test_brownian_motion_on_a_circle_has_pairs(exact):
    found = slowest_modes(dynamics_of(exact, -np.pi, np.pi, True, 240, np.zeros_like))
    np.testing.assert_allclose(1 / found.time_scales, [1, 1, 4, 4], rtol=1e-3)
    assert np.isinf(found.periods).all()


def test_driven_circle_turns_while_it_decays(exact):
    """Constant drift v: λ = -k² ± i k v."""
    errors = []
    for cells in (50, 100, 200):
        found = slowest_modes(dynamics_of(exact, 0.0, 2 * np.pi, True, cells, lambda z: np.full_like(z, 3.0)))
        errors.append(np.max(np.abs(1 / found.time_scales - [1, 1, 4, 4])))
    assert errors[-1] < 0.05
    assert np.all(orders(errors) > 1.8), errors
    np.testing.assert_allclose(found.periods, 2 * np.pi / np.array([3, 3, 6, 6]), rtol=2e-3)


def rare(exact, depth):
    coarse = exact.coarse([-1.6], [1.6], [False])
    table = exact.reversible(coarse, (200,), lambda z: 4 * depth * z * (z**2 - 1), unit, np.zeros_like)
    return slowest_modes(ReducedDynamics.from_table(table, coarse), 2)


def test_a_rare_event_is_resolved_far_below_the_fastest_rate(exact):
    """Two wells 15 kT deep: the rate of the Smoluchowski integrals, 2e-9 of the fastest."""
    z = np.linspace(-1.6, 1.6, 200_001)
    energy = 15 * (z**2 - 1) ** 2
    across = np.exp(energy)[np.abs(z) < 1].sum() * np.exp(-energy).sum() * (z[1] - z[0]) ** 2
    assert 1 / rare(exact, 15).time_scales[0] == pytest.approx(4 / across, rel=0.01)


def test_a_rate_below_rounding_is_none(exact):
    assert np.isinf(rare(exact, 40).time_scales[0])


def test_two_dimensions_with_correlated_noise(exact):
    """dz = -A z dt + √(2D) dW has the sums of the eigenvalues of A, whatever D; here not at equilibrium."""
    coarse = exact.coarse([-5.0, -5.0], [5.0, 5.0], [False, False])
    rates, matrix = np.array([[1.0, 0.6], [-0.6, 1.0]]), np.array([[1.0, 0.3], [0.3, 0.8]])
    table = exact.table(coarse, (50, 50), lambda z: -z @ rates.T, lambda z: np.tile(matrix, (len(z), 1, 1)))
    found = slowest_modes(ReducedDynamics.from_table(table, coarse), 3)
    np.testing.assert_allclose(1 / found.time_scales, [1, 1, 2], rtol=0.03)
    np.testing.assert_allclose(found.periods[:2], 2 * np.pi / 0.6, rtol=0.03)


def test_unsampled_cells_have_no_eigenfunction(double_well):
    coarse, table, _ = double_well
    drift = table.drift.copy()
    drift[:10] = np.nan
    found = slowest_modes(ReducedDynamics.from_table(dataclasses.replace(table, drift=drift), coarse), 2)
    assert np.isnan(found.eigenfunctions[:10]).all()
    assert np.isfinite(found.eigenfunctions[10:]).all()


@pytest.mark.parametrize("cells", [120, 320])
def test_autocorrelation_of_ornstein_uhlenbeck(exact, cells):
    """By the matrix of a small region and by its action in a large one."""
    dynamics = dynamics_of(exact, -6.0, 6.0, False, cells, lambda z: -2 * z)
    times = np.array([0.0, 0.1, 0.4, 1.0])
    found = autocorrelation(dynamics, dynamics.grid.points, times)
    np.testing.assert_allclose(found, np.exp(-2 * times), atol=2e-3)


def test_autocorrelation_on_a_driven_circle(exact):
    """E cos(z_t - z_0) = e^(-t) cos vt."""
    dynamics = dynamics_of(exact, 0.0, 2 * np.pi, True, 200, lambda z: np.full_like(z, 3.0))
    angle = dynamics.grid.points
    times = np.linspace(0.1, 2, 5)
    found = autocorrelation(dynamics, np.hstack([np.cos(angle), np.sin(angle)]), times)
    np.testing.assert_allclose(found, np.exp(-times) * np.cos(3 * times), atol=3e-3)


def test_autocorrelation_refuses_constants_and_times_out_of_order(double_well):
    coarse, table, _ = double_well
    dynamics = ReducedDynamics.from_table(table, coarse)
    with pytest.raises(InputError, match="increasing"):
        autocorrelation(dynamics, table.z, np.array([1.0, 0.5]))
    with pytest.raises(InputError, match="vary"):
        autocorrelation(dynamics, np.ones_like(table.z), np.array([1.0]))
