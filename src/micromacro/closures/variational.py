r"""The slowest implied time scale of ξ in long trajectories, with a study of the lag.

At each lag τ a small basis of hat functions of ξ gives the slowest eigenfunction ψ of the propagator, from
$C_0 K = C_τ$, $C_τ = E[χ(z_0) χ(z_τ)^T]$ (Noé and Nüske, Multiscale Model. Simul. 11, 635, 2013; Wu and Noé, J.
Nonlinear Sci. 30, 23, 2020). What ψ misses of the true mode, and what hidden coordinates blur, multiplies its
autocorrelation ρ by a constant: the rate is taken from its decay between two lags, $-\log[ρ(2τ)/ρ(τ)]/τ$, in which
constants cancel. It reaches a plateau once τ exceeds the fast times. ψ is fitted to one half of the walkers and judged
on the other, so that it does not fit their noise.
"""

from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy import linalg

from micromacro.closures.full_model import require_walkers
from micromacro.closures.long_trajectories import FullTrajectories
from micromacro.coordinates.coarse import CoarseVariable
from micromacro.errors import PhysicsError

HATS = {1: 14, 2: 7}
"""Hat functions per dimension."""
END = 1e-3
"""The share of samples beyond the outermost hats, where functions are taken as constant."""
REPLICAS = 200
LARGEST_ERROR = 0.25
"""A lag whose rate is not known to this relative error says nothing."""
LONGEST_LAG = 1.5
"""In units of the time scale; at twice the lag a correlation of 0.05 is left."""
SMALLEST_VARIANCE = 1e-5
"""Combinations of hats of less variance, as a share of the largest, are left out."""


@dataclass(frozen=True)
class ImpliedTimeScale:
    """The slowest implied time scale at each lag, and the lag from which it no longer changes.

    **Arguments:**

    - `lags`: `(k,)`, each twice the one before, in units of time.
    - `time_scales`, `stderr`: `(k,)`; NaN at lags where the correlation is lost in noise.
    - `periods`: `(k,)`, of the rotation of the slowest mode; infinite where it only decays, NaN where
        the time scale is.
    - `chosen`: the number of the chosen lag.
    """

    lags: Float[np.ndarray, "k"]
    time_scales: Float[np.ndarray, "k"]
    stderr: Float[np.ndarray, "k"]
    periods: Float[np.ndarray, "k"]
    chosen: int

    @property
    def value(self) -> tuple[float, float]:
        """The time scale at the chosen lag and its standard error."""
        return float(self.time_scales[self.chosen]), float(self.stderr[self.chosen])


def slowest_time_scale(
    trajectories: FullTrajectories, coarse: CoarseVariable, *, shortest_lag: float = 0.0, seed: int = 0
) -> ImpliedTimeScale:
    """The slowest implied time scale, at the first lag after which no longer lag contradicts it by two standard errors.

    **Arguments:**

    - `shortest_lag`: lags below it, the fast time, are shown and never chosen.
    - `seed`: of the bootstrap over walkers.

    **Raises:** `InputError` for too few walkers, `PhysicsError` where no lag gives the rate to 25 %.
    """
    require_walkers(trajectories)
    steps = 2 ** np.arange(max(2, int(np.log2(len(trajectories.z) / 4)) + 1))
    covariances = _covariances(trajectories, coarse, steps)
    rng = np.random.default_rng(seed)
    walkers = trajectories.z.shape[1]
    chances = rng.multinomial(walkers, np.full(walkers, 1 / walkers), REPLICAS)
    lags = steps[:-1] * trajectories.interval
    pairs = [_pair_of_correlations(covariances, number) for number in range(len(lags))]
    found = [_rates(pair.mean(axis=0)[None], lag)[0] for pair, lag in zip(pairs, lags, strict=True)]
    rates, turns = np.real(found), np.imag(found)
    replicas = np.real([_rates(chances @ pair, lag) for pair, lag in zip(pairs, lags, strict=True)])
    with np.errstate(invalid="ignore", divide="ignore"):
        error = replicas.std(axis=1, ddof=1)
        known = (error < LARGEST_ERROR * rates) & (lags * rates < LONGEST_LAG)
        time_scales = np.where(known, 1 / rates, np.nan)
        periods = np.where(np.isfinite(time_scales), 2 * np.pi / np.abs(turns), np.nan)
    known_here = known & (lags >= shortest_lag)
    # the shortest lags may be lost in noise too; but beyond one that is, after some that were not, chance alone speaks
    usable = known_here & ~np.logical_or.accumulate(np.logical_or.accumulate(known_here) & ~known)
    chosen = _first_on_the_plateau(rates, replicas, usable)
    return ImpliedTimeScale(lags, time_scales, error * time_scales**2, periods, chosen)


def _hats(coarse: CoarseVariable, nodes: list[np.ndarray], z: Float[np.ndarray, "n d"]) -> np.ndarray:
    """Products of hat functions, `(n, m)`; the first is left out, since together they make a constant."""
    columns = []
    for axis, (points, periodic) in enumerate(zip(nodes, coarse.periodic, strict=True)):
        period = float(coarse.range[axis]) if periodic else None
        eye = np.eye(len(points))
        columns.append(np.stack([np.interp(z[:, axis], points, row, period=period) for row in eye], axis=1))
    product = reduce(lambda left, right: (left[:, :, None] * right[:, None, :]).reshape(len(z), -1), columns)
    return product[:, 1:]


def _nodes(trajectories: FullTrajectories, coarse: CoarseVariable) -> list[np.ndarray]:
    """Where the hats of each component peak: at even shares of the samples, or round the period."""
    count = HATS.get(coarse.dimension, 5)
    sample = trajectories.z[:: max(1, len(trajectories.z) // 1000)].reshape(-1, coarse.dimension)
    shares = np.concatenate([[END], np.linspace(0.5 / count, 1 - 0.5 / count, count - 2), [1 - END]])
    return [
        coarse.lower[axis] + coarse.range[axis] * np.arange(count) / count
        if periodic
        else np.unique(np.quantile(sample[:, axis], shares))
        for axis, periodic in enumerate(coarse.periodic)
    ]


def _covariances(trajectories: FullTrajectories, coarse: CoarseVariable, steps: np.ndarray) -> np.ndarray:
    """Covariances of the basis at lag zero and at each of `steps`, per walker, `(lags, walkers, m, m)`."""
    nodes = _nodes(trajectories, coarse)
    paths = np.moveaxis(trajectories.z, 1, 0)
    mean = np.mean([_hats(coarse, nodes, path).mean(axis=0) for path in paths], axis=0)
    result = []
    for path in paths:
        values = _hats(coarse, nodes, path) - mean
        result.append([values[: len(values) - lag].T @ values[lag:] / (len(values) - lag) for lag in (0, *steps)])
    return np.swapaxes(result, 0, 1)


def _pair_of_correlations(covariances: np.ndarray, number: int) -> np.ndarray:
    """The autocorrelation of ψ at a lag and at twice the lag, per walker `(walkers, 2)`, complex."""
    walkers = covariances.shape[1]
    fold = np.arange(walkers) % 2
    result = np.empty((walkers, 2), complex)
    for own in (0, 1):
        others, mine = covariances[:, fold != own].mean(axis=1), covariances[:, fold == own]
        left, right = _slowest_modes(others[0], others[number + 1])
        values = np.einsum("i,lwij,j->wl", left.conj(), mine[[0, number + 1, number + 2]], right)
        result[fold == own] = values[:, 1:] / values[:, 0].mean()
    return result


def _slowest_modes(
    instant: Float[np.ndarray, "m m"], lagged: Float[np.ndarray, "m m"]
) -> tuple[np.ndarray, np.ndarray]:
    """The left and right eigenvectors of `instant K = lagged` of largest modulus, turning forwards where they turn.

    Without detailed balance both are needed, lest an error in one be an error in the rate.
    """
    variance, vectors = np.linalg.eigh((instant + instant.T) / 2)
    kept = variance > SMALLEST_VARIANCE * variance[-1]
    white = vectors[:, kept] / np.sqrt(variance[kept])
    found: Any = linalg.eig(white.T @ lagged @ white, left=True)
    slowest = int(np.argmax(np.abs(found[0]) + 1e-12 * np.imag(found[0])))
    return white @ found[1][:, slowest], white @ found[2][:, slowest]


def _rates(correlations: np.ndarray, lag: float) -> np.ndarray:
    r"""$-\log[ρ(2τ)/ρ(τ)]/τ$ of each row; NaN where a correlation has vanished."""
    once, twice = correlations.T
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where((np.abs(once) > 0) & (np.abs(twice) > 0), -np.log(twice / once) / lag, np.nan)


def _first_on_the_plateau(rates: np.ndarray, replicas: np.ndarray, usable: np.ndarray) -> int:
    candidates = np.flatnonzero(usable)
    if len(candidates) == 0:
        raise PhysicsError(
            "no lag gives the slowest time scale of ξ to 25 %",
            where="long simulation of the full model",
            remedy="Simulate for longer, or with more walkers.",
        )
    for number in candidates:
        later = candidates[candidates > number]
        scatter = np.std(replicas[later] - replicas[number], axis=1, ddof=1)
        if np.all(np.abs(rates[later] - rates[number]) <= 2 * scatter):
            return int(number)
    return int(candidates[-1])
