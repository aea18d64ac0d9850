"""The report as one self-contained HTML page."""

from dataclasses import dataclass, field
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from matplotlib import rc_context

from micromacro.report.angles import angle_pictures
from micromacro.report.coarsening import coarse_pictures, coarsening_note, coarsening_table
from micromacro.report.conditionals import conditional_pictures
from micromacro.report.conformers import MOST_STRUCTURES, overlay_pictures, overlays
from micromacro.report.data import ReportData
from micromacro.report.dynamics import closure_pictures, reduced_pictures
from micromacro.report.free_energy import free_energy_pictures
from micromacro.report.reduction import agreement_table, lag_picture, passages_table, reduction_note, routes_table
from micromacro.report.style import STYLE, Picture
from micromacro.report.tables import (
    Table,
    basin_table,
    consistency_table,
    cost_table,
    facts,
    hidden_table,
    provenance,
    rounds_table,
    verdict,
)
from micromacro.report.viewer import Viewer, library, make_viewer

TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Section:
    """A heading with pictures and tables under it, and a line that explains them."""

    title: str
    note: str = ""
    pictures: list[Picture] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    small: bool = False
    legend: list[tuple[str, str]] = field(default_factory=list)
    viewer: Viewer | None = None


def render(data: ReportData) -> str:
    """The page as HTML: images and styles within it, nothing loaded from elsewhere."""
    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined)
    with rc_context(STYLE):  # pyright: ignore[reportArgumentType]
        sections = [section for section in _sections(data) if section.pictures or any(t.rows for t in section.tables)]
    state, sentence = verdict(data)
    viewer = next((section.viewer for section in sections if section.viewer is not None), None)
    template = environment.get_template("page.html")
    heading = {
        "title": data.title,
        "state": state,
        "verdict": sentence,
        "facts": facts(data),
        "notes": data.summary.get("notes", []),
    }
    code = None if viewer is None else library()
    return template.render(**heading, sections=sections, provenance=provenance(data), viewer=viewer, library=code)


def _sections(data: ReportData) -> list[Section]:
    return [
        Section("Free energy", _free_energy_note(data), free_energy_pictures(data), [basin_table(data)]),
        Section("Learned coarse variable", coarsening_note(data), coarse_pictures(data), [coarsening_table(data)]),
        _conformer_section(data),
        _angle_section(data),
        _conditional_section(data),
        Section(
            "Closure",
            "Drift b and diffusion D of dz = b dt + √(2D) dW (Itô), and conditional averages.",
            closure_pictures(data) + lag_picture(data),
        ),
        Section("Routes to the closure", reduction_note(data), tables=[routes_table(data), passages_table(data)]),
        Section(
            "Reduced dynamics",
            "The closed equation alone: its stationary density should be that of the free energy, its times those of "
            "the full model.",
            reduced_pictures(data),
            [agreement_table(data)],
        ),
        Section(
            "Consistency",
            "Every check of the micro against the macro side, and what local moves alone do not cross at fixed ξ.",
            tables=[consistency_table(data), hidden_table(data)],
        ),
        Section("Cost", "Nothing left out: training data and failed rounds are included.", tables=_cost_tables(data)),
    ]


def _cost_tables(data: ReportData) -> list[Table]:
    return [cost_table(data), rounds_table(data)]


def _free_energy_note(data: ReportData) -> str:
    error = "The standard error is that of F minus its mean over the cells below 6 kT."
    return error if data.dimension < 3 else "One curve per coarse variable; all cells are in free_energy.csv."


def _conformer_section(data: ReportData) -> Section:
    if data.molecule is None:
        return Section("Lifted conformers")
    shown = overlays(data.molecule)
    note = (
        f"At most {MOST_STRUCTURES} structures a coarse value, laid on each other by their heavy atoms; carbon grey, "
        "nitrogen blue, oxygen red."
    )
    if any(overlay.raw is not None for overlay in shown):
        note += " Pictures: corrected by the physics above; of the generator alone below, all orange."
    pictures, viewer = overlay_pictures(data, shown), make_viewer(data, shown)
    return Section("Lifted conformers", note, pictures, small=True, viewer=viewer)


def _angle_section(data: ReportData) -> Section:
    draws = [one for shown in data.molecule.angles.values() for one in shown] if data.molecule else []
    note = "What the coarse value leaves free: angles of the draws at the shown coarse values."
    legend = _legend(any(one.raw is not None for one in draws))
    return Section("Hidden angles", note, angle_pictures(data), small=True, legend=legend)


def _legend(raw: bool) -> list[tuple[str, str]]:
    return [("corrected by the physics", "exact")] + ([("generator alone", "raw")] if raw else [])


def _conditional_section(data: ReportData) -> Section:
    legend = _legend(any(raw is not None for _, _, raw in data.conditional_samples))
    note = "Draws of the hidden state at given coarse values: the coordinates that the coarse value leaves free."
    return Section("Conditional samples", note, conditional_pictures(data), small=True, legend=legend)
