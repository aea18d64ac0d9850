"""The generator against formulas derived by hand and against short bursts of the dynamics."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from micromacro.closures.generator import projected_terms
from micromacro.coordinates.coarse import CoarseVariable
from micromacro.systems.model import OverdampedSystem, StochasticSystem

MOBILITY = np.array([0.5, 2.0])
KT = 0.7


def polar(state):
    return jnp.stack([jnp.sqrt(state[0] ** 2 + state[1] ** 2), jnp.arctan2(state[1], state[0])])


def tilted_well(state):
    return (state[0] ** 2 - 1) ** 2 + state[1] ** 2 * state[0] + state[1] ** 4


POLAR = CoarseVariable(polar, np.array([0.0, -np.pi]), np.array([4.0, np.pi]), (False, True))


def states(count, dimension, seed=0):
    return np.random.default_rng(seed).normal(0, 1, (count, dimension))


def test_polar_coordinates_of_a_potential():
    system = OverdampedSystem(tilted_well, 2, np.zeros((1, 2)), kT=KT, mobility=MOBILITY)
    q = states(300, 2)
    x, y = q.T
    r = np.hypot(x, y)
    force = -np.stack([4 * x * (x**2 - 1) + y**2, 2 * x * y + 4 * y**3], axis=1)
    slopes = np.stack([np.stack([x / r, y / r], 1), np.stack([-y / r**2, x / r**2], 1)], axis=1)  # (n, d, D)
    curvatures = np.stack(
        [np.stack([y**2, x**2], 1) / r[:, None] ** 3, np.stack([2 * x * y, -2 * x * y], 1) / r[:, None] ** 4], axis=1
    )
    drift, diffusion = projected_terms(system, POLAR, q, chunk=128)
    expected = slopes @ (MOBILITY * force)[..., None]
    np.testing.assert_allclose(drift, expected[..., 0] + KT * curvatures @ MOBILITY, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(diffusion, KT * (slopes * MOBILITY) @ np.swapaxes(slopes, 1, 2), rtol=1e-9, atol=1e-9)


def test_ornstein_uhlenbeck_process_with_a_linear_coordinate_is_closed():
    rate, noise = 1.3, 0.4
    system = StochasticSystem(
        lambda x: -rate * x, lambda x: noise * jnp.ones(3, x.dtype), 3, np.zeros((1, 3)), time_step=1e-3
    )
    direction = np.array([1.0, -2.0, 0.5])
    coarse = CoarseVariable(lambda x: jnp.sum(direction * x), np.array([-9.0]), np.array([9.0]), (False,))
    x = states(50, 3)
    drift, diffusion = projected_terms(system, coarse, x)
    np.testing.assert_allclose(drift[:, 0], -rate * x @ direction, atol=1e-12)
    np.testing.assert_allclose(diffusion[:, 0, 0], noise**2 / 2 * direction @ direction, atol=1e-12)


FULL = np.array([[1.0, 0.3], [-0.4, 0.8]])


def correlated():
    """Noise of full rank that depends on the state, seen through a map, with ξ = u² v."""
    return StochasticSystem(
        lambda x: jnp.stack([x[1], -jnp.sin(x[0])]),
        lambda x: FULL * (1 + x[0] ** 2),
        2,
        np.zeros((1, 2)),
        observe=lambda x: jnp.stack([x[0] + x[1], x[1]]),
    )


PRODUCT = CoarseVariable(lambda y: y[0] ** 2 * y[1], np.array([-9.0]), np.array([9.0]), (False,))


def correlated_formula(x):
    """By hand for f = (a + b)² b: f_a = 2ub, f_b = 2ub + u², f_aa = 2b, f_ab = 2b + 2u, f_bb = 2b + 4u, u = a + b."""
    a, b = x.T
    u = a + b
    slope = np.stack([2 * u * b, 2 * u * b + u**2], axis=1)
    covariance = (1 + a**2)[:, None, None] ** 2 * (FULL @ FULL.T)
    second = (
        covariance[:, 0, 0] * 2 * b + 2 * covariance[:, 0, 1] * (2 * b + 2 * u) + covariance[:, 1, 1] * (2 * b + 4 * u)
    )
    drift = slope[:, 0] * b - slope[:, 1] * np.sin(a) + second / 2
    return drift, np.einsum("na,nab,nb->n", slope, covariance, slope) / 2


def test_full_noise_matrix_and_observed_state():
    x = states(100, 2)
    drift, diffusion = projected_terms(correlated(), PRODUCT, x, chunk=33)
    expected_drift, expected_diffusion = correlated_formula(x)
    np.testing.assert_allclose(drift[:, 0], expected_drift, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(diffusion[:, 0, 0], expected_diffusion, rtol=1e-9, atol=1e-9)


def bursts(system, coarse, start, count, lag, steps, seed):
    """ξ after `lag` minus ξ before, unwrapped, `(2, count, d)`: the second half has the noise of the first reversed."""

    def step(x, noise):
        sigma = system.diffusion(x)
        kick = sigma @ noise if sigma.ndim == 2 else sigma * noise
        return x + system.drift(x) * (lag / steps) + kick * jnp.sqrt(lag / steps), None

    noise = jax.random.normal(jax.random.key(seed), (count, steps, len(start)))
    noise = jnp.concatenate([noise, -noise])
    ends = jax.jit(jax.vmap(lambda kicks: jax.lax.scan(step, jnp.asarray(start), kicks)[0]))(noise)
    values = jax.vmap(lambda x: coarse(system.observe(x)))(ends).reshape(2, count, -1)
    return np.asarray(coarse.difference(values, coarse(system.observe(jnp.asarray(start)))))


@pytest.mark.parametrize("make", ["overdamped", "correlated"])
def test_short_bursts_agree_within_their_standard_errors(make):
    if make == "overdamped":
        system, coarse = OverdampedSystem(tilted_well, 2, np.zeros((1, 2)), kT=KT, mobility=MOBILITY), POLAR
        start = np.array([-1.1, 0.05])  # its angle is next to the seam of the period
    else:
        system, coarse, start = correlated(), PRODUCT, np.array([0.3, -0.6])
    lag, count = 2e-5, 100_000  # the next order in the lag is a tenth of the standard errors
    change = bursts(system, coarse, start, count, lag, 4, seed=1)
    drift, diffusion = projected_terms(system, coarse, start[None])
    slopes = change.mean(0) / lag
    z_score = (slopes.mean(0) - drift[0]) / (slopes.std(0) / np.sqrt(count))
    assert np.all(np.abs(z_score) < 3.5), z_score
    products = np.einsum("pna,pnb->nab", change, change) / (4 * lag)
    z_score = (products.mean(0) - diffusion[0]) / (products.std(0) / np.sqrt(count))
    assert np.all(np.abs(z_score) < 3.5), z_score


def test_no_states_give_no_terms():
    drift, diffusion = projected_terms(correlated(), PRODUCT, np.zeros((0, 2)))
    assert drift.shape == (0, 1)
    assert diffusion.shape == (0, 1, 1)
