"""A bias on a grid, in the file that PLUMED's EXTERNAL reads."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from micromacro.errors import InputError
from micromacro.molecules.colvar import FIELDS, SET

MOST_POINTS = 2_000_000
POINTS = {1: 480, 2: 160, 3: 64}
REACH = 0.5
DOMAIN = (-np.pi, np.pi)


@dataclass(frozen=True)
class BiasGrid:
    """A bias with its gradient on a uniform grid, as PLUMED interpolates it.

    **Arguments:**

    - `axes`: the points along each component; of a periodic one from -π on, its last point before π.
    - `values`: in kJ/mol, `(n1, ..., nd)`.
    - `derivatives`: in kJ/mol per unit of the component, `(n1, ..., nd, d)`.
    - `periodic`: one flag for each component.
    """

    axes: tuple[Float[np.ndarray, "n"], ...]
    values: Float[np.ndarray, "..."]
    derivatives: Float[np.ndarray, "..."]
    periodic: tuple[bool, ...]


def grid_points(
    lower: Float[np.ndarray, "d"], upper: Float[np.ndarray, "d"], periodic: Sequence[bool]
) -> tuple[Float[np.ndarray, "n"], ...]:
    """Points along each component: the whole circle, or the range and half of it more at each end.

    PLUMED stops a simulation that leaves the grid. There are 480 points in one dimension, 160 in two, 64 in three, and
    twice as many of a component that is not periodic: a multiple of the cells of results, so that in one dimension the
    cubic pieces of a table are those of PLUMED, and nothing is lost.

    **Raises:** `InputError` for more than three components.
    """
    if len(periodic) not in POINTS:
        raise InputError("the flattening bias", "have one to three components on a grid of PLUMED", len(periodic))
    count, axes = POINTS[len(periodic)], []
    for low, high, wraps in zip(lower, upper, periodic, strict=True):
        reach = REACH * (high - low)
        ends = DOMAIN if wraps else (low - reach, high + reach)
        axes.append(np.linspace(*ends, count if wraps else 2 * count + 1, endpoint=not wraps))
    return tuple(axes)


def bias_grid(
    function: Callable[[Float[Array, "d"]], Float[Array, ""]],
    axes: tuple[Float[np.ndarray, "n"], ...],
    periodic: Sequence[bool],
) -> BiasGrid:
    """A function in kJ/mol, written with JAX, and its gradient on the points of `axes`."""
    points = np.stack(np.meshgrid(*axes, indexing="ij"), -1)
    flat = jnp.asarray(points.reshape(-1, len(axes)))
    values, derivatives = jax.jit(jax.vmap(jax.value_and_grad(function)))(flat)
    shape = points.shape[:-1]
    return BiasGrid(
        axes, np.asarray(values).reshape(shape), np.asarray(derivatives).reshape(*shape, -1), tuple(periodic)
    )


def lowered(grid: BiasGrid) -> BiasGrid:
    """The bias less a constant, so that it is nowhere near zero.

    PLUMED interpolates by the ratio of gradient and value, and takes the gradient for zero where the value is.
    """
    values = grid.values - grid.values.max() - max(1.0, float(np.ptp(grid.values)))
    return BiasGrid(grid.axes, values, grid.derivatives, grid.periodic)


def write_grid(path: Path | str, grid: BiasGrid, names: Sequence[str], label: str) -> None:
    """Write the file of the action `label: EXTERNAL ARG=names FILE=path`.

    **Raises:** `InputError` where a value is not finite, there are too many points, or points are not those of PLUMED.
    """
    _check(grid, names)
    header = [f"#! {FIELDS} {' '.join(names)} {label}.bias {' '.join(f'der_{name}' for name in names)}"]
    for name, axis, wraps in zip(names, grid.axes, grid.periodic, strict=True):
        ends = ("-pi", "pi") if wraps else (repr(float(axis[0])), repr(float(axis[-1])))
        settings = {"min": ends[0], "max": ends[1], "nbins": len(axis), "periodic": str(wraps).lower()}
        header += [f"#! {SET} {key}_{name} {value}" for key, value in settings.items()]
    points = np.stack(np.meshgrid(*grid.axes, indexing="ij"), -1)
    rows = np.concatenate([points, grid.values[..., None], grid.derivatives], axis=-1)
    # the first component runs fastest, as where PLUMED itself writes
    rows = np.transpose(rows, (*reversed(range(len(names))), len(names))).reshape(-1, rows.shape[-1])
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(line + "\n" for line in header)
        np.savetxt(file, rows, fmt=" %.14g", delimiter="")


def _check(grid: BiasGrid, names: Sequence[str]) -> None:
    shape = tuple(len(axis) for axis in grid.axes)
    if len(names) != len(shape) or grid.values.shape != shape or grid.derivatives.shape != (*shape, len(shape)):
        given = (len(names), grid.values.shape, grid.derivatives.shape)
        raise InputError("the grid", f"have names, values and derivatives of axes {shape}", given)
    if grid.values.size > MOST_POINTS:
        raise InputError("the grid", f"have at most {MOST_POINTS} points", grid.values.size)
    if not (np.all(np.isfinite(grid.values)) and np.all(np.isfinite(grid.derivatives))):
        raise InputError("the flattening bias", "be finite on the whole grid", "a value that is not")
    for axis, wraps in zip(grid.axes, grid.periodic, strict=True):
        ends = DOMAIN if wraps else (axis[0], axis[-1])
        if not np.allclose(axis, np.linspace(*ends, len(axis), endpoint=not wraps), atol=1e-9):
            requirement = "be uniform, and begin at -π and end before π where it is periodic"
            raise InputError("an axis of the grid", requirement, f"{axis[0]:g} to {axis[-1]:g}")
