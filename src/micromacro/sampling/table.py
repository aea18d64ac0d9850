"""A smooth function of the coarse variable held as a table: cubic B-splines on a uniform grid."""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.ndimage import distance_transform_edt, spline_filter1d

from micromacro.coordinates.coarse import CoarseVariable

PADDING = 6


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["coefficients", "origin", "spacing"],
    meta_fields=["periodic"],
)
@dataclass(frozen=True)
class Table:
    """A scalar function of z, twice differentiable within its grid and continued linearly beyond it.

    **Arguments:**

    - `coefficients`: of the cubic B-splines, one per grid point and `PADDING` more at each end of a bounded axis.
    - `origin`: the first grid point, `(d,)`.
    - `spacing`: of the grid, `(d,)`.
    - `periodic`: one flag per dimension; a periodic axis closes on itself after its last point.
    """

    coefficients: Float[Array, "..."]
    origin: Float[Array, "d"]
    spacing: Float[Array, "d"]
    periodic: tuple[bool, ...]

    def __call__(self, z: Float[Array, "d"]) -> Float[Array, ""]:
        """The value at one coarse value `(d,)`."""
        periodic = jnp.asarray(self.periodic)
        last = jnp.asarray(self.coefficients.shape) - 1.0 - PADDING
        position = (z - self.origin) / self.spacing + jnp.where(periodic, 0.0, PADDING)
        inside = jnp.where(periodic, position, jnp.clip(position, PADDING, last))
        if len(self.periodic) == 1:
            # on the grid `position - inside` is zero, beyond it `inside` is constant: the slope's own slope drops out
            slope = jax.lax.stop_gradient(jax.grad(self._interpolate)(inside))
            return self._interpolate(inside) + slope @ (position - inside)
        value, change = jax.jvp(self._interpolate, (inside,), (position - inside,))
        return value + change

    def _interpolate(self, position: Float[Array, "d"]) -> Float[Array, ""]:
        first = jnp.floor(jax.lax.stop_gradient(position)).astype(int)
        indices = [start - 1 + jnp.arange(4) for start in first]
        sizes = self.coefficients.shape
        wrapped = [jnp.mod(i, n) if wraps else i for i, n, wraps in zip(indices, sizes, self.periodic, strict=True)]
        result = self.coefficients[jnp.ix_(*wrapped)]
        for fraction in position - first:
            # each pass consumes the leading axis of what is left
            result = jnp.tensordot(_cubic_weights(fraction), result, axes=1)
        return result


def _cubic_weights(fraction: Float[Array, ""]) -> Float[Array, "4"]:
    t = fraction
    return jnp.stack([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3]) / 6


def fit_table(values: Float[np.ndarray, "..."], origin: np.ndarray, spacing: np.ndarray, periodic: tuple) -> Table:
    """The table through `values` on a grid; cells that are not finite take the value of the nearest finite one.

    **Arguments:**

    - `values`: `(n1, ..., nd)`, NaN where unknown.
    - `origin`, `spacing`: the first grid point and the distance between points, `(d,)`.
    - `periodic`: flags `(d,)`.

    Method: Unser, IEEE Signal Process. Mag. 16, 22 (1999).
    """
    filled = fill_nearest(np.asarray(values, float), periodic)
    # an odd reflection leaves no curvature at the ends: the natural spline, whose linear continuation is smooth
    filled = np.pad(
        filled, [(0, 0) if wraps else (PADDING, PADDING) for wraps in periodic], "reflect", reflect_type="odd"
    )
    for axis, wraps in enumerate(periodic):
        filled = spline_filter1d(filled, 3, axis=axis, mode="grid-wrap" if wraps else "mirror")
    return Table(jnp.asarray(filled), jnp.asarray(origin, float), jnp.asarray(spacing, float), tuple(periodic))


def fill_nearest(values: np.ndarray, periodic: tuple = ()) -> np.ndarray:
    """`values` with every non-finite cell replaced by the nearest finite one, round the seam of `periodic` axes."""
    unknown = ~np.isfinite(values)
    if not unknown.any() or unknown.all():
        return np.where(unknown, 0.0, values)
    if any(periodic):
        half = [size // 2 * wraps for size, wraps in zip(values.shape, periodic, strict=True)]
        inner = tuple(slice(low, low + size) for low, size in zip(half, values.shape, strict=True))
        return fill_nearest(np.pad(values, [(low, low) for low in half], "wrap"))[inner]
    nearest = np.asarray(distance_transform_edt(unknown, return_distances=False, return_indices=True))
    return values[tuple(nearest)]


def zero_table(coarse: CoarseVariable, points: int) -> Table:
    """The table that is zero everywhere, on the grid that `padded_grid` gives."""
    origin, spacing, shape = padded_grid(coarse, points)
    return fit_table(np.zeros(shape), origin, spacing, coarse.periodic)


def padded_grid(coarse: CoarseVariable, points: int, padding: int = 0) -> tuple[np.ndarray, np.ndarray, tuple]:
    """Cell centres over the coarse range, `padding` cells more at each end of a bounded axis.

    Returns the first centre `(d,)`, the spacing `(d,)` and the number of cells per dimension.
    """
    spacing = coarse.range / points
    extra = np.where(coarse.periodic, 0, padding)
    origin = coarse.lower + (0.5 - extra) * spacing
    return origin, spacing, tuple(int(points + 2 * more) for more in extra)
