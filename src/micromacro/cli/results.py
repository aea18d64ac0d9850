"""Reading what a run left in its OUT, and writing arrays beside it."""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from micromacro.errors import MicromacroError, StoreError
from micromacro.reading import NO_FILE, read_json, refuse_links_out, why_unreadable

SUMMARY = "summary.json"
CASE_FOLDER = "case"


def read_summary(out: Path) -> dict[str, Any]:
    """The content of `summary.json`."""
    path = out / SUMMARY
    if why_unreadable(path) == NO_FILE or not out.is_dir():
        remedy = "'micromacro run … --resume' goes on with a run that was interrupted."
        raise StoreError(f"OUT must hold the results of a run; got {out}, which has no {SUMMARY}. {remedy}")
    from micromacro.summary import checked_summary

    return checked_summary(read_json(path), path)


def load_result(out: Path) -> Any:
    """The result and its case, restored from what the run kept."""
    read_summary(out)
    refuse_links_out(out)
    from micromacro.cases.archive import restore_case
    from micromacro.run import Result

    return Result.load(out, restore_case(out / CASE_FOLDER))


@contextmanager
def results_of(out: Path) -> Iterator[Any]:
    """The result in OUT while a command works with it; what fails in it is a matter of its files.

    **Raises:** `StoreError` where they do not fit each other, as after they were changed by hand.
    """
    result = load_result(out)
    try:
        yield result
    except (MicromacroError, OSError):
        raise
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        given = f"{type(error).__name__}: {error} ({Path(place.filename).name}, line {place.lineno})"
        remedy = (
            "Were they changed? Run the case again with --resume, or in another OUT. If nobody changed them, this is a "
            "fault of micromacro: report it with this message."
        )
        raise StoreError(f"{out} must hold files of one run that fit each other; got {given}. {remedy}") from error


def write_arrays(path: Path, **arrays: Any) -> None:
    """Write arrays by name into a file of exactly this name, its folder made where it is missing."""
    import numpy as np

    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        np.savez(file, **arrays)
