"""`micromacro new`: a runnable template."""

from pathlib import Path
from typing import Annotated

import typer

from micromacro.errors import InputError

TEMPLATE = Path(__file__).parent / "template"


def new(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to write it into.", show_default=False)],
) -> None:
    """Write a template of a case of your own.

    It runs as it is: case.toml says what to do, system.py holds the physics.
    """
    files = sorted(path for path in TEMPLATE.iterdir() if path.is_file())
    for file in files:
        if (directory / file.name).exists():
            raise InputError("DIR", f"hold no '{file.name}' that would be overwritten", directory)
    directory.mkdir(parents=True, exist_ok=True)
    for file in files:
        (directory / file.name).write_text(file.read_text(encoding="utf-8"), encoding="utf-8")
    print(f"Wrote {' and '.join(str(directory / file.name) for file in files)}.")
    print(f"Run it: micromacro run {directory / 'case.toml'} -o {directory / 'results'}")
