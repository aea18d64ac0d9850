"""PLUMED input that reproduces umbrella windows: one file for each window, in kJ/mol, nm, ps and radians."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Array, Float

from micromacro.coordinates.coarse import CoarseVariable
from micromacro.coordinates.geometry import (
    Angle,
    Atoms,
    Distance,
    Geometry,
    PositionFunction,
    RadiusOfGyration,
    RootMeanSquareDeviation,
    Torsion,
)
from micromacro.errors import InputError
from micromacro.molecules.plumed_grid import bias_grid, grid_points, lowered, write_grid

RESTRAINT, FLATTENING, GRID_FILE = "restraint", "flattening", "flattening.grid"
ACTIONS = {Torsion: "TORSION", Distance: "DISTANCE", Angle: "ANGLE"}
MOST_ATOMS = 99_999
COLUMNS = 8


@dataclass(frozen=True)
class PlumedSettings:
    """What the input needs to know besides the windows.

    **Arguments:**

    - `names`: of the components, as they stand in COLVAR files; `z1`, `z2`, ... where left out.
    - `masses`: of all atoms `(atoms,)`, which a mass-weighted radius of gyration is compared with.
    - `whole`: atoms, counted from 0, that PLUMED makes whole; to be given where the simulation has a box.
    - `interval`: steps between two rows of COLVAR files.
    """

    names: tuple[str, ...] = ()
    masses: tuple[float, ...] | None = None
    whole: tuple[int, ...] = ()
    interval: int = 500


def write_window_inputs(
    folder: Path | str,
    coarse: CoarseVariable,
    centers: Float[np.ndarray, "windows d"],
    stiffness: Float[np.ndarray, "d"],
    kT: float,
    flattening: Callable[[Float[Array, "d"]], Float[Array, ""]] | None = None,
    settings: PlumedSettings = PlumedSettings(),
) -> tuple[Path, ...]:
    r"""Write `window_0.dat`, `window_1.dat`, ... with the files that they read; each prints to a `COLVAR_0`, ...

    The bias of window k is $\frac12 \sum_a \kappa_a (z_a - c_{ka})^2 - \hat F(z)$ with κ in kT per squared unit. KAPPA
    of PLUMED is κ kT, and -F̂ kT stands on a grid that all windows share, less a constant.

    **Arguments:**

    - `coarse`: with what each of its components is as a function of positions.
    - `centers`, `stiffness`: of the windows, stiffness in kT per squared unit.
    - `kT`: in kJ/mol.
    - `flattening`: F̂ in kT as a function of z, written with JAX, such as the table of the windows.

    **Returns:** the input files, one for each window.

    **Raises:** `InputError` for a component that PLUMED has no action for.
    """
    folder = Path(folder)
    names = settings.names or tuple(f"z{axis + 1}" for axis in range(coarse.dimension))
    components = _checked(coarse, names)
    folder.mkdir(parents=True, exist_ok=True)
    described = [_described(part, name, folder, settings) for part, name in zip(components, names, strict=True)]
    if flattening is not None:
        axes = grid_points(coarse.lower, coarse.upper, coarse.periodic)
        grid = bias_grid(lambda z: -kT * flattening(z), axes, coarse.periodic)
        write_grid(folder / GRID_FILE, lowered(grid), names, FLATTENING)
    paths = []
    for number, center in enumerate(np.asarray(centers)):
        bias = _bias_lines(names, center, kT * np.asarray(stiffness), flattened=flattening is not None)
        paths.append(folder / f"window_{number}.dat")
        lines = [*_first_lines(number, settings), *described, *bias, _print_line(number, names, bias, settings)]
        paths[-1].write_text("\n".join(lines) + "\n", encoding="utf-8")
    return tuple(paths)


def component_action(component: Geometry, reference_file: str = "", masses: Sequence[float] | None = None) -> str:
    """The PLUMED action of one component, without its label; atoms counted from 1.

    **Raises:** `InputError` for a function of positions, and for weights that PLUMED's radius of gyration cannot have.
    """
    if isinstance(component, RootMeanSquareDeviation):
        return f"RMSD REFERENCE={reference_file} TYPE=OPTIMAL NOPBC"
    if isinstance(component, RadiusOfGyration):
        weighted = " MASS_WEIGHTED" if _mass_weighted(component, masses) else ""
        return f"GYRATION TYPE=RADIUS ATOMS={_atoms(component.atoms)}{weighted} NOPBC"
    if isinstance(component, PositionFunction):
        raise InputError(
            "coarse.kind",
            "be torsion, distance, angle, radius-of-gyration or rmsd to be written for PLUMED",
            "a function of positions",
            remedy="Write its action by hand.",
        )
    return f"{ACTIONS[type(component)]} ATOMS={_atoms(component.atoms)} NOPBC"


def domain_constants(components: Sequence[Geometry], names: Sequence[str]) -> dict[str, str]:
    """The `#! SET` lines of a COLVAR file for its periodic components."""
    wraps = [name for part, name in zip(components, names, strict=True) if np.isfinite(part.period)]
    return {key: value for name in wraps for key, value in ((f"min_{name}", "-pi"), (f"max_{name}", "pi"))}


def reference_pdb(component: RootMeanSquareDeviation) -> str:
    """The reference of an RMSD as PDB text, centred at the origin, with as many digits as its columns hold.

    **Raises:** `InputError` for atoms whose numbers a PDB file cannot hold.
    """
    last = int(np.max(component.atoms))
    if last >= MOST_ATOMS:
        raise InputError("atoms", f"be below {MOST_ATOMS} for the PDB file of PLUMED", last)
    positions = 10 * np.asarray(component.reference)
    lines = []
    atoms = np.ravel(np.asarray(component.atoms)).tolist()
    for atom, position in zip(atoms, positions - positions.mean(axis=0), strict=True):
        digits = "".join(_fitted(value) for value in position)
        lines.append(f"ATOM  {atom + 1:5d}  X   REF A   1    {digits}{1:6.2f}{1:6.2f}")
    return "\n".join([*lines, "END", ""])


def _fitted(value: float) -> str:
    """A number in a field of a PDB file, with the most decimals that fit."""
    return next(text for places in range(6, -1, -1) if len(text := f"{value:.{places}f}") <= COLUMNS).rjust(COLUMNS)


def _checked(coarse: CoarseVariable, names: Sequence[str]) -> tuple[Geometry, ...]:
    components = [part for part in coarse.components if isinstance(part, Geometry)]
    if len(components) != coarse.dimension:
        requirement = "be made of torsions, distances or other quantities of positions to be written for PLUMED"
        raise InputError("the coarse variable", requirement, "a function")
    if len(names) != coarse.dimension or len(set(names)) < len(names):
        requirement = f"be {coarse.dimension} different words, one for each coarse variable"
        raise InputError("names", requirement, ", ".join(names))
    for name, component, wraps in zip(names, components, coarse.periodic, strict=True):
        if np.isfinite(component.period) != wraps:
            requirement = f"be {str(np.isfinite(component.period)).lower()} for {name}: PLUMED takes it so"
            raise InputError("coarse.periodic", requirement, str(wraps).lower())
    return tuple(components)


def _described(component: Geometry, name: str, folder: Path, settings: PlumedSettings) -> str:
    reference = f"reference_{name}.pdb"
    action = component_action(component, reference, settings.masses)
    if isinstance(component, RootMeanSquareDeviation):
        (folder / reference).write_text(reference_pdb(component), encoding="utf-8")
    return f"{name}: {action}"


def _first_lines(number: int, settings: PlumedSettings) -> list[str]:
    lines = [f"# window {number}, written by micromacro", "UNITS LENGTH=nm TIME=ps ENERGY=kj/mol"]
    return [*lines, f"WHOLEMOLECULES ENTITY0={_atoms(settings.whole)}"] if settings.whole else lines


def _bias_lines(names: Sequence[str], center: np.ndarray, kappa: np.ndarray, *, flattened: bool) -> list[str]:
    arguments = ",".join(names)
    lines = [f"{RESTRAINT}: RESTRAINT ARG={arguments} AT={_numbers(center)} KAPPA={_numbers(kappa)}"]
    return [*lines, f"{FLATTENING}: EXTERNAL ARG={arguments} FILE={GRID_FILE}"] if flattened else lines


def _print_line(number: int, names: Sequence[str], bias: Sequence[str], settings: PlumedSettings) -> str:
    columns = [*names, *(f"{line.split(':')[0]}.bias" for line in bias)]
    return f"PRINT ARG={','.join(columns)} STRIDE={settings.interval} FILE=COLVAR_{number} FMT=%.10g"


def _mass_weighted(component: RadiusOfGyration, masses: Sequence[float] | None) -> bool:
    """Whether its weights are the masses of its atoms; `False` where they are all equal."""
    weights = np.asarray(component.masses)
    if np.ptp(weights) == 0:
        return False
    own = None if masses is None else np.asarray(masses)[np.asarray(component.atoms)]
    if own is None or not np.allclose(weights / weights.sum(), own / own.sum(), rtol=1e-3):
        requirement = "be all equal or those of the atoms, for PLUMED has no other radius of gyration"
        raise InputError("masses", requirement, np.round(weights, 3).tolist())
    return True


def _atoms(atoms: Atoms) -> str:
    return ",".join(str(atom + 1) for atom in np.ravel(np.asarray(atoms)).tolist())


def _numbers(values: np.ndarray) -> str:
    return ",".join(repr(float(value)) for value in values)
