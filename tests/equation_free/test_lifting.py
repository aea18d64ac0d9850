"""Lifting by generator, by the physics of a run, and by a closed form; all to hidden states."""

import dataclasses
from types import SimpleNamespace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import expm

from micromacro.coordinates.coarse import CoarseVariable
from micromacro.coordinates.space import Space
from micromacro.equation_free.lifting import lift_conditional, lift_exactly, lift_raw
from micromacro.equation_free.restriction import mean_of
from micromacro.equation_free.time_stepper import CoarseTimeStepper, StepperSettings
from micromacro.errors import InputError
from micromacro.generators.generator import Generator
from micromacro.generators.representation import Representation, fit_representation
from micromacro.systems.slow_manifold import drift_matrix, quadratic_slow_manifold

COUNT = 400
REFERENCE = quadratic_slow_manifold()
SYSTEM = REFERENCE.system
COARSE = CoarseVariable(REFERENCE.coarse, np.array(REFERENCE.lower), np.array(REFERENCE.upper), REFERENCE.periodic)
Z = np.array([0.4])


class Shifted(eqx.Module):
    """The exact conditional law as a generator, its fast variables `offset` off."""

    representation: Representation
    offset: float

    def draw(self, z, key):
        fast = z[0] * 0.9 + self.offset + 0.2 * jax.random.normal(key, (3,))
        q = jnp.append(fast, z[0] + fast[2] ** 2 + fast[1] ** 2)
        return self.representation.encode(q.astype(jnp.float32), z).state


@pytest.fixture(scope="module")
def generator():
    rng = np.random.default_rng(0)
    z = rng.uniform(-0.75, 0.75, (2000, 1))
    q = np.concatenate([REFERENCE.exact.sample_conditional(one, 1, rng) for one in z])
    condition = Space((-0.75,), (0.75,), (False,))
    representation = fit_representation(q, z, np.ones(len(z)), Space.unbounded(4), condition, rng)
    return lambda offset=0.0: Generator(representation, Shifted(representation, offset), None)


def xi(states: np.ndarray) -> np.ndarray:
    return np.asarray(jax.vmap(lambda state: COARSE(SYSTEM.observe(state)))(states))


def test_raw_draws_are_hidden_states_and_smooth_in_z(generator):
    lift, key = lift_raw(generator(), SYSTEM, COARSE), jax.random.key(1)
    states = lift(Z, COUNT, key)
    assert states.shape == (COUNT, 4)
    assert states.dtype == np.float64
    np.testing.assert_allclose(xi(states), 0.4, atol=1e-4)
    np.testing.assert_array_equal(lift(Z, COUNT, key), states)
    moved = (lift(Z + 0.01, COUNT, key) - states) / 0.01
    np.testing.assert_allclose(moved, np.tile([0.9, 0.9, 0.9, 1.0], (COUNT, 1)), atol=2e-3)


def test_exact_draws_of_a_run_are_inverted_and_follow_the_key():
    class Run:
        def lift(self, z, n, *, exact=True, width=None, seed=0):
            assert exact
            return SimpleNamespace(q=REFERENCE.exact.sample_conditional(z[0], n, np.random.default_rng(seed)))

    lift = lift_exactly(Run(), SYSTEM, COARSE)
    states = lift(Z, COUNT, jax.random.key(0))
    np.testing.assert_allclose(xi(states), 0.4, atol=1e-9)
    np.testing.assert_allclose(states[:, 3], 0.4, atol=1e-9)
    assert not np.array_equal(states, lift(Z, COUNT, jax.random.key(1)))
    np.testing.assert_array_equal(states, lift(Z, COUNT, jax.random.key(0)))


def test_a_wrong_generator_is_healed(generator):
    """After the healing the velocity is that of the exact mean, which has forgotten the generator's mistake."""
    lift = lift_raw(generator(offset=0.5), SYSTEM, COARSE)
    stepper = CoarseTimeStepper(SYSTEM, lift, mean_of(SYSTEM, COARSE), StepperSettings(0.0, 0.04, 1000))
    hasty = stepper(Z).derivative
    # dv = (x3 - v) dt: with x3 right the mean of v hardly moves
    assert hasty.value[0] > 0.2
    patient = dataclasses.replace(stepper, settings=StepperSettings(0.4, 0.2, 1000))(Z)
    assert abs(patient.derivative.value[0] - patient.slope(_exact_mean(0.5, patient.times))[0]) < (
        4 * patient.derivative.stderr[0]
    )


def _exact_mean(offset: float, times: np.ndarray) -> np.ndarray:
    """The mean of v from what the generator draws, `(k, 1)`: linear, so by the matrix exponential."""
    start = np.append(np.full(3, 0.9 * Z[0] + offset), Z[0])
    return np.stack([(expm(drift_matrix() * time) @ start)[3:] for time in times])


def test_a_system_that_cannot_be_inverted_is_refused(generator):
    blind = dataclasses.replace(SYSTEM, hidden=None)
    with pytest.raises(InputError, match="hidden must be given"):
        lift_raw(generator(), blind, COARSE)
    with pytest.raises(InputError, match="hidden must be given"):
        lift_conditional(REFERENCE.exact.sample_conditional, blind)
