r"""Whether a reduced equation predicts pairs it has not seen: residuals of its transition density.

The residual r of a pair is what the scheme would have needed of a standard normal vector. With b and D right, and a
Markov z, $E[r \mid z] = 0$ and $E[r r^T \mid z] = 1$: a wrong b shows in the first, a wrong D in the second, both near
the z where they are wrong. The probability integral transform Φ(r), or $χ^2_d(|r|^2)$ in d > 1 dimensions, is uniform
where the whole density is right too. Source: P. Pedersen, Bernoulli 1, 257 (1995); M. Rosenblatt, Ann. Math. Stat. 23,
470 (1952). The same check with pairs of a longer lag than that of the fit asks whether z is Markov at all (Chapman and
Kolmogorov): within the fast time it is not.
"""

from collections.abc import Callable
from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from scipy import stats

from micromacro.closures.linear_flow import lower_factor
from micromacro.closures.snapshots import SnapshotPairs
from micromacro.closures.transition import Coefficients, Scheme

GROUPS = 6
"""Stretches of equally many pairs along each axis."""
TOLERANCE, LOCAL_TOLERANCE = 0.02, 0.05
"""What moments may be off over all pairs and in a group, in units of the noise: beside their statistical error."""
DISTANCE_TOLERANCE = 0.03
SIGNIFICANCE = 0.01
CHUNK = 4096


@dataclass(frozen=True)
class ResidualCheck:
    """Moments of the residuals, over all pairs and in groups along each axis, less what they should be.

    **Arguments:**

    - `mean`, `mean_stderr`: of r, `(1 + groups, d)`, zero expected; the first row is of all pairs.
    - `second_moment`, `second_moment_stderr`: of $r r^T$, `(1 + groups, d, d)`, the unit matrix expected.
    - `distance`: the greatest difference between the distribution of the transform and the uniform one.
    - `distance_threshold`: what it may be.
    - `worst`: the largest deviation of a moment over what is allowed; at most 1 passes.
    """

    mean: Float[np.ndarray, "rows d"]
    mean_stderr: Float[np.ndarray, "rows d"]
    second_moment: Float[np.ndarray, "rows d d"]
    second_moment_stderr: Float[np.ndarray, "rows d d"]
    distance: float
    distance_threshold: float
    worst: float

    @property
    def passed(self) -> bool:
        """Whether neither the moments nor the distribution convict the equation."""
        return bool(self.worst <= 1 and self.distance <= self.distance_threshold)

    @property
    def reason(self) -> str:
        """One phrase for the report."""
        trace = np.trace(self.second_moment[0]) / self.mean.shape[1]
        return (
            f"squared residuals {trace:.3f} of what D says; worst moment {self.worst:.2f} of what is allowed;"
            f" distance from the distribution {self.distance:.3f}, allowed {self.distance_threshold:.3f}"
        )


def residual_check(
    scheme: Scheme,
    drift: Callable[[Float[Array, "d"]], Float[Array, "d"]],
    diffusion: Callable[[Float[Array, "d"]], Float[Array, "d d"]],
    pairs: SnapshotPairs,
) -> ResidualCheck:
    """The check of b and D by pairs that they were not fitted to.

    **Arguments:**

    - `drift`, `diffusion`: z `(d,)` to b `(d,)` and D `(d, d)`, written with `jax.numpy`.
    - `pairs`: of any lag that the scheme can bridge.
    """
    return check_coefficients(scheme, lambda z: (drift(z), lower_factor(diffusion(z))), pairs)


def check_coefficients(scheme: Scheme, coefficients: Coefficients, pairs: SnapshotPairs) -> ResidualCheck:
    """The check of `residual_check`, of coefficients as the schemes take them; modules are compiled once."""
    residuals = per_pair(scheme.residual, coefficients, pairs)
    d = residuals.shape[1]
    products = residuals[:, :, None] * residuals[:, None, :] - np.eye(d)
    values = np.concatenate([residuals, products.reshape(-1, d * d)], axis=1)
    members = [np.ones(len(values), bool), *_groups(pairs)]
    moments, stderr = (
        np.array(part) for part in zip(*(_clustered(values, pairs, one) for one in members), strict=True)
    )
    tests = len(members) * (d + d * (d + 1) // 2)
    tolerance = np.where(np.arange(len(members)) == 0, TOLERANCE, LOCAL_TOLERANCE)[:, None]
    allowed = tolerance + stats.norm.isf(SIGNIFICANCE / (2 * tests)) * stderr
    distance, threshold = _uniformity(residuals, pairs)
    return ResidualCheck(
        moments[:, :d],
        stderr[:, :d],
        moments[:, d:].reshape(-1, d, d) + np.eye(d),
        stderr[:, d:].reshape(-1, d, d),
        distance,
        threshold,
        # a NaN convicts
        float(np.max(np.nan_to_num(np.abs(moments) / allowed, nan=np.inf))),
    )


def per_pair(function: Callable[..., Array], coefficients: Coefficients, pairs: SnapshotPairs) -> np.ndarray:
    """`function(coefficients, start, displacement, lag)` of every pair, `(n, ...)`."""
    parts = jnp.asarray(pairs.start), jnp.asarray(pairs.displacement), jnp.asarray(pairs.lag, float)
    return np.asarray(_per_pair(function, coefficients, *parts))


@eqx.filter_jit
def _per_pair(
    function: Callable[..., Array], coefficients: Coefficients, start: Array, displacement: Array, lag: Array
):
    def one(pair):
        return function(coefficients, *pair, lag)

    return jax.lax.map(one, (start, displacement), batch_size=CHUNK)


def _groups(pairs: SnapshotPairs) -> list[np.ndarray]:
    """Booleans `(n,)` of each group of pairs, by the rank of their start along each axis."""
    rank = np.argsort(np.argsort(pairs.start, axis=0, kind="stable"), axis=0)
    group = rank * GROUPS // len(rank)
    return [column == number for column in group.T for number in range(GROUPS)]


def clustered_mean(
    values: Float[np.ndarray, "n m"], weight: Float[np.ndarray, "n"], cluster: Int[np.ndarray, "n"]
) -> tuple[Float[np.ndarray, "m"], Float[np.ndarray, "m"]]:
    """The weighted mean `(m,)` and its standard error from the sums of independent clusters."""
    share = weight / weight.sum()
    mean = share @ values
    number = np.unique(cluster, return_inverse=True)[1]
    influence = share[:, None] * (values - mean)
    sums = np.stack([np.bincount(number, column) for column in influence.T], axis=1)
    return mean, np.sqrt(np.sum(sums**2, axis=0) * len(sums) / max(len(sums) - 1, 1))


def _clustered(values, pairs: SnapshotPairs, rows):
    return clustered_mean(values[rows], pairs.weight[rows], pairs.cluster[rows])


def _uniformity(residuals: Float[np.ndarray, "n d"], pairs: SnapshotPairs) -> tuple[float, float]:
    """Kolmogorov's distance of the transform from uniform, and its threshold by the effective number of pairs."""
    d = residuals.shape[1]
    transform = stats.norm.cdf(residuals[:, 0]) if d == 1 else stats.chi2.cdf(np.sum(residuals**2, axis=1), d)
    order = np.argsort(transform)
    share = pairs.weight[order] / pairs.weight.sum()
    after = np.cumsum(share)
    distance = np.max(np.maximum(np.abs(after - transform[order]), np.abs(after - share - transform[order])))
    _, stderr = clustered_mean((transform < np.median(transform))[:, None].astype(float), pairs.weight, pairs.cluster)
    effective = 0.25 / max(float(stderr[0]) ** 2, 0.25 / len(transform))
    return float(distance), DISTANCE_TOLERANCE + float(stats.kstwobign.isf(SIGNIFICANCE)) / np.sqrt(effective)
