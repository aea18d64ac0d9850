"""Steppers whose answers are known, and the coarse time stepper of the two systems made for them."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from micromacro.coordinates.coarse import CoarseVariable
from micromacro.equation_free.lifting import lift_conditional
from micromacro.equation_free.restriction import mean_of
from micromacro.equation_free.time_stepper import CoarseStep, CoarseTimeStepper, StepperSettings
from micromacro.systems.model import StochasticSystem
from micromacro.systems.slow_fast import slow_fast

GROUPS = 20


class KnownStepper:
    """Bursts of a known flow `(z, time, *parameters)`; noise, the same at every z, is added to the end of the path."""

    def __init__(self, flow, dimension=1, *, healing=0.0, horizon=1.0, noise=0.0, seed=0):
        self.flow, self.healing, self.horizon = flow, healing, horizon
        rng = np.random.default_rng(seed)
        each = noise * np.sqrt(GROUPS) * rng.standard_normal((GROUPS, dimension))
        self.noise = each.mean(axis=0)
        self.others = np.stack([np.delete(each, group, axis=0).mean(axis=0) for group in range(GROUPS)])
        self.called = []

    def __call__(self, z, parameters=(), key=None):
        self.called.append(np.array(z))
        times = np.concatenate([[0.0], self.healing + self.horizon * np.array([0.0, 0.5, 1.0])])
        path = np.stack([self.flow(z, time, *parameters) for time in times])
        share = np.array([0.0, 0.0, 0.5, 1.0])[:, None]
        replicates = np.stack([path + share * noise for noise in self.others])
        return CoarseStep(times, path + share * self.noise, replicates, 10)


@pytest.fixture
def known():
    return KnownStepper


@cache
def seen(reference):
    """A reference system with its restriction: one of each, so that each is compiled once."""
    lower, upper = np.array(reference.lower), np.array(reference.upper)
    coarse = CoarseVariable(reference.coarse, lower, upper, reference.periodic)
    return reference.system, mean_of(reference.system, coarse)


@pytest.fixture(scope="session")
def stepper_of():
    """The coarse time stepper of a reference system with its exact lifting."""

    def make(reference, settings: StepperSettings) -> CoarseTimeStepper:
        system, restriction = seen(reference)
        lift = lift_conditional(reference.exact.sample_conditional, system)
        return CoarseTimeStepper(system, lift, restriction, settings)

    return make


@pytest.fixture(scope="session")
def stiff():
    """The stiff slow–fast pair, once."""
    return slow_fast()


@pytest.fixture(scope="session")
def linear_pair():
    r"""dx = (y - 2x) dt, dy = (x - y)/ε dt + σ dW, ε = 0.01: the transient of x decays at a rate 1/ε to order one."""
    epsilon = 0.01
    system = StochasticSystem(
        drift=lambda q: jnp.stack([q[1] - 2 * q[0], (q[0] - q[1]) / epsilon]),
        diffusion=lambda q: jnp.array([0.0, np.sqrt(0.2 / epsilon)]),
        dimension=2,
        initial=np.zeros((1, 2)),
        time_step=0.05 * epsilon,
    )
    restriction = mean_of(system, CoarseVariable(lambda q: q[:1], np.array([-2.0]), np.array([2.0]), (False,)))

    def make(offset, settings):
        def lift(z, count, key):
            noise = np.sqrt(0.1) * np.asarray(jax.random.normal(key, (count,)))
            return np.column_stack([np.full(count, z[0]), z[0] + offset + noise])

        return CoarseTimeStepper(system, lift, restriction, settings)

    return make
