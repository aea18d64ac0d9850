"""`micromacro check`: the verdict on a run."""

import json

import typer

from micromacro.cli.arguments import Json, Out
from micromacro.cli.results import read_summary
from micromacro.cli.tables import figure, print_table, verdict


def check(out: Out, as_json: Json = False) -> None:
    """Show the consistency checks of a run.

    Exits 1 if any fails; one that could not be judged fails nothing.
    """
    checks = read_summary(out)["consistency"]
    if as_json:
        print(json.dumps(checks, indent=2))
    else:
        print_table(
            ("check", "value", "threshold", "verdict", "reason"),
            [
                (name, figure(row["value"]), figure(row["threshold"]), verdict(row["passed"]), row["reason"] or "")
                for name, row in checks.items()
            ],
        )
    if any(row["passed"] is False for row in checks.values()):
        raise typer.Exit(1)
