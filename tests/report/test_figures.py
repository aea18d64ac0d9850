"""Choices that the figures make: which coordinates tell most, where lines break, how the exact curve is laid on."""

import dataclasses

import numpy as np
import pytest

from micromacro.report.conditionals import conditional_pictures, telling_coordinates
from micromacro.report.dynamics import _without_jumps
from micromacro.report.free_energy import aligned_exact


def test_coordinates_fixed_by_z_are_not_shown_and_bistable_ones_come_first():
    rng = np.random.default_rng(0)

    def draws(value):
        wells = rng.choice([-1.0, 1.0], 2000) + 0.1 * rng.standard_normal(2000)
        fixed = value + 1e-3 * rng.standard_normal(2000)
        return np.stack([rng.standard_normal(2000), fixed, wells, 5 * rng.standard_normal(2000)], axis=1)

    chosen = telling_coordinates([draws(-1.0), draws(1.0)])
    assert 2 in chosen
    assert 1 not in chosen
    assert len(chosen) == 2


def test_one_free_coordinate_is_enough():
    rng = np.random.default_rng(1)
    samples = [np.stack([np.full(100, z), rng.standard_normal(100)], axis=1) for z in (0.0, 1.0)]
    assert telling_coordinates(samples) == [1]


def test_constant_coordinates_do_not_divide_by_zero():
    assert telling_coordinates([np.ones((50, 3)), np.ones((50, 3))]) == [0]


def test_one_hump_at_the_seam_is_not_two():
    rng = np.random.default_rng(3)
    seam = (np.pi + 0.1 * rng.standard_normal(2000) + np.pi) % (2 * np.pi) - np.pi
    wells = rng.choice([-1.0, 1.0], 2000) + 0.3 * rng.standard_normal(2000)
    draws = [np.stack([seam, wells, rng.standard_normal(2000)], axis=1)]
    periods = np.array([2 * np.pi, 2 * np.pi, np.inf])
    assert telling_coordinates(draws, periods) == [1, 2]
    assert 0 in telling_coordinates(draws)


def test_periodic_coordinates_are_wrapped(make):
    data = make(1)
    samples = [(z, q + np.array([0.0, 2 * np.pi]), None) for z, q, _ in data.conditional_samples]
    periods = np.array([np.inf, 2 * np.pi])
    shifted = dataclasses.replace(data, conditional_samples=samples, observed_periods=periods)
    plain = dataclasses.replace(
        data, conditional_samples=[(z, q, None) for z, q, _ in data.conditional_samples], observed_periods=periods
    )
    for one, other in zip(conditional_pictures(shifted), conditional_pictures(plain), strict=True):
        assert one.alternative == other.alternative


def test_molecules_and_draws_that_are_not_finite(make):
    data = make(1)
    rng = np.random.default_rng(2)
    atoms = rng.standard_normal((200, 5, 3))
    atoms[0, 0, 0] = np.nan
    shown = dataclasses.replace(data, conditional_samples=[(np.array([0.0]), atoms, None)])
    assert len(conditional_pictures(shown)) == 1


def test_periodic_trajectories_break_at_the_seam(make):
    data = dataclasses.replace(make(1), periodic=(True,))
    t, path = _without_jumps(np.arange(5.0), np.array([1.5, 1.7, -1.7, -1.5, 1.6]), data, 0)
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(path)), [2, 5])
    assert len(t) == len(path)


def test_exact_curve_is_laid_on_the_estimate(make):
    data = make(1)
    exact = aligned_exact(data)
    low = data.free_energy < 6
    assert np.mean((exact - data.free_energy)[low]) == pytest.approx(0, abs=1e-12)
