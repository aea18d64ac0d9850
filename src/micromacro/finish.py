"""The end of a run: the projected closure, what the generator is worth, and the files of results."""

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Float, Int

from micromacro import plan, stages
from micromacro.closures.generator import projected_terms
from micromacro.closures.table import ClosureTable, closure_table
from micromacro.coordinates.coarse import CoarseVariable
from micromacro.coupling import checks
from micromacro.coupling.estimate import conditional_inefficiency, free_energy_table
from micromacro.coupling.judging import Quality, judge_draws, judge_weights
from micromacro.coupling.weights import generator_free_energy
from micromacro.durable_files import written_whole
from micromacro.estimates.surface import FreeEnergySurface, basin_free_energies
from micromacro.molecular_closure import closure_of_molecule
from micromacro.molecules.system import MolecularSystem
from micromacro.pipeline import Sampled
from micromacro.stored_records import of_stored
from micromacro.target import members_of_basins

MOST_RESERVOIR_STATES = 300_000


def close_stage(run: stages.Run, sampled: Sampled) -> tuple[ClosureTable, xr.Dataset]:
    """Conditional averages of drift, diffusion and observables; and the reservoir of states that lifting draws from."""
    molecule = isinstance(run.case.system, MolecularSystem)
    langevin = closure_of_molecule(run, sampled) if molecule else None

    def compute(advance: Callable) -> xr.Dataset:
        found = sampled.estimate
        pick = _some(run, len(found.position), MOST_RESERVOIR_STATES)
        closed = _closure(run, sampled, advance)
        closed = closed if langevin is None else _with_langevin(closed, langevin)
        record = _close_record(run, sampled, pick, closed)
        record.attrs["no_closure"] = langevin if isinstance(langevin, str) else ""
        return record

    record = run.stage("close", plan.MOST_CLOSURE_STATES, "states", compute)
    return read_closure(record), record


def _some(run: stages.Run, count: int, most: int) -> Int[np.ndarray, "some"]:
    """At most so many of all states, at random: every so many of them might be of the same walkers."""
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng([run.case.seed, 3]).choice(count, most, replace=False))


def _with_langevin(closed: ClosureTable, langevin: ClosureTable | str) -> ClosureTable:
    """The observables with b and D of a molecule; NaN where they are not known."""
    names = ("drift", "drift_stderr", "diffusion", "diffusion_stderr")
    if isinstance(langevin, str):
        return replace(closed, **{name: np.full_like(getattr(closed, name), np.nan) for name in names})
    return replace(closed, **{name: getattr(langevin, name) for name in names})


def _terms(run: stages.Run, position: Float[np.ndarray, "n D"]) -> tuple[np.ndarray, np.ndarray]:
    """Drift and diffusion of ξ at states; of a molecule zeros, for there the limit of no lag is trivial."""
    d = run.case.coarse.dimension
    if isinstance(run.case.system, MolecularSystem):
        return np.zeros((len(position), d)), np.zeros((len(position), d, d))
    run.engine.evaluations += len(position)
    return projected_terms(run.case.system, run.case.coarse, position)


def _closure(run: stages.Run, sampled: Sampled, advance: Callable) -> ClosureTable:
    case, found = run.case, sampled.estimate
    most = plan.MOST_CLOSURE_STATES
    if case.budget is not None and not isinstance(case.system, MolecularSystem):
        most = max(1, min(most, case.budget - run.engine.evaluations))
    pick = _some(run, len(found.position), most)
    position = found.position[pick]
    drift, diffusion = _terms(run, position)
    advance(len(pick))
    observed = jax.vmap(case.system.observe)(jnp.asarray(position))
    observables = {
        name: np.asarray(jax.vmap(function)(observed), float).reshape(len(pick))
        for name, function in case.close.observables.items()
    }
    weights = found.flat_weight[pick] / np.mean(found.flat_weight[pick])
    grid = found.surface.grid
    closed = closure_table(
        case.coarse, grid, found.pool.coarse[pick], drift, diffusion, observables, weights, found.pool.cluster[pick]
    )
    cell = grid.cell(found.pool.coarse[pick])
    count = np.bincount(cell[cell >= 0], minlength=len(grid.points))
    independent = count / conditional_inefficiency(case.system.observe, case.coarse, sampled.last)
    return replace(
        closed,
        observables_stderr={
            name: np.hypot(error, unseen_event(observables[name], independent))
            for name, error in closed.observables_stderr.items()
        },
    )


def unseen_event(values: Float[np.ndarray, "n"], independent: Float[np.ndarray, "cells"]) -> Float[np.ndarray, "cells"]:
    """The error that a yes-or-no observable may have where it was never seen to change: one event in all samples.

    The scatter of samples that agree is zero, which says nothing of an event rarer than one in their number.
    """
    binary = np.all((values == 0) | (values == 1))
    return np.where(binary, 1 / (independent + 1), 0.0)


def _close_record(run: stages.Run, sampled: Sampled, pick: np.ndarray, closed: ClosureTable) -> xr.Dataset:
    found = sampled.estimate
    surface = found.surface
    inefficient = conditional_inefficiency(run.case.system.observe, run.case.coarse, sampled.last)
    components = ("component", "other_component")
    record = xr.Dataset(
        {
            "z": (("cell", "component"), surface.grid.points, {"units": "of the coarse variable"}),
            "free_energy": ("cell", surface.free_energy, {"units": "kT"}),
            "free_energy_stderr": ("cell", surface.stderr, {"units": "kT"}),
            "wide_free_energy": ("wide_cell", found.wide.free_energy, {"units": "kT"}),
            "drift": (("cell", "component"), closed.drift, {"units": "of z per time"}),
            "drift_stderr": (("cell", "component"), closed.drift_stderr),
            "diffusion": (("cell", *components), closed.diffusion, {"units": "squared unit of z per time"}),
            "diffusion_stderr": (("cell", *components), closed.diffusion_stderr),
            "position": (("sample", "state"), found.position[pick], {"units": "of the state"}),
            "coarse": (("sample", "component"), found.pool.coarse[pick], {"units": "of the coarse variable"}),
            "flat_weight": ("sample", found.flat_weight[pick], {"long_name": "inverse density of ξ among the samples"}),
            "log_weight": (
                "sample",
                found.log_weight[pick],
                {"long_name": "log weight in the unbiased ensemble"},
            ),
            "blur": ("component", sampled.blur),
            "scale": (("direction", "other_direction"), sampled.scale),
            "inefficiency": max(1.0, inefficient * len(pick) / len(found.position)),
            "relaxation_time": ((), 0.5 * inefficient * sampled.frame_time, {"units": "time, zero where unknown"}),
        },
        attrs={"observables": list(closed.observables)},
    )
    for name, values in closed.observables.items():
        record[f"observable_{name}"] = ("cell", values)
        record[f"observable_{name}_stderr"] = ("cell", closed.observables_stderr[name])
    return record


@of_stored
def read_closure(record: xr.Dataset) -> ClosureTable:
    """The closure of the record of the last stage."""
    array = {name: record[name].to_numpy() for name in record.data_vars}
    names = [str(name) for name in np.atleast_1d(record.attrs["observables"])]
    return ClosureTable(
        array["z"],
        array["drift"],
        array["drift_stderr"],
        array["diffusion"],
        array["diffusion_stderr"],
        {name: array[f"observable_{name}"] for name in names},
        {name: array[f"observable_{name}_stderr"] for name in names},
    )


def basins(run: stages.Run, sampled: Sampled) -> dict[str, dict]:
    """The free energies of the basins, relative to the lowest, in kT."""
    members, _ = members_of_basins(run.case, sampled.estimate)
    if not members or not sampled.stationary:
        return {}
    found = basin_free_energies(sampled.estimate.pool, sampled.estimate.mbar, sampled.estimate.bias, members)
    return {
        name: {"free_energy_kT": number(value.free_energy), "stderr_kT": number(value.stderr)}
        for name, value in found.items()
    }


def number(value: float) -> float | None:
    """A float for JSON, null where it is not finite."""
    return float(value) if np.isfinite(value) else None


def raw_draws(run: stages.Run, sampled: Sampled) -> checks.RawDraws | None:
    """Draws of the generator alone at some windows; none without a generator or without windows."""
    sampled = sampled.trained or sampled
    windowed = bool(np.any(np.asarray(sampled.last.windows.stiffness) > 0))
    if sampled.generator is None or not windowed:
        return None
    centers = np.asarray(sampled.last.windows.centers)
    raw = checks.draw_raw(sampled.generator, run.case.coarse, centers, run.key(400))
    return replace(raw, observed=np.asarray(run.space.wrap(raw.observed)))


def generator_quality(run: stages.Run, sampled: Sampled, raw: checks.RawDraws | None) -> Quality | None:
    """How good the generator is by itself, where the run had one in windows."""
    if raw is None:
        return None
    sampled = sampled.trained or sampled
    jump = None if not sampled.rounds else sampled.rounds[-1]["acceptance"]
    own = None if sampled.log_weight is None else generator_free_energy(sampled.log_weight)
    figures = judge_weights(None if jump is None else np.array([jump]), own)
    if sampled.last.weight is None:
        rng = np.random.default_rng([run.case.seed, 2])
        centers = np.asarray(sampled.last.windows.centers)
        observe = run.case.system.observe
        figures |= judge_draws(raw, observe, sampled.last, centers, run.space.period, rng)
    return Quality(**figures)


def write_free_energy(path: Path, surface: FreeEnergySurface, *, known: bool) -> None:
    """`free_energy.csv`: empty cells where nothing was sampled, or where there is no free energy at all."""
    dimension = surface.grid.points.shape[1]
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*(f"z{axis + 1}" for axis in range(dimension)), "free_energy_kT", "stderr_kT"])
        for z, value, error in zip(surface.grid.points, surface.free_energy, surface.stderr, strict=True):
            shown = [repr(float(v)) if known and np.isfinite(v) else "" for v in (value, error)]
            writer.writerow([*(repr(float(component)) for component in z), *shown])


def write_summary(path: Path, summary: dict) -> None:
    """`summary.json`, written whole or not at all: its presence says that the run is finished."""
    written_whole(path, json.dumps(summary, indent=2, ensure_ascii=False))


def reservoir_table(coarse: CoarseVariable, record: xr.Dataset, padding: int):
    """The table of F in kT that a stored close stage holds, for flattening."""
    from micromacro.estimates.surface import coarse_grid

    grid = coarse_grid(coarse, padding)
    values = record["wide_free_energy"].to_numpy()
    return free_energy_table(FreeEnergySurface(grid, values, np.zeros_like(values)))
