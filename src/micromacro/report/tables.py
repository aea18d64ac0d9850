"""Tables of the report: numbers as text a person reads, rows ready for the page."""

import math
from dataclasses import dataclass

from micromacro.report.data import ReportData

NOTHING = "–"
VERDICTS = {True: "yes", False: "no", None: "not applicable"}


@dataclass(frozen=True)
class Table:
    """A table of text: `head` names the columns, `state` classes each row ("", "passed", "failed", "skipped")."""

    head: list[str]
    rows: list[list[str]]
    states: list[str]


def number(value: object) -> str:
    """A number as a person reads it; a dash for what is missing or no number."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return NOTHING
    if isinstance(value, bool) or not hasattr(value, "__float__"):
        return str(value)
    figure = float(value)  # pyright: ignore[reportArgumentType]
    if not math.isfinite(figure):
        return "∞" if figure > 0 else "−∞"
    if abs(figure) >= 1e7 or 0 < abs(figure) < 1e-3:
        mantissa, exponent = f"{figure:.2e}".split("e")
        return f"{mantissa} × 10{_raised(int(exponent))}".replace("-", "−")
    whole = (figure == round(figure) and abs(figure) >= 1) or abs(figure) >= 1e4
    text = f"{figure:,.0f}".replace(",", "\u202f") if whole else f"{figure:.3g}"
    return text.replace("-", "−")


def _raised(exponent: int) -> str:
    return str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def verdict(data: ReportData) -> tuple[str, str]:
    """The state and one plain sentence on the checks."""
    checks = data.summary.get("consistency") or {}
    failed = [name for name, check in checks.items() if check.get("passed") is False]
    applied = [name for name, check in checks.items() if check.get("passed") is not None]
    skipped = len(checks) - len(applied)
    aside = f" {skipped} not applicable." if skipped else ""
    if failed:
        names = ", ".join(_words(name) for name in failed)
        return "failed", f"Not consistent: {len(failed)} of {len(applied)} checks failed ({names}).{aside}"
    if applied:
        passed = "the one check that applies" if len(applied) == 1 else f"all {len(applied)} checks"
        return "passed", f"Consistent: {passed} passed.{aside}"
    return "skipped", f"No check applied.{aside}" if checks else "No checks were made."


def consistency_table(data: ReportData) -> Table:
    """One row per check: figure, threshold, whether passed, reason."""
    rows, states = [], []
    for name, check in (data.summary.get("consistency") or {}).items():
        passed = check.get("passed")
        states.append({True: "passed", False: "failed"}.get(passed, "skipped"))
        figures = [number(check.get("value")), number(check.get("threshold"))]
        rows.append([_words(name), *figures, VERDICTS.get(passed, str(passed)), check.get("reason") or ""])
    return Table(["check", "value", "threshold", "passed", "reason"], rows, states)


def basin_table(data: ReportData) -> Table:
    """One row per basin: free energy relative to the lowest, with its standard error."""
    basins = data.summary.get("basins") or {}
    rows = [
        [name, number(basin.get("free_energy_kT")), number(basin.get("stderr_kT"))] for name, basin in basins.items()
    ]
    return Table(["basin", "free energy (kT)", "standard error (kT)"], rows, [""] * len(rows))


def cost_table(data: ReportData) -> Table:
    """One row per stage and the total: wall seconds and force evaluations."""
    summary = data.summary
    stages = {**(summary.get("stages") or {}), "total": summary}
    rows = [[name, number(s.get("wall_seconds")), number(s.get("force_evaluations"))] for name, s in stages.items()]
    return Table(["stage", "wall seconds", "force evaluations"], rows, [""] * (len(rows) - 1) + ["total"])


def rounds_table(data: ReportData) -> Table:
    """One row per round of the loop."""
    keys = ("round", "windows", "acceptance", "change_kT")
    rows = [[number(entry.get(key)) for key in keys] for entry in data.rounds]
    head = ["round", "windows", "acceptance of proposals", "change of F (kT)"]
    return Table(head, rows, [""] * len(rows))


def facts(data: ReportData) -> list[tuple[str, str]]:
    """The line under the title: what was run and what it cost."""
    summary = data.summary
    named = [("case", "case"), ("method", "method"), ("generator", "generator")]
    found = [(label, str(summary[key])) for label, key in named if summary.get(key) is not None]
    costs = [("force evaluations", "force_evaluations"), ("wall seconds", "wall_seconds")]
    return found + [(label, number(summary[key])) for label, key in costs if summary.get(key) is not None]


def provenance(data: ReportData) -> str:
    """Version, case, method, seed and device in one line."""
    keys = ("version", "case", "method", "generator", "seed", "device")
    return " · ".join(f"{key} {data.summary[key]}" for key in keys if data.summary.get(key) is not None)


def _words(name: str) -> str:
    return name.replace("_", " ")


def hidden_table(data: ReportData) -> Table:
    """One row per hidden barrier that was named."""
    found = data.summary.get("hidden_barriers") or []
    return Table(["hidden barriers"], [[sentence] for sentence in found], [""] * len(found))
