"""The surrogate network: its errors are what they are said to be."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from micromacro.diffusion_maps.harmonics import HarmonicsSettings, fit_harmonics
from micromacro.errors import InputError
from micromacro.learners.surrogate import Surrogate, SurrogateSettings, fit_surrogate

SETTINGS = SurrogateSettings(width=32, steps=1200, batch_size=128)


def known(x):
    return jnp.stack([jnp.sin(3 * x[0] + x[1]), 100 * jnp.exp(x[0] * x[1]) + 5])


def points(n: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, (n, 2)) * [1.0, 0.7] + [0.0, 0.2]


@pytest.fixture(scope="module")
def surrogate() -> Surrogate:
    return fit_surrogate(known, points(400, 0), SETTINGS, jax.random.key(0))


def measured(surrogate: Surrogate) -> tuple[np.ndarray, np.ndarray]:
    at = jnp.asarray(points(2000, 1))
    value, truth = jax.vmap(surrogate)(at), jax.vmap(known)(at)
    error = jnp.sqrt(jnp.mean((value - truth) ** 2, axis=0)) / truth.std(axis=0)
    slope, right = jax.vmap(jax.jacfwd(surrogate))(at), jax.vmap(jax.jacfwd(known))(at)
    scale = at.std(axis=0)
    off = jnp.mean(jnp.sum(((slope - right) * scale) ** 2, axis=2), axis=0)
    return np.asarray(error), np.asarray(jnp.sqrt(off / jnp.mean(jnp.sum((right * scale) ** 2, axis=2), axis=0)))


def test_it_learns_values_and_gradients(surrogate):
    assert np.asarray(surrogate.error).max() < 0.03
    assert np.asarray(surrogate.gradient_error).max() < 0.1


def test_its_errors_are_those_on_fresh_points(surrogate):
    for said, found in zip((surrogate.error, surrogate.gradient_error), measured(surrogate), strict=True):
        assert np.all(np.asarray(said) < 2 * found)
        assert np.all(np.asarray(said) > found / 2)


def test_starved_of_training_it_says_so(surrogate):
    starved = fit_surrogate(known, points(400, 0), replace(SETTINGS, steps=5), jax.random.key(0))
    assert np.asarray(starved.error).min() > 0.2
    assert np.asarray(starved.gradient_error).min() > 0.3
    for said, found in zip((starved.error, starved.gradient_error), measured(starved), strict=True):
        assert np.asarray(said) == pytest.approx(found, rel=0.35)


def test_it_is_twice_differentiable(surrogate):
    at, step = jnp.array([0.3, 0.1]), 1e-4
    gradient = jax.jacfwd(surrogate)
    known = np.stack([(gradient(at + h) - gradient(at - h)) / (2 * step) for h in step * jnp.eye(2)], axis=-1)
    hessian = np.asarray(jax.hessian(surrogate)(at))
    assert hessian == pytest.approx(known, rel=1e-4, abs=1e-4)
    assert np.abs(hessian).min() > 0


def test_it_stands_in_for_an_extension():
    angle = np.random.default_rng(2).uniform(0, 2 * np.pi, 300)
    circle = np.column_stack([np.cos(angle), np.sin(angle)])
    extension = fit_harmonics(circle, circle[:, :1] ** 2, HarmonicsSettings(0.3))
    standing = fit_surrogate(extension, circle, SETTINGS, jax.random.key(1))
    assert standing.error[0] < 0.05
    assert standing.gradient_error[0] < 0.15


def test_its_training_is_decided_by_the_key():
    few = replace(SETTINGS, steps=5)
    same = [fit_surrogate(known, points(400, 0), few, jax.random.key(3)) for _ in range(2)]
    other = fit_surrogate(known, points(400, 0), few, jax.random.key(4))
    at = jnp.zeros(2)
    assert np.array_equal(same[0](at), same[1](at))
    assert not np.array_equal(same[0](at), other(at))


def test_what_cannot_be_learned_is_refused():
    with pytest.raises(InputError, match="points"):
        fit_surrogate(known, points(5, 0), SETTINGS, jax.random.key(0))
    with pytest.raises(InputError, match="function"):
        fit_surrogate(lambda x: jnp.log(x), points(50, 0), SETTINGS, jax.random.key(0))
