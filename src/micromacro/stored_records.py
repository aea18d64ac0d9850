"""From a stored dataset to the objects of a run: what does not fit is one message, not a traceback."""

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import xarray as xr

from micromacro.errors import StoreError
from micromacro.reading import parse_json

P = ParamSpec("P")
T = TypeVar("T")
UNFIT = (KeyError, ValueError, TypeError, IndexError, AttributeError, OverflowError)


def of_stored(read: Callable[P, T]) -> Callable[P, T]:
    """A function that reads a dataset, with `StoreError` for one that lacks what it needs or holds it otherwise."""

    @wraps(read)
    def reading(*arguments: P.args, **options: P.kwargs) -> T:
        try:
            return read(*arguments, **options)
        except UNFIT as error:
            what = read.__name__.removeprefix("read_").replace("_", " ")
            remedy = "It is damaged or of another version: delete the stage and run again with --resume."
            raise StoreError(f"a stage holds no {what}: {type(error).__name__}: {error}. {remedy}") from error

    return reading


def description_of(record: xr.Dataset) -> dict[str, Any]:
    """The JSON among the attributes of a dataset. **Raises:** `ValueError` for anything else than one object."""
    found = parse_json(record.attrs["description"])
    if not isinstance(found, dict):
        raise ValueError("its description must be one JSON object")
    return found
