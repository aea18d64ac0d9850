r"""The scale of a learned coordinate: by the length of an arc in the metric of the noise.

Diffusion coordinates saturate in wells and rise steeply between them, and their scale is that of an eigenvector. Each
component ψ is replaced by z = g(ψ) with $g' = E[|\nabla \psi|^2 | \psi]^{-1/2}$, so that $E[|\nabla z|^2 | z] = 1$: the
effective diffusion along z is even, windows of one stiffness fit everywhere, and coordinates of different rounds
compare. Here $|\nabla \psi|^2 = \nabla \psi^T C \nabla \psi$ with the covariance C of the noise.
"""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.interpolate import PchipInterpolator

from micromacro.errors import InputError

BINS = 100
FEWEST_IN_A_BIN = 20
FLOOR = 1e-4
CORRECTIONS = 3
CHUNK = 512
END_GROUPS, LEAST_STEEP = 50, 0.25


class ArcLength(eqx.Module):
    """A strictly monotone function for each component, twice continuously differentiable, linear beyond the data.

    **Arguments:**

    - `knots`: between pieces, `(d, K)`, ascending.
    - `pieces`: coefficients of the quartic on each, highest power first, `(d, 5, K - 1)`.
    """

    knots: Float[Array, "d K"]
    pieces: Float[Array, "d 5 pieces"]

    def __call__(self, value: Float[Array, "d"]) -> Float[Array, "d"]:
        """The z of one ψ."""
        return jax.vmap(_evaluate)(self.knots, self.pieces, value)


class Scaled(eqx.Module):
    """A coordinate and then the scale of its components: `(F,)` to `(d,)`."""

    coordinate: eqx.Module
    scale: ArcLength

    def __call__(self, features: Float[Array, "F"]) -> Float[Array, "d"]:
        """The z of one point."""
        return self.scale(self.coordinate(features))  # pyright: ignore[reportCallIssue]


def fit_arc_length(
    values: Float[np.ndarray, "n d"],
    gradient_squares: Float[np.ndarray, "n d"],
    weight: Float[np.ndarray, "n"],
    *,
    floor: float = FLOOR,
) -> ArcLength:
    r"""The scale of a coordinate by the arc length, from its values and squared gradients at weighted points.

    $E[|\nabla \psi|^2 | \psi]$ is averaged over bins of equally many points, whatever their weights, since biased data
    are where the bias was; z is zero at the median of ψ in the weighted measure.

    **Arguments:**

    - `floor`: smallest squared gradient over the largest that is believed: flatter stretches are not pulled out more.

    **Raises:** `InputError` for a component that does not vary, or whose gradient is zero everywhere.
    """
    columns = zip(values.T, gradient_squares.T, strict=True)
    fitted = [_component(value, square, weight, floor) for value, square in columns]
    size = max(len(knots) for knots, _ in fitted)
    padded = [_padded(knots, pieces, size) for knots, pieces in fitted]
    return ArcLength(jnp.stack([knots for knots, _ in padded]), jnp.stack([pieces for _, pieces in padded]))


def gradient_squares(
    coordinate: Callable[[Float[Array, "F"]], Float[Array, "d"]],
    points: Float[np.ndarray, "n F"],
    noise: Float[np.ndarray, "*n F F"],
) -> tuple[Float[np.ndarray, "n d"], Float[np.ndarray, "n d"]]:
    r"""Values and $\nabla \psi^T C \nabla \psi$ of each component at every point.

    **Arguments:**

    - `noise`: C, one for all `(F, F)` or one for each point `(n, F, F)`.
    """

    @jax.jit
    def chunk(x, covariance):
        slope = jax.vmap(jax.jacrev(coordinate))(x)
        return jax.vmap(coordinate)(x), jnp.einsum("nkf,nfg,nkg->nk", slope, covariance, slope)

    found = []
    for start in range(0, len(points), CHUNK):
        rows = np.minimum(np.arange(start, start + CHUNK), len(points) - 1)
        own = noise[rows] if noise.ndim == 3 else np.broadcast_to(noise, (len(rows), *noise.shape))
        kept = len(points) - start
        found.append([np.asarray(part)[:kept] for part in chunk(jnp.asarray(points[rows]), jnp.asarray(own))])
    values, squares = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return values, squares


def spread_of_features(features: Float[np.ndarray, "n F"], weight: Float[np.ndarray, "n"]) -> Float[np.ndarray, "F F"]:
    """The diagonal of the features' variances: in place of the noise where it is not known."""
    mean = np.average(features, axis=0, weights=weight)
    return np.diag(np.average((features - mean) ** 2, axis=0, weights=weight))


def data_range(
    values: Float[np.ndarray, "n d"],
    weight: Float[np.ndarray, "n"],
    squares: Float[np.ndarray, "n d"] | None = None,
    *,
    left_out: float = 0.005,
    margin: float = 0.0,
) -> tuple[Float[np.ndarray, "d"], Float[np.ndarray, "d"]]:
    """Lower and upper ends of a learned coordinate's range, where data are and the coordinate still rises.

    By default the ends lie inside the data: beyond the outermost points a coordinate by Nyström's formula is flat, and
    a window there would pull at nothing. So many points are left out at each end by number, not by weight, for biased
    data are there to be used; points without weight do not count. Where a coordinate is much flatter at its ends than
    elsewhere, states that are far apart have one value there; the ends are drawn in to where it is not.

    **Arguments:**

    - `squares`: of its gradient at the points, in the metric of the noise.
    - `left_out`: share of the points beyond each end.
    - `margin`: share of the range added at each end, for coordinates that go on beyond the data, as linear ones do.
    """
    kept = values[weight > 0]
    lower, upper = np.quantile(kept, [left_out, 1 - left_out], axis=0)
    if squares is not None:
        steep = [_steep_ends(*columns) for columns in zip(kept.T, squares[weight > 0].T, strict=True)]
        lower, upper = np.maximum(lower, [low for low, _ in steep]), np.minimum(upper, [high for _, high in steep])
    return lower - margin * (upper - lower), upper + margin * (upper - lower)


def _steep_ends(value: np.ndarray, square: np.ndarray) -> tuple[float, float]:
    """Where the outermost of fifty equal groups of points begin and end whose mean square gradient is not small."""
    groups = np.array_split(np.argsort(value), min(END_GROUPS, len(value)))
    mean = np.array([square[rows].mean() for rows in groups])
    steep = np.flatnonzero(mean >= LEAST_STEEP * np.median(mean))
    return float(value[groups[steep[0]][0]]), float(value[groups[steep[-1]][-1]])


def _evaluate(knots: Float[Array, "K"], pieces: Float[Array, "5 pieces"], value: Float[Array, ""]) -> Float[Array, ""]:
    inside = jnp.clip(value, knots[0], knots[-1])
    last = pieces.shape[1] - 1
    index = jnp.clip(jnp.searchsorted(knots, inside, side="right") - 1, 0, last)
    outside = value - inside
    slope = jnp.where(outside < 0, pieces[3, 0], _slope_at_end(knots, pieces))
    return jnp.polyval(pieces[:, index], inside - knots[index]) + slope * outside


def _slope_at_end(knots: Float[Array, "K"], pieces: Float[Array, "5 pieces"]) -> Float[Array, ""]:
    return jnp.polyval(jnp.polyder(pieces[:, -1]), knots[-1] - knots[-2])


def _component(value: np.ndarray, square: np.ndarray, weight: np.ndarray, floor: float) -> tuple:
    """Knots and pieces of the scale of one component."""
    order = np.argsort(value, kind="stable")
    order = order[weight[order] > 0]
    if len(order) < 2 or value[order[0]] == value[order[-1]]:
        raise InputError("the learned coordinate", "vary over the points", "a constant")
    count = int(np.clip(len(order) // FEWEST_IN_A_BIN, 1, BINS))
    bins = np.array_split(order, count)
    centre = np.array([np.average(value[rows], weights=weight[rows]) for rows in bins])
    mean = np.array([np.average(square[rows], weights=weight[rows]) for rows in bins])
    if not mean.max() > 0:
        raise InputError("the gradient of the learned coordinate", "be positive somewhere", mean.max())
    least = floor * mean.max()
    log_slope = _smooth(-0.5 * np.log(np.maximum(mean, least)))
    ends = float(value[order[0]]), float(value[order[-1]])
    for _ in range(CORRECTIONS):
        # where the gradient changes much within a bin, the mean over it is not that of what was interpolated
        after = _slope(centre, log_slope, ends)(value) ** 2 * np.maximum(square, least)
        left = np.array([np.average(after[rows], weights=weight[rows]) for rows in bins])
        log_slope = log_slope - _smooth(0.5 * np.log(left))
    length = _slope(centre, log_slope, ends).antiderivative()
    pieces = np.array(length.c)
    pieces[-1] -= length(_weighted_median(value[order], weight[order]))
    return np.asarray(length.x), pieces


def _slope(centre: np.ndarray, log_slope: np.ndarray, ends: tuple[float, float]) -> PchipInterpolator:
    """G' between the bins: flat on the first and last half of one, so that g goes on beyond the data without a kink."""
    knots = np.concatenate([ends[:1], centre, ends[1:]])
    height = np.exp(np.concatenate([log_slope[:1], log_slope, log_slope[-1:]]))
    apart = np.concatenate([[True], np.diff(knots) > 1e-12 * np.ptp(knots)])
    return PchipInterpolator(knots[apart], height[apart])


def _smooth(values: np.ndarray) -> np.ndarray:
    """Averaged with the neighbours twice; the ends keep a straight line straight."""
    if len(values) < 3:
        return values
    for _ in range(2):
        wide = np.concatenate([[2 * values[0] - values[1]], values, [2 * values[-1] - values[-2]]])
        values = 0.25 * wide[:-2] + 0.5 * wide[1:-1] + 0.25 * wide[2:]
    return values


def _weighted_median(ascending: np.ndarray, weight: np.ndarray) -> float:
    cumulative = np.cumsum(weight)
    return float(ascending[np.searchsorted(cumulative, 0.5 * cumulative[-1])])


def _padded(knots: np.ndarray, pieces: np.ndarray, size: int) -> tuple[Array, Array]:
    """The same function on more knots: those that are added lie beyond the data, where it is straight."""
    more = size - len(knots)
    if more:
        length = knots[-1] - knots[-2]
        slope = np.polyval(np.polyder(pieces[:, -1]), length)
        steps = np.ptp(knots) * np.arange(more + 1)
        straight = np.zeros((5, more))
        straight[3], straight[4] = slope, np.polyval(pieces[:, -1], length) + slope * steps[:-1]
        knots, pieces = np.concatenate([knots, knots[-1] + steps[1:]]), np.concatenate([pieces, straight], axis=1)
    return jnp.asarray(knots), jnp.asarray(pieces)
