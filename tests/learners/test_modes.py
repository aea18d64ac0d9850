"""Which modes of a map are coordinates: on a square, whose modes are known and come in pairs, and on a strip."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from micromacro.diffusion_maps.diffusion_map import DiffusionMap, DiffusionMapSettings, fit_diffusion_map
from micromacro.diffusion_maps.nystrom import nystrom_extension
from micromacro.errors import InputError
from micromacro.learners.diffusion_map import DiffusionMapLearner
from micromacro.learners.learner import TrainingData
from micromacro.learners.metrics import rank_correlation
from micromacro.learners.modes import Turned, broad_modes, independent_modes, turned_modes, with_modes

STRIP = np.random.default_rng(1).uniform(size=(700, 2)) * [2.5, 1.0]


@pytest.fixture(scope="module")
def square() -> tuple[np.ndarray, DiffusionMap]:
    """Points of a square and their map: cos πx and cos πy are equally slow."""
    points = np.random.default_rng(0).uniform(size=(700, 2))
    return points, fit_diffusion_map(points, np.ones(700), DiffusionMapSettings(10, 1.0, 0.004))


def rotation(angle: float) -> np.ndarray:
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def correlation(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    size = first.shape[1]
    return np.corrcoef(first.T, second.T)[:size, size:]


@pytest.mark.parametrize("angle", [0.0, 0.7, 2.0, -1.1])
def test_one_coordinate_is_turned_within_a_degenerate_pair(angle, square):
    points, found = square
    previous = np.cos(np.pi * points) @ rotation(angle)[:, :1]
    modes, matrix = turned_modes(found, np.arange(1), previous)
    assert {0, 1} <= set(modes)
    np.testing.assert_allclose(matrix.T @ matrix, np.eye(1), atol=1e-12)
    assert correlation(found.eigenvectors[:, modes] @ matrix, previous)[0, 0] > 0.995


def test_two_coordinates_are_turned_in_order_and_sign(square):
    points, found = square
    previous = np.cos(np.pi * points) @ rotation(1.4) * [1.0, -3.0] + [5.0, 0.0]
    modes, matrix = turned_modes(found, np.array([0, 1]), previous)
    np.testing.assert_allclose(matrix.T @ matrix, np.eye(2), atol=1e-12)
    turned = correlation(found.eigenvectors[:, modes] @ matrix, previous)
    assert np.diag(turned).min() > 0.99
    # as the map has them they are others
    assert np.abs(np.diag(correlation(found.eigenvectors[:, :2], previous))).max() < 0.99


def test_a_coordinate_that_is_not_among_slow_modes_changes_nothing(square):
    points, found = square
    chosen = np.array([0])
    modes, matrix = turned_modes(found, chosen, np.cos(7 * np.pi * points[:, :1]))
    np.testing.assert_array_equal(modes, chosen)
    np.testing.assert_array_equal(matrix, np.eye(1))


def test_a_rate_well_apart_does_not_mix():
    found = fit_diffusion_map(STRIP, np.ones(len(STRIP)), DiffusionMapSettings(10, 1.0, 0.006))
    modes, matrix = turned_modes(found, np.arange(1), np.cos(np.pi * STRIP[:, :1] / 2.5) + 0.1 * STRIP[:, 1:])
    np.testing.assert_array_equal(modes, [0])
    np.testing.assert_allclose(np.abs(matrix), [[1.0]])


def test_the_second_coordinate_of_a_strip_is_its_width_and_no_harmonic():
    found = fit_diffusion_map(STRIP, np.ones(len(STRIP)), DiffusionMapSettings(10, 1.0, 0.006))
    chosen = independent_modes(found, 2)
    along = np.abs(correlation(found.eigenvectors, np.cos(np.pi * STRIP / [2.5, 1.0])))
    assert (chosen[0], along[chosen[0], 0] > 0.99) == (0, True)
    assert chosen[1] > 1
    assert along[chosen[1], 1] > 0.8
    # the one between is cos 2πx
    assert abs(np.corrcoef(found.eigenvectors[:, 1], np.cos(2 * np.pi * STRIP[:, 0] / 2.5))[0, 1]) > 0.95


def test_two_learned_components_of_a_strip_grow_along_its_sides():
    data = TrainingData(STRIP, np.ones(len(STRIP)))
    settings = DiffusionMapLearner(components=2, bandwidth=0.006, surrogate=False)
    values = np.asarray(jax.jit(jax.vmap(settings.fit(data, jax.random.key(0))))(STRIP))
    assert values.shape == (len(STRIP), 2)
    assert abs(rank_correlation(values[:, 0], STRIP[:, 0], np.ones(len(STRIP)))) > 0.97
    assert abs(rank_correlation(values[:, 1], STRIP[:, 1], np.ones(len(STRIP)))) > 0.8


def test_more_components_than_the_map_has_are_refused():
    line = np.linspace(0, 1, 200)[:, None]
    found = fit_diffusion_map(line, np.ones(200), DiffusionMapSettings(6, 1.0, 2e-4))
    with pytest.raises(InputError, match="independent modes"):
        independent_modes(found, 3)


def test_a_map_with_some_of_its_modes_is_extended_by_them_alone(square):
    points, found = square
    chosen = np.array([3, 1])
    kept = with_modes(found, chosen)
    np.testing.assert_array_equal(kept.eigenvectors, found.eigenvectors[:, chosen])
    turned = Turned(nystrom_extension(kept, 2), jnp.asarray(rotation(0.3)))
    whole = nystrom_extension(replace(found), 4)
    at = jnp.asarray(points[5])
    np.testing.assert_allclose(turned(at), whole(at)[chosen] @ rotation(0.3), rtol=1e-10, atol=1e-12)


def test_a_walker_that_was_caught_makes_no_coordinate():
    rng = np.random.default_rng(6)
    strip = rng.uniform(size=(800, 2)) * [4.0, 0.5]
    caught = [2.0, 3.0] + 0.02 * rng.standard_normal((12, 2))
    points = np.concatenate([strip, caught])
    found = fit_diffusion_map(points, settings=DiffusionMapSettings(components=5, alpha=1.0, bandwidth=0.3))
    assert np.ptp(found.eigenvectors[:800, 0]) < 0.5 * np.ptp(found.eigenvectors[:, 0])
    kept = broad_modes(found)
    assert len(kept.eigenvalues) == 4
    assert abs(np.corrcoef(kept.eigenvectors[:800, 0], strip[:, 0])[0, 1]) > 0.95
