"""`micromacro reduce`: the closed reduced dynamics."""

from enum import StrEnum
from typing import Annotated

import typer

from micromacro.cli.arguments import ArrayFile, Out, Seed
from micromacro.cli.results import results_of, write_arrays
from micromacro.errors import InputError


class Route(StrEnum):
    """Of a closure."""

    projected = "projected"
    bursts = "bursts"
    learned = "learned"


def reduce(
    out: Out,
    time: Annotated[float, typer.Option("--time", metavar="T", help="Time to simulate.", show_default=False)],
    trajectories: Annotated[
        int, typer.Option("--trajectories", metavar="N", min=1, help="How many.", show_default=False)
    ],
    output: ArrayFile,
    closure: Annotated[
        Route, typer.Option("--closure", help="By which route its drift and diffusion come.")
    ] = Route.projected,
    seed: Seed = 0,
) -> None:
    """Simulate the closed reduced dynamics.

    FILE.npz holds t (k,) and z (N, k, d).
    """
    if not 0 < time < float("inf"):
        raise InputError("--time", "be greater than 0 and finite", time)
    with results_of(out) as result:
        reduced = result.reduce(time, trajectories, seed=seed, route=closure.value)
    write_arrays(output, t=reduced.t, z=reduced.z)
    print(f"Wrote {output}.")
