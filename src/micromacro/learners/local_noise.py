"""Local noise of the features by short bursts of the dynamics: what a map in the metric of the noise needs."""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from micromacro.diffusion_maps.covariance import burst_covariances, metric_of, noise_covariances
from micromacro.errors import InputError
from micromacro.molecules.system import AnySystem
from micromacro.sampling.euler_maruyama import simulate
from micromacro.systems.model import System

AT_ONCE = 200_000
"""Walkers simulated together, which bounds the memory."""


@dataclass(frozen=True)
class BurstNoiseSettings:
    """How bursts are made and read.

    **Arguments:**

    - `copies`: of each point.
    - `lag`: duration of a burst, in units of time; `None` for a fifth of the system's time step: curvature of the
        observation adds an error in proportion to it.
    - `steps`: in a burst.
    - `rank`: number of independent noises; `None` to count them.
    """

    copies: int = 50
    lag: float | None = None
    steps: int = 1
    rank: int | None = None


@dataclass(frozen=True, eq=False)
class LocalNoise:
    """The noise of the features at n points.

    **Arguments:**

    - `covariances`: per unit time `(n, F, F)`.
    - `metric`: their inverses `(n, F, F)`.
    - `evaluations`: of the force that it took.
    """

    covariances: Float[np.ndarray, "n F F"]
    metric: Float[np.ndarray, "n F F"]
    evaluations: int


def noise_from_bursts(
    system: System,
    features: Callable[[Float[Array, "D"]], Float[Array, "F"]],
    states: Float[np.ndarray, "n D"],
    settings: BurstNoiseSettings,
    key: Key[Array, ""],
) -> LocalNoise:
    """Noise of the features at states of a system, from copies of each that are simulated for a short time.

    **Arguments:**

    - `features`: of a state `(D,)` to `(F,)`, the observation among them.
    - `states`: hidden states `(n, D)` from which bursts start.

    **Raises:** `InputError` for settings out of range, for too few copies and for bursts that diverge.
    """
    if settings.copies < 2 or settings.steps < 1:
        raise InputError("copies and steps", "be at least 2 and 1", (settings.copies, settings.steps))
    if settings.lag is not None and not settings.lag > 0:
        raise InputError("lag", "be positive, or None", settings.lag)
    lag = system.time_step / 5 if settings.lag is None else settings.lag
    seen = jax.jit(jax.vmap(jax.vmap(features)))
    together = max(1, AT_ONCE // settings.copies)
    covariances = []
    for number, first in enumerate(range(0, len(states), together)):
        starts = np.repeat(np.asarray(states, float)[first : first + together], settings.copies, axis=0)
        own, step = jax.random.fold_in(key, number), lag / settings.steps
        burst = simulate(system.drift, system.diffusion, starts, step, settings.steps, own)
        ends = burst.final.reshape(-1, settings.copies, starts.shape[1])
        covariances.append(burst_covariances(np.asarray(seen(jnp.asarray(ends))), lag))
    found = np.concatenate(covariances)
    metric = metric_of(found, copies=settings.copies, rank=settings.rank)
    return LocalNoise(found, metric, len(states) * settings.copies * settings.steps)


def noise_from_model(
    system: AnySystem,
    features: Callable[[Float[Array, "D"]], Float[Array, "F"]],
    states: Float[np.ndarray, "n D"],
    rank: int | None = None,
) -> LocalNoise:
    """Noise of the features from the known diffusion of a system, without simulation."""
    covariances = noise_covariances(np.asarray(states, float), system.diffusion, features)
    return LocalNoise(covariances, metric_of(covariances, rank=rank), 0)
