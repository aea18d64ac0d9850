"""Values that a stranger may write where a number, a name or a list is meant, and TOML of them."""

import json
import math
from typing import Any

from hypothesis import strategies as st

HUGE = [2**31, 2**63, 2**64, 10**19, 10**300, -1, -(2**63), 0, 1]
FLOATS = [math.nan, math.inf, -math.inf, 1e308, -1e308, 5e-324, -0.0, 0.5]
PATHS = [
    "/etc/passwd",
    "/dev/zero",
    "/dev/stdin",
    "../outside/secret.txt",
    "../../../../../../etc/passwd",
    "pipe",
    "loop",
    "folder",
    "link_out",
    ".",
    "",
    "\0",
    "a\0b.py",
    "http://localhost/x.pdb",
    "file:///etc/passwd",
    "~",
    "$HOME",
    "x" * 5000,
    "case.toml",
    "system.py",
]
REFERENCES = [
    "system.py:potential",
    "system.py:coarse",
    "system.py:nothing",
    "system.py:raises",
    "system.py:wrong_shape",
    "system.py:not_a_number",
    "system.py:returns_text",
    "system.py:NUMBER",
    "broken.py:f",
    "missing.py:f",
    "pipe.py:f",
    "folder.py:f",
    "../outside/evil.py:f",
    "/etc/passwd.py:f",
    "os.py:system",
]
TEXTS = ["", " ", "é", "\u202e", "\x1b[2J", "\ud7ff", "𝟙", "\n", "a" * 10_000, "'; drop", "{{7*7}}", "%s%n", "<script>"]

scalars = st.one_of(
    st.sampled_from(HUGE),
    st.sampled_from(FLOATS),
    st.sampled_from(PATHS),
    st.sampled_from(REFERENCES),
    st.sampled_from(TEXTS),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
)


def _deep(depth: int) -> Any:
    value: Any = 1
    for level in range(depth):
        value = [value] if level % 2 else {"a": value}
    return value


structures = st.one_of(
    st.just([]),
    st.just({}),
    st.lists(scalars, max_size=5),
    st.dictionaries(st.text(max_size=8), scalars, max_size=4),
    st.integers(5, 200).map(_deep),
    st.sampled_from([1000, 20_000]).map(lambda size: [0.5] * size),
    st.lists(st.lists(scalars, max_size=3), max_size=3),
)
values = st.one_of(scalars, scalars, structures)


def to_toml(tables: dict[str, Any]) -> str:
    """A case file of tables; every table inline."""
    return "".join(f"{_key(key)} = {_value(value)}\n" for key, value in tables.items())


def _key(key: object) -> str:
    return json.dumps(str(key)).replace("\x7f", "\\u007f")


def _value(value: Any) -> str:
    # without recursion: values may be nested deeper than Python's stack
    parts, left = [], [value]
    while left:
        one = left.pop()
        if isinstance(one, _Raw):
            parts.append(one)
        elif isinstance(one, dict):
            inner: list[Any] = [_Raw("{")]
            for number, (key, part) in enumerate(one.items()):
                inner += [_Raw(", " if number else " "), _Raw(f"{_key(key)} = "), part]
            left += reversed([*inner, _Raw("}")])
        elif isinstance(one, list):
            inner = [_Raw("[")]
            for number, part in enumerate(one):
                inner += [_Raw(", " if number else ""), part]
            left += reversed([*inner, _Raw("]")])
        else:
            parts.append(_scalar(one))
    return "".join(parts)


class _Raw(str):
    """Text of TOML itself."""


def _scalar(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return "nan" if math.isnan(value) else f"{'-' if value < 0 else ''}inf" if math.isinf(value) else repr(value)
    if isinstance(value, int):
        return str(value)
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
