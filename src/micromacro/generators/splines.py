r"""Monotone rational-quadratic splines with linear tails on the line, and without ends on the circle.

Between two knots $(x_k, y_k)$, $(x_{k+1}, y_{k+1})$ with slopes $d_k, d_{k+1}$, and with
$\xi = (x - x_k) / (x_{k+1} - x_k)$, $s = (y_{k+1} - y_k) / (x_{k+1} - x_k)$,
$$y = y_k + (y_{k+1} - y_k) \frac{s \xi^2 + d_k \xi (1 - \xi)}{s + (d_{k+1} + d_k - 2 s) \xi (1 - \xi)}.$$

Knots stand on the first axis of an array and points on those that follow: with a batch on the last one, sums over knots
are several times faster on the CPU. All axes but the first broadcast.

Sources: Durkan, Bekasov, Murray & Papamakarios, Neural spline flows, NeurIPS 2019, eqs. 4 to 8; Rezende, Papamakarios
et al., Normalizing flows on tori and spheres, ICML 2020, section 2.1.2, for circles.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

# shares of the whole width and height that no bin falls below, and the least slope at a knot: with these a density in
# single precision is still right to three digits
SMALLEST_BIN = 1e-4
SMALLEST_SLOPE = 1e-3
# what softplus turns into a slope of one
UNIT_SLOPE = float(np.log(np.expm1(1 - SMALLEST_SLOPE)))


class Spline(NamedTuple):
    """What decides a spline of K bins.

    `width`, `height`: logarithms of the bins' shares up to a constant, `(K, ...)`; `slope`: at the K + 1 knots, before
    softplus; `reach`: half the range of x and y.
    """

    width: Float[Array, "K *points"]
    height: Float[Array, "K *points"]
    slope: Float[Array, "knots *points"]
    reach: Float[Array, "*#points"]


class Mapped(NamedTuple):
    """The value of a monotone map, and the logarithm of its slope."""

    value: Float[Array, "*points"]
    log_slope: Float[Array, "*points"]


def raw_size(bins: int) -> int:
    """How many raw parameters `spline_of` takes: widths, heights and slopes."""
    return 3 * bins + 1


def spline_of(
    raw: Float[Array, "raw *points"], reach: Float[Array, "*#points"], circle: Bool[Array, "*#points"]
) -> Spline:
    """The spline of raw parameters: equal bins and slopes of one, the identity, where these are all zero.

    **Arguments:**

    - `raw`: `3 K + 1` numbers for K bins.
    - `reach`: the outermost knots are at -reach and reach, on both axes.
    - `circle`: whether the slopes at both ends are the same, so that the map is smooth on a circle.
    """
    bins = (len(raw) - 1) // 3
    width, height, slope = raw[:bins], raw[bins : 2 * bins], raw[2 * bins :]
    last = jnp.where(circle, slope[0], slope[-1])
    return Spline(width, height, jnp.concatenate([slope[:-1], last[None]]), reach)


class _Bins(NamedTuple):
    """Shares of all bins along one axis, before the least share is added, and what makes them sum to one."""

    share: Array
    scale: Array

    @classmethod
    def of(cls, raw: Float[Array, "K *points"]) -> "_Bins":
        share = jnp.exp(raw - jax.lax.stop_gradient(jnp.max(raw, axis=0)))
        return cls(share, (1 - SMALLEST_BIN * len(raw)) / jnp.sum(share, axis=0))

    def holding(self, unit: Float[Array, "*points"]) -> Int[Array, "*points"]:
        """The index of the bin that holds a point of the unit interval."""
        count = len(self.share)
        # sums as a product with a triangular matrix: many times faster than a cumulative sum on the CPU
        above = jnp.tensordot(np.tril(np.ones((count, count), np.float32))[:-1], self.share, 1)
        least = SMALLEST_BIN * np.arange(1, count, dtype=np.float32)
        edges = above * self.scale + least.reshape((-1,) + (1,) * unit.ndim)
        return jnp.sum(unit >= edges, axis=0)

    def bin(self, index: Int[Array, "*points"]) -> tuple[Array, Array]:
        """Where a bin begins, and how wide it is."""
        start = SMALLEST_BIN * index.astype(self.share.dtype) + self.scale * _sum(self.share, index, jnp.less)
        return start, SMALLEST_BIN + self.scale * _sum(self.share, index, jnp.equal)


def _sum(values: Float[Array, "K *points"], index: Int[Array, "*points"], relation) -> Float[Array, "*points"]:
    # a masked sum: its gradient is another one, where that of indexing would scatter
    places = jnp.arange(len(values)).reshape((-1,) + (1,) * index.ndim)
    return jnp.sum(jnp.where(relation(places, index), values, 0.0), axis=0)


class _Bin(NamedTuple):
    """A bin in the unit square: its lower left corner, width and height, and the slopes at its ends."""

    x: Array
    y: Array
    width: Array
    height: Array
    low: Array
    high: Array

    @classmethod
    def of(cls, index: Int[Array, "*points"], across: _Bins, up: _Bins, slope: Float[Array, "knots *points"]) -> "_Bin":
        (x, width), (y, height) = across.bin(index), up.bin(index)
        ends = _positive(_sum(slope[:-1], index, jnp.equal)), _positive(_sum(slope[1:], index, jnp.equal))
        return cls(x, y, width, height, *ends)


def _positive(slope: Array) -> Array:
    return SMALLEST_SLOPE + jax.nn.softplus(slope + np.float32(UNIT_SLOPE))


def map_forward(x: Float[Array, "*points"], spline: Spline) -> Mapped:
    """The spline at a point, continued linearly beyond the outermost knots."""
    across, up = _Bins.of(spline.width), _Bins.of(spline.height)
    unit = jnp.clip((x / spline.reach + 1) / 2, 0.0, 1.0)
    here = _Bin.of(across.holding(unit), across, up, spline.slope)
    rate = here.height / here.width
    xi = jnp.clip((unit - here.x) / here.width, 0.0, 1.0)
    cross, rest = xi * (1 - xi), 1 - xi
    below = rate + (here.high + here.low - 2 * rate) * cross
    value = here.y + here.height * (rate * xi**2 + here.low * cross) / below
    above = here.high * xi**2 + 2 * rate * cross + here.low * rest**2
    log_slope = 2 * jnp.log(rate) + jnp.log(above) - 2 * jnp.log(below)
    beyond = x - jnp.clip(x, -spline.reach, spline.reach)
    return Mapped(spline.reach * (2 * value - 1) + beyond * jnp.exp(log_slope), log_slope)


def map_back(y: Float[Array, "*points"], spline: Spline) -> Float[Array, "*points"]:
    """The point that `map_forward` leads to y. Source: Durkan et al. 2019, eqs. 6 to 8 and 29."""
    across, up = _Bins.of(spline.width), _Bins.of(spline.height)
    unit = jnp.clip((y / spline.reach + 1) / 2, 0.0, 1.0)
    here = _Bin.of(up.holding(unit), across, up, spline.slope)
    rate = here.height / here.width
    rise = jnp.clip(unit - here.y, 0.0, here.height)
    bend = rise * (here.high + here.low - 2 * rate)
    a = here.height * (rate - here.low) + bend
    b = here.height * here.low - bend
    c = -rate * rise
    # of the two forms of the root the one without cancellation
    root = jnp.sqrt(jnp.maximum(b**2 - 4 * a * c, 0.0))
    xi = jnp.clip(-2 * c / (b + root), 0.0, 1.0)
    end = jnp.where(y < 0, here.low, here.high)
    beyond = y - jnp.clip(y, -spline.reach, spline.reach)
    return spline.reach * (2 * (here.x + xi * here.width) - 1) + beyond / end
