"""`micromacro plumed`: the windows of a run as PLUMED input, and its frames as a COLVAR file."""

from pathlib import Path
from typing import Annotated

import typer

from micromacro.cli.arguments import Out
from micromacro.cli.results import results_of
from micromacro.errors import InputError


def plumed(
    out: Out,
    folder: Annotated[
        Path, typer.Option("-o", "--output", metavar="FOLDER", help="Folder to write.", show_default=False)
    ],
    names: Annotated[
        str, typer.Option(metavar="A,B", help="Names of the coarse variables; default: z1,z2.", show_default=False)
    ] = "",
) -> None:
    """Write the windows of a run on a molecule as PLUMED input.

    One input file for each window with what it reads, and the pooled frames with their weights as a COLVAR file.
    """
    if folder.exists() and any(folder.iterdir()):
        raise InputError("-o", "be a folder that is empty or not there yet", folder)
    from micromacro.molecules.plumed import PlumedSettings
    from micromacro.plumed_export import export_plumed
    from micromacro.store import Store

    chosen = tuple(name.strip() for name in names.split(",") if name.strip())
    with results_of(out) as result:
        export_plumed(result.case, Store(out), folder, PlumedSettings(names=chosen))
    print(f"Wrote {folder}.")
