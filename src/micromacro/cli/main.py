"""The `micromacro` command: wires the subcommands and turns errors into one message."""

import sys
from typing import Annotated

import typer

from micromacro import __version__
from micromacro.cli.cases import cases
from micromacro.cli.check import check
from micromacro.cli.coarse import coarse
from micromacro.cli.compare import compare
from micromacro.cli.new import new
from micromacro.cli.plumed import plumed
from micromacro.cli.reduce import reduce
from micromacro.cli.report import report
from micromacro.cli.run import run
from micromacro.cli.sample import sample
from micromacro.cli.status import status
from micromacro.cli.tables import printable
from micromacro.errors import MicromacroError

app = typer.Typer(
    name="micromacro",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (cases, new, run, status, sample, reduce, coarse, check, report, compare, plumed):
    app.command()(command)


def _show_version(wanted: bool) -> bool:
    if wanted:
        print(__version__)
        raise typer.Exit
    return wanted


@app.callback()
def _micromacro(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Free energies, lifting and closed reduced dynamics from one coupled micro-macro loop."""


def main() -> None:
    """Run the command line; bad input, failures of the physics and of the disk end with one message and exit code 2."""
    try:
        app()
    except (MicromacroError, OSError) as error:
        print(f"Error: {printable(str(error))}", file=sys.stderr)
        sys.exit(2)
    except MemoryError as error:
        print(f"Error: more memory than there is was asked for: {printable(str(error))}", file=sys.stderr)
        sys.exit(2)
