"""How the coarse variable was learned: the states coloured by it, and what each round found."""

import numpy as np

from micromacro.report.data import ReportData
from micromacro.report.style import Picture, new_figure, picture
from micromacro.report.tables import Table, number

SHOWN_RATES = 4


def coarse_pictures(data: ReportData) -> list[Picture]:
    """The two observed coordinates that vary most, coloured by each learned coarse variable."""
    if data.coarse_cloud is None:
        return []
    q, z = data.coarse_cloud
    if q.shape[1] < 2:
        return []
    first, second = np.sort(np.argsort(-np.var(q, axis=0))[:2])
    names = data.observed_names or [f"q{axis + 1}" for axis in range(q.shape[1])]
    pictures = []
    for axis, name in enumerate(data.coarse_names):
        figure, (axes,) = new_figure((5.2, 4.2))
        points = axes.scatter(
            q[:, first], q[:, second], c=z[:, axis], s=4, cmap="viridis", linewidths=0, rasterized=True
        )
        figure.colorbar(points, ax=axes, label=name)
        axes.set(xlabel=names[first], ylabel=names[second])
        caption = f"Sampled states, coloured by the learned coarse variable {name}."
        pictures.append(picture(figure, f"Sampled states coloured by {name}", caption))
    return pictures


def coarsening_table(data: ReportData) -> Table:
    """One row per round: what ξ was learned from, how much it changed, its range, the slowest modes."""
    found = data.summary.get("coarsening") or {}
    rows = [
        [
            str(row["round"]),
            str(row["states"]),
            "–" if row["change"] is None else number(row["change"]),
            ", ".join(f"{number(low)} to {number(high)}" for low, high in zip(row["lower"], row["upper"], strict=True)),
            ", ".join(number(value) for value in row["eigenvalues"][:SHOWN_RATES]),
        ]
        for row in found.get("rounds", [])
    ]
    head = ["round", "states", "1 − |rank correlation| with the round before", "range", "leading eigenvalues"]
    return Table(head, rows, [""] * len(rows))


def coarsening_note(data: ReportData) -> str:
    """Why learning ended."""
    reason = (data.summary.get("coarsening") or {}).get("reason", "")
    return f"Learned before the main run: {reason}." if reason else ""
