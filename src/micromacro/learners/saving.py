"""Learned coordinates as named arrays and a description in JSON: nothing that is read is ever run.

A module is described by the name of its class and its fields, modules within modules; only classes of a fixed list are
made again. Arrays carry the path of their field, such as `coordinate.scale.knots`.
"""

from dataclasses import fields, is_dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from micromacro.diffusion_maps.nystrom import NystromExtension, VariableBandwidthExtension
from micromacro.errors import StoreError
from micromacro.learners.alignment import Aligned
from micromacro.learners.finishing import Linear
from micromacro.learners.learner import Diagnostics, Learned
from micromacro.learners.modes import Turned
from micromacro.learners.scaling import ArcLength, Scaled
from micromacro.learners.surrogate import SmoothNetwork, Surrogate
from micromacro.learners.vampnet import SlowNetwork

FORMAT = 1
EXTENSIONS = (NystromExtension, VariableBandwidthExtension, Turned, Surrogate, SmoothNetwork)
CLASSES = (Learned, Diagnostics, Scaled, ArcLength, Aligned, Linear, SlowNetwork, *EXTENSIONS)
KNOWN: dict[str, type] = {one.__name__: one for one in CLASSES}
DEEPEST = 16


def describe(learned: Any) -> dict:
    """What is needed besides the arrays: format, and the classes and fields that the arrays belong to.

    **Raises:** `StoreError` for a module that this version cannot make again.
    """
    return {"format": FORMAT, "module": _described(learned, "")[0]}


def arrays_of(learned: Any) -> dict[str, np.ndarray]:
    """Every array of a learned coordinate by its place."""
    return _described(learned, "")[1]


def restore(description: dict, arrays: dict[str, np.ndarray]) -> Any:
    """The learned coordinate of a description and of its arrays.

    **Raises:** `StoreError` where the format or a class is unknown, or the arrays are not those of the description.
    """
    if not isinstance(description, dict) or description.get("format") != FORMAT:
        raise StoreError(f"the description of a learned coordinate must be of format {FORMAT}.")
    used: set[str] = set()
    try:
        found = _restored(description["module"], arrays, used, 0)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
        raise StoreError(f"the description of a learned coordinate cannot be read: {error!r}.") from error
    if used != set(arrays):
        raise StoreError(f"arrays must be those described; {sorted(used ^ set(arrays))[:4]} differ.")
    return found


def _described(value: Any, place: str) -> tuple[Any, dict[str, np.ndarray]]:
    """The JSON of a value and its arrays."""
    if isinstance(value, (jax.Array, np.ndarray)):
        array = np.asarray(value)
        return {"array": place, "shape": list(array.shape), "type": str(array.dtype)}, {place: array}
    if value is None or isinstance(value, (bool, int, float, str)):
        return {"value": value}, {}
    if isinstance(value, (tuple, list)):
        parts = [_described(part, f"{place}.{index}") for index, part in enumerate(value)]
        return {"list": [part for part, _ in parts]}, _merged(parts)
    if is_dataclass(value) and type(value) is KNOWN.get(type(value).__name__):
        names = [field.name for field in fields(value)]
        parts = [_described(getattr(value, name), f"{place}.{name}".lstrip(".")) for name in names]
        described = dict(zip(names, (part for part, _ in parts), strict=True))
        return {"class": type(value).__name__, "fields": described}, _merged(parts)
    raise StoreError(f"a {type(value).__name__} ({place or 'the whole'}) cannot be stored; known: {', '.join(KNOWN)}.")


def _merged(parts: list[tuple[Any, dict[str, np.ndarray]]]) -> dict[str, np.ndarray]:
    return {name: array for _, arrays in parts for name, array in arrays.items()}


def _restored(part: dict, arrays: dict[str, np.ndarray], used: set[str], depth: int) -> Any:
    """The value of a piece of JSON; `used` gathers the names of arrays on the way."""
    if depth > DEEPEST:
        raise StoreError(f"the description of a learned coordinate is nested deeper than {DEEPEST}.")
    if "value" in part:
        return part["value"]
    if "list" in part:
        return tuple(_restored(one, arrays, used, depth + 1) for one in part["list"])
    if "array" in part:
        used.add(part["array"])
        array = np.asarray(arrays[part["array"]])
        if list(array.shape) != part["shape"] or str(array.dtype) != part["type"]:
            given = f"{array.shape} {array.dtype}"
            raise StoreError(f"array {part['array']} must be {part['shape']} {part['type']}; got {given}.")
        return array
    if part["class"] not in KNOWN:
        raise StoreError(f"class must be one of {', '.join(KNOWN)}; got {part['class']!r}.")
    made = KNOWN[part["class"]]
    values = {name: _restored(one, arrays, used, depth + 1) for name, one in part["fields"].items()}
    if issubclass(made, eqx.Module):
        values = {name: _to_jax(value) for name, value in values.items()}
    return made(**values)


def _to_jax(value: Any) -> Any:
    """Arrays of modules live with JAX; within a tuple too."""
    if isinstance(value, np.ndarray):
        return jnp.asarray(value)
    return tuple(_to_jax(part) for part in value) if isinstance(value, tuple) else value
