"""Stationary densities and passage times of reduced dynamics against quadrature."""

import dataclasses

import numpy as np
import pytest
from scipy import integrate

from micromacro.closures.finite_volume import generator_matrix, mean_passage_times, stationary_density
from micromacro.closures.reduced import ReducedDynamics


def normalised(density, spacing):
    return density / (density.sum() * np.prod(spacing))


def largest_deviation(found, truth):
    return np.max(np.abs(found - truth)) / np.max(truth)


def test_ornstein_uhlenbeck(exact):
    coarse = exact.coarse([-4.0], [4.0], [False])
    table = exact.table(coarse, (100,), lambda z: -2 * z, lambda z: np.ones((len(z), 1, 1)))
    dynamics = ReducedDynamics.from_table(table, coarse)
    truth = normalised(np.exp(-(table.z[:, 0] ** 2)), dynamics.grid.spacing)
    assert largest_deviation(stationary_density(dynamics), truth) < 1e-9  # trapezoids are exact for a linear slope


@pytest.mark.parametrize("cells", [120, 320])
def test_ends_that_are_never_visited(exact, cells):
    """A density of e^-72 in the first cell, where pinning it makes the equations singular."""
    coarse = exact.coarse([-6.0], [7.0], [False])
    table = exact.table(coarse, (cells,), lambda z: -4 * z, lambda z: np.ones((len(z), 1, 1)))
    dynamics = ReducedDynamics.from_table(table, coarse)
    truth = normalised(np.exp(-2 * table.z[:, 0] ** 2), dynamics.grid.spacing)
    assert largest_deviation(stationary_density(dynamics), truth) < 1e-9


def test_double_well_with_varying_diffusion_converges_at_second_order(exact):
    coarse = exact.coarse([-1.8], [1.8], [False])
    errors = []
    for cells in (60, 120, 240):
        table = exact.reversible(
            coarse, (cells,), lambda z: 12 * z * (z**2 - 1), lambda z: 1 + z[:, :, None] ** 2 / 4, lambda z: z / 2
        )
        dynamics = ReducedDynamics.from_table(table, coarse)
        truth = normalised(np.exp(-3 * (table.z[:, 0] ** 2 - 1) ** 2), dynamics.grid.spacing)
        errors.append(largest_deviation(stationary_density(dynamics), truth))
    assert errors[1] < 0.01
    assert np.all(np.diff(np.log2(errors)) < -1.7), errors


def periodic_flux_density(z):
    """p(z) ∝ e^(G(z)) ∫_z^(z + 2π) e^(-G), G = ∫ b, for D = 1 and b = 1 + 2 sin z (Risken, The FP Equation, 11.3)."""

    def primitive(x):
        return x - 2 * np.cos(x)

    return [np.exp(primitive(x)) * integrate.quad(lambda y: np.exp(-primitive(y)), x, x + 2 * np.pi)[0] for x in z]


def test_periodic_drift_with_flux(exact):
    coarse = exact.coarse([0.0], [2 * np.pi], [True])
    table = exact.table(coarse, (200,), lambda z: 1 + 2 * np.sin(z), lambda z: np.ones((len(z), 1, 1)))
    dynamics = ReducedDynamics.from_table(table, coarse)
    truth = normalised(np.array(periodic_flux_density(table.z[:, 0])), dynamics.grid.spacing)
    assert largest_deviation(stationary_density(dynamics), truth) < 1e-3


def test_two_dimensions_with_off_diagonal_diffusion(sheared):
    coarse, table, free_energy = sheared
    dynamics = ReducedDynamics.from_table(table, coarse)
    truth = normalised(np.exp(-free_energy), dynamics.grid.spacing)
    assert largest_deviation(stationary_density(dynamics), truth) < 0.03


def test_rates_are_those_of_a_jump_process(sheared):
    coarse, table, _ = sheared
    matrix = generator_matrix(ReducedDynamics.from_table(table, coarse)).tocoo()
    assert np.all(matrix.data[matrix.row != matrix.col] >= 0)
    np.testing.assert_allclose(matrix.sum(axis=1), 0, atol=1e-9)


def test_off_diagonal_diffusion_beyond_the_limit_keeps_rates_positive(exact):
    coarse = exact.coarse([0.0, 0.0], [1.0, 10.0], [False, False])
    steep = np.array([[1.0, 0.9], [0.9, 1.0]])
    table = exact.table(coarse, (10, 10), np.zeros_like, lambda z: np.broadcast_to(steep, (len(z), 2, 2)).copy())
    dynamics = ReducedDynamics.from_table(table, coarse)
    matrix = generator_matrix(dynamics).tocoo()
    assert np.all(matrix.data[matrix.row != matrix.col] >= 0)


def test_mean_passage_time_over_a_barrier(double_well):
    """Against the double integral for one dimension, started at the left end (Gardiner, 5.2.7)."""
    coarse, table, _ = double_well
    dynamics = ReducedDynamics.from_table(table, coarse)
    target = table.z[:, 0] > 0.9
    edge = 0.9  # of the first cell of the target

    def weight(x):
        return np.exp(-3 * (x**2 - 1) ** 2)

    def inner(x):
        return integrate.quad(weight, -1.8, x)[0] / (weight(x) * (1 + x**2 / 4))

    truth = integrate.quad(inner, table.z[0, 0], edge)[0]
    found = mean_passage_times(dynamics, target)
    assert found[0] == pytest.approx(truth, rel=4e-3)
    assert np.all(found[target] == 0)


def test_unsampled_cells_are_outside(double_well):
    coarse, table, _ = double_well
    drift = table.drift.copy()
    drift[[0, 1, 118, 119]] = np.nan
    dynamics = ReducedDynamics.from_table(dataclasses.replace(table, drift=drift), coarse)
    density = stationary_density(dynamics)
    assert np.isnan(density[[0, 1, 118, 119]]).all()
    assert np.nansum(density) * dynamics.grid.spacing[0] == pytest.approx(1)
    assert np.isinf(mean_passage_times(dynamics, np.arange(120) == 0)[60])
