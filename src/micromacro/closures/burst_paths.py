"""Bursts of the full dynamics: ξ at equal intervals, and the generator's terms at a few of them."""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import numpy as np
from jaxtyping import Array, Float, Int, Key

from micromacro.closures.generator import projected_terms
from micromacro.coordinates.coarse import CoarseVariable
from micromacro.errors import PhysicsError
from micromacro.sampling.euler_maruyama import Dynamics, dynamics_of
from micromacro.systems.model import System

CHUNK = 4096
"""Bursts that are simulated at once, to bound the memory that their states take."""


@dataclass(frozen=True)
class BurstPaths:
    r"""What is kept of n bursts at k + 1 records, the start included.

    **Arguments:**

    - `times`: `(k + 1,)` since the start, in units of time.
    - `start`: ξ at the start `(n, d)`.
    - `displacement`: ξ since the start `(n, k + 1, d)`, followed round the period where periodic.
    - `term_records`: `(r,)`, the records at which terms are known.
    - `drift_terms`, `diffusion_terms`: $Lξ$ `(n, r, d)` and $\frac12\nablaξ^T\sigma\sigma^T\nablaξ$ `(n, r, d, d)`.
    - `clusters`: `(n,)`; starts of different clusters are independent.
    - `final`: states at the end `(n, D)`.
    - `time_step`: of the simulation.
    - `evaluations`: force evaluations spent.
    """

    times: Float[np.ndarray, "k"]
    start: Float[np.ndarray, "n d"]
    displacement: Float[np.ndarray, "n k d"]
    term_records: Int[np.ndarray, "r"]
    drift_terms: Float[np.ndarray, "n r d"]
    diffusion_terms: Float[np.ndarray, "n r d d"]
    clusters: Int[np.ndarray, "n"]
    final: Float[np.ndarray, "n D"]
    time_step: float
    evaluations: int

    @property
    def positions(self) -> Float[np.ndarray, "n k d"]:
        """ξ at every record `(n, k + 1, d)`, followed round the period where periodic."""
        return self.start[:, None] + self.displacement


def run_bursts(
    system: System,
    coarse: CoarseVariable,
    states: Float[np.ndarray, "n D"],
    clusters: Int[np.ndarray, "n"],
    interval: int,
    term_records: Int[np.ndarray, "r"],
    records: int,
    key: Key[Array, ""],
    advance: Callable[[int], None] | None = None,
    dynamics: Dynamics | None = None,
) -> BurstPaths:
    """Simulate every state for `records` intervals of `interval` steps; `advance` is told the force evaluations.

    `dynamics` simulates; this process where left out.

    Costs `n * records * interval` force evaluations, and n for each record at which terms are asked for.

    **Raises:** `PhysicsError` where a burst leaves the finite numbers.
    """
    dynamics = dynamics or dynamics_of(system)
    parts = np.array_split(states, max(1, -(-len(states) // CHUNK)))
    observe = jax.jit(jax.vmap(lambda state: coarse(system.observe(state))))
    coarse_values, kept, final = [], [], []
    for number, part in enumerate(parts):
        own = jax.random.fold_in(key, number)
        states_of_part = np.asarray(part, float)
        moved = dynamics(states_of_part, system.time_step, records * interval, own, save_every=interval)
        if advance is not None:
            advance(len(part) * (records * interval + len(term_records)))
        frames = np.concatenate([part[None], moved.saved])
        _require_finite(frames)
        values = np.asarray(observe(frames.reshape(-1, frames.shape[2])))
        coarse_values.append(values.reshape(*frames.shape[:2], -1))
        kept.append(frames[term_records])
        final.append(moved.final)
    values, chosen = np.concatenate(coarse_values, axis=1), np.concatenate(kept, axis=1)
    drift, diffusion = projected_terms(system, coarse, chosen.reshape(-1, chosen.shape[2]))
    count, d = len(states), coarse.dimension
    steps = np.asarray(coarse.difference(values[1:], values[:-1]))
    displacement = np.concatenate([np.zeros((1, count, d)), np.cumsum(steps, axis=0)])
    return BurstPaths(
        times=np.arange(records + 1) * interval * system.time_step,
        start=values[0],
        displacement=np.swapaxes(displacement, 0, 1),
        term_records=np.asarray(term_records),
        drift_terms=np.swapaxes(drift.reshape(-1, count, d), 0, 1),
        diffusion_terms=np.swapaxes(diffusion.reshape(-1, count, d, d), 0, 1),
        clusters=np.asarray(clusters),
        final=np.concatenate(final),
        time_step=float(system.time_step),
        evaluations=count * (records * interval + len(term_records)),
    )


def _require_finite(frames: np.ndarray) -> None:
    lost = int(np.count_nonzero(~np.isfinite(frames).all(axis=(0, 2))))
    if lost:
        raise PhysicsError(
            f"{lost} of {frames.shape[1]} bursts left the finite numbers",
            where="bursts",
            remedy="Shorten the system's time_step.",
        )


def spread_starts(weights: Float[np.ndarray, "n"], count: int, rng: np.random.Generator) -> Int[np.ndarray, "count"]:
    """Numbers of states to start from, drawn in proportion to their weights and as evenly as they allow."""
    place = (np.arange(count) + rng.random()) / count
    picked = np.searchsorted(np.cumsum(weights) / np.sum(weights), place).clip(0, len(weights) - 1)
    return rng.permutation(picked)
