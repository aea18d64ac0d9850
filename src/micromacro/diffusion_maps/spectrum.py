r"""Spectrum, gap and intrinsic dimension of a cloud of points, with standard errors by half-samples.

The map is made again of random halves of the points, without replacement, at the bandwidth of the whole. For a mean the
variance over halves is that of the whole sample, and no factor is needed (Shao and Wu, Ann. Stat. 17, 1176 (1989), with
half the sample deleted). No point is there twice, any kernel and solver will do, and a half costs an eighth. Bootstrap
counts or weights, as multiplicities of points in the kernel's sums, cost the whole and cover no better. In the tails of
a Gaussian cloud, where modes sit on single points, the errors of slow rates are too large, in small samples more than
twofold.

Where points are correlated, halves are taken of clusters: walkers, or trajectories.
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment

from micromacro.diffusion_maps.diffusion_map import DEFAULTS, DiffusionMap, fit_diffusion_map
from micromacro.diffusion_maps.dimension import kernel_sum_dimension, neighbour_dimension
from micromacro.diffusion_maps.independent import DEFAULTS as INDEPENDENCE
from micromacro.diffusion_maps.independent import IndependenceSettings, independent_coordinates
from micromacro.diffusion_maps.settings import DiffusionMapSettings
from micromacro.errors import InputError

SPARE = 3
"""Eigenvectors of a half beyond those matched, among which a crossed one may be found."""


@dataclass(frozen=True, eq=False)
class SpectrumErrors:
    r"""What a diffusion map says of a cloud, each with its standard error.

    **Arguments:**

    - `eigenvalues`, `rates`: of the map of all points `(k,)`; rates in units of 1/ε.
    - `independent`: indices of the eigenvectors that are new directions `(d,)`.
    - `slow`: how many of these lie below the gap.
    - `gap`: ratio of the rates of independent eigenvectors above and below it.
    - `gap_is_bound`: no independent eigenvector was found above the gap, which is at least that to the fastest found.
    - `dimension`: by the kernel's sum; `local_dimension`: by distances to neighbours, without the metric.
    """

    eigenvalues: Float[np.ndarray, "k"]
    eigenvalues_stderr: Float[np.ndarray, "k"]
    rates: Float[np.ndarray, "k"]
    rates_stderr: Float[np.ndarray, "k"]
    independent: Int[np.ndarray, "d"]
    slow: int
    gap: float
    gap_stderr: float
    gap_is_bound: bool
    dimension: float
    dimension_stderr: float
    local_dimension: float
    local_dimension_stderr: float


@dataclass(frozen=True)
class Gap:
    """Where the slow coordinates end: how many they are, and the indices of the rates below and above."""

    slow: int
    below: int
    above: int
    is_bound: bool


def spectrum_errors(
    points: Float[np.ndarray, "n F"],
    weight: Float[np.ndarray, "n"] | None = None,
    settings: DiffusionMapSettings = DEFAULTS,
    *,
    metric: Float[np.ndarray, "n F F"] | None = None,
    clusters: Int[np.ndarray, "n"] | None = None,
    resamples: int = 24,
    seed: int = 0,
    independence: IndependenceSettings = INDEPENDENCE,
) -> SpectrumErrors:
    """Spectrum, gap and dimension of points `(n, F)` with `weight` `(n,)` in the target measure.

    `clusters` `(n,)` labels points that are correlated, each of its own where left out. Every one of the `resamples`
    is a map of half the points. Errors come from the spread of what is matched to the whole by the overlap of
    eigenvectors, so that crossings between halves do not count; they hold the sampling error at the bandwidth used,
    not the bias that is of its order.

    **Raises:** `InputError` for fewer than four clusters or two resamples, or where a half falls into pieces at the
    bandwidth of the whole.
    """
    clusters = np.arange(len(points)) if clusters is None else np.unique(clusters, return_inverse=True)[1]
    if clusters.max() < 3:
        raise InputError("clusters", "be at least four", clusters.max() + 1, remedy="Label shorter trajectories.")
    if resamples < 2:
        raise InputError("resamples", "be at least 2", resamples)
    found = fit_diffusion_map(points, weight, settings, metric=metric)
    independent = independent_coordinates(found.eigenvectors, found.stationary, independence).chosen
    whole = _summary(found, np.arange(len(found.rates)))
    gap = find_gap(whole.rates, independent)
    rng, halves = np.random.default_rng(seed), []
    again = replace(settings, bandwidth=found.kernel.bandwidth, components=settings.components + SPARE)
    for _ in range(resamples):
        kept = half_of_clusters(clusters, rng)
        part = fit_diffusion_map(
            points[kept],
            None if weight is None else weight[kept],
            again,
            metric=None if metric is None else metric[kept],
        )
        halves.append(_summary(part, matched(found.eigenvectors[kept], part)))
    return _errors(whole, halves, independent, gap)


def half_of_clusters(clusters: Int[np.ndarray, "n"], rng: np.random.Generator) -> Int[np.ndarray, "m"]:
    """Indices of the points in a random half of the clusters, labelled from 0."""
    count = clusters.max() + 1
    chosen = np.zeros(count, bool)
    chosen[rng.permutation(count)[: (count + rng.integers(2)) // 2]] = True
    return np.flatnonzero(chosen[clusters])


def matched(whole: Float[np.ndarray, "m k"], part: DiffusionMap) -> Int[np.ndarray, "k"]:
    """For each eigenvector of the whole, at the points of the part, the index of that of the part which overlaps it."""
    overlap = (whole * part.stationary[:, None]).T @ part.eigenvectors
    return linear_sum_assignment(-(overlap**2))[1]


def find_gap(rates: Float[np.ndarray, "k"], independent: Int[np.ndarray, "d"]) -> Gap:
    """The largest ratio of successive rates of independent eigenvectors.

    The next independent one after the last is no slower than the fastest eigenvector found, which bounds its ratio.
    """
    last = len(rates) - 1
    steps = independent if independent[-1] == last else np.append(independent, last)
    if len(steps) < 2:
        raise InputError("components", "be at least 2 for a gap", len(rates))
    position = int(np.argmax(rates[steps[1:]] / rates[steps[:-1]]))
    is_bound = bool(steps[position + 1] == last and independent[-1] != last)
    return Gap(position + 1, int(steps[position]), int(steps[position + 1]), is_bound)


@dataclass(frozen=True, eq=False)
class _Summary:
    eigenvalues: Float[np.ndarray, "k"]
    rates: Float[np.ndarray, "k"]
    dimension: float
    local_dimension: float


def _summary(found: DiffusionMap, order: Int[np.ndarray, "k"]) -> _Summary:
    dimension = kernel_sum_dimension(found.points, found.kernel.bandwidth, found.kernel.metric)
    slowest = np.finfo(float).eps / found.kernel.bandwidth  # rounding leaves nothing of slower rates
    rates = np.maximum(found.rates[order], slowest)
    return _Summary(found.eigenvalues[order], rates, dimension, neighbour_dimension(found.points))


def _errors(whole: _Summary, halves: list[_Summary], independent: Int[np.ndarray, "d"], gap: Gap) -> SpectrumErrors:
    rates = np.stack([half.rates for half in halves])
    ratios = np.log(rates[:, gap.above] / rates[:, gap.below])
    ratio = float(whole.rates[gap.above] / whole.rates[gap.below])
    return SpectrumErrors(
        eigenvalues=whole.eigenvalues,
        eigenvalues_stderr=np.std([half.eigenvalues for half in halves], axis=0, ddof=1),
        rates=whole.rates,
        rates_stderr=np.std(rates, axis=0, ddof=1),
        independent=independent,
        slow=gap.slow,
        gap=ratio,
        gap_stderr=ratio * float(np.std(ratios, ddof=1)),
        gap_is_bound=gap.is_bound,
        dimension=whole.dimension,
        dimension_stderr=float(np.std([half.dimension for half in halves], ddof=1)),
        local_dimension=whole.local_dimension,
        local_dimension_stderr=float(np.std([half.local_dimension for half in halves], ddof=1)),
    )
