"""The free energy that a closure implies, where it is known."""

import dataclasses

import numpy as np
import pytest

from micromacro.closures.thermodynamic import free_energy_from_closure, free_energy_spread


def test_double_well_with_varying_diffusion(double_well):
    coarse, table, truth = double_well
    np.testing.assert_allclose(free_energy_from_closure(table, coarse), truth - truth.min(), atol=0.02)


def test_periodic(exact):
    coarse = exact.coarse([-np.pi], [np.pi], [True])
    table = exact.reversible(
        coarse,
        (120,),
        lambda z: -2 * np.sin(z) + np.cos(2 * z),
        lambda z: 1 + 0.5 * np.sin(z)[:, :, None],
        lambda z: 0.5 * np.cos(z),
    )
    truth = 2 * np.cos(table.z[:, 0]) + np.sin(2 * table.z[:, 0]) / 2
    np.testing.assert_allclose(free_energy_from_closure(table, coarse), truth - truth.min(), atol=0.005)


def test_two_dimensions_with_constant_matrix(sheared):
    coarse, table, truth = sheared
    low = truth < 10
    np.testing.assert_allclose(free_energy_from_closure(table, coarse)[low], truth[low] - truth.min(), atol=0.02)


def test_two_dimensions_with_a_matrix_that_varies(exact):
    """D = [[1 + x²/4, xy/4], [xy/4, 1 + y²/4]], ∇·D = (3x/4, 3y/4), F = x² + cos y, periodic in neither."""
    coarse = exact.coarse([-1.0, -1.5], [1.0, 1.5], [False, False])

    def diffusion(z):
        return np.eye(2) + z[:, :, None] * z[:, None, :] / 4

    table = exact.reversible(
        coarse, (40, 60), lambda z: np.stack([2 * z[:, 0], -np.sin(z[:, 1])], axis=1), diffusion, lambda z: 3 * z / 4
    )
    truth = table.z[:, 0] ** 2 + np.cos(table.z[:, 1])
    np.testing.assert_allclose(free_energy_from_closure(table, coarse), truth - truth.min(), atol=0.01)


def test_cells_that_are_cut_off_are_not_invented(double_well):
    coarse, table, truth = double_well
    drift = table.drift.copy()
    drift[[30, 31]] = np.nan
    found = free_energy_from_closure(dataclasses.replace(table, drift=drift), coarse)
    assert np.isnan(found[:32]).all()
    np.testing.assert_allclose(found[32:], truth[32:] - truth[32:].min(), atol=0.02)


def test_empty_closure_has_no_free_energy(double_well):
    coarse, table, _ = double_well
    empty = dataclasses.replace(table, drift=np.full_like(table.drift, np.nan))
    assert np.isnan(free_energy_from_closure(empty, coarse)).all()


@pytest.mark.parametrize("fixture", ["double_well", "sheared"])
def test_spread_is_that_of_noisy_closures(fixture, request):
    """Forty tables with known noise of the drift deviate from the truth by the standard error that is stated."""
    coarse, table, _ = request.getfixturevalue(fixture)
    noisy = dataclasses.replace(table, drift_stderr=np.full_like(table.drift, 0.5))
    spread = free_energy_spread(noisy, coarse, seed=1)
    clean = free_energy_from_closure(noisy, coarse)
    rng = np.random.default_rng(2)
    scores = []
    for _ in range(40):
        drift = table.drift + 0.5 * rng.standard_normal(table.drift.shape)
        found = free_energy_from_closure(dataclasses.replace(noisy, drift=drift), coarse)
        scores.append(((found - found.mean()) - (clean - clean.mean())) / spread)
    assert 0.7 < np.mean(np.square(scores)) < 1.4
