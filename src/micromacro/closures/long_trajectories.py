r"""Long simulations of the full model of which only ξ is kept, and what drives it at each saved moment.

Beside ξ each frame holds $Lξ$ and $\frac12\nablaξ^T\sigma\sigma^T\nablaξ$, whose deviations from their averages given ξ
are the hidden coordinates as ξ feels them: how fast these forget is the fast time scale of the closure.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from micromacro.closures.generator import generator_terms, unwrapped
from micromacro.coordinates.coarse import CoarseVariable
from micromacro.errors import InputError, PhysicsError
from micromacro.sampling.euler_maruyama import Dynamics, dynamics_of
from micromacro.systems.model import System

MOST_NUMBERS = 4_000_000
"""Components of states that are held at once."""


@dataclass(frozen=True)
class FullTrajectories:
    """ξ along simulations of the full model by independent walkers.

    **Arguments:**

    - `z`: `(frames, walkers, d)`, the first frame one interval after the starts; within the period where periodic.
    - `terms`: `(frames, walkers, m)`, the drift terms and the diffusion terms on and below the diagonal.
    - `interval`: between frames, in units of time.
    - `force_evaluations`: what they cost.
    """

    z: Float[np.ndarray, "frames walkers d"]
    terms: Float[np.ndarray, "frames walkers m"]
    interval: float
    force_evaluations: int

    def after(self, time: float) -> "FullTrajectories":
        """The same without the frames up to `time`."""
        first = round(time / self.interval)
        return replace(self, z=self.z[first:], terms=self.terms[first:])


def simulate_full(
    system: System,
    coarse: CoarseVariable,
    starts: Float[np.ndarray, "walkers D"],
    *,
    time: float,
    interval: float,
    key: Key[Array, ""],
    time_step: float | None = None,
    advance: Callable[[int], None] | None = None,
    dynamics: Dynamics | None = None,
) -> FullTrajectories:
    """Simulate the full model by Euler–Maruyama and keep ξ; states are held for some frames at a time.

    **Arguments:**

    - `starts`: hidden states `(walkers, D)`; each walker counts as one independent sample.
    - `time`: of each walker.
    - `interval`: between saved frames.
    - `time_step`: at most so long; that of the system by default.
    - `advance`: told the force evaluations since the last call.
    - `dynamics`: simulates; this process where left out.

    **Raises:** `InputError` for an interval or a time that are not positive; `PhysicsError` for a walker that is lost.
    """
    if not 0 < interval <= time:
        raise InputError("interval", f"be positive and at most the time, {time}", interval)
    steps = int(np.ceil(interval / (time_step or system.time_step) - 1e-9))
    frames = int(np.ceil(time / interval - 1e-9))
    chunk = min(frames, max(1, MOST_NUMBERS // starts.size))
    dynamics = dynamics or dynamics_of(system)
    measure = _measure(system, coarse)
    states, parts = np.asarray(starts, float), []
    for number, first in enumerate(range(0, frames, chunk)):
        length = min(chunk, frames - first)
        own = jax.random.fold_in(key, number)
        moved = dynamics(states, interval / steps, steps * length, own, save_every=steps)
        states = moved.final
        if advance is not None:
            advance(len(starts) * length * (steps + 1))
        _require_finite(states, (first + length) * interval)
        parts.append([np.asarray(part) for part in measure(moved.saved)])
    z, terms = (np.concatenate(column) for column in zip(*parts, strict=True))
    return FullTrajectories(z, terms, interval, len(starts) * len(z) * (steps + 1))


def _measure(system: System, coarse: CoarseVariable) -> Callable:
    """Compiled: states `(frames, walkers, D)` to ξ and the terms; frame by frame, to bound the memory."""
    function = unwrapped(system, coarse)
    lower = np.tril_indices(coarse.dimension)

    def one(state):
        drift, diffusion = generator_terms(system, function, state)
        return coarse.wrap(function(state)), jnp.concatenate([drift, diffusion[lower]])

    return jax.jit(lambda states: jax.lax.map(jax.vmap(one), states))


def _require_finite(states: Float[np.ndarray, "walkers D"], time: float) -> None:
    lost = int(np.count_nonzero(~np.isfinite(states).all(axis=1)))
    if lost:
        raise PhysicsError(
            f"{lost} of {len(states)} walkers are no longer finite at time {time:g}",
            where="long simulation of the full model",
            remedy="Shorten the time step.",
        )
