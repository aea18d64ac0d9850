"""Stages of the reduced dynamics as datasets with named dimensions and units, and back."""

import json
from dataclasses import asdict

import numpy as np
import xarray as xr

from micromacro.closures.bursts import BurstClosure, LiftingCheck
from micromacro.closures.lag_study import LagStudy
from micromacro.closures.long_trajectories import FullTrajectories
from micromacro.closures.table import ClosureTable
from micromacro.stored_records import description_of, of_stored

STUDY = ("lags", "drift_ratio", "drift_ratio_stderr", "diffusion_ratio", "diffusion_ratio_stderr", "memory")
TABLE = ("drift", "drift_stderr", "diffusion", "diffusion_stderr")
AXES = {2: ("cell", "component"), 3: ("cell", "component", "other_component")}


def table_variables(table: ClosureTable, prefix: str = "") -> dict:
    """The variables of a closure without observables; their names begin with `prefix`."""
    return {f"{prefix}{name}": (AXES[getattr(table, name).ndim], getattr(table, name)) for name in TABLE}


@of_stored
def read_table(record: xr.Dataset, prefix: str = "") -> ClosureTable | None:
    """The closure of a dataset that holds its cells `z`; `None` where it has none of this prefix."""
    if f"{prefix}drift" not in record:
        return None
    drift, drift_stderr, diffusion, diffusion_stderr = (record[f"{prefix}{name}"].to_numpy() for name in TABLE)
    return ClosureTable(record["z"].to_numpy(), drift, drift_stderr, diffusion, diffusion_stderr)


def bursts_record(found: BurstClosure, z: np.ndarray) -> xr.Dataset:
    """The dataset of a closure from bursts on the cells z `(n, d)`."""
    record = xr.Dataset({"z": (("cell", "component"), z, {"units": "of the coarse variable"})})
    for prefix, table in (("", found.table), ("short_", found.short_lag_table)):
        if table is not None:
            record = record.assign(table_variables(table, prefix))
    if found.study is not None:
        record = record.assign({name: ("lag", getattr(found.study, name)) for name in STUDY})
    scalars = {
        "short_lag": found.short_lag,
        "between": found.lags,
        "lifting": None if found.lifting is None else asdict(found.lifting),
        "bursts": found.bursts,
        "evaluations": found.evaluations,
        "reason": found.reason,
        "separated": found.separated,
        "study": None if found.study is None else _study_scalars(found.study),
    }
    record.attrs["description"] = json.dumps(scalars)
    return record


@of_stored
def read_bursts(record: xr.Dataset) -> BurstClosure:
    """The closure from bursts of a dataset."""
    scalars = description_of(record)
    study = None
    if scalars["study"] is not None:
        arrays = {name: record[name].to_numpy() for name in STUDY}
        plateau = scalars["study"].pop("plateau")
        study = LagStudy(**arrays, **scalars["study"], plateau=None if plateau is None else tuple(plateau))
    between, lifting = scalars["between"], scalars["lifting"]
    return BurstClosure(
        read_table(record),
        read_table(record, "short_"),
        scalars["short_lag"],
        study,
        None if between is None else tuple(between),
        None if lifting is None else LiftingCheck(**lifting),
        scalars["bursts"],
        scalars["evaluations"],
        scalars["reason"],
        scalars["separated"],
    )


def _study_scalars(study: LagStudy) -> dict:
    return {name: value for name, value in vars(study).items() if name not in STUDY}


def trajectories_record(found: FullTrajectories) -> xr.Dataset:
    """The dataset of long simulations."""
    frames = ("frame", "walker")
    return xr.Dataset(
        {
            "coarse": ((*frames, "component"), found.z, {"units": "of the coarse variable"}),
            "terms": ((*frames, "term"), found.terms, {"long_name": "drift terms, then diffusion terms, of ξ"}),
        },
        attrs={"interval": found.interval, "evaluations": found.force_evaluations},
    )


@of_stored
def read_trajectories(record: xr.Dataset) -> FullTrajectories:
    """The long simulations of a dataset."""
    z, terms = (record[name].to_numpy() for name in ("coarse", "terms"))
    return FullTrajectories(z, terms, float(record.attrs["interval"]), int(record.attrs["evaluations"]))
