"""Histograms of the angles that a coarse value leaves free: ψ given φ."""

import numpy as np
from matplotlib.axes import Axes

from micromacro.report.axes import angle_ticks, value_text
from micromacro.report.data import ReportData
from micromacro.report.molecule_data import AngleDraws
from micromacro.report.style import ESTIMATE, OTHER, Picture, new_figure, picture

BINS = np.linspace(-np.pi, np.pi, 49)
"""Of 7.5 degrees."""


def angle_pictures(data: ReportData) -> list[Picture]:
    """One panel a shown coarse value and angle: draws corrected by the physics, and those of the generator alone."""
    molecule = data.molecule
    if molecule is None:
        return []
    return [
        _panel(data, name, one.z, draws)
        for name, all_draws in molecule.angles.items()
        for one, draws in zip(molecule.conformers, all_draws, strict=True)
        if len(draws.exact)
    ]


def angle_density(angles: np.ndarray) -> np.ndarray:
    """The density per radian in each bin of angles of any turn; zero everywhere where none is finite."""
    finite = angles[np.isfinite(angles)]
    wrapped = (finite + np.pi) % (2 * np.pi) - np.pi
    return np.histogram(wrapped, BINS)[0] / (max(len(finite), 1) * (BINS[1] - BINS[0]))


def _panel(data: ReportData, name: str, z: np.ndarray, draws: AngleDraws) -> Picture:
    figure, (axes,) = new_figure((2.7, 2.1))
    axes.stairs(angle_density(draws.exact), BINS, fill=True, color=ESTIMATE, alpha=0.75)
    if draws.raw is not None:
        axes.stairs(angle_density(draws.raw), BINS, color=OTHER, linewidth=1.2)
    _finish(axes, name)
    at = value_text(data, z)
    counts = f"{len(draws.exact)} draws" + ("" if draws.raw is None else f", {len(draws.raw)} of the generator")
    return picture(figure, f"Histogram of {name} at {at}", f"{name} at {at}; {counts}.")


def _finish(axes: Axes, name: str) -> None:
    axes.set(xlabel=f"{name} (rad)", ylabel="density (1/rad)", xlim=(-np.pi, np.pi))
    axes.set_ylim(bottom=0)
    angle_ticks(axes.xaxis, -np.pi, np.pi)
    axes.margins(x=0)
