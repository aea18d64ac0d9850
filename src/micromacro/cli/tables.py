"""Tables and figures for people."""

import sys
from collections.abc import Iterable, Sequence
from typing import Any

WIDTH_OF_A_PIPE = 240


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table; where nobody looks at a terminal, as wide as it needs to be."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    Console(width=None if sys.stdout.isatty() else WIDTH_OF_A_PIPE, highlight=False).print(table)


def printable(text: str) -> str:
    r"""A text of a stranger for a terminal: what would move the cursor or cannot be encoded is shown as its code.

    >>> printable("kT\x1b[2J")
    'kT\\x1b[2J'
    """
    return "".join(one if one.isprintable() or one == "\n" else repr(one)[1:-1] for one in text)


def figure(value: Any) -> str:
    """A number in three digits, a dash for what is not known.

    >>> figure(0.012345), figure(None), figure(20000000), figure("score")
    ('0.0123', '-', '20,000,000', 'score')
    """
    if value is None:
        return "-"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def with_error(value: float | None, error: float | None) -> str:
    """A value and its standard error.

    >>> with_error(1.234, 0.051)
    '1.23 ± 0.051'
    """
    return f"{figure(value)} ± {figure(error)}"


def verdict(passed: bool | None) -> str:
    """What a check came to.

    >>> [verdict(passed) for passed in (True, False, None)]
    ['passed', 'FAILED', 'not judged']
    """
    return "not judged" if passed is None else "passed" if passed else "FAILED"
