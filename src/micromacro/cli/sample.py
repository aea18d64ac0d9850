"""`micromacro sample`: micro states conditioned on coarse values."""

from pathlib import Path
from typing import Annotated, Any

import typer

from micromacro.cli.arguments import ArrayFile, Out, Seed
from micromacro.cli.results import results_of, write_arrays
from micromacro.cli.tables import figure, print_table
from micromacro.errors import InputError


def sample(
    out: Out,
    at: Annotated[
        list[str],
        typer.Option(
            "--at", metavar="Z", help="Coarse value, as -1.2 or -0.3,-1.2; may be repeated.", show_default=False
        ),
    ],
    number: Annotated[int, typer.Option("-n", metavar="N", min=1, help="Draws per value.", show_default=False)],
    output: ArrayFile,
    exact: Annotated[
        bool, typer.Option("--exact/--raw", help="Corrected by the physics, or the generator alone.")
    ] = True,
    width: Annotated[
        float | None,
        typer.Option("--width", help="How far the coarse value of a draw may be from Z; default: 1 % of the range."),
    ] = None,
    seed: Seed = 0,
) -> None:
    """Draw micro states conditioned on coarse values.

    FILE.npz holds q (rows, D), of a molecule (rows, atoms, 3) in nm, z and at (rows, d), log_weight (rows,) and ess,
    one for each value. Of a molecule FILE may also end in .pdb, .dcd or .xtc: then it holds its atoms.
    """
    if width is not None and not 0 < width < float("inf"):
        raise InputError("--width", "be greater than 0 and finite", width)
    values = [parse_value(text) for text in at]
    with results_of(out) as result:
        structures = _wants_structures(output, result.case)
        lift = result.lift(_array(values, result.case.coarse.dimension), number, exact=exact, width=width, seed=seed)
    written = [output]
    if structures:
        from micromacro.molecules.writing import write_samples

        output.parent.mkdir(parents=True, exist_ok=True)
        written = list(write_samples(output, lift.q, result.case.system.topology))
    else:
        write_arrays(output, q=lift.q, z=lift.z, at=lift.at, log_weight=lift.log_weight, ess=lift.ess)
    print_table(
        ("at", "draws", "effective sample size"),
        [(text, str(number), figure(float(size))) for text, size in zip(at, lift.ess, strict=True)],
    )
    print(f"Wrote {' and '.join(map(str, written))}.")


def _wants_structures(output: Path, case: Any) -> bool:
    """Whether the file is to hold structures, which only a molecule has."""
    from micromacro.molecules.system import MolecularSystem
    from micromacro.molecules.writing import FORMATS

    wanted = output.suffix.lower() in FORMATS
    if wanted and not isinstance(case.system, MolecularSystem):
        raise InputError("-o", "end in .npz where the system is no molecule", output)
    return wanted


def parse_value(text: str) -> list[float]:
    """The numbers of one coarse value.

    >>> parse_value("-0.3,-1.2")
    [-0.3, -1.2]
    """
    try:
        value = [float(part) for part in text.split(",")]
    except ValueError:
        value = [float("nan")]
    if not all(abs(part) < float("inf") for part in value):
        raise InputError("--at", "be finite numbers separated by commas", repr(text))
    return value


def _array(values: list[list[float]], dimension: int) -> Any:
    """The values as an array `(m, d)`."""
    import numpy as np

    for value in values:
        if len(value) != dimension:
            raise InputError("--at", f"have {dimension} number(s), one for each coarse variable", value)
    return np.array(values)
