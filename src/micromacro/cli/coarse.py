"""`micromacro coarse`: the coarse variable of given states, learned ones included."""

from pathlib import Path
from typing import Annotated, Any

import typer

from micromacro.cli.arguments import ArrayFile, Out
from micromacro.cli.results import results_of, write_arrays
from micromacro.errors import InputError


def coarse(
    out: Out,
    states: Annotated[
        Path,
        typer.Argument(metavar="STATES", help="A .npy file of observed states (n, Y), or an .npz file of them as q."),
    ],
    output: ArrayFile,
) -> None:
    """Evaluate the coarse variable of a run on given states.

    FILE.npz holds q (n, Y) and z (n, d).
    """
    q = _states(states)
    with results_of(out) as result:
        z = result.coarse_values(q)
    write_arrays(output, q=q, z=z)
    print(f"Wrote {output}.")


def _states(path: Path) -> Any:
    import numpy as np

    from micromacro.array_files import read_array

    try:
        found = read_array(path, "q")
    except (OSError, ValueError) as error:
        raise InputError("STATES", "be a .npy file of states, or an .npz file with q", f"{path}: {error}") from error
    real = np.issubdtype(found.dtype, np.integer) or np.issubdtype(found.dtype, np.floating)
    if found.ndim not in (2, 3) or not real or not np.all(np.isfinite(found)):
        given = f"{found.dtype} of shape {found.shape}"
        raise InputError("STATES", "hold finite numbers of shape (n, D), or (n, atoms, 3) of a molecule", given)
    return found.astype(float)
