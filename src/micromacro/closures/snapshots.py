"""Pairs of coarse values one lag apart: what a reduced equation is learned from."""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from micromacro.coordinates.coarse import CoarseVariable
from micromacro.errors import InputError


@dataclass(frozen=True)
class SnapshotPairs:
    """Where z was and how far it moved in one lag.

    **Arguments:**

    - `start`: `(n, d)`.
    - `displacement`: `(n, d)`, not wrapped: along a periodic axis it may exceed half the period.
    - `lag`: in time units, above zero.
    - `weight`: `(n,)`, what the fit counts each pair for.
    - `cluster`: `(n,)`, the walker or burst of each pair. Different ones are independent.
    - `force_evaluations`: what the pairs cost.

    **Raises:** `InputError` for a lag that is not positive and numbers that are not finite.
    """

    start: Float[np.ndarray, "n d"]
    displacement: Float[np.ndarray, "n d"]
    lag: float
    weight: Float[np.ndarray, "n"]
    cluster: Int[np.ndarray, "n"]
    force_evaluations: int = 0

    def __post_init__(self):
        if not self.lag > 0:
            raise InputError("lag", "be positive", self.lag)
        for name in ("start", "displacement", "weight"):
            bad = int(np.count_nonzero(~np.isfinite(getattr(self, name))))
            if bad:
                raise InputError(name, "be finite", f"{bad} numbers that are not")

    @classmethod
    def between(
        cls,
        coarse: CoarseVariable,
        start: Float[np.ndarray, "n d"],
        end: Float[np.ndarray, "n d"],
        lag: float,
        *,
        cluster: Int[np.ndarray, "n"] | None = None,
        force_evaluations: int = 0,
    ) -> "SnapshotPairs":
        """Pairs of unit weight from both ends, the shortest way round where periodic; clusters default to single pairs.

        For bursts: `start` is where z was once the lifted state had healed.
        """
        displacement = np.asarray(coarse.difference(jnp.asarray(end), jnp.asarray(start)))
        cluster = np.arange(len(start)) if cluster is None else cluster
        return cls(start, displacement, lag, np.ones(len(start)), cluster, force_evaluations)

    def select(self, rows: np.ndarray) -> "SnapshotPairs":
        """Some of the pairs, by index or by booleans `(n,)`."""
        arrays = (self.weight[rows], self.cluster[rows])
        return SnapshotPairs(self.start[rows], self.displacement[rows], self.lag, *arrays, self.force_evaluations)


def snapshot_pairs(
    coarse: CoarseVariable,
    coarse_values: Float[np.ndarray, "frames walkers d"],
    frame_time: float,
    lag: float,
    force_evaluations: int = 0,
) -> SnapshotPairs:
    """All pairs of frames `lag` apart of an unbiased simulation; every frame is the start of one. Cluster: the walker.

    Along periodic axes displacements are added up frame by frame, so that z may go round within a lag; from one frame
    to the next it must move less than half the period.

    **Arguments:**

    - `coarse_values`: ξ of every saved state, `(frames, walkers, d)`.
    - `frame_time`: between saved states, in time units.
    - `lag`: a multiple of `frame_time`.

    **Raises:** `InputError` where the lag is no such multiple or as long as the simulation.
    """
    frames, walkers, d = coarse_values.shape
    apart = round(lag / frame_time)
    if apart < 1 or abs(apart * frame_time - lag) > 1e-6 * lag:
        raise InputError("lag", f"be a multiple of the time between frames, {frame_time:.6g}", lag)
    if apart >= frames:
        raise InputError("lag", f"be shorter than the simulation, {(frames - 1) * frame_time:.6g}", lag)
    steps = np.asarray(coarse.difference(jnp.asarray(coarse_values[1:]), jnp.asarray(coarse_values[:-1])))
    travelled = np.concatenate([np.zeros((1, walkers, d)), np.cumsum(steps, axis=0)])
    displacement = travelled[apart:] - travelled[:-apart]
    start = np.asarray(coarse_values, float)[: frames - apart].reshape(-1, d)
    cluster = np.tile(np.arange(walkers), frames - apart)
    return SnapshotPairs(start, displacement.reshape(-1, d), lag, np.ones(len(start)), cluster, force_evaluations)
