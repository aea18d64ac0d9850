r"""Diffusion from the spread of short unbiased trajectories, against lag: ballistic, then a plateau, or memory.

Trajectories start at lifted states, their velocities drawn from Maxwell's distribution. With Δ the displacement of z,
$$\frac{1}{2}\frac{d}{dt}E\big[ΔΔ^T - \textstyle\int_0^t(Δ b^T + bΔ^T)\,ds\big] = \bar D,$$
which is D of the overdamped closure at every t beyond the fast times. At t → 0 it is zero, as velocities last; for an
inertial particle it is $D(1 - e^{-\gamma t})$. Where hidden coordinates are slow it passes through a first plateau and
falls, and there is no closure until they have relaxed too; where friction is weak it overshoots and oscillates.

The motion by b is taken off with the closure of the umbrella windows. So the ratio of one to the other, averaged over
where bursts start, is a check of both: 1 at the plateau. `burst_table` says where, and holds b against F too, by
Dynkin's formula between two lags of the plateau (`dynkin`). The sweeps that solve it without a reference are for
closures whose slopes are small against one over the lag: molecules are not among them.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from micromacro.closures.burst_paths import BurstPaths
from micromacro.closures.bursts import burst_requirements, choose_lags
from micromacro.closures.dynkin import displacement_table
from micromacro.closures.smooth import SmoothClosure
from micromacro.closures.table import ClosureTable
from micromacro.coordinates.coarse import CoarseVariable
from micromacro.errors import InputError
from micromacro.estimates.surface import Grid

POINTS = 16
"""Lags of the study, evenly spaced in their logarithm, as far as the frames allow."""
AGREE = 3.0
"""Standard errors within which the slopes of a plateau agree."""
TOLERANCE = 0.05
BEYOND = 2.0
"""A plateau begins at so many times the lag at which the slopes first agree: what is left of an exponential squares."""
FEWEST_ON_PLATEAU = 3
FEWEST_CLUSTERS = 8


@dataclass(frozen=True)
class BurstDiffusion:
    r"""The slope of the mean square displacement over that of the reference, against lag.

    **Arguments:**

    - `lags`: `(r,)`, the middles of the intervals of time over which slopes are taken.
    - `ratio`, `stderr`: $\mathrm{tr}(D^{-1}\bar D(t))/d$ averaged over the starts, D that of the reference `(r,)`.
    - `plateau`: first and last lag from which all ratios agree; `None` where they do not.
    - `plateau_ratio`, `plateau_stderr`: the mean ratio there; NaN without a plateau.
    - `reason`: what was found, in one sentence.
    """

    lags: Float[np.ndarray, "r"]
    ratio: Float[np.ndarray, "r"]
    stderr: Float[np.ndarray, "r"]
    plateau: tuple[float, float] | None
    plateau_ratio: float
    plateau_stderr: float
    reason: str

    @property
    def agrees(self) -> bool | None:
        """Whether the plateau is at 1, within three standard errors and 10 %; `None` without a plateau."""
        if self.plateau is None:
            return None
        return abs(self.plateau_ratio - 1) <= 2 * TOLERANCE + AGREE * self.plateau_stderr


def burst_paths_of(
    coarse: CoarseVariable,
    starts: Float[np.ndarray, "n d"],
    frames: Float[np.ndarray, "k n d"],
    dt: float,
    clusters: Int[np.ndarray, "n"],
) -> BurstPaths:
    """Bursts as `dynkin` reads them, without the terms of a generator: molecules have none that depends on positions.

    **Arguments:**

    - `starts`: z of the lifted states.
    - `frames`: z after dt, 2 dt, ...; never half a period apart from one frame to the next.
    - `clusters`: of the starts; different ones are independent.
    """
    if not dt > 0:
        raise InputError("dt", "be positive", dt)
    values = np.concatenate([starts[None], frames])
    if not np.isfinite(values).all():
        raise InputError("frames", "be finite", f"{np.count_nonzero(~np.isfinite(values))} values that are not")
    steps = np.asarray(coarse.difference(values[1:], values[:-1]))
    displacement = np.swapaxes(np.concatenate([np.zeros_like(values[:1]), np.cumsum(steps, axis=0)]), 0, 1)
    count, d = starts.shape
    return BurstPaths(
        times=np.arange(len(values)) * dt,
        start=starts,
        displacement=displacement,
        term_records=np.zeros(0, int),
        drift_terms=np.zeros((count, 0, d)),
        diffusion_terms=np.zeros((count, 0, d, d)),
        clusters=clusters,
        final=starts,
        time_step=0.0,
        evaluations=0,
    )


def burst_diffusion(paths: BurstPaths, reference: SmoothClosure) -> BurstDiffusion:
    """Slopes against lag in units of the D of `reference`, whose b is taken off.

    **Raises:** `InputError` for fewer than eight clusters.
    """
    count = len(np.unique(paths.clusters))
    if count < FEWEST_CLUSTERS:
        raise InputError("clusters", f"be at least {FEWEST_CLUSTERS}, for standard errors", count)
    records = _records(len(paths.times) - 1)
    squares = _squares(paths, reference)[:, records]
    slopes = np.diff(squares, axis=1) / (2 * np.diff(paths.times[records]))
    ratio, covariance = _clustered_mean(slopes, paths.clusters)
    lags = (paths.times[records][1:] + paths.times[records][:-1]) / 2
    stderr = np.sqrt(np.diagonal(covariance))
    begin = _plateau(lags, ratio, covariance)
    if begin is None:
        reason = "the slope of the mean square displacement still changes at the longest lags: memory, or too short"
        return BurstDiffusion(lags, ratio, stderr, None, float("nan"), float("nan"), reason)
    weight = 1 / stderr[begin:] ** 2
    weight /= weight.sum()
    value, error = float(weight @ ratio[begin:]), float(np.sqrt(weight @ covariance[begin:, begin:] @ weight))
    reason = f"from lag {lags[begin]:.3g} on D is {value:.3g} ± {error:.2g} of the reference"
    return BurstDiffusion(lags, ratio, stderr, (float(lags[begin]), float(lags[-1])), value, error, reason)


def burst_table(
    coarse: CoarseVariable, grid: Grid, paths: BurstPaths, plateau: tuple[float, float], reference: SmoothClosure
) -> ClosureTable:
    """The reference corrected by the bursts, on `grid`: what it has wrong in b or D shows as a difference.

    By Dynkin's formula between two lags of the plateau, the first and half as much again. Errors are of bursts alone.
    """
    lags = choose_lags(paths, plateau[0])
    return displacement_table(coarse, grid, paths, lags, reference, burst_requirements(grid))


def _records(last: int) -> Int[np.ndarray, "r"]:
    return np.unique(np.append(0, np.round(np.geomspace(1, last, min(POINTS, last))).astype(int)))


def _squares(paths: BurstPaths, reference: SmoothClosure) -> Float[np.ndarray, "n k"]:
    """Tr D⁻¹(ΔΔᵀ - ∫ Δ bᵀ + b Δᵀ) / d of every burst at every record, D at its start."""
    bursts, records, d = paths.displacement.shape
    drift = np.asarray(_drift(reference, jnp.asarray(paths.positions.reshape(-1, d)))).reshape(bursts, records, d)
    inverse = np.linalg.inv(np.asarray(_diffusion(reference, jnp.asarray(paths.start))))

    def product(one, other):
        return np.einsum("nka,nab,nkb->nk", one, inverse, other) / d

    moment = 2 * product(paths.displacement, drift)
    middle = (moment[:, 1:] + moment[:, :-1]) * (paths.times[1] / 2)
    integral = np.concatenate([np.zeros((bursts, 1)), np.cumsum(middle, axis=1)], axis=1)
    return product(paths.displacement, paths.displacement) - integral


@jax.jit
def _drift(reference: SmoothClosure, z: Float[Array, "n d"]) -> Float[Array, "n d"]:
    return jax.lax.map(reference.drift, z, batch_size=8192)


@jax.jit
def _diffusion(reference: SmoothClosure, z: Float[Array, "n d"]) -> Float[Array, "n d d"]:
    return jax.lax.map(reference.diffusion, z, batch_size=8192)


def _clustered_mean(
    values: Float[np.ndarray, "n r"], clusters: Int[np.ndarray, "n"]
) -> tuple[Float[np.ndarray, "r"], Float[np.ndarray, "r r"]]:
    """The mean over bursts and its covariance, clusters being independent."""
    mean, cluster = values.mean(axis=0), np.unique(clusters, return_inverse=True)[1]
    sums = np.zeros((cluster.max() + 1, values.shape[1]))
    np.add.at(sums, cluster, values - mean)
    return mean, sums.T @ sums / len(values) ** 2 * len(sums) / (len(sums) - 1)


def _plateau(
    lags: Float[np.ndarray, "r"], ratio: Float[np.ndarray, "r"], covariance: Float[np.ndarray, "r r"]
) -> int | None:
    """The first lag at twice or more of one with which all later ones agree."""
    variance = np.diagonal(covariance)
    for begin in range(len(ratio)):
        change = np.abs(ratio[begin + 1 :] - ratio[begin])
        error = np.sqrt(np.maximum(variance[begin + 1 :] + variance[begin] - 2 * covariance[begin, begin + 1 :], 0))
        if np.all(change <= TOLERANCE * np.abs(ratio[begin]) + AGREE * error):
            later = int(np.searchsorted(lags, BEYOND * lags[begin] * (1 - 1e-9)))
            return later if later <= len(ratio) - FEWEST_ON_PLATEAU else None
    return None
