r"""Estimates with jackknife replicates: functions of them keep their correlated errors.

With G groups of replicas left out in turn, an estimate θ and its replicates θ_g have the covariance
$\frac{G-1}{G} \sum_g (θ_g - \barθ)(θ_g - \barθ)^T$ with G - 1 degrees of freedom. Source: Shao and Tu, "The jackknife
and bootstrap", Springer 1995, section 2.3.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy import stats

from micromacro.errors import InputError


@dataclass(frozen=True)
class Estimate:
    """A vector with its jackknife replicates.

    **Arguments:**

    - `value`: `(m,)`.
    - `replicates`: `(groups, m)`, the same without one group of replicas each; all equal where there is no noise.
    """

    value: Float[np.ndarray, "m"]
    replicates: Float[np.ndarray, "groups m"]

    @property
    def covariance(self) -> Float[np.ndarray, "m m"]:
        """Covariance of `value`, by the jackknife."""
        groups = len(self.replicates)
        deviation = self.replicates - self.replicates.mean(axis=0)
        return (groups - 1) / groups * deviation.T @ deviation

    @property
    def stderr(self) -> Float[np.ndarray, "m"]:
        """Standard error of each component."""
        return np.sqrt(np.diagonal(self.covariance))

    def __str__(self) -> str:
        """Each component with its standard error."""
        return ", ".join(f"{one:.4g} ± {error:.2g}" for one, error in zip(self.value, self.stderr, strict=True))

    def map(self, function: Callable[[Float[np.ndarray, "m"]], Float[np.ndarray, "k"]]) -> "Estimate":
        """A function of the estimate, `(m,)` to `(k,)`, with the errors that follow."""
        return Estimate(function(self.value), np.stack([function(one) for one in self.replicates]))

    def plus(self, other: "Estimate") -> "Estimate":
        """The sum with an estimate from the same groups of replicas."""
        return Estimate(self.value + other.value, self.replicates + other.replicates)


@dataclass(frozen=True)
class Significance:
    """Whether an estimate is zero as far as it can be known.

    **Arguments:**

    - `statistic`: Hotelling's T², the squared distance from zero in standard errors.
    - `threshold`: what it stays below with the probability that was asked, if the truth is zero.
    - `exact`: whether the components without noise are zero to within the tolerance.
    - `noisy`: whether any component has noise above the tolerance.
    """

    statistic: float
    threshold: float
    exact: bool
    noisy: bool

    @property
    def zero(self) -> bool:
        """Whether nothing speaks against zero."""
        return self.exact and self.statistic <= self.threshold


def significance(estimate: Estimate, *, level: float, tolerance: float) -> Significance:
    r"""Test an estimate against zero, $T^2 = r^T C^{-1} r$ against Hotelling's law with G - 1 degrees of freedom.

    It is the χ² test for a covariance that is itself estimated. Principal components whose standard error is below
    `tolerance` count as free of noise: they must be zero to within it.

    **Raises:** `InputError` where the groups are too few for the number of components.
    """
    variance, axes = np.linalg.eigh(estimate.covariance)
    component = axes.T @ estimate.value
    noisy = variance > tolerance**2
    exact = bool(np.all(np.abs(component[~noisy]) <= tolerance))
    count, groups = int(noisy.sum()), len(estimate.replicates)
    if count == 0:
        return Significance(0.0, 0.0, exact, noisy=False)
    if 2 * count > groups:
        raise InputError("groups", f"be at least {2 * count} for {count} coarse components", groups)
    threshold = count * (groups - 1) / (groups - count) * stats.f.ppf(level, count, groups - count)
    return Significance(float(np.sum(component[noisy] ** 2 / variance[noisy])), float(threshold), exact, noisy=True)
