"""Fitted generators as named arrays and a description in JSON: nothing that is read is ever run.

A file is in the safetensors format: arrays, and in its header the description: format, kind, settings and spaces.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import safetensors
from safetensors.numpy import save_file

from micromacro.coordinates.space import Space
from micromacro.errors import MicromacroError, StoreError
from micromacro.generators.completed import CompletedGenerator, other_coordinates, restricted
from micromacro.generators.kinds import KINDS
from micromacro.reading import parse_json

FORMAT = 1
HEADER = "micromacro"
MOST_OF_A_SIZE = 10**6
ONE_ARRAY_EACH = ("depth", "layers")
"""Settings of networks with one array or more for each."""


def save_generator(generator: Any, path: Path | str) -> None:
    """Write a generator of any family to a safetensors file."""
    header = {HEADER: json.dumps(describe(generator))}
    save_file({name: np.asarray(array, order="C") for name, array in arrays_of(generator).items()}, path, header)


def load_generator(path: Path | str) -> Any:
    """The generator in a file.

    **Raises:** `StoreError` where the file is not one, is of another format, or holds other arrays than it describes.
    """
    try:
        with safetensors.safe_open(path, framework="np") as file:
            header = (file.metadata() or {}).get(HEADER)
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, a file is no dictionary
    except (OSError, safetensors.SafetensorError) as error:
        raise StoreError(f"{path} holds no generator: {error}.") from error
    if header is None:
        raise StoreError(f"{path} holds arrays but no generator: its header has no entry {HEADER!r}.")
    try:
        return restore(parse_json(header), arrays)
    except (StoreError, ValueError) as error:
        raise StoreError(f"{path}: {error}") from error


def describe(generator: Any) -> dict:
    """What is needed besides the arrays: format, kind, settings, where states and conditions live."""
    if isinstance(generator, CompletedGenerator):
        own = {"coordinates": list(generator.coordinates), "state": generator.state.as_dict()}
        return describe(generator.rest) | {"completed": own | {"blur": np.asarray(generator.blur).tolist()}}
    settings = generator.settings
    return {
        "format": FORMAT,
        "kind": settings.kind,
        "settings": asdict(settings),
        "state": generator.state.as_dict(),
        "condition": generator.condition.as_dict(),
        "circles": list(generator.representation.circles),
    }


def arrays_of(generator: Any) -> dict[str, np.ndarray]:
    """Every array of a generator by its place, such as `model.network.enter.weight`."""
    fitted = generator.rest if isinstance(generator, CompletedGenerator) else generator
    leaves = jax.tree_util.tree_leaves_with_path(eqx.filter(fitted, eqx.is_array))
    return {_name(path): np.asarray(leaf) for path, leaf in leaves}


def restore(description: dict, arrays: dict[str, np.ndarray]) -> Any:
    """The generator of a description and of its arrays.

    **Raises:** `StoreError` where the format or the kind is unknown, or the arrays are not those that it must have.
    """
    shapes = _skeleton(description, len(arrays))
    leaves, structure = jax.tree_util.tree_flatten_with_path(shapes)
    wanted = {_name(path) for path, leaf in leaves if _is_shape(leaf)}
    if wanted != set(arrays):
        raise StoreError(f"arrays must be those of its settings; {sorted(wanted ^ set(arrays))[:4]} differ.")
    found = [_checked(_name(path), leaf, arrays) if _is_shape(leaf) else leaf for path, leaf in leaves]
    generator = jax.tree_util.tree_unflatten(structure, found)
    return _completed(generator, description["completed"]) if "completed" in description else generator


def _completed(generator: Any, description: dict) -> CompletedGenerator:
    """The generator with the coordinates that are its condition."""
    try:
        coordinates = tuple(int(index) for index in description["coordinates"])
        state, blur = Space.from_dict(description["state"]), jnp.asarray(description["blur"], float)
        fits = restricted(state, other_coordinates(state, coordinates)) == generator.state
    except (KeyError, TypeError, ValueError, IndexError, OverflowError, MicromacroError) as error:
        raise StoreError(f"the description of the generator cannot be read: {error!r}.") from error
    size = generator.condition.dimension
    if not fits or not len(set(coordinates)) == len(coordinates) == size or blur.shape != (size,):
        raise StoreError("the coordinates that complete a generator must be those that it does not make.")
    return CompletedGenerator(generator, blur, coordinates, state)


def _skeleton(description: dict, arrays: int) -> Any:
    """The structure with shapes instead of arrays, so that a forged description cannot fill the memory."""
    try:
        if description["format"] != FORMAT:
            raise StoreError(f"format must be {FORMAT}, of this version; got {description['format']!r}.")
        if description["kind"] not in KINDS:
            raise StoreError(f"kind must be one of {', '.join(KINDS)}; got {description['kind']!r}.")
        # JSON knows lists alone
        given = description["settings"].items()
        settings = KINDS[description["kind"]](**{k: tuple(v) if isinstance(v, list) else v for k, v in given})
        _check_sizes(description["settings"], arrays)
        state, condition = (Space.from_dict(description[key]) for key in ("state", "condition"))
        circles = tuple(int(index) for index in description["circles"])
        return eqx.filter_eval_shape(settings.skeleton, state, condition, circles)
    except StoreError:
        raise
    # settings of strangers fail in networks and in JAX in every way
    except Exception as error:
        raise StoreError(f"the description of the generator cannot be read: {error!r}.") from error


def _check_sizes(settings: dict, arrays: int) -> None:
    """Refuse sizes of networks that no run has, before their layers are counted out."""
    for key, value in settings.items():
        most = arrays if key in ONE_ARRAY_EACH else MOST_OF_A_SIZE
        if isinstance(value, int) and key != "training_steps" and not abs(value) <= most:
            raise StoreError(f"{key} must be at most {most:,}; got {value!r}.")


def _checked(name: str, leaf: jax.ShapeDtypeStruct, arrays: dict[str, np.ndarray]) -> jax.Array:
    array = arrays[name]
    if array.shape != leaf.shape or array.dtype != leaf.dtype:
        given = f"{array.shape} {array.dtype}"
        raise StoreError(f"array {name} must be {leaf.shape} {leaf.dtype}, by the settings; got {given}.")
    return jnp.asarray(array)


def _is_shape(leaf: Any) -> bool:
    return isinstance(leaf, jax.ShapeDtypeStruct)


def _name(path: tuple) -> str:
    return jax.tree_util.keystr(path, simple=True, separator=".")
