"""How good a learned coordinate is: against a known slow variable, and by the time scale that it captures."""

from dataclasses import dataclass

import numpy as np
from deeptime.covariance import CovarianceModel
from jaxtyping import Float
from scipy.stats import rankdata
from sklearn.preprocessing import SplineTransformer

from micromacro.errors import InputError
from micromacro.learners.learner import TimeSeries
from micromacro.learners.linear import components_of, feature_scale, implied_time_scales

KNOTS = 8
MOST_PAIRED = 3
RESAMPLES = 40


def weighted_ranks(values: Float[np.ndarray, "n"], weight: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
    """The share of the weight below each value and half of that at it, from 0 to 1."""
    place = rankdata(values, method="dense") - 1
    at = np.bincount(place, weights=weight)
    return ((np.cumsum(at) - 0.5 * at) / at.sum())[place]


def rank_correlation(
    first: Float[np.ndarray, "n"], second: Float[np.ndarray, "n"], weight: Float[np.ndarray, "n"] | None = None
) -> float:
    """Spearman's rank correlation of weighted points; zero where one of both does not vary.

    >>> rank_correlation(np.array([1.0, 2.0, 3.0]), np.array([1.0, 8.0, 27.0]))
    1.0
    """
    weight = np.ones(len(first)) if weight is None else weight
    ranks = [weighted_ranks(values, weight) - 0.5 for values in (first, second)]
    a, b = ((rank - np.average(rank, weights=weight)) for rank in ranks)
    norm = np.sqrt(np.sum(weight * a**2) * np.sum(weight * b**2))
    return 0.0 if norm == 0 else float(np.clip(np.sum(weight * a * b) / norm, -1, 1))


@dataclass(frozen=True)
class CapturedTimeScale:
    """How much of the slowest process a coordinate sees.

    **Arguments:**

    - `coordinate`: the slowest implied time scale of functions of ξ, in units of time.
    - `features`: of functions of the features and of ξ.
    - `share`: the first over the second, one where ξ loses nothing.
    - `stderr`: of the share, by resampling trajectories.
    - `lag`: in units of time.
    """

    coordinate: float
    features: float
    share: float
    stderr: float
    lag: float


def captured_time_scale(
    series: TimeSeries,
    values: Float[np.ndarray, "frames walkers d"],
    rng: np.random.Generator,
    lag: float | None = None,
) -> CapturedTimeScale:
    """The slowest implied time scale that ξ captures against that of its features, from long trajectories.

    By the variational principle the best function of ξ has at most the time scale of the best function of the features.
    Both are sought by TICA among splines: of ξ; and of ξ, of each feature, and of pairs of features where they are few.

    **Arguments:**

    - `series`: features along unbiased trajectories.
    - `values`: ξ along them.
    - `lag`: in units of time; a tenth of a trajectory, ten frames at most, where left out.

    **Raises:** `InputError` where ξ does not fit the trajectories, or there are less than two of these.

    Source: Noé & Nüske, Multiscale Model. Simul. 11, 635 (2013).
    """
    frames, walkers, size = series.features.shape
    if values.shape[:2] != (frames, walkers):
        raise InputError("values", f"be of {frames} frames and {walkers} walkers", values.shape)
    if walkers < 2:
        raise InputError("series", "hold two trajectories or more, to tell an error", walkers)
    steps = series.frames_of(lag)
    time = steps * series.interval
    own = _spline_basis(values, paired=True)
    every = np.concatenate([own, _spline_basis(series.features, paired=size <= MOST_PAIRED)], axis=2)
    moments = _moments(every / feature_scale(every), steps)
    slowest = [_slowest(moments, size, time) for size in (own.shape[2], every.shape[2])]
    shares = []
    for _ in range(RESAMPLES):
        drawn = rng.integers(walkers, size=walkers)
        a, b = (_slowest([part[drawn] for part in moments], size, time) for size in (own.shape[2], every.shape[2]))
        shares.append(_share(a, b))
    stderr = float(np.std(shares, ddof=1))
    return CapturedTimeScale(slowest[0], slowest[1], _share(slowest[0], slowest[1]), stderr, time)


def _share(coordinate: float, features: float) -> float:
    """One where both are infinite."""
    return 1.0 if coordinate >= features else float(coordinate / features)


def _spline_basis(values: Float[np.ndarray, "frames walkers d"], *, paired: bool) -> Float[np.ndarray, "f w b"]:
    """Cubic splines of each component, and their products for pairs of components."""
    frames, walkers, size = values.shape
    varying = [column for column in values.reshape(-1, size).T if np.ptp(column) > 0]
    if not varying:
        raise InputError("the coordinate", "vary along the trajectories", "a constant")
    parts = [_splines(column) for column in varying]
    if paired:
        pairs = [(i, j) for i in range(len(parts)) for j in range(i)]
        parts += [np.einsum("na,nb->nab", parts[i], parts[j]).reshape(len(parts[i]), -1) for i, j in pairs]
    return np.concatenate(parts, axis=1).reshape(frames, walkers, -1)


def _splines(column: np.ndarray) -> np.ndarray:
    knots = np.unique(np.quantile(column, np.linspace(0, 1, KNOTS)))
    basis = SplineTransformer(knots=knots[:, None], include_bias=False)  # pyright: ignore[reportArgumentType]
    return np.asarray(basis.fit_transform(column[:, None]))


def _moments(basis: np.ndarray, steps: int) -> list[np.ndarray]:
    """Of each trajectory and its reverse: mean `(walkers, b)`, second and lagged moments `(walkers, b, b)`."""
    first, second = (np.swapaxes(part, 0, 1) for part in (basis[:-steps], basis[steps:]))
    count, turned = first.shape[1], [part.transpose(0, 2, 1) for part in (first, second)]
    lagged = turned[0] @ second / count
    return [
        (first.mean(axis=1) + second.mean(axis=1)) / 2,
        (turned[0] @ first + turned[1] @ second) / (2 * count),
        (lagged + lagged.transpose(0, 2, 1)) / 2,
    ]


def _slowest(moments: list[np.ndarray], size: int, lag: float) -> float:
    """The slowest time scale among the first `size` functions."""
    mean, second, lagged = (part.mean(axis=0) for part in moments)
    mean, outer = mean[:size], np.outer(mean[:size], mean[:size])
    covariance = CovarianceModel(
        cov_00=second[:size, :size] - outer,
        cov_0t=lagged[:size, :size] - outer,
        cov_tt=second[:size, :size] - outer,
        mean_0=mean,
        mean_t=mean,
        lagtime=1,
        symmetrized=True,
        data_mean_removed=True,
        bessels_correction=False,
    )
    return float(implied_time_scales(components_of(covariance, np.ones(size)).eigenvalues[:1], lag)[0])
