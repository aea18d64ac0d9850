"""Noise on the circle against sums over many images in double precision."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from micromacro.generators.circle import (
    CROSSOVER,
    UNIFORM,
    score_size,
    wrapped_log_density,
    wrapped_score,
)

DELTA = np.linspace(-np.pi, np.pi, 2001)
NOISE = (0.01, 0.3, 1.0, CROSSOVER - 1e-6, CROSSOVER, 3.0, 4.7, UNIFORM)


def images(noise):
    """ln p and its derivative by a hundred images."""
    shifted = DELTA[:, None] + 2 * np.pi * np.arange(-50, 51)
    exponent = -0.5 * (shifted / noise) ** 2
    largest = exponent.max(axis=1)
    share = np.exp(exponent - largest[:, None])
    log_density = largest + np.log(share.sum(axis=1)) - 0.5 * np.log(2 * np.pi * noise**2)
    return log_density, -(share * shifted).sum(axis=1) / share.sum(axis=1) / noise**2


@pytest.mark.parametrize("noise", NOISE)
def test_density_and_score_are_those_of_the_wrapped_sum(noise):
    log_density, score = images(noise)
    np.testing.assert_allclose(wrapped_log_density(jnp.asarray(DELTA), jnp.asarray(noise)), log_density, atol=1e-9)
    found = np.asarray(wrapped_score(jnp.asarray(DELTA), jnp.asarray(noise)))
    np.testing.assert_allclose(found[1:-1], score[1:-1], atol=1e-9 / noise, rtol=1e-9)


@pytest.mark.parametrize("noise", [0.05, 1.9, 2.1, 5.0])
def test_the_score_is_the_derivative_of_the_density_in_single_precision_too(noise):
    delta, noise = jnp.asarray(DELTA[1:-1], jnp.float32), jnp.asarray(noise, jnp.float32)
    slope = jax.vmap(jax.grad(wrapped_log_density), in_axes=(0, None))(delta, noise)
    found = wrapped_score(delta, noise)
    assert found.dtype == jnp.float32
    scale = float(jnp.max(jnp.abs(slope)))
    np.testing.assert_allclose(found, slope, atol=2e-5 * scale)


def test_both_repeat_after_a_turn():
    delta = jnp.asarray(DELTA[1:-1])
    for function in (wrapped_log_density, wrapped_score):
        for noise in (0.2, 3.0):
            once, later = function(delta, jnp.asarray(noise)), function(delta + 6 * np.pi, jnp.asarray(noise))
            np.testing.assert_allclose(later, once, atol=1e-9)


def test_no_noise_is_larger_than_the_one_that_makes_all_uniform():
    found = wrapped_log_density(jnp.asarray(DELTA), jnp.asarray(100.0))
    np.testing.assert_allclose(found, -np.log(2 * np.pi), atol=1e-7)


@pytest.mark.parametrize("noise", [0.01, 0.5, 1.5, 2.5, 4.7])
def test_the_size_of_the_score_is_its_root_mean_square(noise):
    rng = np.random.default_rng(0)
    delta = noise * rng.standard_normal(400_000)
    square = np.asarray(wrapped_score(jnp.asarray(delta), jnp.asarray(noise))) ** 2
    error = square.std() / np.sqrt(len(square))
    assert abs(square.mean() - float(score_size(jnp.asarray(noise))) ** 2) < 4.5 * error + 2e-3 * square.mean()


def test_the_size_has_its_limits():
    np.testing.assert_allclose(score_size(jnp.asarray([1e-4, 0.02])), [1e4, 50.0], rtol=1e-6)
    np.testing.assert_allclose(score_size(jnp.asarray(5.0)), np.sqrt(2) * np.exp(-12.5), rtol=2e-3)
    assert float(score_size(jnp.asarray(50.0))) == float(score_size(jnp.asarray(UNIFORM)))
