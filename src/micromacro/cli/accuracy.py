"""Errors of a run's tables against what is known exactly of its case."""

import csv
from pathlib import Path

import numpy as np

from micromacro.cases.case import Case
from micromacro.errors import StoreError
from micromacro.reading import MOST_TEXT_BYTES, read_text

JUDGED_BELOW = 8.0
"""kT: where the free energy is higher, hardly anything depends on it."""
ALIGNED_BELOW = 6.0
"""kT: the constant of F is fixed by its mean over these cells, as for its standard error."""


def read_columns(path: Path) -> dict[str, np.ndarray]:
    """The columns of one of the run's tables by name; empty cells are NaN."""
    names, *rows = list(csv.reader(read_text(path, MOST_TEXT_BYTES).splitlines())) or [[]]
    try:
        values = np.array([[float(cell) if cell else np.nan for cell in row] for row in rows]).reshape(-1, len(names))
        return dict(zip(names, values.T, strict=True))
    except ValueError as error:
        raise StoreError(f"{path} must be a table of numbers under their names; got {error}.") from error


def mean_stderr(out: Path) -> float | None:
    """Mean standard error of F, in kT, over the cells that matter."""
    table = _free_energy(out)
    judged = table["free_energy_kT"] < JUDGED_BELOW
    return _mean(table["stderr_kT"][judged])


def exact_errors(case: Case, out: Path) -> dict[str, float | int | None]:
    """Errors against the exact answers of a built-in case; `None` where nothing is known.

    `rms_free_energy_error_kT` is over the cells whose exact F is below 8 kT, with one constant removed;
    `empty_cells` of them had no estimate. `hidden_weight_error` is the mean absolute error over the closure's grid.
    """
    exact = case.exact
    errors: dict[str, float | int | None] = dict.fromkeys(
        ("rms_free_energy_error_kT", "empty_cells", "hidden_weight_error")
    )
    if exact is not None and exact.free_energy is not None:
        table = _free_energy(out)
        errors |= _free_energy_errors(table["free_energy_kT"], exact.free_energy(_centres(table)))
    if exact is not None and exact.hidden_weight is not None:
        table = read_columns(out / "closure.csv")
        if "hidden_weight" in table:
            errors["hidden_weight_error"] = _mean(np.abs(table["hidden_weight"] - exact.hidden_weight(_centres(table))))
    return errors


def _free_energy(out: Path) -> dict[str, np.ndarray]:
    path = out / "free_energy.csv"
    table = read_columns(path)
    missing = {"z1", "free_energy_kT", "stderr_kT"} - set(table)
    if missing:
        raise StoreError(f"{path} must have the columns of a free energy; got none named {', '.join(sorted(missing))}.")
    return table


def _free_energy_errors(estimate: np.ndarray, exact: np.ndarray) -> dict[str, float | int | None]:
    exact = exact - np.nanmin(exact)
    difference = estimate - exact
    difference = difference - np.nanmean(difference[exact < ALIGNED_BELOW])
    judged = difference[exact < JUDGED_BELOW]
    mean_square = _mean(judged**2)
    return {
        "rms_free_energy_error_kT": None if mean_square is None else float(np.sqrt(mean_square)),
        "empty_cells": int(np.sum(np.isnan(judged))),
    }


def _centres(table: dict[str, np.ndarray]) -> np.ndarray:
    """Centres of the grid cells, `(n, d)`."""
    names = [name for name in table if name.startswith("z") and name[1:].isdigit()]
    return np.stack([table[name] for name in names], axis=1)


def _mean(values: np.ndarray) -> float | None:
    """Mean of those that are there."""
    there = values[~np.isnan(values)]
    return float(np.mean(there)) if there.size else None
