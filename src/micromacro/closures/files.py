"""`closure.csv`: the closure by every route on one grid, each number followed by its standard error.

The columns of the projected closure carry plain names; those of another route begin with its name, as
`bursts_drift1`. Cells where nothing is known are empty.
"""

import csv
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Float

from micromacro.closures.table import ClosureTable
from micromacro.errors import InputError
from micromacro.reading import MOST_TEXT_BYTES, read_text

PROJECTED, BURSTS, LEARNED = ROUTES = ("projected", "bursts", "learned")
"""The ways to a closure: the projection formulas, short bursts, an equation learned from snapshots."""


def write_closures(path: Path | str, tables: Mapping[str, ClosureTable]) -> None:
    """Writes the tables, by route, that share the cells of the projected one, which must be there.

    **Raises:** `InputError` for an observable that is named as a column of the closure.
    """
    columns = {f"z{a + 1}": column for a, column in enumerate(tables[PROJECTED].z.T)}
    for route, table in tables.items():
        for name, values in _columns(table).items():
            named = _named(route, name)
            if named in columns:
                raise InputError("close.observables", "not use the name of a column of the closure", repr(named))
            columns[named] = values
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        for row in zip(*columns.values(), strict=True):
            writer.writerow("" if np.isnan(value) else repr(float(value)) for value in row)


def read_closures(path: Path | str) -> dict[str, ClosureTable]:
    """Reads what `write_closures` wrote. **Raises:** `InputError` for a file that lacks a column."""
    try:
        names, *rows = list(csv.reader(read_text(Path(path), MOST_TEXT_BYTES).splitlines())) or [[]]
        numbers = np.array([[float(cell) if cell else np.nan for cell in row] for row in rows])
        columns = dict(zip(names, numbers.reshape(-1, len(names)).T, strict=True))
    except (ValueError, csv.Error) as error:
        requirement = "be a table of numbers under their names"
        raise InputError("a closure", requirement, error, source=str(path)) from error
    routes = [route for route in ROUTES if route == PROJECTED or _named(route, "drift1") in columns]
    try:
        return {route: _from_columns(_of_route(columns, route)) for route in routes}
    except KeyError as missing:
        raise InputError("columns", f"include {missing}", ", ".join(names), source=str(path)) from None


def _named(route: str, column: str) -> str:
    return column if route == PROJECTED else f"{route}_{column}"


def _of_route(columns: dict[str, Float[np.ndarray, "n"]], route: str) -> dict[str, Float[np.ndarray, "n"]]:
    """Coordinates and the columns of one route, by their plain names."""
    others = tuple(f"{other}_{kind}" for other in ROUTES[1:] for kind in ("drift", "diffusion"))
    if route == PROJECTED:
        return {name: values for name, values in columns.items() if not name.startswith(others)}
    own = {name.removeprefix(f"{route}_"): values for name, values in columns.items() if name.startswith(f"{route}_")}
    return own | {name: values for name, values in columns.items() if name.startswith("z") and name[1:].isdigit()}


def _columns(table: ClosureTable) -> dict[str, Float[np.ndarray, "n"]]:
    """Every column of one table by its name, in order, without the coordinates."""
    d = table.z.shape[1]
    pairs = [(f"drift{a + 1}", table.drift[:, a], table.drift_stderr[:, a]) for a in range(d)]
    pairs += [
        (f"diffusion{a + 1}{b + 1}", table.diffusion[:, a, b], table.diffusion_stderr[:, a, b])
        for a, b in np.ndindex(d, d)
    ]
    taken = {name for name, _, _ in pairs} | {f"z{a + 1}" for a in range(d)}
    for name in table.observables:
        if name in taken:
            raise InputError("close.observables", "not use the name of a column of the closure", repr(name))
    pairs += [(name, values, table.observables_stderr[name]) for name, values in table.observables.items()]
    return {
        named: column for name, values, error in pairs for named, column in ((name, values), (f"{name}_stderr", error))
    }


def _from_columns(columns: dict[str, Float[np.ndarray, "n"]]) -> ClosureTable:
    """The table of named columns; whatever is neither z, drift nor diffusion is an observable."""
    d = 1
    while f"z{d + 1}" in columns:
        d += 1
    drift = [f"drift{a + 1}" for a in range(d)]
    diffusion = [f"diffusion{a + 1}{b + 1}" for a, b in np.ndindex(d, d)]
    known = {f"z{a + 1}" for a in range(d)} | {name + end for name in drift + diffusion for end in ("", "_stderr")}
    observables = [name for name in columns if name not in known and f"{name}_stderr" in columns]

    def stacked(names, end=""):
        return np.stack([columns[name + end] for name in names], axis=1)

    return ClosureTable(
        stacked([f"z{a + 1}" for a in range(d)]),
        stacked(drift),
        stacked(drift, "_stderr"),
        stacked(diffusion).reshape(-1, d, d),
        stacked(diffusion, "_stderr").reshape(-1, d, d),
        {name: columns[name] for name in observables},
        {name: columns[f"{name}_stderr"] for name in observables},
    )
