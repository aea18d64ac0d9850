"""`micromacro compare`: several runs side by side."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from micromacro.cli.arguments import Json
from micromacro.cli.results import read_summary
from micromacro.cli.tables import figure, print_table, verdict, with_error

PLAIN = ("case", "method", "generator", "seed", "force_evaluations", "wall_seconds")


def compare(
    outs: Annotated[list[Path], typer.Argument(metavar="OUT", help="Results of 'micromacro run'.", show_default=False)],
    as_json: Json = False,
) -> None:
    """Show several runs side by side.

    Errors against the exact answers are shown for built-in cases.
    """
    runs = [figures(out) for out in outs]
    if as_json:
        print(json.dumps(runs, indent=2))
        return
    columns = [_cells(run) for run in runs]
    names = list(dict.fromkeys(name for column in columns for name in column))
    print_table(
        ("", *(run["out"] for run in runs)),
        [(name, *(column.get(name, "-") for column in columns)) for name in names],
    )


def figures(out: Path) -> dict[str, Any]:
    """What is compared of one run."""
    from micromacro.cases.builtin import builtin_cases
    from micromacro.cli.accuracy import exact_errors, mean_stderr

    summary = read_summary(out)
    shown: dict[str, Any] = {"out": str(out)} | {key: summary[key] for key in PLAIN}
    shown["mean_free_energy_stderr_kT"] = mean_stderr(out)
    constructor = builtin_cases().get(summary["case"])
    if constructor is not None:
        shown |= exact_errors(constructor(), out)
    shown |= generator_figures(summary)
    return shown | {"basins": summary["basins"], "consistency": summary["consistency"]}


def generator_figures(summary: dict[str, Any]) -> dict[str, Any]:
    """What the generator of a run was worth by itself, and how long it took to train; nothing without one."""
    trained = [cost["wall_seconds"] for name, cost in summary["stages"].items() if name.startswith("learn_")]
    quality = summary.get("generator_quality") or {}
    seconds = {"training_seconds": sum(trained)} if trained else {}
    return {f"generator_{name}": value for name, value in (quality | seconds).items()}


def _cells(run: dict[str, Any]) -> dict[str, str]:
    """The figures of one run by the name of their row."""
    cells = {name: figure(value) for name, value in run.items() if name not in ("out", "basins", "consistency")}
    for name, basin in run["basins"].items():
        cells[f"F of {name} (kT)"] = with_error(basin["free_energy_kT"], basin["stderr_kT"])
    for name, row in run["consistency"].items():
        cells[f"check {name}"] = f"{figure(row['value'])} {verdict(row['passed'])}"
    return cells
