"""`micromacro run`: the main job, end to end."""

import shlex
import signal
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from micromacro.cli.results import CASE_FOLDER, SUMMARY
from micromacro.cli.signals import Stopping
from micromacro.cli.tables import verdict, with_error
from micromacro.errors import StoreError
from micromacro.progress import Progress
from micromacro.reading import refuse_links_out


class Method(StrEnum):
    """Ways to get the free energy."""

    COUPLED = "coupled"
    UMBRELLA = "umbrella"
    UNBIASED = "unbiased"
    GENERATOR = "generator"
    MICRO_MACRO = "micro-macro"
    DATA = "data"


class Generator(StrEnum):
    """Kinds of conditional generator."""

    SCORE = "score"
    FLOW = "flow"
    GAN = "gan"
    MATCHING = "matching"
    KERNEL = "kernel"


def run(
    case: Annotated[
        str, typer.Argument(metavar="CASE", help="A built-in case or the path of a case file.", show_default=False)
    ],
    out: Annotated[Path, typer.Option("-o", "--output", metavar="OUT", help="Folder to write.", show_default=False)],
    method: Annotated[
        Method,
        typer.Option(
            help="How to get the free energy; micro-macro samples the whole law, data takes the case's own [data]."
        ),
    ] = Method.COUPLED,
    generator: Annotated[
        Generator | None, typer.Option(help="Conditional generator; default: as the case says.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(metavar="N", help="Seed of the random numbers; default: as the case says.")
    ] = None,
    budget: Annotated[
        float | None,
        typer.Option(
            metavar="FORCE_EVALUATIONS", help="Ceiling over everything the run does; default: as the case says."
        ),
    ] = None,
    target_error: Annotated[
        float | None,
        typer.Option(
            metavar="ERROR", help="Standard error at which to stop, of F in kT or as the case says; default: none."
        ),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with what OUT holds.")] = False,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Replace a key of the case; may be repeated."),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Start a cluster of N workers here; default: the cores of this process."),
    ] = None,
    scheduler: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Use the workers of this dask scheduler.")
    ] = None,
    task_timeout: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            min=1,
            help="Silence after which workers count as hung; default: learned from their answers.",
        ),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Show no progress.")] = False,
) -> None:
    """Run a case end to end, from sampling to checks."""
    options = {"generator.kind": generator and generator.value, "seed": seed, "budget.force_evaluations": budget}
    options["budget.target_error"] = target_error
    texts = [*(overrides or []), *(f"{key}={value}" for key, value in options.items() if value is not None)]
    where = {"workers": workers, "scheduler": scheduler, "task_timeout": task_timeout}
    with Stopping(f"Interrupted. To go on: {_command_to_resume()}") as stopping:
        try:
            summary = _run(case, out, texts, method.value, resume, Progress(quiet), where, stopping)
        except BaseException as error:
            # a signal may also come to light as the failure of a library that it cut short
            if stopping.received is None and not isinstance(error, KeyboardInterrupt):
                raise
            stopping.say(error)
            raise typer.Exit(128 + (stopping.received or signal.SIGINT)) from None
    _print_verdict(summary, out)


def _run(
    case: str,
    out: Path,
    overrides: list[str],
    method: str,
    resume: bool,
    progress: Progress,
    where: dict[str, Any],
    stopping: Stopping,
) -> dict[str, Any]:
    if out.exists() and not out.is_dir():
        raise StoreError(f"OUT must be a folder; got {out}, which is a file.")
    refuse_links_out(out)
    from micromacro.cases.archive import archive_case, overrides_to_resume
    from micromacro.cases.file import load_case
    from micromacro.run import run as run_case
    from micromacro.store import Store

    if not resume and ((out / SUMMARY).exists() or Store(out).begun):
        remedy = "Give --resume to go on with them, or another OUT."
        raise StoreError(f"OUT must hold no results; got {out}, which does. {remedy}")
    folder = out / CASE_FOLDER
    again = resume and folder.exists()
    loaded = load_case(case, overrides_to_resume(case, overrides, folder) if again else overrides)
    with Store(out).locked():
        stopping.store = Store(out).path
        if not again:
            archive_case(case, overrides, folder)
        return run_case(loaded, out, method=method, resume=resume, progress=progress, **where).summary


def _command_to_resume() -> str:
    words = ["micromacro", *sys.argv[1:]]
    return shlex.join(words if "--resume" in words else [*words, "--resume"])


def _print_verdict(summary: dict[str, Any], out: Path) -> None:
    for name, basin in summary["basins"].items():
        print(f"basin {name}: F = {with_error(basin['free_energy_kT'], basin['stderr_kT'])} kT")
    for passed in (True, False, None):
        names = [name for name, row in summary["consistency"].items() if row["passed"] is passed]
        if names:
            print(f"checks {verdict(passed)}: {', '.join(names)}")
    for note in summary.get("notes", []):
        print(note)
    print(f"{summary['force_evaluations']:,} force evaluations in {summary['wall_seconds']:.1f} s")
    print(f"results: {out}")
