"""Double diffusion maps: there and back on curves and sheets, and lifting at a coarse value against exact answers."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from micromacro.diffusion_maps.conditional_lifting import ConditionalSettings, lift_conditional
from micromacro.diffusion_maps.harmonics import HarmonicsSettings
from micromacro.diffusion_maps.lifting import DoubleDiffusionMaps, DoubleSettings, fit_double_maps
from micromacro.diffusion_maps.settings import DiffusionMapSettings
from micromacro.errors import InputError
from micromacro.systems import half_moon

NEIGHBOURS = 60
# of the kernel (1 - u²)² for u uniform in (-1, 1): (∫ k)² / (2 ∫ k²) of the neighbours count in full
COUNTED = NEIGHBOURS * (16 / 15) ** 2 / (2 * 256 / 315)


def curve(t: np.ndarray) -> np.ndarray:
    return np.column_stack([np.cos(4 * t), np.sin(4 * t), t])


@pytest.fixture(scope="module")
def on_curve() -> DoubleDiffusionMaps:
    t = np.random.default_rng(0).uniform(0, 1, 300)
    settings = DiffusionMapSettings(components=3, bandwidth=0.01, alpha=1.0)
    return fit_double_maps(curve(t), DoubleSettings((0,), settings))


@pytest.fixture(scope="module")
def moon() -> tuple[np.ndarray, DoubleDiffusionMaps]:
    rng = np.random.default_rng(0)
    phase = rng.normal(0.0, np.sqrt(half_moon.VARIANCE), 800)
    x = rng.uniform(half_moon.LOWER, half_moon.UPPER, 800)
    states = x[:, None] * np.column_stack([np.cos(x + phase), np.sin(x + phase)])
    settings = DiffusionMapSettings(components=16, bandwidth=0.08, alpha=1.0)
    return states, fit_double_maps(states, DoubleSettings(tuple(range(16)), settings, HarmonicsSettings(50.0)))


def test_lift_undoes_restrict_on_a_curve(on_curve):
    inside = curve(np.linspace(0.03, 0.97, 40))
    again = jax.vmap(lambda state: on_curve.lift(on_curve.restrict(state)))(jnp.asarray(inside))
    error = np.sqrt(np.mean((np.asarray(again) - inside) ** 2, axis=0)) / inside.std(axis=0)
    assert error.max() < 0.03
    assert np.asarray(on_curve.state_error).max() < 0.05
    assert np.asarray(on_curve.latent_error).max() < 0.05


def test_the_first_coordinate_of_a_curve_is_the_cosine_of_its_length(on_curve):
    t = np.linspace(0.03, 0.97, 40)
    latent = np.asarray(jax.vmap(on_curve.restrict)(jnp.asarray(curve(t))))[:, 0]
    known = np.sqrt(2) * np.cos(np.pi * t)
    assert min(np.abs(latent - known).max(), np.abs(latent + known).max()) < 0.2


def test_lift_undoes_restrict_on_a_swiss_roll():
    rng = np.random.default_rng(1)
    s, height = rng.uniform(1.5 * np.pi, 3.5 * np.pi, 900), rng.uniform(0, 12, 900)
    roll = np.column_stack([s * np.cos(s), height, s * np.sin(s)])
    settings = DiffusionMapSettings(components=8, bandwidth=1.0, alpha=1.0)
    back = HarmonicsSettings(1.0)
    whole = fit_double_maps(roll, DoubleSettings(tuple(range(8)), settings, back))
    assert np.asarray(whole.state_error).max() < 0.12
    # along the roll alone, nothing is known of the height
    along = fit_double_maps(roll, DoubleSettings((0,), settings, HarmonicsSettings(0.01)))
    assert along.state_error[1] > 0.9
    assert np.asarray(along.state_error)[[0, 2]].max() < 0.2


def test_the_way_there_and_back_is_differentiable(on_curve):
    def way(state):
        return on_curve.lift(on_curve.restrict(state))

    at, step = jnp.asarray(curve(np.array([0.4]))[0]), 1e-5
    slope = np.stack([(way(at + h) - way(at - h)) / (2 * step) for h in step * jnp.eye(3)], axis=-1)
    jacobian = np.asarray(jax.jacfwd(way)(at))
    assert jacobian == pytest.approx(slope, abs=1e-6)
    tangent = np.array([-4 * np.sin(1.6), 4 * np.cos(1.6), 1.0])
    # along the curve it is the identity
    assert jacobian @ tangent == pytest.approx(tangent, abs=0.25)


def test_latent_points_beyond_the_data_are_flagged(on_curve):
    latent = np.asarray(on_curve.latent)
    assert on_curve.support(jnp.asarray(latent[0]))
    assert not on_curve.support(jnp.array([latent.max() + 1.0]))
    assert not on_curve.support(jnp.array([latent.min() - 1.0]))


@pytest.mark.parametrize("z", [1.6, 2.5, 3.4])
def test_states_at_a_coarse_value_have_the_exact_moments(moon, z):
    states, double = moon
    known = np.linalg.norm(states, axis=1, keepdims=True)
    settings = ConditionalSettings(NEIGHBOURS)
    lifted = lift_conditional(double, half_moon.radius, known, np.array([z]), 3000, jax.random.key(0), settings)
    assert lifted.reached.mean() > 0.97
    assert lifted.supported.mean() > 0.97
    assert np.hypot(*lifted.state[lifted.reached].T) == pytest.approx(z, abs=1e-5)
    mean, variance = half_moon._mean(np.array([[z]]))[0], half_moon._variance(np.array([[z]]))[0]
    assert np.abs(lifted.state.mean(axis=0) - mean).max() < 4 * np.sqrt(variance.max() / COUNTED)
    spread = lifted.state.var(axis=0).sum() / variance.sum()
    assert spread == pytest.approx(1.0, abs=4 * np.sqrt(2 / COUNTED))


def test_draws_repeat_themselves_and_are_those_of_their_key(moon):
    states, double = moon
    known = np.linalg.norm(states, axis=1, keepdims=True)
    settings = ConditionalSettings(NEIGHBOURS)
    first, second, other = (
        lift_conditional(double, half_moon.radius, known, np.array([2.0]), 500, jax.random.key(seed), settings)
        for seed in (0, 0, 1)
    )
    assert np.array_equal(first.state, second.state)
    assert not np.array_equal(first.state, other.state)
    assert len(np.unique(first.row)) <= NEIGHBOURS


def test_weights_reach_the_draws(moon):
    states, double = moon
    known = np.linalg.norm(states, axis=1, keepdims=True)
    phase = np.asarray(jax.vmap(half_moon.hidden)(states))[:, 1] - 1
    tilt = np.exp(phase / np.sqrt(half_moon.VARIANCE))
    tilted = eqx.tree_at(lambda maps: maps.weight, double, jnp.asarray(tilt))
    settings = ConditionalSettings(NEIGHBOURS)
    lifted = lift_conditional(tilted, half_moon.radius, known, np.array([2.5]), 3000, jax.random.key(0), settings)
    after = np.asarray(jax.vmap(half_moon.hidden)(lifted.state))[:, 1] - 1
    # a normal law tilted by one deviation is shifted by one; its effective number is e⁻¹ of the counted
    deviation = np.sqrt(half_moon.VARIANCE)
    assert after.mean() == pytest.approx(deviation, abs=4 * deviation * np.sqrt(np.e / COUNTED))
    assert after.mean() > 0.3 * deviation


def test_a_value_beyond_the_data_is_flagged(moon):
    states, double = moon
    known = np.linalg.norm(states, axis=1, keepdims=True)
    lifted = lift_conditional(double, half_moon.radius, known, np.array([7.0]), 50, jax.random.key(0))
    assert not lifted.supported.any()
    assert not lifted.reached.any()


def test_what_does_not_fit_is_refused(moon):
    states, double = moon
    known = np.linalg.norm(states, axis=1, keepdims=True)
    key = jax.random.key(0)
    for z_of_points, z, parameter in ((known[1:], [2.0], "z_of_points"), (known, [2.0, 1.0], "z")):
        with pytest.raises(InputError) as caught:
            lift_conditional(double, half_moon.radius, z_of_points, np.array(z), 5, key)
        assert caught.value.parameter == parameter
    for settings, parameter in (
        (DoubleSettings(()), "coordinates"),
        (DoubleSettings((0, 10)), "coordinates"),
        (DoubleSettings((0,), held_out=0.0), "held_out"),
    ):
        with pytest.raises(InputError) as caught:
            fit_double_maps(states, settings)
        assert caught.value.parameter == parameter
    with pytest.raises(InputError):
        fit_double_maps(states[:5])
