"""Figures of the closure and of the reduced dynamics."""

import itertools

import numpy as np

from micromacro.closures.table import ClosureTable
from micromacro.report.axes import coarse_map, show_along, show_upwards
from micromacro.report.data import ReportData
from micromacro.report.style import (
    BAND,
    OTHER,
    SERIES,
    Picture,
    band,
    exact_line,
    legend_above,
    limit_to,
    map_figure,
    new_figure,
    picture,
)

MOST_TRAJECTORIES = 4


def closure_pictures(data: ReportData) -> list[Picture]:
    """Drift, diffusion and observables: curves with bands for one coarse variable, maps for two."""
    if data.closure is None or data.dimension > 2:
        return []
    others = {route: dict(_named_values(data, table)) for route, table in data.other_closures.items()}
    pictures = []
    for name, values, stderr, exact in _quantities(data, data.closure):
        beside = {route: named[name] for route, named in others.items() if name in named}
        pictures.append(_quantity(data, name, values, stderr, exact, beside))
    return [one for one in pictures if one is not None]


def reduced_pictures(data: ReportData) -> list[Picture]:
    """The stationary density of the reduced dynamics against exp(-F/kT), and a few of its trajectories."""
    density = data.reduced.get("stationary_density")
    pictures = []
    if density is not None and np.isfinite(density).any():
        pictures += {1: _density_curve, 2: _density_maps}.get(data.dimension, lambda *_: [])(data, density)
    if data.reduced.get("z") is not None and len(data.reduced["z"]):
        pictures.append(_trajectories(data, np.asarray(data.reduced["t"]), np.asarray(data.reduced["z"])))
    return pictures


def _quantities(data: ReportData, closure: ClosureTable):
    """Name, values, standard errors and exact values `(n,)` of everything in the closure."""
    d = data.dimension
    for a in range(d):
        exact = None if data.exact_drift is None else data.exact_drift[:, a]
        yield f"drift b{_index(d, a)}", closure.drift[:, a], closure.drift_stderr[:, a], exact
    for a, b in itertools.combinations_with_replacement(range(d), 2):
        exact = None if data.exact_diffusion is None else data.exact_diffusion[:, a, b]
        name = f"diffusion D{_index(d, a, b)}"
        yield name, closure.diffusion[:, a, b], closure.diffusion_stderr[:, a, b], exact
    for name, values in closure.observables.items():
        yield name, values, closure.observables_stderr[name], data.exact_observables.get(name)


def _named_values(data: ReportData, closure: ClosureTable):
    for name, values, stderr, _ in _quantities(data, closure):
        yield name, (values, stderr)


def _index(dimension: int, *numbers: int) -> str:
    return "" if dimension == 1 else "".join("₁₂₃₄₅₆₇₈₉"[number] for number in numbers)


def _quantity(data: ReportData, name: str, values, stderr, exact, beside: dict) -> Picture | None:
    if not np.isfinite(values).any():
        return None
    if data.dimension == 2:
        figure, axes = map_figure()
        low, high = np.nanmin(values), np.nanmax(values)
        signed = bool(min(high, -low) > 0.1 * max(high, -low))
        coarse_map(axes, data, values, name, signed=signed)
        return picture(figure, f"Map of {name}", f"{name}; median standard error {np.nanmedian(stderr):.2g}.")
    figure, (axes,) = new_figure((5.2, 3.0))
    z = data.z[:, 0]
    band(axes, z, values, stderr, "projected" if beside else f"estimate ± {BAND:g} standard errors")
    for colour, (route, (other, error)) in zip(SERIES[1:], beside.items(), strict=False):
        band(axes, z, other, error, route, colour)
    exact_line(axes, z, exact)
    limit_to(axes, values, exact, *(other for other, _ in beside.values()))
    axes.set(ylabel=name)
    show_along(axes, data)
    legend_above(axes)
    caption = f"Bands: ± {BAND:g} standard errors." if beside else ""
    caption += " Exact: of the projected closure." if beside and exact is not None else ""
    return picture(figure, f"{name} along {data.coarse_names[0]}", caption)


def _boltzmann(data: ReportData) -> np.ndarray:
    """exp(-F/kT) of integral one over the grid, NaN where F is unknown."""
    weight = np.exp(-data.free_energy)
    cell = np.prod((np.asarray(data.upper) - data.lower) / data.shape)
    return weight / (np.nansum(weight) * cell)


def _density_curve(data: ReportData, density: np.ndarray) -> list[Picture]:
    figure, (axes,) = new_figure()
    axes.plot(data.z[:, 0], density, label="reduced dynamics")
    axes.plot(data.z[:, 0], _boltzmann(data), color=OTHER, linestyle=(0, (5, 3)), label="exp(-F/kT)")
    axes.set(ylabel="stationary density")
    show_along(axes, data)
    axes.set_ylim(bottom=0)
    legend_above(axes)
    return [picture(figure, "Stationary density of the reduced dynamics against exp(-F/kT)")]


def _density_maps(data: ReportData, density: np.ndarray) -> list[Picture]:
    pictures = []
    for values, name in ((density, "reduced dynamics"), (_boltzmann(data), "exp(-F/kT)")):
        figure, axes = map_figure()
        coarse_map(axes, data, values, "density")
        pictures.append(picture(figure, f"Stationary density: {name}", f"Stationary density: {name}."))
    return pictures


def _trajectories(data: ReportData, t: np.ndarray, z: np.ndarray) -> Picture:
    rows = min(z.shape[2], 3)
    figure, panels = new_figure((5.2, 1.4 + 1.5 * rows), rows)
    for a, axes in enumerate(panels):
        for colour, path in zip(SERIES, z[:MOST_TRAJECTORIES, :, a], strict=False):
            axes.plot(*_without_jumps(t, path, data, a), color=colour, linewidth=0.9)
        show_upwards(axes, data, a)
    panels[-1].set(xlabel="time", xlim=(t[0], t[-1]))
    return picture(figure, "Trajectories of the reduced dynamics", f"{min(len(z), MOST_TRAJECTORIES)} trajectories.")


def _without_jumps(t: np.ndarray, path: np.ndarray, data: ReportData, axis: int):
    """The line broken where it goes round the period."""
    if not data.periodic[axis]:
        return t, path
    jump = 1 + np.flatnonzero(np.abs(np.diff(path)) > (data.upper[axis] - data.lower[axis]) / 2)
    return np.insert(t, jump, np.nan), np.insert(path, jump, np.nan)
