r"""Between which lags the closure of short bursts is a plateau: the fast time measured, and a gap or none.

Two things are followed with the lag t of bursts that start at $ξ = z_0$.

The *slopes* of the conditional moments of the displacement Δ. By Dynkin's formula
$\frac{d}{dt}E[Δ] = E[Lξ(q_t)]$ and $\frac{d}{dt}E[ΔΔ^T] = E[Δ\,Lξ^T + Lξ\,Δ^T + 2Γ]$ with
$Γ = \frac12\nablaξ^T\sigma\sigma^T\nablaξ$: no difference quotient, so none of its noise. At lag zero they are the
projected b_P and D_P. What ξ does meanwhile is taken off, $Lξ(q_t) - b_P(ξ_t)$ and $Γ(q_t) - D_P(ξ_t)$: the remainder
grows over the fast time, as hidden coordinates and ξ become correlated, and then stays. Averaged over z_0 with the
pattern of the projected closure it is one number each, a ratio to it.

The *memory* of the hidden coordinates: the correlation of the parts of Lξ and Γ that ξ does not determine, at lag 0 and
at lag t. Its decay is the fast time, in which states lifted in a wrong way heal too. Where it does not decay while ξ
itself relaxes there is no gap between time scales, and no closure in ξ alone.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from micromacro.closures.basis import TensorBasis
from micromacro.closures.burst_paths import BurstPaths
from micromacro.coordinates.coarse import CoarseVariable
from micromacro.errors import InputError

NEGLIGIBLE = 0.01
"""Share of D that a hidden fluctuation must be able to contribute, were it to last, to matter."""
TREND = 0.05
"""Change of a ratio along the plateau, beside three standard errors of it, that makes it none."""
MARGIN = 0.1
"""Starts nearer than this share of the range to an end do not count: bursts leave the range from there."""


@dataclass(frozen=True)
class LagStudy:
    """Slopes of the conditional moments against lag, and the plateau.

    **Arguments:**

    - `lags`: `(r,)`, in units of time.
    - `drift_ratio`, `diffusion_ratio`: slope at each lag over the projected one at lag zero, averaged over z `(r,)`,
      with standard errors `drift_ratio_stderr` and `diffusion_ratio_stderr`.
    - `memory`: correlation of hidden fluctuations with those at the start `(r,)`; the longest-lived that matters.
    - `healing_time`: when it has fallen to the tolerance; `None` where it has not.
    - `plateau`: first and last lag; `None` where there is none.
    - `reason`: what was found, in one sentence.
    """

    lags: Float[np.ndarray, "r"]
    drift_ratio: Float[np.ndarray, "r"]
    drift_ratio_stderr: Float[np.ndarray, "r"]
    diffusion_ratio: Float[np.ndarray, "r"]
    diffusion_ratio_stderr: Float[np.ndarray, "r"]
    memory: Float[np.ndarray, "r"]
    healing_time: float | None
    plateau: tuple[float, float] | None
    reason: str

    def departure(self, lag: float) -> float:
        """How far the slopes at the lag nearest to `lag` are from those of the plateau, in standard errors.

        Large inside the fast time, where it matters. **Raises:** `InputError` where there is no plateau.
        """
        if self.plateau is None:
            raise InputError("the lag study", "show a plateau to compare with", self.reason)
        nearest = int(np.argmin(np.abs(self.lags - lag)))
        chosen, scores = self.lags >= self.plateau[0], []
        for value, error in (
            (self.drift_ratio, self.drift_ratio_stderr),
            (self.diffusion_ratio, self.diffusion_ratio_stderr),
        ):
            mean, spread = _average(value, error, chosen)
            scores.append(abs(float(value[nearest]) - mean) / max(float(np.hypot(error[nearest], spread)), 1e-12))
        return max(scores)


@dataclass(frozen=True)
class Terms:
    """The generator's terms of n bursts at one lag: ξ `(n, d)` and terms `(n, m)`, those of Γ after those of Lξ."""

    coarse: Float[np.ndarray, "n d"]
    values: Float[np.ndarray, "n m"]


def terms_at(paths: BurstPaths, index: int) -> Terms:
    """The terms at one of the records that have them."""
    drift, diffusion = paths.drift_terms[:, index], paths.diffusion_terms[:, index]
    position = paths.positions[:, paths.term_records[index]]
    return Terms(position, np.concatenate([drift, diffusion.reshape(len(drift), -1)], axis=1))


def regression_basis(coarse: CoarseVariable) -> TensorBasis:
    """The few functions of ξ that conditional averages are regressed on."""
    return TensorBasis.over(coarse, ({1: 8, 2: 4}.get(coarse.dimension, 2),) * coarse.dimension)


def regress(
    functions: Float[np.ndarray, "n p"], values: Float[np.ndarray, "n m"], weights: Float[np.ndarray, "n"]
) -> Float[np.ndarray, "p m"]:
    """Coefficients of the weighted least-squares fit, a trace of ridge where the samples leave functions undecided."""
    weighted = functions * weights[:, None]
    normal = weighted.T @ functions
    ridge = 1e-9 * np.trace(normal) / len(normal) * np.eye(len(normal))
    return np.linalg.solve(normal + ridge, weighted.T @ values)


def inside(coarse: CoarseVariable, z: Float[np.ndarray, "n d"], margin: float = 0.0) -> Bool[np.ndarray, "n"]:
    """Whether each point lies in the range, by `margin` of it or more along axes that are not periodic."""
    share = (z - coarse.lower) / coarse.range
    return np.all(np.asarray(coarse.periodic) | ((share >= margin) & (share <= 1 - margin)), axis=1)


def memory_of(coarse: CoarseVariable, first: Terms, later: Terms, lag: float) -> Float[np.ndarray, "m"]:
    """Correlation of each hidden fluctuation between two lags `(m,)`; zero for those too small to matter by then."""
    both = inside(coarse, first.coarse) & inside(coarse, later.coarse)
    if np.count_nonzero(both) < 2 * regression_basis(coarse).size:
        both = np.ones_like(both)
    before, after = (_hidden(coarse, terms, both) for terms in (first, later))
    product = np.sum(before * after, axis=0) / np.sqrt(np.sum(before**2, axis=0) * np.sum(after**2, axis=0) + 1e-300)
    return np.where(_matters(coarse.dimension, first, before, lag), product, 0.0)


def _hidden(coarse: CoarseVariable, terms: Terms, used: np.ndarray) -> Float[np.ndarray, "used m"]:
    """What ξ does not determine of the terms."""
    functions = regression_basis(coarse).matrix(terms.coarse)[used]
    values = terms.values[used]
    return values - functions @ regress(functions, values, np.ones(len(values)))


def _matters(d: int, terms: Terms, hidden: np.ndarray, lag: float) -> Bool[np.ndarray, "m"]:
    """Whether a fluctuation that lasts until `lag` could change D by more than a negligible share."""
    diffusion = np.abs(terms.values[:, d:].mean(axis=0)).reshape(d, d)
    own = np.diagonal(diffusion)
    drift = np.mean(hidden[:, :d] ** 2, axis=0) * lag > NEGLIGIBLE * own
    tensor = np.std(hidden[:, d:], axis=0) > NEGLIGIBLE * np.sqrt(np.outer(own, own)).ravel()
    return np.concatenate([drift, tensor])


def healing_time(lags: np.ndarray, memory: np.ndarray, bursts: int, tolerance: float) -> float | None:
    """When the memory falls to `tolerance`, by geometric interpolation; `None` where it does not but for noise."""
    below = memory <= tolerance + 2 / np.sqrt(bursts)
    above = np.flatnonzero(~below)
    if len(above) and above[-1] == len(lags) - 1:
        return None
    crossing = np.flatnonzero(memory > tolerance)
    if not len(crossing):
        return 0.0
    last = min(int(above[-1]) if len(above) else 0, len(lags) - 2)
    while last + 1 < len(lags) - 1 and memory[last + 1] > tolerance:
        last += 1
    high, low = np.log(memory[last]), np.log(max(memory[last + 1], tolerance / 4))
    share = 1.0 if high <= low else min((high - np.log(tolerance)) / (high - low), 1.0)
    return float(lags[last] + share * (lags[last + 1] - lags[last]))


def study_lags(coarse: CoarseVariable, paths: BurstPaths, tolerance: float, settled: float) -> LagStudy:
    """The slopes and the memory at every lag with terms, and the plateau that they show.

    `tolerance`: of the memory, when it counts as gone; `settled`: of the ratios, in which they count as equal.
    """
    lags = paths.times[paths.term_records]
    series = [terms_at(paths, index) for index in range(len(lags))]
    memory = np.array([np.max(memory_of(coarse, series[0], later, float(lags[-1]))) for later in series])
    drift, diffusion = _ratios(coarse, paths, series)
    healed = healing_time(lags, memory, len(paths.start), tolerance)
    plateau, reason = _plateau(lags, drift, diffusion, healed, float(memory[-1]), settled)
    return LagStudy(lags, *drift, *diffusion, memory, healed, plateau, reason)


def _plateau(lags, drift, diffusion, healed: float | None, left: float, settled: float):
    """First and last lag, and the reason."""
    if healed is None:
        return (
            None,
            f"hidden coordinates keep {left:.0%} of their memory after {lags[-1]:.3g}: no gap between time scales",
        )
    late = lags >= min(healed, lags[-2])
    agrees = np.ones(len(lags), bool)
    for value, error in (drift, diffusion):
        agrees &= np.abs(value - _average(value, error, late)[0]) <= np.maximum(settled, 1.5 * error)
    begin = min(int(np.argmax(agrees & np.append(agrees[1:], True))), int(np.argmax(late)))
    middle = (begin + len(lags)) // 2
    for value, error in (drift, diffusion):
        first, second = np.mean(value[begin:middle]), np.mean(value[middle:])
        if abs(first - second) > max(TREND, 3 * float(np.max(error))):
            return None, f"the slopes of the conditional moments still change at lag {lags[-1]:.3g}: no plateau"
    start, end = float(min(lags[begin], healed)), float(lags[-1])
    return (start, end), f"slopes settle by lag {start:.3g} and stay until {end:.3g}"


def _average(value: np.ndarray, error: np.ndarray, chosen: np.ndarray) -> tuple[float, float]:
    """Weighted mean over the chosen lags, and an error of it: lags share their bursts, so that of one of them."""
    weight = chosen / np.maximum(error, 1e-9) ** 2
    return float(np.sum(weight * value) / np.sum(weight)), float(np.mean(error[chosen]))


def _ratios(coarse: CoarseVariable, paths: BurstPaths, series: list[Terms]):
    """The slopes of the first and second moment over the projected ones: values and standard errors `(r,)` each."""
    d, first = coarse.dimension, series[0]
    functions = regression_basis(coarse)
    used = inside(coarse, first.coarse)
    coefficients = regress(functions.matrix(first.coarse[used]), first.values[used], np.ones(int(used.sum())))
    starts = inside(coarse, first.coarse, MARGIN)
    projected = functions.matrix(first.coarse[starts]) @ coefficients
    drift, diffusion = projected[:, :d], projected[:, d:].reshape(-1, d, d)
    typical = np.maximum(np.abs(np.diagonal(diffusion.mean(axis=0))), 1e-300)
    inverse = np.linalg.pinv(diffusion, hermitian=True)
    scale = np.maximum(np.mean(np.sum(drift**2 / typical, axis=1)), np.sum(typical / coarse.range**2))
    rows = []
    for record, terms in zip(paths.term_records, series, strict=True):
        rest = terms.values[starts] - functions.matrix(terms.coarse[starts]) @ coefficients
        displacement = paths.displacement[starts, record]
        cross = displacement[:, :, None] * rest[:, None, :d]
        tensor = (cross + np.swapaxes(cross, 1, 2)) / 2 + rest[:, d:].reshape(-1, d, d)
        along = np.sum(drift * rest[:, :d] / typical, axis=1) / scale
        spread = np.einsum("nab,nba->n", inverse, tensor) / d
        rows.append([*_mean(1 + along, paths.clusters[starts]), *_mean(1 + spread, paths.clusters[starts])])
    columns = np.array(rows).T
    return (columns[0], columns[1]), (columns[2], columns[3])


def _mean(values: Float[np.ndarray, "n"], clusters: np.ndarray) -> tuple[float, float]:
    """The mean and its standard error from the sums over clusters."""
    mean = float(np.mean(values))
    number = np.unique(clusters, return_inverse=True)[1]
    sums = np.bincount(number, values - mean)
    return mean, float(np.sqrt(np.sum(sums**2) * len(sums) / max(len(sums) - 1, 1)) / len(values))
