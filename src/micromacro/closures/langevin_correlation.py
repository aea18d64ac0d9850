r"""Autocorrelation of coarse variables in one umbrella window, its integral, and where the integral may stop.

The integral $A(t) = \int_0^t C(s)\,ds$ oscillates where the window is stiff and friction weak: its value at one t says
nothing. It is averaged over the second half of $[0, t_c]$, which is the integral under a flat-topped lag window
(Politis and Romano, J. Time Ser. Anal. 16, 67, 1995): oscillations cancel, and what has decayed by half of $t_c$ enters
whole. The cutoff is the first that no longer one contradicts (O. Lepski, Theory Probab. Appl. 35, 454, 1991): each
is compared with all longer ones, by the standard error of the difference; in every window for itself, and on average
over the windows, lest what is below the noise of each be a bias of all.

Standard errors are by the jackknife over groups, independent walkers, or parts of their series where those are few.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

FEWEST_GROUPS = 16
"""The series of fewer walkers are cut into parts."""
SHORTEST_CUTOFF, LARGEST_CUTOFF, GROWTH = 8.0, 1e5, 1.25
"""First and last candidate in decorrelation times, and each over the one before."""
FEWEST_LAGS = 8
AGREE, AGREE_ON_AVERAGE = 3.0, 2.0
"""Standard errors of the difference within which the integrals at two cutoffs agree."""
NEGLIGIBLE = 0.01
"""Relative change of the integral, on average over the windows, that does not matter."""


@dataclass(frozen=True)
class Correlation:
    """The autocorrelation in one window, with all groups and with each left out.

    **Arguments:**

    - `values`: C at lag 0, dt, ... `(versions, lags, d, d)`; the first version is that of all groups.
    - `dt`: the interval between lags.
    - `whitening`: W `(d, d)` such that W C(0) Wᵀ is the unit matrix.
    """

    values: Float[np.ndarray, "versions lags d d"]
    dt: float
    whitening: Float[np.ndarray, "d d"]

    @property
    def of_all(self) -> "Correlation":
        """That of all groups alone."""
        return Correlation(self.values[:1], self.dt, self.whitening)

    @property
    def variance(self) -> Float[np.ndarray, "versions d d"]:
        """C at lag zero."""
        return self.values[:, 0]

    @property
    def normalised(self) -> Float[np.ndarray, "versions lags d d"]:
        """In whitened coordinates, those of all groups."""
        return self.whitening @ self.values @ self.whitening.T

    def integral(self, cutoff: int, stride: int = 1) -> Float[np.ndarray, "versions d d"]:
        """The integral of C by trapezoids, averaged over cutoffs between half of `cutoff` lags and all of it.

        With `stride` as it would be, had only so many-th frames been saved.
        """
        lags = np.arange(0, cutoff + 1, stride)
        weight = np.clip(2 - 2 * lags / cutoff, 0, 1) * stride * self.dt
        weight[0] /= 2
        return np.einsum("l,vlab->vab", weight, self.values[:, lags])

    def laplace(self, rate: float) -> Float[np.ndarray, "versions d d"]:
        r"""$\int e^{-st} C\,dt$ over all lags, s = `rate`: trapezoids, and what they miss next to lag zero."""
        weight = self.dt * np.exp(-rate * self.dt * np.arange(self.values.shape[1]))
        weight[0] = self.dt / 2 - rate * self.dt**2 / 12
        return np.einsum("l,vlab->vab", weight, self.values)


def correlation_of(delta: Float[np.ndarray, "frames walkers d"], dt: float) -> Correlation:
    """The autocorrelation about the mean of all walkers, up to half the length of a series.

    Walkers share one mean: those that keep to different places by a hidden coordinate are correlated for ever.
    """
    groups = _groups(delta)
    groups = groups - groups.mean(axis=(0, 1))
    values = _pair_averages(groups)
    count = values.shape[1]
    shift = groups.mean(axis=0) / (count - 1)
    total = values.mean(axis=1)
    without = (total[:, None] * count - values) / (count - 1) - shift[:, :, None] * shift[:, None, :]
    versions = np.concatenate([total[None], np.swapaxes(without, 0, 1)])
    return Correlation(versions, dt, np.linalg.inv(np.linalg.cholesky(total[0])))


def _groups(delta: Float[np.ndarray, "frames walkers d"]) -> Float[np.ndarray, "part groups d"]:
    frames, walkers, d = delta.shape
    parts = -(-FEWEST_GROUPS // walkers)
    length = frames // parts
    cut = delta[: parts * length].reshape(parts, length, walkers, d)
    return np.moveaxis(cut, 1, 0).reshape(length, parts * walkers, d)


def _pair_averages(groups: Float[np.ndarray, "part groups d"]) -> Float[np.ndarray, "lags groups d d"]:
    """The mean over pairs of frames of each lag, symmetric: reversed in time positions are correlated alike."""
    length, _, d = groups.shape
    lags = max(length // 2, 1)
    spectrum = np.fft.rfft(groups, 2 * length, axis=0)
    product = np.real(np.conj(spectrum)[..., :, None] * spectrum[..., None, :])
    sums = np.fft.irfft(product.reshape(*product.shape[:2], d * d), 2 * length, axis=0)[:lags]
    return (sums / (length - np.arange(lags))[:, None, None]).reshape(lags, -1, d, d)


def jackknife(
    versions: Float[np.ndarray, "versions ..."],
) -> tuple[Float[np.ndarray, "..."], Float[np.ndarray, "..."]]:
    """The value less its bias and its standard error, of a statistic of all groups and of all but one."""
    groups = len(versions) - 1
    mean = versions[1:].mean(axis=0)
    stderr = np.sqrt((groups - 1) / groups * np.sum((versions[1:] - mean) ** 2, axis=0))
    return np.asarray(groups * versions[0] - (groups - 1) * mean), np.asarray(stderr)


def decorrelation_time(correlation: Correlation) -> float:
    r"""$2\int\mathrm{tr}(C_t C_0^{-1} C_t C_0^{-1})\,dt/d$: the squares add up where an oscillation of C cancels.

    The mean square of the noise is taken off lag by lag.
    """
    normalised = correlation.normalised
    noise = jackknife(normalised)[1] ** 2
    squares = np.sum(normalised[0] ** 2 - noise, axis=(1, 2)) / normalised.shape[2]
    squares[0] /= 2
    return float(max(2 * correlation.dt * squares.sum(), correlation.dt))


@dataclass(frozen=True)
class Candidates:
    """Relaxation times by the cutoff of the integral; the first are `SHORTEST_CUTOFF` decorrelation times.

    **Arguments:**

    - `cutoffs`: in lags, increasing `(m,)`.
    - `change`, `stderr`: from each cutoff to each other relative to the former, `(m, m)`.
    """

    cutoffs: Int[np.ndarray, "m"]
    change: Float[np.ndarray, "m m"]
    stderr: Float[np.ndarray, "m m"]

    def first_alone(self) -> int:
        """The number of the first that agrees with all longer ones."""
        agrees = np.abs(self.change) <= AGREE * self.stderr
        return int(np.argmax([row[number:].all() for number, row in enumerate(agrees)]))


def candidates_of(correlation: Correlation) -> Candidates:
    """The candidates that are shorter than the series of lags, and the longest."""
    last = correlation.values.shape[1] - 1
    begin = max(SHORTEST_CUTOFF * decorrelation_time(correlation) / correlation.dt, FEWEST_LAGS)
    steps = np.arange(np.log(LARGEST_CUTOFF) / np.log(GROWTH))
    cutoffs = np.round(begin * GROWTH**steps).astype(int)
    cutoffs = np.append(cutoffs[cutoffs < last], last)
    times = np.stack([relaxation_times(correlation, cutoff) for cutoff in cutoffs.tolist()], axis=1)
    change, stderr = jackknife(times[:, None, :] - times[:, :, None])
    scale = np.maximum(np.abs(times[0]), 1e-300)[:, None]
    return Candidates(cutoffs, change / scale, stderr / scale)


def first_on_average(windows: Sequence[Candidates]) -> int:
    """The number of the first candidate that agrees with longer ones on average over the windows that have both.

    As far as half of the windows have them; beyond all of them where none does.
    """
    count = int(np.median([len(one.cutoffs) for one in windows]))
    for number in range(count - 1):
        pairs = [(one.change[number], one.stderr[number]) for one in windows if len(one.cutoffs) > number]
        agrees = []
        for other in range(number + 1, count):
            both = np.array([(change[other], stderr[other]) for change, stderr in pairs if len(change) > other])
            error = float(np.sqrt(np.sum(both[:, 1] ** 2))) / len(both)
            agrees.append(abs(both[:, 0].mean()) <= AGREE_ON_AVERAGE * error + NEGLIGIBLE)
        if all(agrees):
            return number
    return max(len(one.cutoffs) for one in windows)


def relaxation_times(correlation: Correlation, cutoff: int, stride: int = 1) -> Float[np.ndarray, "versions"]:
    r"""$\mathrm{tr}(C_0^{-1} A)/d$ of every version."""
    integral = correlation.integral(cutoff, stride)
    return np.trace(np.linalg.solve(correlation.variance, integral), axis1=1, axis2=2) / integral.shape[1]
