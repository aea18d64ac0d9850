"""Modes of one rate are turned to the coordinates of the round before; others stay as they are."""

from dataclasses import fields

import jax
import numpy as np
import pytest

from micromacro.diffusion_maps.diffusion_map import DiffusionMap, DiffusionMapSettings, fit_diffusion_map
from micromacro.diffusion_maps.mahalanobis import MahalanobisSettings, fit_mahalanobis_map
from micromacro.diffusion_maps.nystrom import evaluate, nystrom_extension
from micromacro.errors import InputError
from micromacro.learners.diffusion_map import DiffusionMapLearner
from micromacro.learners.learner import TrainingData
from micromacro.learners.metrics import rank_correlation
from micromacro.learners.modes import independent_modes, turned_modes, with_modes

ANGLE = 0.6
TURN = np.array([[np.cos(ANGLE), np.sin(ANGLE)], [-np.sin(ANGLE), np.cos(ANGLE)]])


@pytest.fixture(scope="module")
def square() -> DiffusionMap:
    """A square: the two slowest modes, cos πx and cos πy, have one rate and mix in any sample."""
    points = np.random.default_rng(0).random((600, 2))
    return fit_diffusion_map(points, None, DiffusionMapSettings(components=5, alpha=1.0, bandwidth=0.01))


def test_modes_of_one_rate_are_turned_to_the_previous_ones(square):
    previous = 3 * square.eigenvectors[:, :2] @ TURN + 7
    modes, turn = turned_modes(square, np.array([0, 1]), previous)
    found = square.eigenvectors[:, modes] @ turn
    for before, after in zip(previous.T, found.T, strict=True):
        assert np.corrcoef(before, after)[0, 1] > 1 - 1e-4  # columns of a sample are orthogonal to a hundredth
    np.testing.assert_allclose(turn.T @ turn, np.eye(2), atol=1e-12)
    assert abs(np.corrcoef(previous[:, 0], square.eigenvectors[:, 0])[0, 1]) < 0.9


def test_coordinates_that_are_no_slow_modes_turn_nothing(square):
    other = np.random.default_rng(1).normal(size=(600, 2))
    modes, turn = turned_modes(square, np.array([0, 1]), other)
    assert modes.tolist() == [0, 1]
    np.testing.assert_array_equal(turn, np.eye(2))


def test_a_map_with_some_modes_alone_has_all_that_belongs_to_them(square):
    points = square.points[:200]
    of_noise = fit_mahalanobis_map(points, np.broadcast_to(np.eye(2), (200, 2, 2)), None, MahalanobisSettings(5))
    for found in (square, of_noise):
        part = with_modes(found, np.array([0, 3]))
        for field in fields(found):
            whole, kept = getattr(found, field.name), getattr(part, field.name)
            if isinstance(whole, np.ndarray) and whole.shape[-1] == 5:
                np.testing.assert_array_equal(kept, whole[..., [0, 3]])
        far = evaluate(nystrom_extension(part, 2), points[:5])
        np.testing.assert_allclose(far, evaluate(nystrom_extension(found, 4), points[:5])[:, [0, 3]], atol=1e-12)


def test_more_coordinates_than_a_line_has_are_refused():
    line = np.linspace(0, 1, 300)[:, None]
    found = fit_diffusion_map(line, None, DiffusionMapSettings(components=5, alpha=1.0, bandwidth=1e-3))
    assert independent_modes(found, 1).tolist() == [0]
    with pytest.raises(InputError, match="be 1 or less"):
        independent_modes(found, 2)


def test_a_learner_keeps_to_the_coordinates_of_the_round_before(square):
    settings = DiffusionMapLearner(components=2, bandwidth=0.01, surrogate=False, modes=5, landmarks=200)
    rotated = square.eigenvectors[:, :2] @ TURN
    data = TrainingData(square.points, np.ones(600), previous=rotated)
    found = settings.fit(data, jax.random.key(0))
    values = np.asarray(jax.jit(jax.vmap(found))(data.features))
    for before, after in zip(rotated.T, values.T, strict=True):
        assert rank_correlation(before, after) > 0.99
