r"""Noise on a circle: the wrapped normal law, its score, and the size of that score.

The score of $\sum_k N(\delta + 2 \pi k; 0, \sigma^2)$ predicts where an angle came from once it has been pushed around
its circle by normal noise. Source: J. Jing et al., Torsional diffusion, NeurIPS 2022.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

IMAGES = np.arange(-3, 4)
HARMONICS = np.arange(1, 5)
# images serve below this noise, harmonics above: both are exact to single precision here
CROSSOVER = 2.0
# the law is uniform to 3e-8 from here on, and no larger noise is told from this one
UNIFORM = 6.0
SMALLEST = 1e-3
TABLE = np.linspace(np.log(SMALLEST), np.log(UNIFORM), 128)
# angles alone are diffused until the density is uniform to 3e-5
LARGEST_ANGULAR_NOISE = 1.5 * np.pi


def wrapped_log_density(delta: Float[Array, "*n"], noise: Float[Array, ""]) -> Float[Array, "*n"]:
    """The log-density of the wrapped normal law at angles `delta` from its centre."""
    noise = jnp.minimum(noise, UNIFORM)
    narrow, wide = jnp.minimum(noise, CROSSOVER), jnp.maximum(noise, CROSSOVER)
    squares = (_short(delta)[..., None] + _like(2 * np.pi * IMAGES, delta)) ** 2
    constant = jnp.log(narrow) + _like(0.5 * np.log(2 * np.pi), delta)
    images = jax.scipy.special.logsumexp(-0.5 * squares / narrow**2, axis=-1) - constant
    amplitude = 2 * jnp.exp(_like(-0.5 * HARMONICS**2, delta) * wide**2)
    waves = jnp.cos(delta[..., None] * _like(HARMONICS, delta)) @ amplitude
    return jnp.where(noise < CROSSOVER, images, jnp.log1p(waves) - _like(np.log(2 * np.pi), delta))


def wrapped_score(delta: Float[Array, "*n"], noise: Float[Array, ""]) -> Float[Array, "*n"]:
    """The derivative of `wrapped_log_density` in `delta`."""
    noise = jnp.minimum(noise, UNIFORM)
    narrow, wide = jnp.minimum(noise, CROSSOVER), jnp.maximum(noise, CROSSOVER)
    images = _short(delta)[..., None] + _like(2 * np.pi * IMAGES, delta)
    share = jax.nn.softmax(-0.5 * images**2 / narrow**2, axis=-1)
    amplitude = 2 * jnp.exp(_like(-0.5 * HARMONICS**2, delta) * wide**2)
    phase = delta[..., None] * _like(HARMONICS, delta)
    density = 1 + jnp.cos(phase) @ amplitude
    slope = -jnp.sin(phase) @ (amplitude * _like(HARMONICS, delta))
    return jnp.where(noise < CROSSOVER, -jnp.sum(share * images, axis=-1) / narrow**2, slope / density)


def score_size(noise: Float[Array, "*n"]) -> Float[Array, "*n"]:
    r"""The root mean square g(σ) of the score under its own law: 1/σ where narrow, $\sqrt2 e^{-\sigma^2/2}$ where wide.

    Interpolated between logarithms of σ g, without their factor $e^{-\sigma^2/2}$: what is left varies slowly.
    """
    inside = jnp.clip(noise, SMALLEST, UNIFORM)
    logarithm = jnp.interp(jnp.log(inside), _like(TABLE, inside), _like(_LOG_SIZE, inside))
    return jnp.exp(logarithm - 0.5 * inside**2) / jnp.where(noise < inside, noise, inside)


def _log_size() -> Float[np.ndarray, "128"]:
    """ln(σ g(σ)) + σ²/2 by quadrature on equal cells, exact for periodic functions; narrow laws on part of it."""
    noise = np.exp(TABLE)[:, None]
    reach = np.minimum(np.pi, 12 * noise)
    delta = reach * (2 * (np.arange(512) + 0.5) / 512 - 1)
    images = delta[:, :, None] + 2 * np.pi * IMAGES
    density = np.exp(-0.5 * (images / noise[:, :, None]) ** 2)
    total, moment = density.sum(-1), (images * density).sum(-1)
    small = np.sum(moment**2 / np.maximum(total, 1e-300), axis=1) / np.sum(total, axis=1) / noise[:, 0] ** 2
    # beyond, images cancel to rounding error
    amplitude = 2 * np.exp(-0.5 * HARMONICS**2 * noise**2)
    phase = delta[:, :, None] * HARMONICS
    slope = np.sum(HARMONICS * amplitude[:, None] * np.sin(phase), axis=-1)
    large = np.mean(slope**2 / (1 + np.sum(amplitude[:, None] * np.cos(phase), axis=-1)), axis=1) * noise[:, 0] ** 2
    return 0.5 * (np.log(np.where(noise[:, 0] < CROSSOVER, small, large)) + noise[:, 0] ** 2)


def _short(delta: Array) -> Array:
    turn = _like(2 * np.pi, delta)
    return delta - turn * jnp.round(delta / turn)


def _like(constant, value: Array) -> np.ndarray:
    return np.asarray(constant, value.dtype)


_LOG_SIZE = _log_size()
