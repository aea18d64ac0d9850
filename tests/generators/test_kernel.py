"""The kernel score: its mixture in closed form, its score, and what it is fitted to."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from micromacro.coordinates.space import Space
from micromacro.generators.bandwidth import circular_spread, rules_of_thumb
from micromacro.generators.kernel import KernelModel, KernelSettings
from micromacro.generators.representation import Layout

LINE = Space((-1.0,), (1.0,), (False,))
CIRCLE = Space((0.0,), (2 * np.pi,), (True,))


@eqx.filter_jit
def log_probs(model, x, z):
    return jax.vmap(model.log_prob, in_axes=(0, None))(x, z)[0]


def mixture(layout, space=LINE, count=40, seed=0):
    """Random centres in double precision."""
    rng = np.random.default_rng(seed)
    state = np.hstack([rng.normal(size=(count, layout.reals)), rng.uniform(-np.pi, np.pi, (count, layout.circles))])
    z, log_weight = rng.uniform(0, 1, (count, 1)), rng.normal(size=count)
    widths = jnp.asarray(0.3), jnp.asarray([0.2])
    return KernelModel(jnp.asarray(state), jnp.asarray(z), jnp.asarray(log_weight), *widths, layout, space)


def log_density(model, x, z, width):
    """By the formula, with images of angles."""
    offset = np.asarray(model.z) - z
    if model.space.periodic[0]:
        offset = np.angle(np.exp(1j * offset))
    share = np.exp(np.asarray(model.log_weight) - 0.5 * (offset[:, 0] / 0.2) ** 2)
    kernel = np.ones(len(share))
    for axis in range(model.layout.dimension):
        turns = 2 * np.pi * np.arange(-20, 21) if axis >= model.layout.reals else np.zeros(1)
        delta = x[axis] - np.asarray(model.state)[:, axis, None] + turns
        kernel = kernel * (np.exp(-0.5 * (delta / width) ** 2) / np.sqrt(2 * np.pi * width**2)).sum(axis=1)
    return np.log(share @ kernel / share.sum())


@pytest.mark.parametrize(("layout", "space"), [(Layout(2, 0), LINE), (Layout(0, 2), CIRCLE), (Layout(1, 1), LINE)])
def test_the_density_is_that_of_the_mixture(layout, space):
    model = mixture(layout, space)
    x = np.random.default_rng(1).uniform(-3, 3, (5, 2))
    z = jnp.asarray([0.05])
    found, known = eqx.filter_jit(lambda x: jax.vmap(lambda one: model.log_prob(one, z))(x))(jnp.asarray(x))
    assert np.all(known)
    np.testing.assert_allclose(found, [log_density(model, one, 0.05, 0.3) for one in x], rtol=1e-9)


@pytest.mark.parametrize("noise", [0.0, 0.5, 4.0])
def test_the_score_is_the_derivative_of_the_smoothed_density(noise):
    model, x, step = mixture(Layout(1, 1)), np.array([0.4, -1.1]), 1e-5
    width = np.hypot(0.3, noise)
    difference = [
        (log_density(model, x + shift, 0.3, width) - log_density(model, x - shift, 0.3, width)) / (2 * step)
        for shift in step * np.eye(2)
    ]
    found = eqx.filter_jit(model.score)(jnp.asarray(x), jnp.asarray([0.3]), jnp.asarray(noise))
    np.testing.assert_allclose(found, difference, atol=1e-7)


def test_draws_are_those_of_the_mixture():
    model = mixture(Layout(1, 1))
    z = jnp.asarray([0.4])
    draws = jax.jit(jax.vmap(lambda key: model.draw(z, key)))(jax.random.split(jax.random.key(0), 40_000))
    share, state = np.exp(np.asarray(model.log_shares(z))), np.asarray(model.state)
    np.testing.assert_allclose(share.sum(), 1.0)
    assert np.all(np.abs(draws[:, 1]) <= np.pi)
    smoothing = np.exp(-0.5 * 0.3**2)
    for seen, expected in (
        (draws[:, 0], share @ state[:, 0]),
        (draws[:, 0] ** 2, share @ state[:, 0] ** 2 + 0.09),
        (np.cos(draws[:, 1]), smoothing * share @ np.cos(state[:, 1])),
        (draws[:, 0] * np.sin(draws[:, 1]), smoothing * share @ (state[:, 0] * np.sin(state[:, 1]))),
    ):
        assert abs(np.mean(seen) - expected) < 4.5 * np.std(seen) / np.sqrt(len(seen))


def test_the_rules_of_thumb_follow_the_spread_and_the_number():
    rng = np.random.default_rng(0)
    state, z = 2.0 * rng.normal(size=(3000, 3)), rng.uniform(-1, 1, (3000, 1))
    width, of_z = rules_of_thumb(state, z, Layout(3, 0), LINE)
    factor = (4 / 6) ** (1 / 8) * 3000 ** (-1 / 8)
    np.testing.assert_allclose(width, 2 * factor, rtol=0.03)
    np.testing.assert_allclose(of_z, factor / np.sqrt(3), rtol=0.03)
    angle = np.mod(rng.normal(6.2, 0.3, (3000, 1)), 2 * np.pi)  # across the cut
    np.testing.assert_allclose(circular_spread(angle), 0.3, rtol=0.05)
    _, of_angle = rules_of_thumb(state, angle, Layout(3, 0), CIRCLE)
    np.testing.assert_allclose(of_angle, 0.3 * factor, rtol=0.05)


def test_bandwidths_are_those_of_the_best_held_out_likelihood():
    rng = np.random.default_rng(0)
    z = rng.uniform(-1, 1, (6000, 1))
    q = np.column_stack([np.sign(rng.random(6000) - 0.5) + 0.05 * rng.normal(size=6000)])
    narrow = KernelSettings(centres=512).fit(q, z, np.ones(6000), jax.random.key(0))
    thumb = KernelSettings(centres=512, bandwidth=1.0, condition_bandwidth=1.0).fit(
        q, z, np.ones(6000), jax.random.key(0)
    )
    assert float(narrow.model.bandwidth) < 0.5 * float(thumb.model.bandwidth)  # two wells are no normal law
    test = jnp.asarray([[1.0], [-0.95], [1.1]])
    found = [log_probs(one, test, jnp.zeros(1)).mean() for one in (narrow, thumb)]
    assert found[0] > found[1]


def test_fewer_pairs_than_centres_serve():
    rng = np.random.default_rng(0)
    q, z = rng.normal(size=(100, 2)), rng.uniform(-1, 1, (100, 1))
    generator = KernelSettings(centres=256).fit(q, z, np.arange(100.0), jax.random.key(0))
    assert generator.model.state.shape == (256, 2)
    assert np.isfinite(log_probs(generator, jnp.zeros((1, 2)), jnp.zeros(1)))
