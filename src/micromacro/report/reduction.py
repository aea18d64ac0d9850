"""The study of the lag, what each route to the closure is, and the reduced beside the full dynamics."""

import numpy as np

from micromacro.report.data import ReportData
from micromacro.report.style import BAND, MUTED, OTHER, Picture, band, legend_above, limit_to, new_figure, picture
from micromacro.report.tables import Table, number

LIMITS = {
    "projected": "averages of Lξ and ½∇ξᵀσσᵀ∇ξ given ξ",
    "bursts": "short bursts of the full dynamics",
    "learned": "an equation learned from snapshots",
}
"""How each route comes by its closure."""
PASSAGE_KEYS = ("forward_ps", "forward_stderr_ps", "backward_ps", "backward_stderr_ps", "factor")
OF_MOLECULES = ["windows", "D: autocorrelation of ξ in umbrella windows; b: D and F", "beyond what relaxes there", "–"]
PLATEAU = "#e3f4ee"
LEAST_SHOWN = (0.9, 1.1)
"""Ratios between these are always within the picture: what differs by less is no news."""


def lag_picture(data: ReportData) -> list[Picture]:
    """Slopes of the conditional moments and memory of hidden coordinates against the lag, with the plateau."""
    study = data.lag_study
    if study is None:
        return _trajectories_picture(data)
    figure, (slopes, memory) = new_figure((5.2, 4.2), 2, (2.0, 1.0))
    band(slopes, study.lags, study.drift_ratio, study.drift_ratio_stderr, "drift")
    band(slopes, study.lags, study.diffusion_ratio, study.diffusion_ratio_stderr, "diffusion", OTHER)
    slopes.axhline(1.0, color=MUTED, linewidth=0.8)
    memory.plot(study.lags, study.memory, color=MUTED)
    for axes in (slopes, memory):
        if study.plateau is not None:
            axes.axvspan(*study.plateau, color=PLATEAU, zorder=0)
    ratios = np.concatenate([study.drift_ratio, study.diffusion_ratio])
    limit_to(slopes, ratios, np.array(LEAST_SHOWN))
    slopes.set(ylabel="over the projected")
    memory.set(xlabel="lag", ylabel="memory", xlim=(0, study.lags[-1]), ylim=(min(0.0, np.min(study.memory)), 1.05))
    legend_above(slopes)
    caption = (
        f"Slope of the conditional moments over the projected one at lag zero, ± {BAND:g} standard errors, and how "
        "much hidden coordinates remember of the start. Shaded: the plateau. "
        f"{_as_sentence(study.reason)}"
    )
    return [picture(figure, "Slopes of the conditional moments and memory against the lag", caption)]


def _trajectories_picture(data: ReportData) -> list[Picture]:
    """Of a molecule: D of short trajectories over that of the windows, against lag."""
    found = _short_trajectories(data)
    if not found:
        return []
    lags, ratio, stderr = (np.array(found[name]) for name in ("lags", "ratio", "stderr"))
    figure, (axes,) = new_figure((5.2, 3.2))
    band(axes, lags, ratio, stderr, "")
    axes.axhline(1.0, color=MUTED, linewidth=0.8)
    if found["plateau"] is not None:
        axes.axvspan(*found["plateau"], color=PLATEAU, zorder=0)
    limit_to(axes, ratio, np.array(LEAST_SHOWN))
    axes.set(xlabel="lag (ps)", ylabel="D over that of the windows", xscale="log")
    caption = (
        "Slope of the mean square displacement of short trajectories without a bias, the motion by b taken off, "
        f"± {BAND:g} standard errors. Shaded: the plateau. {_as_sentence(found['reason'])}"
    )
    return [picture(figure, "D of short trajectories against the lag", caption)]


def _as_sentence(reason: str) -> str:
    return f"{reason[:1].upper()}{reason[1:]}."


def _short_trajectories(data: ReportData) -> dict:
    return (data.summary.get("reduction") or {}).get("short_trajectories") or {}


def routes_table(data: ReportData) -> Table:
    """One row per route: what it is, between which lags, what it cost, or why there is none."""
    found = data.summary.get("reduction") or {}
    bursts, learned, reasons = found.get("bursts"), found.get("learned"), found.get("reasons") or {}
    if data.molecule is not None:
        short = _short_trajectories(data).get("reason") or reasons.get("short_trajectories", "none")
        rows = [
            OF_MOLECULES,
            ["short trajectories", "D: mean square displacement without a bias", "the plateau", short],
        ]
        return Table(["route", "from", "lag", "remark"], rows, ["", ""])
    rows, states = [["projected", LIMITS["projected"], "lag to zero", "–"]], [""]
    if bursts and bursts.get("lags"):
        lags = " and ".join(number(lag) for lag in bursts["lags"])
        cost = f"{number(bursts['force_evaluations'])} force evaluations"
        rows.append(["bursts", LIMITS["bursts"], f"between {lags}", cost])
    elif "bursts" in reasons:
        rows.append(["bursts", LIMITS["bursts"], "none", reasons["bursts"]])
    if learned:
        rows.append(["learned", LIMITS["learned"], f"lag {number(learned['lag'])}", "predicts unseen snapshots"])
    elif "learned" in reasons:
        rows.append(["learned", LIMITS["learned"], "none", reasons["learned"]])
    states += [{"none": "skipped"}.get(row[2], "") for row in rows[1:]]
    return Table(["route", "from", "lag", "remark"], rows, states)


def passages_table(data: ReportData) -> Table:
    """Between each two basins of a molecule: passage times of the reduced dynamics, and what corrects them."""
    rows = [
        [f"{one['from']} → {one['to']}", *(number(one.get(key)) for key in PASSAGE_KEYS), one.get("reason", "")]
        for one in data.summary.get("passages") or []
    ]
    head = ["between", "there (ps)", "standard error", "back (ps)", "standard error", "factor", "remark"]
    return Table(head, rows, [""] * len(rows))


def agreement_table(data: ReportData) -> Table:
    """One row per time and route: reduced, full, and their ratio with its standard error."""
    rows = [
        [route, name, *(number(one[key]) for key in ("reduced", "full", "ratio", "stderr"))]
        for route, agreement in ((data.summary.get("reduction") or {}).get("agreement") or {}).items()
        for name, one in agreement["ratios"].items()
    ]
    return Table(["closure", "time", "reduced", "full", "reduced over full", "standard error"], rows, [""] * len(rows))


def reduction_note(data: ReportData) -> str:
    """What is to be expected of the routes, and whether time scales separate."""
    agreement = (data.summary.get("reduction") or {}).get("agreement") or {}
    if data.molecule is not None:
        return (
            "Positions of inertial dynamics have no diffusion at lag zero: D is that of times beyond all that relaxes "
            "in a window. Passages are those of the reduced dynamics; times the factor, what inertia and memory make "
            "of them."
        )
    note = (
        "The projected closure is the limit of lag zero; bursts and the learned equation are read at lags beyond the "
        "fast time. They agree where hidden coordinates are much faster than ξ, and differ by the ratio of the times "
        "where not."
    )
    gaps = [
        f" Hidden coordinates relax in {number(one['fast'])}, ξ in {number(one['slow'])}."
        for one in list(agreement.values())[:1]
        if one["fast"] is not None and one["slow"] is not None
    ]
    missing = ((data.summary.get("reduction") or {}).get("reasons") or {}).get("full_model")
    return note + "".join(gaps) + (f" Not compared with the full model: {missing}." if missing else "")
