"""Stages as datasets with named dimensions and units, and back."""

import json
from typing import Any

import jax.numpy as jnp
import numpy as np
import xarray as xr

from micromacro.coupling.rounds import Round
from micromacro.estimates.discovered import Discovered
from micromacro.estimates.surface import FreeEnergySurface
from micromacro.generators.saving import arrays_of, describe, restore
from micromacro.sampling.engine import Tuning
from micromacro.sampling.opes import OpesRun
from micromacro.sampling.production import Frames
from micromacro.sampling.seeding import Exploration, Seeds
from micromacro.sampling.table import Table
from micromacro.sampling.windows import Windows
from micromacro.stored_records import description_of, of_stored

WALKERS = ("frame", "window", "walker")
DRAWS = ("frame", "window", "walker")


def exploration_record(exploration: Exploration) -> xr.Dataset:
    """The dataset of an exploration."""
    batch = ("frame", "start", "walker")
    return xr.Dataset(
        {
            "position": ((*batch, "state"), exploration.position, {"units": "of the state"}),
            "coarse": ((*batch, "component"), exploration.coarse, {"units": "of the coarse variable"}),
            "scale": (("direction", "other_direction"), exploration.scale),
            "spread": ("component", exploration.spread),
            "step_size": exploration.step_size,
        }
    )


@of_stored
def read_exploration(record: xr.Dataset) -> Exploration:
    """The exploration of a dataset."""
    array = {name: record[name].to_numpy() for name in ("position", "coarse", "scale", "spread")}
    step_size = float(record["step_size"])
    return Exploration(array["position"], array["coarse"], step_size, array["scale"], array["spread"])


def opes_record(found: OpesRun, surface: FreeEnergySurface, wells: Discovered) -> xr.Dataset:
    """The dataset of a run under an adaptive bias: its frames, its free energy, and the wells it found."""
    batch, grid = ("frame", "walker"), tuple(f"bias_grid{axis + 1}" for axis in range(found.filled.ndim))
    seeds = wells.seeds
    return xr.Dataset(
        {
            "position": ((*batch, "state"), found.position, {"units": "of the state"}),
            "coarse": ((*batch, "component"), found.coarse, {"units": "of the coarse variable"}),
            "log_density": (batch, found.log_density, {"units": "kT, the system alone"}),
            "bias": (batch, found.bias, {"units": "kT"}),
            "weight": (batch, found.weight, {"long_name": "in the ensemble without the bias"}),
            "filled": (grid, found.filled, {"units": "kT"}),
            "change": ("chunk", found.change, {"units": "kT"}),
            "step_size": found.step_size,
            "z": (("cell", "component"), surface.grid.points, {"units": "of the coarse variable"}),
            "free_energy": ("cell", surface.free_energy, {"units": "kT"}),
            "free_energy_stderr": ("cell", surface.stderr, {"units": "kT"}),
            "wells": (("well", "state"), wells.initial, {"units": "of the state"}),
            "seed": (("seed_number", "state"), seeds.position, {"units": "of the state"}),
            "seed_coarse": (("seed_number", "component"), seeds.coarse, {"units": "of the coarse variable"}),
            "seed_well": ("seed_number", seeds.label),
        }
    )


@of_stored
def read_opes(record: xr.Dataset) -> tuple[OpesRun, Discovered]:
    """The run under an adaptive bias of a dataset, and the wells it found."""
    array = {str(name): record[name].to_numpy() for name in record.data_vars}
    found = OpesRun(
        array["position"],
        array["coarse"],
        array["log_density"],
        array["bias"],
        array["weight"],
        array["filled"],
        array["change"],
        float(array["step_size"]),
    )
    return found, Discovered(array["wells"], Seeds(array["seed"], array["seed_coarse"], array["seed_well"]))


def round_record(windows: Windows, result: Round) -> xr.Dataset:
    """The dataset of a round: its windows, its frames, where its walkers ended, what the generator's draws weighed."""
    grid = tuple(f"bias_grid{axis + 1}" for axis in range(len(windows.flattening.periodic)))
    frames = result.frames
    record = xr.Dataset(
        {
            "centers": (("window", "component"), np.asarray(windows.centers)),
            "stiffness": ("component", np.asarray(windows.stiffness), {"units": "kT per squared unit of z"}),
            "flattening": (
                grid,
                np.asarray(windows.flattening.coefficients),
                {"units": "kT", "basis": "cubic B-spline"},
            ),
            "flattening_origin": ("component", np.asarray(windows.flattening.origin)),
            "flattening_spacing": ("component", np.asarray(windows.flattening.spacing)),
            "position": ((*WALKERS, "state"), frames.position, {"units": "of the state"}),
            "coarse": ((*WALKERS, "component"), frames.coarse, {"units": "of the coarse variable"}),
            "log_density": (WALKERS, frames.log_density, {"units": "kT, the system alone"}),
            "acceptance": ("window", np.asarray(frames.acceptance)),
            "last": (("window", "walker", "state"), np.asarray(result.last)),
            "step_size": ("window", np.asarray(result.tuning.step_size)),
            "scale": (("window", "direction", "other_direction"), np.asarray(result.tuning.scale)),
        },
        attrs={
            "periodic": [int(flag) for flag in windows.flattening.periodic],
            "steps_between_frames": result.interval,
        },
    )
    if result.jump is not None and result.log_weight is not None:
        record["jump"] = ("window", result.jump, {"long_name": "share of accepted generator moves"})
        record["log_weight"] = (("cycle", "window", "walker"), result.log_weight)
    if result.log_weight_before is not None:
        record["log_weight_before"] = (("cycle", "window", "walker"), result.log_weight_before)
    if result.start is not None:
        record["start"] = (("window", "walker"), result.start, {"long_name": "starting point of the well of each seed"})
    if result.window is not None:
        record["window_of_column"] = ("window", result.window, {"long_name": "copies of a window share its number"})
    return record


@of_stored
def read_round(record: xr.Dataset) -> tuple[Windows, Round]:
    """The windows and the round of a dataset."""
    array = {name: record[name].to_numpy() for name in record.data_vars}
    periodic = tuple(bool(flag) for flag in np.atleast_1d(record.attrs["periodic"]))
    coefficients, origin, spacing = (
        jnp.asarray(array[name]) for name in ("flattening", "flattening_origin", "flattening_spacing")
    )
    table = Table(coefficients, origin, spacing, periodic)
    windows = Windows(jnp.asarray(array["centers"]), jnp.asarray(array["stiffness"]), table)
    frames = Frames(array["position"], array["coarse"], array["log_density"], array["acceptance"])
    tuning = Tuning(jnp.asarray(array["step_size"]), jnp.asarray(array["scale"]))
    generator = (array.get(name) for name in ("jump", "log_weight", "log_weight_before", "start"))
    interval = int(record.attrs.get("steps_between_frames", 1))
    column = array.get("window_of_column")
    return windows, Round(frames, array["last"], tuning, *generator, interval=interval, window=column)


def generator_record(generator: Any) -> xr.Dataset:
    """The dataset of a trained generator: a variable for each array of its parameters, and what describes it."""
    variables = {
        name: ([f"{name}.{axis}" for axis in range(array.ndim)], array) for name, array in arrays_of(generator).items()
    }
    return xr.Dataset(variables, attrs={"description": json.dumps(describe(generator))})


@of_stored
def read_generator(record: xr.Dataset) -> Any:
    """The generator of a dataset."""
    arrays = {str(name): record[name].to_numpy() for name in record.data_vars}
    return restore(description_of(record), arrays)
