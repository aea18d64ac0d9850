"""Reading what a run left in its OUT, and writing arrays beside it."""

import json
from pathlib import Path
from typing import Any

from micromacro.errors import StoreError

SUMMARY = "summary.json"
CASE_FOLDER = "case"


def read_summary(out: Path) -> dict[str, Any]:
    """The content of `summary.json`."""
    path = out / SUMMARY
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        remedy = "'micromacro run … --resume' goes on with a run that was interrupted."
        raise StoreError(f"OUT must hold the results of a run; got {out}, which has no {SUMMARY}. {remedy}") from error
    except ValueError as error:
        raise StoreError(f"{path} must be JSON; got {error}.") from error


def load_result(out: Path) -> Any:
    """The result and its case, restored from what the run kept."""
    read_summary(out)
    from micromacro.cases.archive import restore_case
    from micromacro.run import Result

    return Result.load(out, restore_case(out / CASE_FOLDER))


def write_arrays(path: Path, **arrays: Any) -> None:
    """Write arrays by name into a file of exactly this name, its folder made where it is missing."""
    import numpy as np

    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        np.savez(file, **arrays)
