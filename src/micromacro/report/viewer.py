"""What the viewer of molecules in the page needs: a figure to click on, structures as PDB text, the code of 3Dmol."""

import base64
import functools
import gzip
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from micromacro.report.axes import show_along, value_text
from micromacro.report.conformers import ELEMENT_COLOURS, OTHER_ELEMENT, Overlay
from micromacro.report.data import ReportData
from micromacro.report.free_energy import draw_map
from micromacro.report.molecule_data import MoleculeData
from micromacro.report.pdb_text import pdb_bonds, pdb_models
from micromacro.report.style import EXACT, MAP, OTHER, Picture, band, map_figure, new_figure, picture

LIBRARY = Path(__file__).parent / "vendor" / "3Dmol-min.js"


@dataclass(frozen=True)
class Choice:
    """A coarse value to choose: its words, and where it stands on the figure, in shares of width and height."""

    label: str
    left: float | None
    top: float | None


@dataclass(frozen=True)
class Viewer:
    """The viewer of one page.

    **Arguments:**

    - `figure`: the free energy with the shown values, numbered; `None` where there is nothing to click on.
    - `periods`: of the coarse variables in shares of the figure's width and height, 0 where there is none.
    - `choices`: the shown values; `structures`: for each `exact` and `raw` PDB text, `raw` may be `None`.
    - `bonds`: CONECT records of every structure.
    - `colours`: of the elements; `raw_colour`: of what the generator drew.
    """

    figure: Picture | None
    periods: tuple[float, float]
    choices: list[Choice]
    structures: list[dict]
    bonds: str
    colours: dict[str, str]
    other_colour: str
    raw_colour: str

    @property
    def has_raw(self) -> bool:
        """Whether any value has structures of the generator alone."""
        return any(one["raw"] is not None for one in self.structures)

    @property
    def contents(self) -> dict:
        """What the script of the page reads."""
        return {
            "labels": [choice.label for choice in self.choices],
            "periods": self.periods,
            "places": [[choice.left, choice.top] for choice in self.choices],
            "structures": self.structures,
            "bonds": self.bonds,
            "colours": self.colours,
            "otherColour": self.other_colour,
            "rawColour": self.raw_colour,
        }


def make_viewer(data: ReportData, shown: list[Overlay]) -> Viewer | None:
    """The viewer of the shown structures; `None` where there are none."""
    molecule = data.molecule
    if molecule is None or not shown:
        return None
    values = np.stack([overlay.z for overlay in shown])
    figure, places, periods = _numbered_figure(data, values)
    labels = [value_text(data, z) for z in values]
    return Viewer(
        figure=figure,
        periods=periods,
        choices=[Choice(label, *place) for label, place in zip(labels, places, strict=True)],
        structures=[_structure(molecule, overlay) for overlay in shown],
        bonds=pdb_bonds(molecule),
        colours={element.capitalize(): colour for element, colour in ELEMENT_COLOURS.items()},
        other_colour=OTHER_ELEMENT,
        raw_colour=OTHER,
    )


@functools.cache
def library() -> str:
    """The code of 3Dmol, compressed by gzip, in base 64."""
    return base64.b64encode(gzip.compress(LIBRARY.read_bytes(), 9, mtime=0)).decode("ascii")


def _structure(molecule: MoleculeData, overlay: Overlay) -> dict:
    return {
        "exact": pdb_models(molecule, overlay.exact),
        "raw": None if overlay.raw is None else pdb_models(molecule, overlay.raw),
    }


def _numbered_figure(data: ReportData, values: np.ndarray):
    """The free energy with numbered points, their places on it, and the periods in shares of it."""
    nowhere = [(None, None)] * len(values)
    if data.dimension > 2 or not np.isfinite(data.free_energy).any():
        return None, nowhere, (0.0, 0.0)
    if data.dimension == 1:
        figure, (axes,) = new_figure(MAP)
        points = np.stack([values[:, 0], _draw_curve(axes, data, values[:, 0])], axis=1)
    else:
        figure, axes = map_figure()
        draw_map(axes, data)
        points = values
    _number(axes, points)
    caption = "Numbered: the values at which conformers were lifted."
    shown = picture(figure, "Free energy with the coarse values at which conformers were lifted", caption)
    # after drawing: only then is the layout known
    to_share = axes.transData + figure.transFigure.inverted()
    corners = to_share.transform([axes.viewLim.min, axes.viewLim.max])
    width, height = (float(size) for size in corners[1] - corners[0])
    goes_round = (data.periodic[0], data.dimension == 2 and data.periodic[-1])
    periods = (width if goes_round[0] else 0.0, height if goes_round[1] else 0.0)
    return shown, [(float(x), float(1 - y)) for x, y in to_share.transform(points)], periods


def _draw_curve(axes: Axes, data: ReportData, values: np.ndarray) -> np.ndarray:
    """The curve of the free energy; its heights at `values`."""
    band(axes, data.z[:, 0], data.free_energy, data.stderr, "")
    top = np.nanmax(data.free_energy)
    axes.set(ylabel="free energy (kT)", ylim=(-0.12 * top - 0.3, 1.08 * top + 0.3))
    show_along(axes, data)
    known = np.isfinite(data.free_energy)
    return np.interp(values, data.z[known, 0], data.free_energy[known])


def _number(axes: Axes, points: np.ndarray) -> None:
    for number, point in enumerate(points, start=1):
        axes.plot(*point, "o", color="white", markeredgecolor=EXACT, markersize=11, zorder=4)
        place = {"ha": "center", "va": "center_baseline", "fontsize": 7.5, "zorder": 5}
        axes.annotate(str(number), tuple(point), color=EXACT, **place)
