"""Simulation of the reduced dynamics."""

import dataclasses

import numpy as np
import pytest

from micromacro.closures.finite_volume import stationary_density
from micromacro.closures.reduced import ReducedDynamics, draw_starts, simulate, time_step
from micromacro.errors import PhysicsError


def occupation(dynamics, z, blocks):
    """The share of saved points in each of `blocks` groups of neighbouring cells, per trajectory, `(N, blocks)`."""
    cell = dynamics.grid.cell(z.reshape(-1, z.shape[-1])).reshape(z.shape[:2])
    assert (cell >= 0).all()
    block = cell * blocks // len(dynamics.region)
    return np.stack([(block == b).mean(axis=1) for b in range(blocks)], axis=1)


def z_scores(dynamics, trajectories, density, blocks=8):
    """Occupation by trajectories that are independent, against the density, in standard errors."""
    found = occupation(dynamics, trajectories.z[:, len(trajectories.t) // 4 :], blocks)
    expected = np.array([part.sum() for part in np.split(np.nan_to_num(density), blocks)])
    expected = expected * np.prod(dynamics.grid.spacing)
    return (found.mean(0) - expected) / (found.std(0) / np.sqrt(len(found)))


def test_double_well_visits_its_stationary_density(double_well):
    coarse, table, free_energy = double_well
    dynamics = ReducedDynamics.from_table(table, coarse)
    starts = draw_starts(dynamics, free_energy, 400, seed=1)
    trajectories = simulate(dynamics, starts, 4.0, seed=2, saves=201)
    assert trajectories.z.shape == (400, 201, 1)
    assert trajectories.t.shape == (201,)
    np.testing.assert_array_equal(trajectories.z[:, 0], starts)
    scores = z_scores(dynamics, trajectories, stationary_density(dynamics))
    assert np.abs(scores).max() < 3.5, scores


def test_ornstein_uhlenbeck_moments_in_time(exact):
    """Mean z₀ e^(-t) and variance 1 - e^(-2t), at three times."""
    coarse = exact.coarse([-6.0], [6.0], [False])
    table = exact.table(coarse, (120,), lambda z: -z, lambda z: np.ones((len(z), 1, 1)))
    dynamics = ReducedDynamics.from_table(table, coarse)
    count = 4000
    trajectories = simulate(dynamics, np.full((count, 1), 2.0), 1.5, seed=3, saves=4)
    for t, z in zip(trajectories.t[1:], trajectories.z[:, 1:, 0].T, strict=True):
        variance = 1 - np.exp(-2 * t)
        assert abs(z.mean() - 2 * np.exp(-t)) < 3.5 * np.sqrt(variance / count)
        assert abs(z.var() - variance) < 3.5 * variance * np.sqrt(2 / count)


def test_periodic_drift_goes_round(exact):
    coarse = exact.coarse([0.0], [2 * np.pi], [True])
    table = exact.table(coarse, (96,), lambda z: 1 + 2 * np.sin(z), lambda z: np.ones((len(z), 1, 1)))
    dynamics = ReducedDynamics.from_table(table, coarse)
    density = stationary_density(dynamics)
    starts = draw_starts(dynamics, -np.log(density), 300, seed=4)
    trajectories = simulate(dynamics, starts, 6.0, seed=5, saves=101)
    scores = z_scores(dynamics, trajectories, density)
    assert np.abs(scores).max() < 3.5, scores
    assert trajectories.z.min() >= 0
    assert trajectories.z.max() < 2 * np.pi


def test_two_dimensions_with_correlated_noise(sheared):
    coarse, table, free_energy = sheared
    dynamics = ReducedDynamics.from_table(table, coarse)
    trajectories = simulate(dynamics, draw_starts(dynamics, free_energy, 400, seed=6), 3.0, seed=7, saves=101)
    scores = z_scores(dynamics, trajectories, stationary_density(dynamics), blocks=6)
    assert np.abs(scores).max() < 3.5, scores
    last = trajectories.z[:, -1]
    weight = np.exp(-free_energy)
    product = np.sum(weight * table.z[:, 0] * table.z[:, 1]) / weight.sum()
    samples = last[:, 0] * last[:, 1]
    assert abs(samples.mean() - product) < 3.5 * samples.std() / np.sqrt(len(samples))


def test_trajectories_stay_where_the_closure_is_known(double_well):
    coarse, table, _ = double_well
    drift = table.drift.copy()
    drift[:20] = np.nan
    drift[100:] = np.nan
    dynamics = ReducedDynamics.from_table(dataclasses.replace(table, drift=drift), coarse)
    trajectories = simulate(dynamics, np.zeros((50, 1)), 2.0, seed=8, saves=51)
    low, high = dynamics.walls
    assert trajectories.z.min() >= low
    assert trajectories.z.max() <= high
    assert low == pytest.approx(-1.2)
    with pytest.raises(PhysicsError, match="nothing was sampled"):
        simulate(dynamics, np.full((3, 1), 1.5), 1.0, seed=9)


def test_hole_in_the_plane_is_never_entered(sheared):
    coarse, table, _ = sheared
    hole = (np.abs(table.z) < 0.4).all(axis=1)
    drift = np.where(hole[:, None], np.nan, table.drift)
    dynamics = ReducedDynamics.from_table(dataclasses.replace(table, drift=drift), coarse)
    trajectories = simulate(dynamics, np.full((100, 2), [-1.0, -0.5]), 2.0, seed=10, saves=51)
    assert dynamics.region[dynamics.grid.cell(trajectories.z.reshape(-1, 2))].all()
    assert np.isfinite(stationary_density(dynamics)[~hole]).all()


def test_noise_of_the_table_cannot_make_the_diffusion_indefinite(double_well):
    coarse, table, _ = double_well
    diffusion = table.diffusion.copy()
    diffusion[3] = -0.2
    dynamics = ReducedDynamics.from_table(dataclasses.replace(table, diffusion=diffusion), coarse)
    assert np.linalg.eigvalsh(dynamics.diffusion).min() > 0


def test_empty_closure_is_an_error_with_a_remedy(double_well):
    coarse, table, _ = double_well
    empty = dataclasses.replace(table, drift=np.full_like(table.drift, np.nan))
    with pytest.raises(PhysicsError, match="Sample more"):
        ReducedDynamics.from_table(empty, coarse)


def test_time_step_shrinks_with_the_slope_of_the_drift(exact):
    coarse = exact.coarse([-1.0], [1.0], [False])
    gentle, steep = (
        exact.table(coarse, (100,), lambda z, k=k: -k * z, lambda z: np.full((len(z), 1, 1), 1e-4)) for k in (1.0, 10.0)
    )
    ratio = time_step(ReducedDynamics.from_table(gentle, coarse)) / time_step(ReducedDynamics.from_table(steep, coarse))
    assert ratio == pytest.approx(10, rel=1e-6)


def test_same_seed_same_trajectories(double_well):
    coarse, table, _ = double_well
    dynamics = ReducedDynamics.from_table(table, coarse)
    first, second, other = (simulate(dynamics, np.zeros((3, 1)), 0.1, seed=seed, saves=5).z for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, other)
