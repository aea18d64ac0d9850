"""Figures of the free energy: a curve with its error band, two maps, or one-dimensional marginals."""

import numpy as np
from matplotlib.axes import Axes

from micromacro.report.axes import coarse_map, show_along
from micromacro.report.data import ReportData
from micromacro.report.style import (
    BAND,
    EXACT,
    Picture,
    band,
    exact_line,
    legend_above,
    map_figure,
    new_figure,
    picture,
)

LOW = 6.0
"""Below so many kT the exact curve is laid on the estimate, both being known up to a constant."""
EDGE = 0.12
"""Labels of points within this share of the range from an edge are turned inwards."""
CEILING = 15.0
"""The colours of a map end at so many kT: basins, not walls."""


def free_energy_pictures(data: ReportData) -> list[Picture]:
    """The pictures for one, two, or more coarse variables."""
    if not np.isfinite(data.free_energy).any():
        return []
    if data.dimension == 1:
        return [_curve(data)]
    return _maps(data) if data.dimension == 2 else [_marginal(data, a) for a in range(data.dimension)]


def aligned_exact(data: ReportData) -> np.ndarray | None:
    """The exact free energy shifted onto the estimate over the cells below 6 kT."""
    if data.exact_free_energy is None:
        return None
    low = np.isfinite(data.free_energy) & np.isfinite(data.exact_free_energy) & (data.free_energy < LOW)
    shift = np.mean((data.free_energy - data.exact_free_energy)[low]) if low.any() else 0.0
    return data.exact_free_energy + shift


def _curve(data: ReportData) -> Picture:
    figure, (axes, errors) = new_figure((5.2, 4.2), 2, heights=(3, 1))
    z, exact = data.z[:, 0], aligned_exact(data)
    band(axes, z, data.free_energy, data.stderr, f"estimate ± {BAND:g} standard errors")
    exact_line(axes, z, exact)
    top = np.nanmax(data.free_energy)
    axes.set_ylim(-0.12 * top - 0.3, 1.08 * top + 0.3)
    for name, cell in _minima(data).items():
        axes.plot(z[cell], data.free_energy[cell], "o", color=EXACT, markersize=4)
        label = (z[cell], data.free_energy[cell])
        axes.annotate(name, label, xytext=(0, -5), textcoords="offset points", ha="center", va="top", fontsize=8)
    band(errors, z, np.where(np.isfinite(data.stderr), 0.0, np.nan), data.stderr, "")
    exact_line(errors, z, None if exact is None else exact - data.free_energy)
    axes.set(ylabel="free energy (kT)")
    show_along(errors, data)
    errors.set(ylabel="error (kT)")
    legend_above(axes)
    caption = "Below: the error band alone" + ("." if exact is None else ", and the exact curve minus the estimate.")
    return picture(figure, f"Free energy along {data.coarse_names[0]} with its error band", caption)


def _maps(data: ReportData) -> list[Picture]:
    pictures = []
    for values, label in ((data.free_energy, "free energy (kT)"), (data.stderr, "standard error (kT)")):
        if not np.isfinite(values).any():
            continue
        figure, axes = map_figure()
        if values is data.free_energy:
            draw_map(axes, data)
            _mark_minima(axes, data)
        else:
            coarse_map(axes, data, values, label)
        caption = label[0].upper() + label[1:].removesuffix(" (kT)")
        lines = f"; a line each kT up to {CEILING:g}" if values is data.free_energy else ""
        pictures.append(picture(figure, f"Map of the {label}", f"{caption}{lines}; grey where nothing was sampled."))
    return pictures


def draw_map(axes: Axes, data: ReportData) -> None:
    """The free energy over two coarse variables, a line each kT."""
    coarse_map(axes, data, data.free_energy, "free energy (kT)", ceiling=CEILING, contours=1.0)


def _mark_minima(axes: Axes, data: ReportData) -> None:
    frame = {"boxstyle": "round,pad=0.2", "facecolor": "white", "edgecolor": "none", "alpha": 0.8}
    for name, cell in _minima(data).items():
        across, up = (data.z[cell] - data.lower) / (np.asarray(data.upper) - data.lower)
        axes.plot(*data.z[cell], "o", color="white", markeredgecolor=EXACT, markersize=5)
        # within the axes: below the point near the top, to the inner side near the left and right
        side = "left" if across < EDGE else "right" if across > 1 - EDGE else "center"
        offset, edge = ((0, -7), "top") if up > 1 - EDGE else ((0, 7), "bottom")
        words = axes.annotate(
            name, tuple(data.z[cell]), xytext=offset, textcoords="offset points", fontsize=8, bbox=frame
        )
        words.set(horizontalalignment=side, verticalalignment=edge)


def _minima(data: ReportData) -> dict[str, int]:
    """The cell of lowest free energy within each basin."""
    found = {}
    for name, (lower, upper) in data.basins.items():
        inside = np.all((data.z >= np.asarray(lower)) & (data.z <= np.asarray(upper)), axis=1)
        inside &= np.isfinite(data.free_energy)
        if inside.any():
            found[name] = int(np.flatnonzero(inside)[np.argmin(data.free_energy[inside])])
    return found


def _marginal(data: ReportData, axis: int) -> Picture:
    figure, (axes,) = new_figure()
    others = tuple(a for a in range(data.dimension) if a != axis)
    weight = np.exp(-np.where(np.isfinite(data.free_energy), data.free_energy, np.inf)).reshape(data.shape)
    density = weight.sum(axis=others)
    with np.errstate(divide="ignore"):
        marginal = np.where(density > 0, -np.log(density / density.max()), np.nan)
    axes.plot(data.axes[axis], marginal)
    axes.set(ylabel="free energy (kT)")
    show_along(axes, data, axis)
    return picture(
        figure, f"Marginal free energy along {data.coarse_names[axis]}", "Marginal over the other variables."
    )
