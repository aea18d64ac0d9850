r"""Position-dependent diffusion of coarse variables from their autocorrelation in umbrella windows.

In a window where z is Gaussian, of covariance C(0), $D = C(0)\,(\int_0^\infty C(t)\,dt)^{-1}\,C(0)$; for one variable
$D = \mathrm{var}(z)/\tau$ (G. Hummer, New J. Phys. 7, 34, 2005). What it is, and for which dynamics:

- *Overdamped*, D dependent on z: $C(0)(\int C)^{-1}C(0) = \langle D^{-1}\rangle^{-1}$ exactly in one dimension, the
  harmonic mean over the window: friction averages, not mobility.
- *Inertial*, $m\ddot z = -kz - m\gamma\dot z + R$: $\int_0^\infty C\,dt = (kT/k)\,m\gamma/k$, whatever the damping. In
  a stiff window C oscillates and its areas nearly cancel; what is left is the friction, and D = kT/(mγ).
- *With memory*, $m\ddot z = -kz - \int\zeta(s)\dot z(t-s)\,ds + R$: $D = kT/\int_0^\infty\zeta$, friction at zero
  frequency, that of all that is hidden and relaxes in the window. It governs z at times beyond that of the slowest
  hidden coordinate: so C must be followed as long, and `memory` says how much of the friction is that slow.

What is faster sees another diffusion: with $\hat C(s) = \int e^{-st}C\,dt$, $D(s) = C(0)\hat C(s)^{-1}C(0) - sC(0)$ is
the transform of the velocity correlation that z would have without window and F: $\langle\dot z^2\rangle/(s + \gamma)$
for an inertial particle, $kT/\hat\zeta(s)$ for an overdamped one with memory, whatever k is. Passages over a barrier
are decided by D(s) at the rate s at which it is left (`langevin_barrier`).

Three things spoil it. Frames too far apart: `aliasing` compares the integral with that of every other frame, which
is the spectrum of z at the highest frequency seen. Series too short: the integral still grows, or the means of walkers
differ by more than its value explains (`walker_spread`). An anharmonic window: flatten F, or take a stiffer one.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy import stats

from micromacro.closures.langevin_correlation import (
    FEWEST_GROUPS,
    Candidates,
    Correlation,
    candidates_of,
    correlation_of,
    decorrelation_time,
    first_on_average,
    jackknife,
    relaxation_times,
)
from micromacro.coordinates.coarse import CoarseVariable
from micromacro.errors import InputError

MOST_STRIDE = 64
FEWEST_FRAMES = 64
"""Of each part of a series, for its lags to be worth an integral."""
LARGEST_ALIASING = 0.1
"""Change of the integral if every other frame were left out: what the frames miss themselves is a third or less."""
UNNOTICED = 0.03
"""Change of the integral at a longer interval between frames that does not matter."""
SLOWEST_RATE, FASTEST_RATE, RATES = 8.0, 0.5, 32
"""Times the longest lag, times the interval between frames, and how many in between."""
CHANCE = 0.01
"""Probability that the means of walkers seem too far apart in any window by chance."""


@dataclass(frozen=True)
class UmbrellaDiffusion:
    r"""D at the mean of each window, with what tells whether to believe it. Units of z and of time as given.

    **Arguments:**

    - `mean`: of z in each window, `(windows, d)`; `covariance`: `(windows, d, d)`.
    - `diffusion`, `diffusion_stderr`: `(windows, d, d)`; NaN where the integral is not positive.
    - `elements`, `elements_stderr`: `(windows, k)` of its Cholesky factor, row by row, those on the diagonal as
      logarithms: their errors are nearly normal.
    - `relaxation_time`: $\mathrm{tr}(C_0^{-1}\int C)/d$, `(windows,)`; for one variable τ.
    - `relaxation_time_stderr`: `(windows,)`.
    - `cutoff`: lag at which the integral ended, `(windows,)`.
    - `memory`: $1 - T/\tau$ with $T = 2\int\mathrm{tr}(C_tC_0^{-1})^2/d$, zero at least: T is τ where C decays by one
      exponential, less where slow hidden coordinates take part. Near 1 most of the friction is theirs.
    - `ringing_time`: $T - \tau$, zero at least: 1/γ of an inertial particle.
    - `rates`: s, `(m,)`; `diffusion_at`, `diffusion_at_stderr`: D(s), `(windows, m, d, d)`.
    - `aliasing`: relative change of the integral without every other frame.
    - `longest_interval`: between frames that would have done, `(windows,)`.
    - `walker_spread`: variance of the means of walkers over that which the integral explains, `(windows,)`.
    - `converged`: `(windows,)`; `reasons`: why not, empty where it is.
    """

    mean: Float[np.ndarray, "windows d"]
    covariance: Float[np.ndarray, "windows d d"]
    diffusion: Float[np.ndarray, "windows d d"]
    diffusion_stderr: Float[np.ndarray, "windows d d"]
    elements: Float[np.ndarray, "windows k"]
    elements_stderr: Float[np.ndarray, "windows k"]
    relaxation_time: Float[np.ndarray, "windows"]
    relaxation_time_stderr: Float[np.ndarray, "windows"]
    cutoff: Float[np.ndarray, "windows"]
    memory: Float[np.ndarray, "windows"]
    ringing_time: Float[np.ndarray, "windows"]
    rates: Float[np.ndarray, "m"]
    diffusion_at: Float[np.ndarray, "windows m d d"]
    diffusion_at_stderr: Float[np.ndarray, "windows m d d"]
    aliasing: Float[np.ndarray, "windows"]
    longest_interval: Float[np.ndarray, "windows"]
    walker_spread: Float[np.ndarray, "windows"]
    reasons: tuple[str, ...]

    @property
    def converged(self) -> Bool[np.ndarray, "windows"]:
        """Whether D of each window may be believed."""
        return np.array([reason == "" for reason in self.reasons])

    @property
    def relative_stderr(self) -> Float[np.ndarray, "windows"]:
        """The standard error of the logarithm of the geometric mean of the eigenvalues of D."""
        d = self.mean.shape[1]
        diagonal = np.tril_indices(d)[0] == np.tril_indices(d)[1]
        return 2 * np.sqrt(np.sum(self.elements_stderr[:, diagonal] ** 2, axis=1)) / d


def umbrella_diffusion(
    series: Float[np.ndarray, "frames windows walkers d"],
    centers: Float[np.ndarray, "windows d"],
    coarse: CoarseVariable,
    dt: float,
) -> UmbrellaDiffusion:
    """D at the mean of every window from continuous series of z, by the physical dynamics under the windows.

    **Arguments:**

    - `series`: one continuous, equilibrated series a walker: neither jumps nor exchanges of windows in between.
    - `centers`: of the windows; periodic components are followed about them.
    - `dt`: time between frames.

    **Raises:** `InputError` for a time that is not positive, series too short, or values that are not finite.
    """
    _require(series, dt)
    delta = np.asarray(coarse.difference(series, centers[None, :, None]))
    windows = np.moveaxis(delta, 1, 0)
    candidates = [candidates_of(correlation_of(window, dt)) for window in windows]
    common = first_on_average(candidates)
    rates = _rates(len(series), series.shape[2], dt)
    found = [_of_window(window, dt, one, common, rates) for window, one in zip(windows, candidates, strict=True)]
    mean = np.asarray(coarse.wrap(centers + delta.mean(axis=(0, 2))))
    fields = {name: np.stack([np.asarray(one[name]) for one in found]) for name in found[0] if name != "reason"}
    largest = _largest_spread(len(centers), (series.shape[2] - 1) * series.shape[3])
    return UmbrellaDiffusion(mean=mean, rates=rates, reasons=tuple(_reason(one, largest) for one in found), **fields)


def _largest_spread(windows: int, degrees: int) -> float:
    """Of the means of walkers in any of the windows by chance: the quantile of χ² over its degrees of freedom."""
    return float(stats.chi2.isf(CHANCE / windows, degrees) / degrees) if degrees else np.inf


def _require(series: np.ndarray, dt: float) -> None:
    frames, _, walkers, _ = series.shape
    parts = -(-FEWEST_GROUPS // walkers)
    if not dt > 0:
        raise InputError("dt", "be positive", dt)
    if frames < FEWEST_FRAMES * parts:
        raise InputError("series", f"be at least {FEWEST_FRAMES * parts} frames of {walkers} walkers", frames)
    if not np.isfinite(series).all():
        raise InputError("series", "be finite", f"{np.count_nonzero(~np.isfinite(series))} values that are not")


def _of_window(
    delta: Float[np.ndarray, "frames walkers d"], dt: float, candidates: Candidates, common: int, rates: np.ndarray
) -> dict:
    """All fields of one window; the integral ends at candidate number `common`, or later where it must."""
    correlation = correlation_of(delta, dt)
    decorrelation = decorrelation_time(correlation)
    last = len(candidates.cutoffs) - 1
    chosen = min(max(candidates.first_alone(), common), last)
    cutoff = int(candidates.cutoffs[chosen])
    settled = 2 * cutoff <= candidates.cutoffs[-1]
    integral = correlation.integral(cutoff)
    matrix, matrix_stderr, elements, elements_stderr = _diffusion(correlation, integral)
    time, time_stderr = jackknife(relaxation_times(correlation, cutoff))
    changes = _changes(correlation, cutoff)
    at, at_stderr = _diffusion_at(correlation, rates)
    return {
        "covariance": correlation.variance[0],
        "diffusion": matrix,
        "diffusion_stderr": matrix_stderr,
        "elements": elements,
        "elements_stderr": elements_stderr,
        "relaxation_time": time,
        "relaxation_time_stderr": time_stderr,
        "cutoff": cutoff * dt,
        "memory": max(1 - decorrelation / time, 0.0) if time > 0 else np.nan,
        "ringing_time": max(decorrelation - time, 0.0),
        "diffusion_at": at,
        "diffusion_at_stderr": at_stderr,
        "aliasing": changes[1],
        "longest_interval": dt * (1 + int(np.argmax(np.append(changes, np.inf) > UNNOTICED) - 1)),
        "walker_spread": _walker_spread(delta, integral[0], dt),
        "reason": ""
        if settled
        else "the integral of the autocorrelation still changes at the longest lags: run longer",
    }


def _diffusion(correlation: Correlation, integral: Float[np.ndarray, "versions d d"]):
    """D and its standard error `(d, d)`, the elements of its factor and theirs `(k,)`; NaN where it is not positive."""
    variance, d = correlation.variance, integral.shape[1]
    rows, columns = np.tril_indices(d)
    nothing = np.full((d, d), np.nan), np.full((d, d), np.nan), np.full(len(rows), np.nan), np.full(len(rows), np.nan)
    if np.any(np.linalg.eigvalsh((integral + np.swapaxes(integral, 1, 2)) / 2) <= 0):
        return nothing
    matrices = variance @ np.linalg.solve(integral, variance)
    factors = np.linalg.cholesky((matrices + np.swapaxes(matrices, 1, 2)) / 2)[:, rows, columns]
    elements, elements_stderr = jackknife(np.where(rows == columns, np.log(np.abs(factors)), factors))
    factor = np.zeros((d, d))
    factor[rows, columns] = np.where(rows == columns, np.exp(elements), elements)
    return factor @ factor.T, jackknife(matrices)[1], elements, elements_stderr


def _changes(correlation: Correlation, cutoff: int) -> Float[np.ndarray, "strides"]:
    """The relative change of the integral with every frame, every other, every third, ..."""
    times = [relaxation_times(correlation.of_all, cutoff, stride)[0] for stride in range(1, MOST_STRIDE + 1)]
    return np.abs(np.array(times) / times[0] - 1)


def _rates(frames: int, walkers: int, dt: float) -> Float[np.ndarray, "m"]:
    """From one that the longest lag resolves to one that the interval does."""
    longest = frames // -(-FEWEST_GROUPS // walkers) // 2 * dt
    return np.geomspace(SLOWEST_RATE / longest, FASTEST_RATE / dt, RATES)


def _diffusion_at(correlation: Correlation, rates: Float[np.ndarray, "m"]) -> tuple[np.ndarray, np.ndarray]:
    """D(s) and its standard error, `(m, d, d)`."""
    variance, found = correlation.variance, []
    for rate in rates.tolist():
        versions = variance @ np.linalg.solve(correlation.laplace(rate), variance) - rate * variance
        found.append(jackknife(versions))
    values, errors = zip(*found, strict=True)
    return np.stack(values), np.stack(errors)


def _walker_spread(
    delta: Float[np.ndarray, "frames walkers d"], integral: Float[np.ndarray, "d d"], dt: float
) -> float:
    r"""Variance of the means of walkers over $2\int C/T$, averaged over the components of z in its own metric."""
    frames, walkers, d = delta.shape
    means = delta.mean(axis=0) - delta.mean(axis=(0, 1))
    if walkers < 2:
        return float("nan")
    expected = 2 * (integral + integral.T) / 2 / (frames * dt)
    return float(np.trace(np.linalg.solve(expected, means.T @ means)) / (d * (walkers - 1)))


def _reason(found: dict, largest: float) -> str:
    """Why D of a window may not be believed."""
    if not np.isfinite(found["diffusion"]).all():
        return "the integral of the autocorrelation is not positive: run longer"
    if found["aliasing"] > LARGEST_ALIASING:
        return f"without every other frame the integral changes by {found['aliasing']:.0%}: save frames more often"
    if found["reason"]:
        return found["reason"]
    if found["walker_spread"] > largest * (1 + 2 * found["relaxation_time_stderr"] / found["relaxation_time"]):
        return (
            f"the means of walkers vary {found['walker_spread']:.2g} times as much as the autocorrelation explains: "
            "a hidden coordinate is slower than these series"
        )
    return ""
