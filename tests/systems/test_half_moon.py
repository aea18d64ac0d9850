"""The half-moon against Gaussian draws pushed through its observation map, and Itô's formula."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from micromacro.systems.half_moon import double_well, half_moon, half_moon_confined, radius

BOTH = [half_moon, half_moon_confined]
DRAWS = 100_000


def hidden_draws(x: float, seed: int) -> np.ndarray:
    """States (x, y) with y from its stationary law: dy = 0.1 (1 - y) dt + 0.1 dW has variance 0.1² / (2 · 0.1)."""
    y = 1 + np.sqrt(0.05) * np.random.default_rng(seed).standard_normal(DRAWS)
    return np.column_stack([np.full(DRAWS, x), y])


@pytest.mark.parametrize("build", BOTH)
def test_moments_are_those_of_observed_gaussian_draws(build):
    reference = build()
    for x in (1.2, 2.5, 3.9):
        observed = np.asarray(jax.vmap(reference.system.observe)(hidden_draws(x, 11)))
        z = np.array([[x]])
        error = observed.std(0) / np.sqrt(DRAWS)
        assert (abs(observed.mean(0) - reference.exact.conditional_mean(z)[0]) < 4 * error).all()
        square = (observed - observed.mean(0)) ** 2
        error = square.std(0) / np.sqrt(DRAWS)
        assert (abs(square.mean(0) - reference.exact.conditional_variance(z)[0]) < 4 * error).all()


@pytest.mark.parametrize("build", BOTH)
def test_drift_and_diffusion_by_itos_formula(build):
    reference = build()

    def coarse(state):
        return radius(reference.system.observe(state))[0]

    @jax.jit
    def closure(state):
        slope, square = jax.grad(coarse)(state), reference.system.diffusion(state) ** 2
        drift = reference.system.drift(state) @ slope + 0.5 * square @ jnp.diagonal(jax.hessian(coarse)(state))
        return drift, 0.5 * square @ slope**2

    for x, y in ((1.3, 0.7), (3.1, 1.4)):
        drift, diffusion = closure(jnp.array([x, y]))
        z = np.array([[x]])
        np.testing.assert_allclose(reference.exact.drift(z)[0, 0], drift, rtol=1e-9, atol=1e-15)
        np.testing.assert_allclose(reference.exact.diffusion(z)[0, 0, 0], diffusion, rtol=1e-9)


def test_the_constants_are_those_of_the_source():
    system = half_moon().system
    state = jnp.array([2.0, 0.4])
    np.testing.assert_allclose(system.drift(state), [1e-3, 0.1 * 0.6], rtol=1e-14)
    np.testing.assert_allclose(system.diffusion(state), [1e-3, 0.1], rtol=1e-14)
    expected = 2.0 * np.array([np.cos(1.4), np.sin(1.4)])
    np.testing.assert_allclose(system.observe(state), expected, rtol=1e-14)
    assert half_moon().exact.free_energy is None
    assert not system.has_density


def test_hidden_finds_the_right_turn_wherever_y_is_likely():
    system = half_moon().system
    states = np.column_stack([np.linspace(0.8, 4.2, 50), 1 + 5 * np.sqrt(0.05) * np.linspace(-1, 1, 50)])
    np.testing.assert_allclose(
        jax.jit(jax.vmap(lambda s: system.hidden(system.observe(s))))(states), states, atol=1e-12
    )


def test_observed_area_is_x_times_hidden_area():
    jacobian = jax.jit(jax.jacobian(half_moon().system.observe))(jnp.array([2.7, 1.2]))
    assert np.isclose(abs(np.linalg.det(jacobian)), 2.7)


def test_the_confined_form_never_reaches_zero():
    x = jnp.linspace(1.0, 4.0, 3001)
    depth = double_well(x).min()
    assert double_well(jnp.zeros(())) - depth > 100
    barrier = double_well(x[(x > 2) & (x < 3)]).max() - depth
    assert 2.5 < barrier < 5
