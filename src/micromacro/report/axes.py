"""Axes of coarse variables: names with units, ranges, angles with ticks at fractions of π and degrees beside."""

from fractions import Fraction
from typing import Literal

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.axes._secondary_axes import SecondaryAxis
from matplotlib.axis import Axis
from matplotlib.ticker import FuncFormatter, MultipleLocator

from micromacro.report.data import ReportData
from micromacro.report.style import MUTED, colour_map

STEPS = (np.pi / 2, np.pi / 4, np.pi / 6, np.pi / 12)
"""Distances between the ticks of an angle: the widest that puts four ticks on the axis."""


def is_angle(data: ReportData, axis: int) -> bool:
    """Whether a coarse variable is an angle in radians: said to be, or periodic over 2π."""
    if data.molecule is not None and data.molecule.coarse_is_angle:
        return data.molecule.coarse_is_angle[axis]
    return data.periodic[axis] and bool(np.isclose(data.upper[axis] - data.lower[axis], 2 * np.pi))


def axis_label(data: ReportData, axis: int) -> str:
    """The name of a coarse variable with its unit."""
    name = data.coarse_names[axis]
    unit = "" if data.molecule is None else data.molecule.units.get(name, "")
    unit = unit or ("rad" if is_angle(data, axis) else "")
    return f"{name} ({unit})" if unit else name


def value_text(data: ReportData, z: np.ndarray, *, degrees: bool = True) -> str:
    """A coarse value in words, angles in radians and, unless left out, degrees: "φ = −1.4 (−80°), ψ = 1.2 (69°)"."""
    parts = []
    for axis, value in enumerate(np.atleast_1d(z)):
        aside = f" ({np.degrees(value):.0f}°)" if degrees and is_angle(data, axis) else ""
        parts.append(f"{data.coarse_names[axis]} = " + f"{value:.3g}{aside}".replace("-", "−"))
    return ", ".join(parts)


def show_along(axes: Axes, data: ReportData, axis: int = 0) -> None:
    """The horizontal axis is that of one coarse variable, over its range."""
    axes.set(xlabel=axis_label(data, axis), xlim=(data.lower[axis], data.upper[axis]))
    if is_angle(data, axis):
        angle_ticks(axes.xaxis, data.lower[axis], data.upper[axis])


def show_upwards(axes: Axes, data: ReportData, axis: int) -> None:
    """The vertical axis is that of one coarse variable, over its range."""
    axes.set(ylabel=axis_label(data, axis), ylim=(data.lower[axis], data.upper[axis]))
    if is_angle(data, axis):
        angle_ticks(axes.yaxis, data.lower[axis], data.upper[axis])


def coarse_map(
    axes: Axes,
    data: ReportData,
    values: Float[np.ndarray, "n"],
    label: str,
    *,
    signed: bool = False,
    ceiling: float | None = None,
    contours: float | None = None,
) -> None:
    """A map over two coarse variables; two angles have one scale, and degrees at the far sides."""
    angles = is_angle(data, 0) and is_angle(data, 1)
    colour_map(
        axes,
        data.axes,
        values.reshape(data.shape),
        label,
        signed=signed,
        ceiling=ceiling,
        contours=contours,
        periodic=data.periodic,
        gap=0.17 if angles else 0.03,
    )
    show_along(axes, data, 0)
    show_upwards(axes, data, 1)
    if angles:
        axes.set_aspect("equal")
        to_degrees = (np.degrees, np.radians)
        _degrees(axes.secondary_xaxis("top", functions=to_degrees), "x")
        _degrees(axes.secondary_yaxis("right", functions=to_degrees), "y")


def _degrees(side: SecondaryAxis, along: Literal["x", "y"]) -> None:
    axis = side.xaxis if along == "x" else side.yaxis
    axis.set_major_locator(MultipleLocator(90))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f}°".replace("-", "−")))
    side.tick_params(axis=along, length=2, labelsize=7, labelcolor=MUTED)
    for spine in side.spines.values():
        spine.set_visible(False)


def angle_ticks(axis: Axis, lower: float, upper: float) -> None:
    """Ticks at fractions of π."""
    step = next((step for step in STEPS if (upper - lower) / step > 3.99), STEPS[-1])
    axis.set_major_locator(MultipleLocator(step))
    axis.set_major_formatter(FuncFormatter(lambda value, _: angle_text(value)))


def angle_text(value: float) -> str:
    """A fraction of π as a person writes it, of twelfths at the finest: "−π/2"."""
    share = Fraction(round(value / np.pi * 12), 12)
    if share == 0:
        return "0"
    whole = "" if abs(share.numerator) == 1 else str(abs(share.numerator))
    below = "" if share.denominator == 1 else f"/{share.denominator}"
    return f"{'−' if share < 0 else ''}{whole}π{below}"
