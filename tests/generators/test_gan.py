"""Adversarial training: its penalty in closed form, its critic as a distance, its angles, its density by a flow."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special
import scipy.stats

from micromacro.coordinates.space import Space
from micromacro.errors import InputError
from micromacro.generators.adversarial import sliced_distance
from micromacro.generators.condition import Condition
from micromacro.generators.critic import Critic, critic_loss, gradient_penalty
from micromacro.generators.descent import Descent
from micromacro.generators.gan import GanModel, GanSettings, Transport
from micromacro.generators.generator import DensityGenerator
from micromacro.generators.members import member, stack
from micromacro.generators.representation import Layout
from micromacro.generators.resampling import ratio_loss
from micromacro.generators.training import Data, Pairs, TrainingSettings, train

CONDITION = Condition(Space((-1.0,), (1.0,), (False,)))
Z = jnp.zeros(1, jnp.float32)
SMALL = GanSettings(width=16, training_steps=500, batch_size=64)


def linear_critic(layout, slope):
    """A critic without hidden layers: its features times `slope`, whatever z is."""
    critic = Critic.new(layout, CONDITION, 1, 0, jax.random.key(0))
    weight = jnp.zeros_like(critic.network.layers[0].weight).at[0, : len(slope)].set(jnp.asarray(slope, jnp.float32))
    return eqx.tree_at(lambda critic: critic.network.layers[0].weight, critic, weight)


def pairs_of(state, rng):
    return Pairs(jnp.asarray(state, jnp.float32), jnp.asarray(rng.uniform(-1, 1, (len(state), 1)), jnp.float32))


def test_the_penalty_of_a_linear_critic_is_that_of_its_slope():
    rng = np.random.default_rng(0)
    critic, pairs = linear_critic(Layout(2, 0), (3.0, 4.0)), pairs_of(rng.normal(size=(64, 2)), rng)
    made = jnp.asarray(rng.normal(size=(64, 2)), jnp.float32)
    assert float(gradient_penalty(critic, pairs, made, jax.random.key(1))) == pytest.approx((5 - 1) ** 2, rel=1e-5)
    difference = np.mean(np.asarray(made - pairs.state) @ [3.0, 4.0])
    loss = critic_loss(critic, pairs, made, 0.1, jax.random.key(1))
    assert float(loss) == pytest.approx(difference + 0.1 * 16, rel=1e-4)


def test_the_penalty_heeds_the_slope_by_the_state_alone():
    critic, rng = linear_critic(Layout(1, 0), (1.0, 50.0)), np.random.default_rng(0)  # the second feature is one of z
    pairs = pairs_of(rng.normal(size=(64, 1)), rng)
    assert float(gradient_penalty(critic, pairs, pairs.state + 1, jax.random.key(1))) == pytest.approx(0.0, abs=1e-9)


def test_angles_are_joined_by_the_shortest_way_round():
    """Between 3.1 and -3.1 the slope of cos is nearly zero; the long way round it would not be."""
    critic, rng = linear_critic(Layout(0, 1), (1.0, 0.0)), np.random.default_rng(0)
    pairs = pairs_of(np.full((64, 1), 3.1), rng)
    penalty = gradient_penalty(critic, pairs, jnp.full((64, 1), -3.1, jnp.float32), jax.random.key(1))
    assert (1 - np.sin(0.05)) ** 2 < float(penalty) <= 1.0


def regularised_distance(weight):
    r"""The best that the critic can do on N(0, 1) and N(1, 1): W₁ = 1, and what slopes above one gain.

    With D the difference of the distribution functions and ρ the density of the points between, the slope is
    1 + D / 2λρ and the value $1 + \int D^2 / 4 \lambda \rho$.
    """
    x, t = np.linspace(-8, 9, 4001), (np.arange(400) + 0.5) / 400
    difference = scipy.special.ndtr(x) - scipy.special.ndtr(x - 1)
    width = np.sqrt(t**2 + (1 - t) ** 2)[:, None]
    between = np.mean(scipy.stats.norm.pdf(x, t[:, None], width), axis=0)
    return 1 + np.trapezoid(difference**2 / (4 * weight * between), x)


def test_a_critic_of_two_normals_learns_their_distance():
    """A penalty above a half would do for W₁ itself, but has a local minimum where the critic slopes the wrong way."""
    weight, steps, batch, rng = 0.25, 600, 512, np.random.default_rng(0)
    data, z = rng.normal(size=(steps, batch, 1)), rng.uniform(-1, 1, (steps, batch, 1))
    batches = [jnp.asarray(part, jnp.float32) for part in (data, z, 1 + rng.normal(size=data.shape))]
    critic = Critic.new(Layout(1, 0), CONDITION, 32, 3, jax.random.key(0))
    arrays, rest = eqx.partition(critic, eqx.is_array)

    def step(carry, inputs):
        (arrays, state), (data, z, made, key) = carry, inputs
        critic = eqx.combine(arrays, rest)
        loss, gradient = eqx.filter_value_and_grad(critic_loss)(critic, Pairs(data, z), made, weight, key)
        change, state = optimiser.update(eqx.filter(gradient, eqx.is_array), state)
        return (eqx.apply_updates(arrays, change), state), loss

    optimiser = optax.adam(3e-3, 0.0, 0.9)
    inputs = (*batches, jax.random.split(jax.random.key(1), steps))
    _, loss = jax.jit(lambda carry: jax.lax.scan(step, carry, inputs))((arrays, optimiser.init(arrays)))
    value = -np.asarray(loss[-200:], float)
    assert value.mean() == pytest.approx(regularised_distance(weight), abs=0.05 + 4 * value.std() / np.sqrt(200))


def test_angles_are_those_of_points_in_the_plane():
    transport = Transport.new(Layout(1, 2), CONDITION, 5, 16, 2, jax.random.key(0))
    latents = jax.random.normal(jax.random.key(1), (500, 5), jnp.float32)
    states = jax.vmap(transport, (0, None))(10 * latents, jnp.zeros(1, jnp.float32))
    assert states.shape == (500, 3)
    assert states.dtype == jnp.float32
    assert np.abs(states[:, 1:]).max() <= np.float32(np.pi)


def test_features_do_not_jump_where_an_angle_comes_round():
    critic = Critic.new(Layout(1, 1), CONDITION, 8, 1, jax.random.key(0))
    z, turn = jnp.zeros(1, jnp.float32), np.float32(2 * np.pi)
    low, high = (critic(jnp.array([0.3, angle], jnp.float32), z) for angle in (-3.0, -3.0 + turn))
    assert float(low) == pytest.approx(float(high), abs=1e-5)


def test_validation_tells_the_law_of_the_data_from_others():
    """By more than two samples of one law differ."""
    rng = np.random.default_rng(0)
    data, same, other = (jnp.asarray(rng.normal(size=(4096, 3)), jnp.float32) for _ in range(3))
    alike = float(sliced_distance(data, same))
    assert alike < 0.05
    assert float(sliced_distance(data, 0.8 * other)) > 3 * alike
    assert float(sliced_distance(data, data)) == 0.0


def law(rng, n=2000):
    z = rng.uniform(-1, 1, (n, 1))
    return np.column_stack([z[:, 0] + 0.1 * rng.normal(size=n), rng.normal(size=n)]), z


@pytest.mark.slow
def test_the_critic_is_kept_to_go_on_from():
    q, z = law(np.random.default_rng(0))
    first = SMALL.fit(q, z, np.ones(len(q)), jax.random.key(0))
    assert isinstance(first.model, GanModel)
    again = SMALL.fit(q, z, np.ones(len(q)), jax.random.key(1), condition=first.condition, previous=first)
    moved, from_scratch = (
        float(jnp.linalg.norm(one.critic.network.layers[1].weight - first.model.critic.network.layers[1].weight))
        for one in (again.model, SMALL.build(Layout(2, 0), CONDITION, jax.random.key(1)))
    )
    assert 0 < moved < from_scratch


def shifted_candidates(shift, **changes):
    """A model that makes N(shift, 1) and chooses by the exact logarithm of the ratio of N(0, 1) to that."""
    layout = Layout(1, 0)
    model = dataclasses.replace(SMALL, latent=1, depth=0, **changes).build(layout, CONDITION, jax.random.key(0))
    network, ratio = model.generator.network, linear_critic(layout, (-shift,))
    network = jax.tree.map(lambda leaf: jnp.zeros_like(leaf) if eqx.is_array(leaf) else leaf, network)
    network = eqx.tree_at(lambda one: one.layers[-1].bias, network, jnp.full(1, shift, jnp.float32))
    return eqx.tree_at(lambda one: (one.generator.network, one.log_ratio), model, (network, ratio))


@pytest.mark.parametrize("candidates", [1, 256])
def test_draws_are_chosen_by_the_ratio(candidates):
    """With the exact ratio, a generator that is off by one gives the law of the data; without a choice it stays off."""
    model = shifted_candidates(1.0, candidates=candidates)
    keys = jax.random.split(jax.random.key(1), 20_000)
    states = np.asarray(jax.vmap(lambda key: model.draw(jnp.zeros(1, jnp.float32), key))(keys))[:, 0]
    # of finitely many candidates, those far out are missing: 0.01 in the mean where there are 256
    expected, missing = (1.0, 0.0) if candidates == 1 else (0.0, 0.015)
    assert states.mean() == pytest.approx(expected, abs=4 / np.sqrt(len(states)) + missing)


def test_the_classifier_learns_the_logarithm_of_the_ratio():
    """Of N(0, 1) over N(1, 1): 1/2 - x. No part of the generator moves meanwhile."""
    rng = np.random.default_rng(0)
    model = shifted_candidates(1.0)
    state, z = rng.normal(size=(20_000, 1)).astype(np.float32), rng.uniform(-1, 1, (20_000, 1))
    data = Data(state, z, np.zeros(len(state), bool))
    settings = TrainingSettings(1500, 512, 1e-2)
    keys = jax.random.split(jax.random.key(0), 1)
    learned = member(train(Descent(ratio_loss), stack([model]), data, np.ones(len(state)), settings, keys).model, 0)
    for x in (-1.0, 0.0, 1.0):
        assert float(learned.log_ratio(jnp.full(1, x, jnp.float32), Z)) == pytest.approx(0.5 - x, abs=0.15)
    np.testing.assert_allclose(learned.generator.network.layers[-1].bias, model.generator.network.layers[-1].bias)


@pytest.mark.slow
def test_a_choice_empties_the_bridge_between_wells():
    """A continuous map must make states between two narrow wells; hardly any of them is chosen."""
    rng = np.random.default_rng(0)
    z = rng.uniform(-1, 1, (20_000, 1))
    q = rng.choice([-1.0, 1.0], (len(z), 1)) + 0.1 * rng.normal(size=(len(z), 1))
    fitted = GanSettings(width=32, training_steps=3000, batch_size=128).fit(q, z, np.ones(len(q)), jax.random.key(0))
    keys = jax.random.split(jax.random.key(1), 10_000)

    def bridge(method):
        draw = jax.jit(jax.vmap(lambda key: fitted.representation.decode(method(Z, key), Z)))
        return np.mean(np.abs(np.asarray(draw(keys))) < 0.5)

    assert bridge(fitted.model.make) > 0.005
    assert bridge(fitted.model.draw) < 0.3 * bridge(fitted.model.make)


def test_candidates_stay_on_their_circle():
    model = SMALL.build(Layout(1, 1), CONDITION, jax.random.key(0))
    angle = np.asarray(model.propose(Z, jax.random.key(1), 20_000))[:, 1]
    assert -np.pi - 1e-6 <= angle.min() < -3.1
    assert 3.1 < angle.max() <= np.pi + 1e-6


def test_fewer_latents_than_a_state_is_made_of_will_do():
    model = dataclasses.replace(SMALL, latent=1).build(Layout(2, 1), CONDITION, jax.random.key(0))
    assert np.all(np.isfinite(model.draw(Z, jax.random.key(1))))


def test_there_must_be_a_candidate():
    with pytest.raises(InputError, match=r"generator\.candidates must be at least 1"):
        GanSettings(candidates=0)


def test_a_flow_lends_its_density():
    q, z = law(np.random.default_rng(0))
    settings = dataclasses.replace(SMALL, density="flow", training_steps=750)
    assert settings.has_density
    fitted = settings.fit(q, z, np.ones(len(q)), jax.random.key(0))
    assert isinstance(fitted, DensityGenerator)
    draw = fitted.sample_and_log_prob(jnp.array([0.2]), jax.random.key(1))
    log_prob, known = fitted.log_prob(draw.state, jnp.array([0.2]))
    assert bool(known)
    assert float(log_prob) == pytest.approx(float(draw.log_prob), abs=1e-3)


def test_a_density_is_none_or_of_a_flow():
    with pytest.raises(InputError, match=r"generator\.density must be one of none, flow; got 'spline'"):
        GanSettings(density="spline")
