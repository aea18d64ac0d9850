"""Arguments and options that several commands share."""

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

Out: TypeAlias = Annotated[Path, typer.Argument(metavar="OUT", help="Results of 'micromacro run'.", show_default=False)]
ArrayFile: TypeAlias = Annotated[
    Path, typer.Option("-o", "--output", metavar="FILE.npz", help="File to write.", show_default=False)
]
Seed: TypeAlias = Annotated[int, typer.Option("--seed", metavar="N", min=0, help="Seed of the random numbers.")]
Json: TypeAlias = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
