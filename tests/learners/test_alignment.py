"""Alignment: order, sign and scale found again; settled only where nothing changed."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array, Float

from micromacro.errors import InputError
from micromacro.learners.alignment import align, settled
from micromacro.learners.finishing import linear

RNG = np.random.default_rng(0)
PREVIOUS = np.stack([RNG.normal(size=500), RNG.uniform(-1, 1, 500), RNG.normal(size=500) ** 3], axis=1)
WEIGHT = RNG.random(500)


class Cubed(eqx.Module):
    """The cube of a feature: monotone."""

    column: int

    def __call__(self, features: Float[Array, "F"]) -> Float[Array, "1"]:
        return features[self.column : self.column + 1] ** 3


def test_order_sign_scale_and_offset_are_found_again():
    new = np.stack([RNG.normal(size=500), 3 - 2 * PREVIOUS[:, 2], PREVIOUS[:, 0] - 1, 0.5 * PREVIOUS[:, 1]], axis=1)
    found = align(PREVIOUS, new, WEIGHT, rescale=True)
    assert found.order.tolist() == [2, 3, 1]
    np.testing.assert_allclose(found.scale, [1, 2, -0.5])
    np.testing.assert_allclose(found.of_values(new), PREVIOUS, atol=1e-12)
    np.testing.assert_allclose(found.correlation, 1.0)


def test_without_rescaling_lengths_stay_and_medians_meet():
    new = 3 - 2 * PREVIOUS
    found = align(PREVIOUS, new, np.ones(500))
    np.testing.assert_array_equal(found.scale, -np.ones(3))
    moved, centred = found.of_values(new), PREVIOUS - np.median(PREVIOUS, axis=0)
    np.testing.assert_allclose(moved - np.median(moved, axis=0), 2 * centred, atol=0.02)
    np.testing.assert_allclose(np.sort(moved, axis=0)[249], np.sort(PREVIOUS, axis=0)[249], atol=0.01)


def test_a_coordinate_is_aligned_as_its_values_are():
    new = linear(np.array([0.1, 0.2, 0.3]), np.array([[0.0, -2.0], [1.0, 0.0], [0.0, 0.0]]))
    values = (PREVIOUS - np.array([0.1, 0.2, 0.3])) @ np.array([[0.0, -2.0], [1.0, 0.0], [0.0, 0.0]])
    found = align(PREVIOUS[:, :2], values, WEIGHT)
    module = found.of_coordinate(new)
    for point in PREVIOUS[:5]:
        by_values = found.of_values(np.asarray(new(jnp.asarray(point)))[None])[0]
        np.testing.assert_allclose(module(jnp.asarray(point)), by_values, rtol=1e-12, atol=1e-12)


def test_a_monotone_change_has_settled_and_another_coordinate_has_not():
    first, second = (linear(np.zeros(3), np.eye(3)[:, [column]]) for column in (0, 1))
    assert settled(first, Cubed(0), PREVIOUS, WEIGHT, 1e-9).settled
    other = settled(first, second, PREVIOUS, WEIGHT, 0.01)
    assert not other.settled
    assert other.change[0] > 0.8


def test_one_component_that_changed_is_enough_to_go_on():
    before = linear(np.zeros(3), np.eye(3)[:, [0, 1]])
    after = linear(np.zeros(3), np.eye(3)[:, [0, 2]])
    found = settled(before, after, PREVIOUS, WEIGHT, 0.01)
    assert found.change[0] < 1e-12
    assert not found.settled


def test_values_that_do_not_correspond_are_refused():
    with pytest.raises(InputError, match="same 500 points"):
        align(PREVIOUS, PREVIOUS[:10], WEIGHT)
    with pytest.raises(InputError, match="3 components or more"):
        align(PREVIOUS, PREVIOUS[:, :2], WEIGHT)
