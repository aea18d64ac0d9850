"""Consistency checks: each gives a figure, its threshold, and whether it passed, or why it cannot be judged."""

from collections.abc import Callable
from dataclasses import asdict, dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key
from scipy import stats
from scipy.sparse.csgraph import minimum_spanning_tree

from micromacro.coordinates.coarse import CoarseVariable
from micromacro.coupling.estimate import Segment, features
from micromacro.coupling.weights import GeneratorFreeEnergy
from micromacro.estimates.correlation import group_rhat, kish_sample_size, split_rhat, statistical_inefficiency
from micromacro.estimates.mbar import MBAR
from micromacro.sampling.proposal import ConditionalSampler

LARGEST_RHAT = 1.1
SMALLEST_OVERLAP = 0.03
FEWEST_SAMPLES = 50.0
LARGEST_RESTRICTION = 1.5
LARGEST_DIFFERENCE = 0.1
CHANCE = 1.95
COMPARED = 1024
END_MARGIN = 0.05


@dataclass(frozen=True)
class Check:
    """One row of the table: `passed` is `None` where the premise of the check does not hold, and `reason` says why."""

    value: float | None
    threshold: float | None
    passed: bool | None
    reason: str = ""

    def as_dict(self) -> dict:
        """For JSON; a value that is not finite becomes null."""
        row = asdict(self)
        row["value"] = None if self.value is None or not np.isfinite(self.value) else float(self.value)
        return row


def not_applicable(reason: str, value: float | None = None) -> Check:
    """A check whose premise does not hold."""
    return Check(value, None, None, reason)


def at_most(value: float, threshold: float, reason: str = "") -> Check:
    """Passed where the value does not exceed the threshold; a value that is not a number fails."""
    return Check(value, threshold, bool(value <= threshold), reason)


def at_least(value: float, threshold: float, reason: str = "") -> Check:
    """Passed where the value reaches the threshold; a value that is not a number fails."""
    return Check(value, threshold, bool(value >= threshold), reason)


def mixing(observe: Callable, segment: Segment, start: Int[np.ndarray, "walkers"], name: str = "window") -> Check:
    """The largest R̂ of any window: between its walkers, and between walkers that began at different starting points."""
    values = features(observe, segment.frames)
    worst, where = 1.0, 0
    groups = np.broadcast_to(start, (len(segment.first), len(start))) if segment.start is None else segment.start
    for window, first in enumerate(segment.first):
        judged_by_start = len(np.unique(groups[window])) > 1 and not segment.exchanged
        for column in np.moveaxis(values[first:, window], -1, 0):
            rhat = split_rhat(column)
            rhat = max(rhat, group_rhat(column, groups[window])) if judged_by_start else rhat
            worst, where = (rhat, window) if rhat > worst else (worst, where)
    center = np.round(np.asarray(segment.windows.centers[where]), 3).tolist()
    reason = f"largest split-R̂ over walkers and starting points, at {name} {where}, z = {center}"
    if len(np.unique(groups)) == 1 and worst <= LARGEST_RHAT:
        return not_applicable("one starting point alone: no second well to mix with", worst)
    return at_most(worst, LARGEST_RHAT, reason)


def overlap(mbar: MBAR, states: slice) -> Check:
    """The weakest link of the strongest chain that joins all windows, as an element of the overlap matrix."""
    matrix = mbar.overlap[states, states]
    if len(matrix) < 2:
        return not_applicable("there are no neighbouring windows")
    value, first, second = weakest_link(matrix)
    return at_least(value, SMALLEST_OVERLAP, f"between windows {first} and {second}")


def weakest_link(matrix: Float[np.ndarray, "K K"]) -> tuple[float, int, int]:
    """The smallest overlap on the maximum spanning tree, and the two windows it joins."""
    return min(spanning_links(matrix))


def spanning_links(matrix: Float[np.ndarray, "K K"]) -> list[tuple[float, int, int]]:
    """The links of the maximum spanning tree: the overlap and the two windows of each."""
    mean = (matrix + matrix.T) / 2
    tree = minimum_spanning_tree(-np.log(np.maximum(mean, 1e-300)) + 1.0).tocoo()
    return [(float(mean[i, j]), int(i), int(j)) for i, j in zip(tree.row, tree.col, strict=True)]


def window_sample_sizes(observe: Callable, segment: Segment) -> Float[np.ndarray, "windows"]:
    """The number of independent samples of each window, by its slowest feature."""
    values = features(observe, segment.frames)
    sizes = []
    for window, first in enumerate(segment.first):
        columns = values[first:, window]
        slowest = max(statistical_inefficiency(column) for column in np.moveaxis(columns, -1, 0))
        kept = columns.shape[0] * columns.shape[1]
        worth = kept if segment.weight is None else kish_sample_size(segment.weight[first:, window].ravel())
        sizes.append(worth / slowest)
    return np.array(sizes)


def effective_sample_size(observe: Callable, segment: Segment) -> Check:
    """The smallest number of independent samples of any window, by its slowest feature."""
    sizes = window_sample_sizes(observe, segment)
    return at_least(float(sizes.min()), FEWEST_SAMPLES, f"smallest of all windows, at window {int(np.argmin(sizes))}")


def free_energy(generator: GeneratorFreeEnergy, mbar: MBAR, states: slice, tolerance: float) -> Check:
    """The difference between f of the windows by the generator's own weights and by MBAR, rms in kT."""
    if not np.all(np.isfinite(generator.free_energy)):
        window = int(np.argmin(np.isfinite(generator.free_energy)))
        return Check(float("nan"), tolerance, False, f"no draw of the generator at window {window} has any weight")
    difference = generator.free_energy - mbar.free_energy[states]
    influence = mbar.influence[states] - mbar.influence[states].mean(axis=0)
    variance = generator.stderr**2 + np.sum(influence**2, axis=1)
    value = float(np.std(difference))
    expected = float(np.sqrt(np.mean(variance)))
    threshold = max(tolerance, 3 * expected)
    return at_most(value, threshold, f"rms over windows in kT; {expected:.3f} expected from standard errors")


@dataclass(frozen=True)
class RawDraws:
    """Draws of the generator alone at some windows: observed states `(windows, draws, Y)` and their ξ `(…, d)`."""

    window: Int[np.ndarray, "windows"]
    observed: Float[np.ndarray, "windows draws Y"]
    coarse: Float[np.ndarray, "windows draws d"]


def draw_raw(
    generator: ConditionalSampler,
    coarse: CoarseVariable,
    centers: Float[np.ndarray, "K d"],
    key: Key[Array, ""],
    most_windows: int = 24,
    draws: int = COMPARED,
) -> RawDraws:
    """Draws at up to `most_windows` windows, evenly chosen away from the ends of the range.

    Beyond an end nothing flattens the potential, so that the windows there are not those that a generator learns.
    """
    margin = np.where(coarse.periodic, 0.0, END_MARGIN * coarse.range)
    inner = np.flatnonzero(np.all((centers >= coarse.lower + margin) & (centers <= coarse.upper - margin), axis=1))
    inner = inner if len(inner) else np.arange(len(centers))
    window = inner[np.unique(np.linspace(0, len(inner) - 1, most_windows).astype(int))]

    @eqx.filter_jit
    def batch(generator, z, keys):
        observed = jax.vmap(jax.vmap(generator.sample, in_axes=(None, 0)))(z, keys)
        return observed, jax.vmap(jax.vmap(coarse))(observed)

    keys = jax.random.split(key, (len(window), draws))
    observed, values = batch(generator, jnp.asarray(centers[window]), keys)
    return RawDraws(window, np.asarray(observed, float), np.asarray(values, float))


def restriction(raw: RawDraws, coarse: CoarseVariable, centers: Float[np.ndarray, "K d"], width: np.ndarray) -> Check:
    """How far ξ of generator draws is from what was asked, rms in units of the blur; one is perfect."""
    delta = np.asarray(coarse.difference(raw.coarse, centers[raw.window][:, None, :])) / width
    value = float(np.sqrt(np.max(np.mean(delta**2, axis=(1, 2)))))
    return at_most(value, LARGEST_RESTRICTION, "rms of ξ(q) - z of raw draws over the blur, worst window")


def conditionals(raw: RawDraws, observe: Callable, segment: Segment, rng: np.random.Generator) -> Check:
    """The largest distance between the distributions of any coordinate of generator draws and physics in a window.

    The Kolmogorov–Smirnov statistic sees a wrong width within wells as well as wrong proportions between them. It is
    allowed `LARGEST_DIFFERENCE` and what equal laws would give by chance in that window, frames being correlated.
    """
    sizes = window_sample_sizes(observe, segment)
    worst, allowed, where = 0.0, np.inf, 0
    for window, observed in zip(raw.window, raw.observed, strict=True):
        frames = segment.frames.position[segment.first[window] :, window]
        flat = frames.reshape(-1, frames.shape[-1])
        pick = rng.choice(len(flat), min(COMPARED, len(flat)), replace=False)
        physics = np.asarray(jax.vmap(observe)(jnp.asarray(flat[pick])))
        value = max(_largest_gap(a, b) for a, b in zip(observed.T, physics.T, strict=True))
        chance = CHANCE * np.sqrt(1 / len(observed) + 1 / min(len(pick), sizes[window]))
        if value / (LARGEST_DIFFERENCE + chance) > worst / allowed:
            worst, allowed, where = value, LARGEST_DIFFERENCE + float(chance), int(window)
    reason = f"largest Kolmogorov–Smirnov statistic of a coordinate, generator against physics, at window {where}"
    return at_most(worst, allowed, reason)


def _largest_gap(first: Float[np.ndarray, "n"], second: Float[np.ndarray, "m"]) -> float:
    """The largest difference between two empirical distribution functions."""
    found = stats.ks_2samp(first, second)
    return float(np.asarray(found)[0])
