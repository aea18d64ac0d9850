"""Learned coarse variables as datasets, and back."""

import json

import numpy as np
import xarray as xr

from micromacro.learners.learner import Learned
from micromacro.learners.saving import arrays_of, describe, restore
from micromacro.stored_records import description_of, of_stored

ENDS = ("lower", "upper")


def learned_record(found: Learned, lower: np.ndarray, upper: np.ndarray, change: float | None) -> xr.Dataset:
    """The dataset of a learned coordinate: a variable for each of its arrays, its range, and what describes it."""
    variables = {
        name: ([f"{name}.{axis}" for axis in range(array.ndim)], array) for name, array in arrays_of(found).items()
    }
    ends = {
        name: ("component", end, {"units": "of the coarse variable"})
        for name, end in zip(ENDS, (lower, upper), strict=True)
    }
    attributes = {"description": json.dumps(describe(found)), "change": np.nan if change is None else change}
    return xr.Dataset({**variables, **ends}, attrs=attributes)


@of_stored
def read_learned(record: xr.Dataset) -> tuple[Learned, np.ndarray, np.ndarray, float | None]:
    """The learned coordinate of a dataset, its range, and how much it changed since the round before."""
    arrays = {str(name): record[name].to_numpy() for name in record.data_vars if name not in ENDS}
    change = float(record.attrs["change"])
    found = restore(description_of(record), arrays)
    return found, record["lower"].to_numpy(), record["upper"].to_numpy(), None if np.isnan(change) else change
