"""What long simulations of the full model say of ξ: density, autocorrelation, relaxation; walkers give the errors."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy import stats

from micromacro.closures.long_trajectories import FullTrajectories
from micromacro.coordinates.coarse import CoarseVariable
from micromacro.errors import InputError
from micromacro.estimates.correlation import statistical_inefficiency
from micromacro.estimates.surface import Grid

FEWEST_WALKERS = 8
"""Standard errors come from the scatter between walkers: fewer say too little of it."""
NOTHING_HIDDEN = 1e-3
"""Deviations from the average given ξ are nothing if their variance is below this share of the mean square."""


@dataclass(frozen=True)
class MeasuredDensity:
    """The density of ξ on a grid.

    **Arguments:**

    - `density`, `stderr`: `(n,)`, of integral one over the grid.
    - `outside`: the share of frames that lie beyond the grid.
    """

    density: Float[np.ndarray, "n"]
    stderr: Float[np.ndarray, "n"]
    outside: float


@dataclass(frozen=True)
class MeasuredCorrelation:
    """The normalised autocorrelation of ξ: `times`, `value` and `stderr`, `(k,)` each."""

    times: Float[np.ndarray, "k"]
    value: Float[np.ndarray, "k"]
    stderr: Float[np.ndarray, "k"]


def features(coarse: CoarseVariable, z: Float[np.ndarray, "... d"]) -> Float[np.ndarray, "... m"]:
    """Functions of z of comparable size: each component over its range, cosine and sine of a periodic one."""
    scaled = (z - coarse.lower) / coarse.range
    columns = []
    for axis, periodic in enumerate(coarse.periodic):
        share = scaled[..., axis]
        columns += [np.cos(2 * np.pi * share), np.sin(2 * np.pi * share)] if periodic else [share]
    return np.stack(columns, axis=-1)


def require_walkers(trajectories: FullTrajectories) -> None:
    """Raises `InputError` where there are too few walkers for standard errors, or too few frames."""
    frames, walkers = trajectories.z.shape[:2]
    if walkers < FEWEST_WALKERS or frames < 4:
        requirement = f"be at least {FEWEST_WALKERS} walkers of 4 frames"
        raise InputError("trajectories", requirement, f"{walkers} walkers of {frames} frames")


def ratio_of_means(
    above: Float[np.ndarray, "walkers k"], below: Float[np.ndarray, "walkers k"]
) -> tuple[Float[np.ndarray, "k"], Float[np.ndarray, "k"]]:
    """The ratio of two averages over walkers and its standard error by the delta method, `(k,)` each."""
    ratio = above.mean(axis=0) / below.mean(axis=0)
    influence = (above - ratio * below) / below.mean(axis=0)
    return ratio, influence.std(axis=0, ddof=1) / np.sqrt(len(above))


def measured_density(trajectories: FullTrajectories, grid: Grid) -> MeasuredDensity:
    """The share of time in each cell; stationary only where the walkers have forgotten their starts.

    **Raises:** `InputError` for too few walkers, and where no frame lies within the grid.
    """
    require_walkers(trajectories)
    frames, walkers, d = trajectories.z.shape
    cell = grid.cell(trajectories.z.reshape(-1, d)).reshape(frames, walkers)
    inside, size = cell >= 0, len(grid.points)
    if not inside.any():
        raise InputError("the trajectories of ξ", "visit the range of the coarse variable", "none that do")
    flat = (cell + size * np.arange(walkers))[inside]
    counts = np.bincount(flat, minlength=walkers * size).reshape(walkers, size).astype(float)
    volume = float(np.prod(grid.spacing))
    share, stderr = ratio_of_means(counts, np.broadcast_to(counts.sum(axis=1, keepdims=True), counts.shape))
    return MeasuredDensity(share / volume, stderr / volume, float(1 - inside.mean()))


def measured_autocorrelation(
    trajectories: FullTrajectories, coarse: CoarseVariable, longest: float, count: int = 24
) -> MeasuredCorrelation:
    r"""$\sum_m \mathrm{cov}(f_m(z_t), f_m(z_0)) / \sum_m \mathrm{var} f_m$ of the `features` f of z.

    About the mean over all walkers, so that walkers that stay apart count as correlated.

    **Arguments:**

    - `longest`: the last time, or half a trajectory where that is shorter.
    - `count`: about so many times from zero to the last.
    """
    require_walkers(trajectories)
    values = features(coarse, trajectories.z)
    frames = len(values)
    last = int(np.clip(round(longest / trajectories.interval), 1, frames // 2))
    lags = np.unique(np.linspace(0, last, count + 1).round().astype(int))
    centred = values - values.mean(axis=(0, 1))
    spectrum = np.abs(np.fft.rfft(centred, 2 * frames, axis=0)) ** 2
    covariance = np.fft.irfft(spectrum.sum(axis=2), axis=0)[lags].T / (frames - lags)
    value, stderr = ratio_of_means(covariance, np.broadcast_to(covariance[:, :1], covariance.shape))
    return MeasuredCorrelation(lags * trajectories.interval, value, stderr)


def drift_probability(trajectories: FullTrajectories, coarse: CoarseVariable) -> float:
    """The probability that ξ would differ so much between the halves of the trajectories were it stationary.

    The least of Student's tests over the walkers of the means of z and z², corrected for their number.
    """
    require_walkers(trajectories)
    values = features(coarse, trajectories.z)
    values = np.concatenate([values, (values - values.mean(axis=(0, 1))) ** 2], axis=2)
    half = len(values) // 2
    change = values[half:].mean(axis=0) - values[:half].mean(axis=0)
    error = change.std(axis=0, ddof=1) / np.sqrt(len(change))
    moving = error > 0
    score = np.abs(change.mean(axis=0)[moving]) / error[moving]
    single = 2 * stats.t.sf(score, len(change) - 1)
    return float(min(1.0, len(single) * np.min(single, initial=1.0)))


def hidden_relaxation(trajectories: FullTrajectories, grid: Grid) -> float:
    r"""The time in which hidden coordinates relax, as ξ feels them: the longest of its drift and diffusion terms.

    Integrated autocorrelation of the terms less their average over the cell of ξ, which drive ξ away from its closure
    (Pavliotis and Stuart, Multiscale Methods, 2008, chapter 11). Zero where nothing hidden drives ξ; half the interval
    between frames at least where something does; half a trajectory where walkers keep their own values throughout.
    """
    require_walkers(trajectories)
    frames, walkers, d = trajectories.z.shape
    z = trajectories.z.reshape(-1, d)
    cell = grid.cell(z) + 1
    longest = 0.0
    for term in np.moveaxis(trajectories.terms, 2, 0):
        residual = _less_its_average(term.ravel(), z, cell).reshape(frames, walkers)
        if np.var(residual) > NOTHING_HIDDEN * np.mean(term**2):
            longest = max(longest, 0.5 * trajectories.interval * statistical_inefficiency(residual))
    return longest


def _less_its_average(
    term: Float[np.ndarray, "n"], z: Float[np.ndarray, "n d"], cell: Int[np.ndarray, "n"]
) -> Float[np.ndarray, "n"]:
    """A term less its average over the cell of ξ and its slope within the cell, along one axis after the other."""
    count = np.maximum(np.bincount(cell), 1)

    def centred(values):
        return values - (np.bincount(cell, values) / count)[cell]

    residual = centred(term)
    for component in z.T:
        offset = centred(component)
        spread = np.maximum(np.bincount(cell, offset**2), 1e-300)
        residual = residual - (np.bincount(cell, offset * residual) / spread)[cell] * offset
    return residual
