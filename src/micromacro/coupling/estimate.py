"""One estimate from all rounds: frames pooled, windows joined, free energies solved."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from scipy.ndimage import gaussian_filter1d

from micromacro.coordinates.coarse import CoarseVariable
from micromacro.estimates.correlation import equilibration_time, statistical_inefficiency
from micromacro.estimates.mbar import MBAR, Bridge, Pool, solve_mbar
from micromacro.estimates.surface import FreeEnergySurface, coarse_grid, free_energy_surface
from micromacro.sampling.production import Frames
from micromacro.sampling.table import Table, fill_nearest, fit_table
from micromacro.sampling.windows import PooledBias, Windows

MOST_FEATURES = 10


@dataclass(frozen=True)
class Segment:
    """Frames of one round under its windows, cut where each window had equilibrated.

    `first` `(windows,)`: the first frame that counts; `exchanged`: whether replicas moved between windows; `weight`
    `(frames, windows, walkers)`: importance weights, or `None` for samples of the windows themselves, and
    `correlated`, whether weighted frames are those of trajectories instead of independent draws; `log_weight` and
    `log_weight_before` `(cycles, windows, walkers)`: those of a coupled round's moves; `start` `(windows, walkers)`:
    the starting point in whose well each walker began, where that is not the same in every window; `window`
    `(columns,)`: of which window each column of the arrays is, where some have copies; `interval`: steps between
    frames; `independence`: the share of them that count as independent. Frames of several rounds count in proportion to
    it, or to the steps between them where it is left out.
    """

    windows: Windows
    frames: Frames
    first: Int[np.ndarray, "windows"]
    exchanged: bool = False
    weight: Float[np.ndarray, "frames windows walkers"] | None = None
    log_weight: Float[np.ndarray, "cycles windows walkers"] | None = None
    log_weight_before: Float[np.ndarray, "cycles windows walkers"] | None = None
    start: Int[np.ndarray, "windows walkers"] | None = None
    correlated: bool = False
    window: Int[np.ndarray, "windows"] | None = None
    interval: int = 1
    independence: float | None = None

    @property
    def frame_worth(self) -> float:
        """What each frame counts for beside those of other rounds."""
        return float(self.interval) if self.independence is None else self.independence

    @property
    def columns(self) -> Int[np.ndarray, "columns"]:
        """The window of each column of the arrays."""
        return np.arange(self.windows.count) if self.window is None else self.window

    @property
    def work(self) -> Float[np.ndarray, "K"]:
        """Walker-steps of each window that count."""
        return self._frames_that_count * self.interval

    @property
    def information(self) -> Float[np.ndarray, "K"]:
        """What the frames of each window count for together."""
        return self._frames_that_count * self.frame_worth

    @property
    def _frames_that_count(self) -> Float[np.ndarray, "K"]:
        count, _, walkers = self.frames.log_density.shape
        kept = (count - self.first) * float(walkers)
        return np.bincount(self.columns, weights=kept, minlength=self.windows.count)

    @property
    def independent(self) -> bool:
        """Whether the frames are independent draws of a generator with weights."""
        return self.weight is not None and not self.correlated


def newest(segments: list[Segment], most: int) -> list[Segment]:
    """The last rounds that hold `most` frames together, one at least: the older, the worse their hidden proportions."""
    sizes = np.cumsum([segment.frames.log_density.size for segment in segments[::-1]])
    return segments[len(segments) - max(1, int(np.sum(sizes <= most))) :] if segments else []


@dataclass(frozen=True)
class Estimate:
    """The pooled samples and what MBAR says of them.

    `position` `(n, D)` of the pooled samples; `mbar` uses the generator's density where there is one, `alone` the
    windows only; `surface` on the grid of results; `wide` on a grid that reaches beyond the range as far as windows do;
    `flat_weight` `(n,)`, the inverse of the pooled density of ξ at each sample.
    """

    position: Float[np.ndarray, "n D"]
    pool: Pool
    bias: PooledBias
    mbar: MBAR
    alone: MBAR
    surface: FreeEnergySurface
    wide: FreeEnergySurface
    flat_weight: Float[np.ndarray, "n"]

    @property
    def log_weight(self) -> Float[np.ndarray, "n"]:
        """The logarithm of each sample's weight in the unbiased ensemble, up to a constant."""
        return np.log(np.maximum(self.pool.weight, 1e-300)) - self.mbar.log_denominator


def features(
    observe: Callable, frames: Frames, most: int = MOST_FEATURES
) -> Float[np.ndarray, "frames windows walkers features"]:
    """What mixing is judged by: the energy and the observed coordinates of largest variance."""
    shape = frames.log_density.shape
    observed = np.asarray(jax.vmap(observe)(jnp.asarray(frames.position.reshape(-1, frames.position.shape[-1]))))
    order = np.argsort(-np.var(observed, axis=0))[:most]
    columns = np.concatenate([frames.log_density.reshape(-1, 1), observed[:, np.sort(order)]], axis=1)
    return columns.reshape(*shape, -1)


def equilibrated(observe: Callable, windows: Windows, frames: Frames, *, exchanged: bool = False) -> Segment:
    """Cut each window where its walkers, on average, had equilibrated."""
    series = features(observe, frames).mean(axis=2)
    first = np.array([equilibration_time(series[:, window]) for window in range(series.shape[1])])
    return Segment(windows, frames, first, exchanged)


def conditional_inefficiency(observe: Callable, coarse: CoarseVariable, segment: Segment) -> float:
    """How many frames count as one independent given ξ: the mean over windows of that of the slowest feature.

    What ξ explains is taken out of the features first: within a window, or in a long run, ξ may move far more slowly
    than the rest relaxes given ξ. Draws of a generator, which carry weights, are independent.
    """
    if segment.independent:
        return 1.0
    values = features(observe, segment.frames)
    cell = coarse_grid(coarse).cell(segment.frames.coarse.reshape(-1, coarse.dimension)) + 1
    count = np.maximum(np.bincount(cell), 1)
    columns = values.reshape(-1, values.shape[-1]).T
    means = [np.bincount(cell, weights=column) / count for column in columns]
    residual = values - np.stack([mean[cell] for mean in means], axis=1).reshape(values.shape)
    residual = np.where((cell > 0).reshape(residual.shape[:3])[..., None], residual, 0.0)
    slowest = [
        max(statistical_inefficiency(column) for column in np.moveaxis(residual[first:, window], -1, 0))
        for window, first in enumerate(segment.first)
    ]
    return float(np.mean(slowest))


def frame_inefficiency(observe: Callable, segment: Segment) -> float:
    """How many frames of a window count as one independent, by its slowest feature; the mean over windows."""
    values = features(observe, segment.frames)
    slowest = [
        max(statistical_inefficiency(column) for column in np.moveaxis(values[first:, window], -1, 0))
        for window, first in enumerate(np.broadcast_to(segment.first, values.shape[1]))
    ]
    return float(np.mean(slowest))


def estimate(
    coarse: CoarseVariable, segments: Sequence[Segment], padding: int, before: Estimate | None = None
) -> Estimate:
    """Pool the segments and solve MBAR over all their windows; equal windows of different rounds are one state.

    `before`: an estimate from some of them, which the solution is sought from where the states are the same.
    """
    states, offsets = _distinct_states([segment.windows for segment in segments])
    least = min(segment.frame_worth for segment in segments)
    parts = [_flatten(one, offset, one.frame_worth / least) for one, offset in zip(segments, offsets, strict=True)]
    position, coarse_values, state, cluster, weight = (np.concatenate(part) for part in zip(*parts, strict=True))
    pool = Pool(coarse_values, state, cluster, weight)

    bias = PooledBias(tuple(states), coarse)
    known = None if before is None or not _same_states(before.bias, bias) else before.alone.free_energy
    alone = solve_mbar(pool, bias, bias.count, start=known)
    bridge = _bridge(segments, offsets)
    mbar = alone if bridge is None else solve_mbar(pool, bias, bias.count, bridge, start=alone.free_energy)
    surface = free_energy_surface(pool, mbar, bias, coarse_grid(coarse))
    wide = surface if padding == 0 else free_energy_surface(pool, mbar, bias, coarse_grid(coarse, padding))
    at_samples = np.asarray(evaluate_table(free_energy_table(wide), jnp.asarray(coarse_values)))
    flat = weight * np.exp(np.clip(at_samples - mbar.log_denominator, -700, 700))
    return Estimate(position, pool, bias, mbar, alone, surface, wide, flat)


def free_energy_table(surface: FreeEnergySurface, smoothing: float = 0.0) -> Table:
    """F as a smooth function of z; unknown cells take the value of the nearest known one."""
    grid = surface.grid
    values = fill_nearest(surface.free_energy.reshape(grid.shape), grid.periodic)
    if smoothing > 0:
        for axis, periodic in enumerate(grid.periodic):
            values = gaussian_filter1d(values, smoothing, axis=axis, mode="wrap" if periodic else "nearest")
    return fit_table(values, grid.origin, grid.spacing, grid.periodic)


@jax.jit
def evaluate_table(table: Table, z: Float[Array, "n d"]) -> Float[Array, "n"]:
    """A table at many coarse values."""
    return jax.vmap(table)(z)


def _distinct_states(windows: list[Windows]) -> tuple[list[Windows], list[int]]:
    states: list[Windows] = []
    offsets: list[int] = []
    for one in windows:
        same = next((i for i, known in enumerate(states) if one.same_as(known)), None)
        if same is None:
            states.append(one)
            same = len(states) - 1
        offsets.append(sum(known.count for known in states[:same]))
    return states, offsets


def _same_states(one: PooledBias, other: PooledBias) -> bool:
    return len(one.states) == len(other.states) and all(
        first.same_as(second) for first, second in zip(one.states, other.states, strict=True)
    )


def _bridge(segments: Sequence[Segment], offsets: list[int]) -> Bridge | None:
    """Draws of the generator against states of the chains, in every window of every coupled round."""
    parts = []
    for segment, offset in zip(segments, offsets, strict=True):
        if segment.log_weight is not None and segment.log_weight_before is not None:
            cycles, windows, walkers = segment.log_weight.shape
            per_cycle = len(segment.frames.position) / cycles
            keep = np.arange(cycles)[:, None] * per_cycle >= segment.first
            window, walker = np.meshgrid(np.arange(windows), np.arange(walkers), indexing="ij")
            window = segment.columns[window]
            state = np.broadcast_to(offset + window, segment.log_weight.shape)[keep].ravel()
            cluster = np.broadcast_to(window * walkers + walker, segment.log_weight.shape)[keep].ravel()
            for ratio, own in ((segment.log_weight, False), (segment.log_weight_before, True)):
                parts.append((ratio[keep].ravel(), np.full(len(state), own), state, cluster))
    return Bridge(*(np.concatenate(part) for part in zip(*parts, strict=True))) if parts else None


def _flatten(segment: Segment, offset: int, share: float) -> tuple[np.ndarray, ...]:
    count, windows, walkers = segment.frames.log_density.shape
    keep = np.broadcast_to(np.arange(count)[:, None, None] >= segment.first[None, :, None], (count, windows, walkers))
    # a copy goes on from walkers of its window, one by one: they are the same chains
    window = np.broadcast_to(segment.columns[None, :, None], keep.shape)
    walker = np.broadcast_to(np.arange(walkers), keep.shape)
    cluster = walker if segment.exchanged else window * walkers + walker
    weight = np.full(keep.shape, share) if segment.weight is None else segment.weight
    parts = segment.frames.position, segment.frames.coarse, offset + window, cluster, weight
    return tuple(part[keep] for part in parts)
