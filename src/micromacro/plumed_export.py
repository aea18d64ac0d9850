"""What PLUMED needs to repeat the windows of a run, and the frames that the run found with their weights."""

from pathlib import Path

import numpy as np

from micromacro import records
from micromacro.cases.case import Case
from micromacro.coordinates.geometry import Geometry
from micromacro.errors import InputError, StoreError
from micromacro.molecules.colvar import TIME, write_colvar
from micromacro.molecules.plumed import PlumedSettings, domain_constants, write_window_inputs
from micromacro.molecules.system import MolecularSystem
from micromacro.store import Store

POOLED = "pooled.colvar"
DEFAULTS = PlumedSettings()


def export_plumed(
    case: Case, store: Store, folder: Path | str, settings: PlumedSettings = DEFAULTS
) -> tuple[Path, ...]:
    """Write the windows of the last round as PLUMED input, and the pooled frames as a COLVAR file.

    `pooled.colvar` holds the coarse variables of the frames and `log_weight` in the ensemble without bias; its `time`
    counts rows.

    **Arguments:**

    - `settings`: names of the components; where the simulation has a box, `whole` must name the atoms of the solute.

    **Returns:** the input files, one for each window.

    **Raises:** `InputError` for a case without a molecule, and a coarse variable that PLUMED has no action for;
    `StoreError` for a run that has no windows.
    """
    system, coarse = case.system, case.coarse
    if not isinstance(system, MolecularSystem):
        raise InputError("system.kind", "be openmm to be written for PLUMED", type(system).__name__)
    windows, _ = records.read_round(store.read(_last_round(store)))
    masses = settings.masses or tuple(np.asarray(system.masses).tolist())
    names = settings.names or tuple(f"z{axis + 1}" for axis in range(coarse.dimension))
    settings = PlumedSettings(names, masses, settings.whole, settings.interval)
    inputs = write_window_inputs(
        folder,
        coarse,
        np.asarray(windows.centers),
        np.asarray(windows.stiffness),
        system.kT,
        windows.flattening,
        settings,
    )
    if store.has("close"):
        record = store.read("close")
        z, log_weight = record["coarse"].to_numpy(), record["log_weight"].to_numpy()
        rows = np.column_stack([np.arange(float(len(z))), z, log_weight])
        components = [part for part in coarse.components if isinstance(part, Geometry)]
        write_colvar(Path(folder) / POOLED, (TIME, *names, "log_weight"), rows, domain_constants(components, names))
    return inputs


def _last_round(store: Store) -> str:
    numbers = [int(name.removeprefix("round_")) for name in store.names if name.startswith("round_")]
    name = f"round_{max(numbers)}" if numbers else "bias"
    if not store.has(name):
        raise StoreError(f"{store.path} holds no windows. Export a run of method coupled or umbrella.")
    return name
