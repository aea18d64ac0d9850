"""A flattening table as tabulated functions of OpenMM, with the same values within its grid and beyond it.

Through values on our grid points the splines of OpenMM, periodic or natural, are the same cubic polynomials as ours,
but for the curvature of 10⁻⁴ slopes a cell that ours has left at bounded ends. Beyond those ours goes on linearly; the
slopes there are tables of their own.
"""

from dataclasses import dataclass

import numpy as np
import openmm
from jaxtyping import Float

from micromacro.sampling.table import PADDING, Table

OVERLAP = 10
"""Points by which a periodic axis is continued where another axis is bounded: OpenMM has one flag for all axes."""
LARGEST_DIMENSION = 3


@dataclass(frozen=True)
class Tabulated:
    """One function of `axes`, the indices of coarse variables; `arguments` are those of OpenMM's constructor."""

    name: str
    axes: tuple[int, ...]
    arguments: tuple

    @property
    def parameters(self) -> tuple:
        """The arguments with which OpenMM replaces it: all but the flag of periodicity."""
        return self.arguments[:-1]

    def function(self) -> openmm.TabulatedFunction:
        """The function as OpenMM holds it."""
        kinds = (openmm.Continuous1DFunction, openmm.Continuous2DFunction, openmm.Continuous3DFunction)
        return kinds[len(self.axes) - 1](*self.arguments)


def ends(table: Table, axis: int) -> tuple[float, float]:
    """The first and last grid point of a bounded axis."""
    points = table.coefficients.shape[axis] - 2 * PADDING
    origin, spacing = float(table.origin[axis]), float(table.spacing[axis])
    return origin, origin + (points - 1) * spacing


def tabulated(table: Table) -> list[Tabulated]:
    """The value within the grid and, in two dimensions and three, the slope at each end of each bounded axis."""
    axes = tuple(range(len(table.periodic)))
    found = [_tabulate("flattening", table, axes, _at_points(table, None))]
    if len(axes) > 1:
        for axis in axes:
            if not table.periodic[axis]:
                slopes = _at_points(table, axis)
                rest = tuple(other for other in axes if other != axis)
                for name, index in zip(slope_names(axis), (0, -1), strict=True):
                    found.append(_tabulate(name, table, rest, np.take(slopes, index, axis=axis)))
    return found


def end_slopes(table: Table) -> Float[np.ndarray, "2"]:
    """The slopes at both ends of a bounded table of one dimension."""
    return _at_points(table, 0)[[0, -1]]


def slope_names(axis: int) -> tuple[str, str]:
    """What the slopes at the lower and upper end of an axis are called in expressions."""
    return f"slope_below_{axis + 1}", f"slope_above_{axis + 1}"


def continued(table: Table) -> str:
    """The table as an expression of `z1`, `z2`, … and of what `tabulated` and `end_slopes` give."""
    dimension = len(table.periodic)
    arguments = [f"u{axis + 1}" for axis in range(dimension)]
    terms = [f"flattening({','.join(arguments)})"]
    definitions = []
    for axis, wraps in enumerate(table.periodic):
        u, z = arguments[axis], f"z{axis + 1}"
        if wraps:
            origin, spacing = float(table.origin[axis]), float(table.spacing[axis])
            period = spacing * table.coefficients.shape[axis]
            definitions.append(f"{u}={z}-{period!r}*floor(({z}-({origin!r}))/{period!r})")
        else:
            low, high = ends(table, axis)
            definitions.append(f"{u}=min(max({z},{low!r}),{high!r})")
            rest = ",".join(other for other in arguments if other != u)
            call = f"({rest})" if rest else ""
            below, above = slope_names(axis)
            terms.append(f"{below}{call}*min({z}-({low!r}),0)+{above}{call}*max({z}-({high!r}),0)")
    return "; ".join(["+".join(terms), *definitions])


def _at_points(table: Table, slope_axis: int | None) -> np.ndarray:
    """At the grid points, the value of the table or its slope along an axis."""
    values = np.asarray(table.coefficients)
    for axis, wraps in enumerate(table.periodic):
        before, after = np.roll(values, 1, axis), np.roll(values, -1, axis)
        if axis == slope_axis:
            values = (after - before) / (2 * float(table.spacing[axis]))
        else:
            values = (before + 4 * values + after) / 6
        if not wraps:
            values = np.take(values, range(PADDING, values.shape[axis] - PADDING), axis=axis)
    return values


def _tabulate(name: str, table: Table, axes: tuple[int, ...], values: np.ndarray) -> Tabulated:
    """Periodic axes are closed where all are; where some are not they are continued on both sides."""
    all_wrap = all(table.periodic[axis] for axis in axes)
    limits: list[float] = []
    for place, axis in enumerate(axes):
        origin, spacing = float(table.origin[axis]), float(table.spacing[axis])
        before = 0
        if table.periodic[axis]:
            before, after = (0, 1) if all_wrap else (OVERLAP, OVERLAP)
            padding = [(before, after) if other == place else (0, 0) for other in range(len(axes))]
            values = np.pad(values, padding, "wrap")
        first = origin - before * spacing
        limits += [first, first + (values.shape[place] - 1) * spacing]
    sizes = values.shape if len(axes) > 1 else ()
    return Tabulated(name, axes, (*sizes, values.ravel(order="F").tolist(), *limits, all_wrap))
