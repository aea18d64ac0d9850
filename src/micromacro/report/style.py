"""How figures look, and how they get into the page: colours that colour-blind readers tell apart, embedded as SVG."""

import base64
import io
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

ESTIMATE, EXACT, OTHER, MUTED = "#0072b2", "#222222", "#d55e00", "#6b7280"
SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00")
BAND = 2.0
"""Error bands are so many standard errors wide, to each side."""

STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.8,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e8eaed",
    "grid.linewidth": 0.7,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": "#222222",
    "ytick.labelcolor": "#222222",
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "figure.dpi": 160,
    "svg.hashsalt": "micromacro",
    "text.parse_math": False,
}
WIDE, SMALL, MAP = (5.2, 3.3), (2.7, 2.5), (5.2, 3.8)


@dataclass(frozen=True)
class Picture:
    """A figure of the page: the image as a data URI, what it shows, and a caption."""

    source: str
    alternative: str
    caption: str = ""


def new_figure(
    size: tuple[float, float] = WIDE, rows: int = 1, heights: tuple[float, ...] | None = None
) -> tuple[Figure, list[Axes]]:
    """A figure with `rows` axes above each other, of relative `heights`, that share the horizontal one."""
    # wide enough for half of a label at the end of an axis
    figure = Figure(figsize=size, layout=ConstrainedLayoutEngine(w_pad=0.08))
    axes = figure.subplots(rows, 1, sharex=True, squeeze=False, height_ratios=heights)
    return figure, list(axes[:, 0])


def map_figure() -> tuple[Figure, Axes]:
    """A figure with a square map, room for degrees above and right of it, and for a colour bar."""
    figure = Figure(figsize=MAP)
    width = 0.56
    return figure, figure.add_axes((0.13, 0.14, width, width * MAP[0] / MAP[1]))


def picture(figure: Figure, alternative: str, caption: str = "") -> Picture:
    """The figure as SVG in a data URI; what is rasterised within it is kept at 160 dots per inch."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    encoded = base64.b64encode(buffer.getvalue()).decode("ascii")
    return Picture(f"data:image/svg+xml;base64,{encoded}", alternative, caption)


def band(axes: Axes, x: np.ndarray, y: np.ndarray, stderr: np.ndarray, label: str, colour: str = ESTIMATE) -> None:
    """A line with its error band; gaps where values are unknown."""
    axes.fill_between(x, y - BAND * stderr, y + BAND * stderr, color=colour, alpha=0.25, linewidth=0)
    axes.plot(x, y, color=colour, label=label)
    for lone in np.flatnonzero(_alone(y)):
        axes.errorbar(x[lone], y[lone], BAND * stderr[lone], fmt=".", color=colour)


def exact_line(axes: Axes, x: np.ndarray, y: np.ndarray | None) -> None:
    """The exact curve, dashed, where there is one."""
    if y is not None:
        axes.plot(x, y, color=EXACT, linestyle=(0, (5, 3)), linewidth=1.2, label="exact")


def limit_to(axes: Axes, *values: np.ndarray | None) -> None:
    """Vertical limits from the values themselves: one wide error band does not flatten the curve."""
    known = np.concatenate([np.ravel(v)[np.isfinite(np.ravel(v))] for v in values if v is not None])
    if len(known):
        low, high = known.min(), known.max()
        size = max(abs(low), abs(high))
        # what differs by rounding alone is drawn as the constant it is
        margin = 0.08 * (high - low) if high - low > 1e-9 * size else 0.1 * size or 1.0
        axes.set_ylim(low - margin, high + margin)


def legend_above(axes: Axes) -> None:
    """The legend in one row above the axes, where it hides nothing."""
    handles, _ = axes.get_legend_handles_labels()
    if handles:
        axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=len(handles), borderaxespad=0.1)


def colour_map(
    axes: Axes,
    grid_axes: list,
    values: np.ndarray,
    label: str,
    *,
    signed: bool = False,
    ceiling: float | None = None,
    contours: float | None = None,
    periodic: tuple[bool, ...] = (False, False),
    gap: float = 0.03,
) -> None:
    """A map of `values` `(n1, n2)` with its colour bar; cells without a value are grey.

    **Arguments:**

    - `signed`: zero in the middle of the colours.
    - `ceiling`: values above it share one colour.
    - `contours`: the interval between contour lines; `periodic`: along which dimensions they go on at the other side.
    - `gap`: between the map and its colour bar, in widths of the map.
    """
    known = values[np.isfinite(values)]
    top = min(np.max(known), np.inf if ceiling is None else ceiling)
    if signed:
        limit = np.max(np.abs(known), initial=0.0)
        name, scale = "PuOr_r", Normalize(-limit, limit)
    else:
        name, scale = "viridis", Normalize(np.min(known), top)
    axes.set_facecolor("#f1f2f4")
    axes.grid(visible=False)
    shown = np.ma.masked_invalid(values.T)
    mesh = axes.pcolormesh(*grid_axes, shown, shading="nearest", rasterized=True, cmap=name, norm=scale)
    if contours is not None and top > contours:
        points, wrapped = _wrapped(grid_axes, values, periodic)
        lines = {"levels": np.arange(contours, top, contours), "colors": "white", "linewidths": 0.5, "alpha": 0.8}
        axes.contour(*points, np.ma.masked_invalid(wrapped.T), **lines)
    extend = "max" if top < np.max(known) and not signed else "neither"
    figure = axes.get_figure(root=True)
    assert figure is not None, "axes belong to a figure"
    # within the map's own frame, so that it is as high as the map whatever its aspect
    beside = axes.inset_axes((1 + gap, 0, 0.05, 1))
    figure.colorbar(mesh, cax=beside, label=label, extend=extend)


def _wrapped(grid_axes: list, values: np.ndarray, periodic: tuple[bool, ...]) -> tuple[list, np.ndarray]:
    """The grid with one more cell at both ends of every periodic dimension, so that lines reach the edges."""
    points = []
    for axis, (centres, repeats) in enumerate(zip(grid_axes, periodic, strict=True)):
        if repeats and len(centres) > 1:
            step = centres[1] - centres[0]
            centres = np.concatenate([[centres[0] - step], centres, [centres[-1] + step]])
            values = np.concatenate([values.take([-1], axis), values, values.take([0], axis)], axis)
        points.append(centres)
    return points, values


def _alone(y: np.ndarray) -> np.ndarray:
    """Known values between unknown ones, which a line would not show."""
    known = np.concatenate([[False], np.isfinite(y), [False]])
    return known[1:-1] & ~known[:-2] & ~known[2:]
