"""COLVAR files of PLUMED: columns of numbers under a line that names them."""

import gzip
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from io import TextIOWrapper
from pathlib import Path

import numpy as np
from jaxtyping import Float

from micromacro.errors import InputError
from micromacro.reading import MOST_TEXT_BYTES, why_unpacks_too_large, why_unreadable

TIME = "time"
FIELDS, SET = "FIELDS", "SET"
MULTIPLE_OF_PI = re.compile(r"([+-]?)(?:([0-9.eE+-]+)\*)?pi(?:/([0-9.eE+-]+))?")


@dataclass(frozen=True)
class Colvar:
    """The columns of a COLVAR file: energies in kJ/mol, lengths in nm, times in ps, unless PLUMED was told otherwise.

    **Arguments:**

    - `names`: of the columns.
    - `values`: `(rows, columns)`.
    - `constants`: what `#! SET` lines say, such as `min_phi`: the last of each name, as it is written.
    - `source`: the file.
    """

    names: tuple[str, ...]
    values: Float[np.ndarray, "rows columns"]
    constants: Mapping[str, str] = field(default_factory=dict)
    source: str = ""

    def __len__(self) -> int:
        return len(self.values)

    def column(self, name: str) -> Float[np.ndarray, "rows"]:
        """One column. **Raises:** `InputError` where there is none of that name."""
        if name not in self.names:
            raise InputError("column", f"be one of {', '.join(self.names)}", repr(name), source=self.source)
        return self.values[:, self.names.index(name)]

    def domain(self, name: str) -> tuple[float, float] | None:
        """The ends of the period of a column, or `None` where it is not periodic."""
        ends = [self.constants.get(f"{end}_{name}") for end in ("min", "max")]
        if ends[0] is None or ends[1] is None:
            return None
        return read_number(ends[0]), read_number(ends[1])


def read_number(text: str) -> float:
    """A number as PLUMED writes it: `1.5`, `-pi`, `2*pi`, `pi/2`. **Raises:** `ValueError` for anything else."""
    if "pi" not in text:
        return float(text)
    found = MULTIPLE_OF_PI.fullmatch(text)
    if found is None:
        raise ValueError(text)
    sign, factor, divisor = found.groups()
    return math.copysign(float(factor or 1) * math.pi / float(divisor or 1), -1.0 if sign == "-" else 1.0)


def read_colvar(path: Path | str) -> Colvar:
    """Read a COLVAR file, `.gz` too.

    Runs that were restarted write their header again, and repeat the rows between their last checkpoint and where they
    had come: of rows with the same or a later time the last written counts. A last line that does not end was cut off
    while it was written, and is left out.

    **Raises:** `InputError` naming the file and the line for a row that does not fit its header, an entry that is no
    finite number, other columns after a restart, and a time that starts again from the beginning.
    """
    path, names, constants = Path(path), (), {}
    rows: list[list[float]] = []
    with _opened(path) as file:
        for number, line in _lines(file, path):
            words = line.split()
            if words[:2] == ["#!", FIELDS]:
                _same_columns(path, number, names, tuple(words[2:]))
                names = tuple(words[2:])
            elif words[:2] == ["#!", SET]:
                constants |= [_constant(path, number, words)]
            elif words := line.split("#")[0].split():
                rows.append(_row(path, number, names, words))
                _forget_repeated(path, number, names, rows)
    if not names:
        raise InputError("the file", "begin with a line '#! FIELDS time ...'", "none", source=str(path))
    return Colvar(names, np.asarray(rows, float).reshape(-1, len(names)), constants, str(path))


def write_colvar(
    path: Path | str,
    names: Sequence[str],
    values: Float[np.ndarray, "rows columns"],
    constants: Mapping[str, str] | None = None,
) -> None:
    """Write a COLVAR file that PLUMED and `read_colvar` read, to the last digit.

    **Arguments:**

    - `names`: of the columns, `time` among them; no blanks.
    - `constants`: for `#! SET` lines, such as `{"min_phi": "-pi", "max_phi": "pi"}`.

    **Raises:** `InputError` where names and columns do not agree.
    """
    if len(names) != values.shape[1] or any(len(name.split()) != 1 for name in names):
        raise InputError("names", f"be {values.shape[1]} words, one for each column", list(names))
    header = [f"#! {FIELDS} {' '.join(names)}", *(f"#! {SET} {key} {text}" for key, text in (constants or {}).items())]
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(line + "\n" for line in header)
        np.savetxt(file, values, fmt=" %.17g", delimiter="")


def _opened(path: Path) -> TextIOWrapper:
    reason = why_unreadable(path, MOST_TEXT_BYTES)
    if reason is None and path.suffix == ".gz":
        reason = why_unpacks_too_large(path)
    if reason is not None:
        raise InputError("colvar", "be a file that can be read", reason, source=str(path))
    try:
        return gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else open(path, encoding="utf-8")
    except OSError as error:
        raise InputError("colvar", "be a file that can be read", error.strerror or error, source=str(path)) from error


def _lines(file: TextIOWrapper, path: Path) -> Iterator[tuple[int, str]]:
    try:
        for number, line in enumerate(file, start=1):
            if line.endswith("\n"):
                yield number, line
    except UnicodeDecodeError as error:
        raise InputError("colvar", "be text", error, source=str(path)) from error


def _constant(path: Path, number: int, words: list[str]) -> tuple[str, str]:
    if len(words) != 4:
        raise InputError(f"line {number}", "be '#! SET name value'", repr(" ".join(words)), source=str(path))
    return words[2], words[3]


def _same_columns(path: Path, number: int, before: tuple[str, ...], names: tuple[str, ...]) -> None:
    if not names or len(set(names)) < len(names):
        raise InputError(f"line {number}", "name columns, each once", " ".join(names), source=str(path))
    if before and names != before:
        raise InputError(
            f"line {number}",
            f"name the columns of the header before it, {' '.join(before)}",
            " ".join(names),
            source=str(path),
            remedy="Put runs of different columns into files of their own.",
        )


def _row(path: Path, number: int, names: tuple[str, ...], words: list[str]) -> list[float]:
    if not names:
        raise InputError(f"line {number}", "come after a line '#! FIELDS time ...'", words, source=str(path))
    if len(words) != len(names):
        requirement = f"hold {len(names)} numbers ({' '.join(names)})"
        raise InputError(f"line {number}", requirement, f"{len(words)}: {' '.join(words)}", source=str(path))
    row = [_number(word) for word in words]
    if not all(map(math.isfinite, row)):
        wrong = next(i for i, value in enumerate(row) if not math.isfinite(value))
        key = f"line {number}, column {names[wrong]}"
        raise InputError(key, "be a finite number", repr(words[wrong]), source=str(path))
    return row


def _number(word: str) -> float:
    try:
        return read_number(word)
    except (ValueError, ZeroDivisionError):
        return math.nan


def _forget_repeated(path: Path, number: int, names: tuple[str, ...], rows: list[list[float]]) -> None:
    """Drop the rows before the last one that are not earlier than it."""
    if TIME not in names or len(rows) < 2:
        return
    column, last = names.index(TIME), rows[-1]
    if last[column] > rows[-2][column]:
        return
    if len(rows) > 2 and last[column] <= rows[0][column]:
        raise InputError(
            f"line {number}",
            f"go on after time {rows[0][column]:g}, where this file begins",
            f"{last[column]:g}",
            source=str(path),
            remedy="Put runs that each begin anew into files of their own.",
        )
    while len(rows) > 1 and rows[-2][column] >= last[column]:
        del rows[-2]
