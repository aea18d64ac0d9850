"""Conformers lifted at given coarse values: which are shown, laid on each other, drawn as sticks."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgb

from micromacro.report.axes import value_text
from micromacro.report.data import ReportData
from micromacro.report.molecule_data import MoleculeData
from micromacro.report.style import OTHER, Picture, new_figure, picture
from micromacro.report.superposition import superposed

MOST_STRUCTURES = 10
MOST_ATOMS = 40_000
"""A page holds no more atoms than these, over all structures: about 3 MB of text."""
FAR = 50.0
"""In nm: a draw that reaches further is no structure, and PDB text has no room for it."""
OTHER_ELEMENT = "#882255"
ELEMENT_COLOURS = {
    "H": "#b6bcc6",
    "C": "#7b8490",
    "N": "#0072b2",
    "O": "#cc3311",
    "S": "#e6b800",
    "P": "#cc79a7",
    "F": "#009e73",
    "CL": "#009e73",
    "BR": "#7a3b1d",
    "I": "#663399",
}
HAZE = 0.6
"""How far the most distant sticks fade to white."""


@dataclass(frozen=True)
class Overlay:
    """Structures shown at one coarse value, in nm, laid on each other; `raw` is `None` where there are none."""

    z: Float[np.ndarray, "d"]
    exact: Float[np.ndarray, "m atoms 3"]
    raw: Float[np.ndarray, "k atoms 3"] | None


def overlays(molecule: MoleculeData) -> list[Overlay]:
    """At most ten structures a coarse value, evenly picked, all values turned alike."""
    most = _most_structures(molecule)
    shown, reference = [], None
    for one in molecule.conformers:
        exact = _picked(one.positions, most)
        raw = None if one.raw_positions is None else _picked(one.raw_positions, most)
        if raw is not None and len(raw) == 0:
            raw = None
        if len(exact) == 0:
            continue
        exact = superposed(exact, molecule.heavy, reference)
        reference = exact.mean(axis=0) if reference is None else reference
        if raw is not None:
            raw = superposed(raw, molecule.heavy, exact.mean(axis=0))
        shown.append(Overlay(one.z, exact, raw))
    return shown


def _most_structures(molecule: MoleculeData) -> int:
    sets = sum(1 if one.raw_positions is None else 2 for one in molecule.conformers)
    return int(np.clip(MOST_ATOMS // max(sets * len(molecule.elements), 1), 1, MOST_STRUCTURES))


def _picked(positions: np.ndarray, most: int) -> np.ndarray:
    """Evenly picked structures without broken ones."""
    with np.errstate(invalid="ignore"):
        centred = positions - positions.mean(axis=1, keepdims=True)
        sound = positions[(np.abs(centred) < FAR).all(axis=(1, 2))]
    if len(sound) <= most:
        return sound
    return sound[np.linspace(0, len(sound) - 1, most).round().astype(int)]


def overlay_pictures(data: ReportData, shown: list[Overlay]) -> list[Picture]:
    """One picture a coarse value: structures corrected by the physics, those of the generator alone beside them."""
    if data.molecule is None:
        return []
    extent = _extent(shown)
    numbered = enumerate(shown, start=1)
    return [_overlay_picture(data, data.molecule, number, overlay, extent) for number, overlay in numbered]


def _extent(shown: list[Overlay]) -> np.ndarray:
    """Half the width and height that hold nearly all atoms of every picture, in nm."""
    sets = [points for one in shown for points in (one.exact, one.raw) if points is not None]
    if not sets:
        return np.ones(2)
    reach = np.concatenate([np.abs(points[..., :2]).reshape(-1, 2) for points in sets])
    return np.quantile(reach, 0.998, axis=0) + 0.05


def _overlay_picture(data: ReportData, molecule: MoleculeData, number: int, overlay: Overlay, extent) -> Picture:
    sets: list[tuple[np.ndarray, str | None]] = [(overlay.exact, None)]
    if overlay.raw is not None:
        sets.append((overlay.raw, OTHER))
    width, height = 2.7, float(np.clip(2.7 * extent[1] / extent[0], 1.2, 2.7))
    figure, panels = new_figure((width, len(sets) * height), len(sets))
    for axes, (points, colour) in zip(panels, sets, strict=True):
        _draw_sticks(axes, molecule, points, colour)
        axes.set(xlim=(-extent[0], extent[0]), ylim=(-extent[1], extent[1]), aspect="equal")
        axes.set_axis_off()
    at = value_text(data, overlay.z)
    caption = f"{number}: {at}; {len(overlay.exact)} structure{'s' if len(overlay.exact) > 1 else ''}."
    words = " above those of the generator alone" if overlay.raw is not None else ""
    return picture(figure, f"Conformers lifted at {at}, corrected by the physics{words}", caption)


def _draw_sticks(axes: Axes, molecule: MoleculeData, points: np.ndarray, colour: str | None) -> None:
    """Bonds as two halves in the colours of their atoms, the nearest last, the farthest in haze."""
    if not molecule.bonds:
        axes.scatter(*points.reshape(-1, 3).T[:2], s=6, color=colour or ELEMENT_COLOURS["C"])
        return
    pairs = np.array(molecule.bonds)
    start, end = points[:, pairs[:, 0]], points[:, pairs[:, 1]]
    middle = (start + end) / 2
    halves = np.stack([np.stack([start, middle], 2), np.stack([end, middle], 2)])  # (2, m, bonds, 2, 3)
    rgb = np.array([to_rgb(colour or element_colour(element)) for element in molecule.elements])[pairs.T]
    width = np.where(molecule.heavy[pairs].all(axis=1), 1.7, 0.7)
    depth = halves[..., 2].mean(axis=3)
    near = (depth - depth.min()) / (np.ptp(depth) or 1.0)
    colours = 1 - (1 - rgb[:, None]) * (1 - HAZE * (1 - near[..., None]))
    order = np.argsort(depth, axis=None, kind="stable")
    lines = LineCollection(
        list(halves.reshape(-1, 2, 3)[order, :, :2]),
        colors=list(colours.reshape(-1, 3)[order]),
        linewidths=list(np.broadcast_to(width, depth.shape).ravel()[order]),
        capstyle="round",
        rasterized=True,
    )
    axes.add_collection(lines)


def element_colour(element: str) -> str:
    """The colour of an element, the same in pictures and viewer."""
    return ELEMENT_COLOURS.get(element.upper(), OTHER_ELEMENT)
