"""The discrete probability flow: its inverse, its density, and the steps that it must refuse."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from micromacro.generators.base import Base
from micromacro.generators.diffusion import (
    RESIDUAL,
    Chain,
    generate,
    generate_with_density,
    heun_step,
    invert,
    propose,
)
from micromacro.generators.representation import Layout
from micromacro.generators.schedules import EdmSchedule

LEVELS = EdmSchedule().times(18)
LINE, PLANE = Layout(1, 0), Layout(2, 0)
CENTERS = np.array([[-1.0, 0.5], [1.0, 0.2], [0.3, -1.2]])
WIDTH = 0.4


def mixture_slope(x, noise):
    """dx/dσ of the exact flow of a mixture of three Gaussians."""
    variance = WIDTH**2 + noise**2
    share = jax.nn.softmax(-0.5 * jnp.sum((x - CENTERS) ** 2, axis=1) / variance)
    return noise * (x - share @ CENTERS) / variance


def gaussian_slope(x, noise):
    """dx/dσ of the exact flow of a Gaussian of standard deviation WIDTH."""
    return noise * x / (WIDTH**2 + noise**2)


def folding_slope(x, noise):
    """A flow whose discrete steps fold the line over itself and tear holes in it."""
    return gaussian_slope(x, noise) + 0.4 * jnp.sin(4 * x) * jnp.exp(-((noise - 1) ** 2))


def chain(slope, levels=LEVELS, layout=PLANE):
    """From noise of the first level and unit data."""
    return Chain(slope, levels, Base(layout, float(np.hypot(levels[0], 1))), 1 + levels[:-1])


@pytest.fixture(scope="module")
def latents():
    return 20.0 * jax.random.normal(jax.random.key(0), (300, 2))


@pytest.fixture(scope="module")
def states(latents):
    return jax.jit(jax.vmap(lambda x: generate(chain(mixture_slope), x)))(latents)


@pytest.fixture(scope="module")
def encoded(states):
    return jax.jit(jax.vmap(lambda x: invert(chain(mixture_slope), x)))(states)


def test_a_step_is_of_second_order():
    """Against the exact flow of a Gaussian: twice the steps, a quarter of the error."""
    start = jnp.array([2.0])
    errors = []
    for steps in (40, 80, 160):
        levels = EdmSchedule(2.0, 0.1).times(steps)
        exact = start * np.sqrt((WIDTH**2 + levels[-1] ** 2) / (WIDTH**2 + levels[0] ** 2))
        errors.append(abs(float((generate(chain(gaussian_slope, levels, LINE), start) - exact)[0])))
    orders = np.log2(np.divide(errors[:-1], errors[1:]))
    assert np.all(np.abs(orders - 2) < 0.25)


def test_the_inverse_leads_back_to_the_latent(latents, encoded):
    assert encoded.solved.mean() > 0.9
    # each step is solved to RESIDUAL in units of its noise; later steps magnify it by at most the largest noise
    assert np.abs(encoded.latent - latents)[encoded.solved].max() < 20 * RESIDUAL


def test_the_log_density_is_the_change_of_variables_of_the_whole_sampler(latents, encoded):
    jacobian = jax.jit(jax.vmap(jax.jacfwd(lambda x: generate(chain(mixture_slope), x))))(latents)
    variance = LEVELS[0] ** 2 + 1
    normal = -0.5 * jnp.sum(latents**2, axis=1) / variance - jnp.log(2 * np.pi * variance)
    expected = normal - jnp.linalg.slogdet(jacobian)[1]
    assert np.ptp(expected) > 5
    assert np.abs(encoded.log_prob - expected)[encoded.solved].max() < 20 * RESIDUAL


def test_the_log_density_is_near_that_of_the_data(states, encoded):
    distance = np.sum((np.asarray(states)[:, None] - CENTERS) ** 2, axis=2)
    exact = np.log(np.mean(np.exp(-0.5 * distance / WIDTH**2), axis=1) / (2 * np.pi * WIDTH**2))
    assert np.abs(encoded.log_prob - exact)[encoded.solved].mean() < 0.1  # of 18 steps


def solves(slope, targets, levels):
    return jax.jit(jax.vmap(lambda x: invert(chain(slope, levels, LINE), x)))(jnp.asarray(targets)[:, None])


def test_a_state_that_no_step_reaches_is_flagged():
    """A step that bends the line has a largest value; nothing above it can be made."""

    def bending(x, noise):
        return x**2 / 4

    levels = np.array([2.0, 1.0], np.float32)
    step = jax.vmap(lambda x: heun_step(bending, x, jnp.asarray(2.0), jnp.asarray(1.0)))
    largest = float(jnp.max(step(jnp.linspace(-3, 3, 20001)[:, None])))
    found = solves(bending, [largest + 0.5, largest - 0.5], levels)
    assert found.solved.tolist() == [False, True]
    assert found.log_prob[0] == -np.inf


def test_a_step_that_turns_space_over_is_flagged():
    """A step with a solution at which dx'/dx < 0: no injective flow has such a step."""

    def reversing(x, noise):
        return jnp.where(noise > 1.5, 2 * x, jnp.zeros_like(x))  # one step is x' = x - x = 0, then less than nothing

    def turning(x, noise):
        return jnp.where(noise > 1.5, 2.4 * x, jnp.zeros_like(x))

    levels = np.array([2.0, 1.0], np.float32)
    for slope, sign in ((reversing, 0), (turning, -1)):
        jacobian = jax.jacfwd(lambda x, slope=slope: heun_step(slope, x, jnp.asarray(2.0), jnp.asarray(1.0)))
        assert np.sign(np.round(jacobian(jnp.array([0.0]))[0, 0], 12)) == sign
        found = solves(slope, [0.0], levels)
        assert found.latent[0, 0] == 0.0
        assert not found.solved[0]


def test_the_density_along_the_way_is_that_of_the_inverse(latents, states, encoded):
    made = jax.jit(jax.vmap(lambda x: generate_with_density(chain(mixture_slope), x)))(latents)
    assert np.all(made.valid)
    np.testing.assert_allclose(made.state, states, rtol=1e-12)
    solved = np.asarray(encoded.solved)
    assert np.abs(made.log_prob - encoded.log_prob)[solved].max() < 20 * RESIDUAL


def test_what_returns_to_its_latent_has_exactly_the_density_that_is_stated():
    """Where the sampler folds, the mass of the draws that are kept is the integral of the density: the chain is exact.

    A draw counts where the inverse of its state is the latent that drew it; the density counts wherever it is solved.
    """
    latents = np.sqrt(401.0) * np.random.default_rng(0).normal(size=40_000)
    drawn = jax.jit(jax.vmap(lambda x: generate(chain(folding_slope, LEVELS, LINE), x)))(jnp.asarray(latents)[:, None])[
        :, 0
    ]
    back = solves(folding_slope, drawn, LEVELS)
    kept = np.asarray(back.solved & (np.abs(back.latent[:, 0] - latents) <= 1e-3 * 20))
    assert 0.05 < np.mean(~kept) < 0.95  # some of its steps cannot be undone
    edges = np.linspace(-2.5, 2.5, 21)
    middles = edges[0] + 5 * (np.arange(80_000) + 0.5) / 80_000
    density = np.exp(solves(folding_slope, middles, LEVELS).log_prob).reshape(20, -1)
    expected = density.mean(axis=1) * (edges[1] - edges[0])
    seen = np.histogram(drawn[kept], edges)[0] / len(latents)
    error = np.sqrt(expected * (1 - expected) / len(latents)) + 1e-4
    assert np.abs((seen - expected) / error).max() < 4.5
    # the density of every draw, kept or not, is another one
    assert np.abs((np.histogram(drawn, edges)[0] / len(latents) - expected) / error).max() > 10


TURNS = np.linspace(1, 0, 9).astype(np.float32)


def turning_slope(x, t):
    """A flow on the torus, and one real coordinate that it drags along."""
    real, one, other = x
    pushes = 0.4 * jnp.sin(other), 0.9 * jnp.sin(one + 0.5) + 0.3 * jnp.cos(other), 0.7 * jnp.cos(2 * other + real) * t
    return jnp.stack(pushes) - jnp.array([0.2, 5.0, 0.0]) * jnp.array([real, 1.0, 1.0])


def test_a_chain_on_circles_has_its_density_and_its_inverse():
    """Angles come back into [-π, π) however far they were turned, and the density is that of the map of the torus."""
    flow = Chain(turning_slope, TURNS, Base(Layout(1, 2), 1.0), np.ones(8, np.float32))
    latents = jax.vmap(flow.base.draw)(jax.random.split(jax.random.key(0), 500)).astype(float)
    made = jax.jit(jax.vmap(lambda x: generate_with_density(flow, x)))(latents)
    proposed = jax.jit(jax.vmap(lambda x: propose(flow, x)))(latents)
    back = jax.jit(jax.vmap(lambda x: invert(flow, x)))(made.state)
    assert np.all(np.abs(made.state[:, 1:]) <= np.pi)
    assert np.mean(np.abs(made.state[:, 1] - latents[:, 1]) > np.pi) > 0.2  # many crossed the cut
    assert np.all(made.valid & proposed.valid & back.solved)
    np.testing.assert_allclose(proposed.state, made.state, atol=1e-12)
    np.testing.assert_allclose(back.latent, latents, atol=2e-3)
    np.testing.assert_allclose(back.log_prob, made.log_prob, atol=2e-3)
    jacobian = jax.jit(jax.vmap(jax.jacfwd(lambda x: generate(flow, x))))(latents)
    expected = jax.vmap(flow.base.log_prob)(latents) - jnp.linalg.slogdet(jacobian)[1]
    np.testing.assert_allclose(made.log_prob, expected, atol=1e-9)


def test_the_density_on_the_torus_integrates_to_one():
    def slope(x, t):
        return jnp.stack([0.9 * jnp.sin(x[0] + 0.5) + 0.5 * jnp.cos(x[1]), 0.7 * jnp.cos(2 * x[1] + x[0])]) * (0.5 + t)

    flow = Chain(slope, TURNS, Base(Layout(0, 2), 1.0), np.ones(8, np.float32))
    axis = -np.pi + 2 * np.pi * (np.arange(80) + 0.5) / 80
    grid = jnp.asarray(np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2))
    found = jax.jit(jax.vmap(lambda x: invert(flow, x)))(grid)
    assert np.all(found.solved)
    assert np.ptp(found.log_prob) > 1
    np.testing.assert_allclose(np.exp(found.log_prob).mean() * (2 * np.pi) ** 2, 1.0, atol=1e-3)
