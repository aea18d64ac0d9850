"""`--set section.key=value`: single keys that replace those of the case file."""

import copy
import tomllib
from collections.abc import Callable, Sequence
from typing import Any

from micromacro.errors import InputError
from micromacro.reading import MOST_NESTED

OPTION = "--set"


def parse_override(text: str) -> tuple[list[str], Any]:
    """The keys and the value of one override; what is no TOML value is taken as a string.

    >>> parse_override("bias.steps=2000")
    (['bias', 'steps'], 2000)
    >>> parse_override("generator.kind=score")
    (['generator', 'kind'], 'score')
    """
    path, equals, value = text.partition("=")
    keys = [key.strip() for key in path.split(".")]
    if not equals or not all(keys):
        raise InputError(OPTION, "be section.key=value", repr(text))
    if len(keys) > MOST_NESTED:
        raise InputError(OPTION, f"name a key at most {MOST_NESTED} tables deep", f"{len(keys)} of them")
    return keys, _value(value.strip())


def with_overrides(raw: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """A copy of the tables in which each override has replaced its key; later ones win."""
    result = copy.deepcopy(raw)
    for text in overrides:
        keys, value = parse_override(text)
        table = result
        for key in keys[:-1]:
            table = table.setdefault(key, {})
            if not isinstance(table, dict):
                raise InputError(OPTION, f"name a key within a table, and '{key}' is none", repr(text))
        table[keys[-1]] = value
    return result


def place_of(source: str, overrides: Sequence[str]) -> Callable[[str], str]:
    """Where a key was given: on the command line, where an override touches it, and else in `source`."""
    given = [".".join(parse_override(text)[0]) for text in overrides]

    def place(key: str) -> str:
        touched = any(_within(key, one) or _within(one, key) for one in given)
        return "command line" if touched else source

    return place


def _within(inner: str, outer: str) -> bool:
    return inner == outer or inner.startswith((f"{outer}.", f"{outer}["))


def _value(text: str) -> Any:
    try:
        parsed = tomllib.loads(f"value = {text}")
    # numbers of thousands of digits are a ValueError of Python's own
    except (ValueError, RecursionError):
        return text
    return parsed["value"] if parsed.keys() == {"value"} else text
