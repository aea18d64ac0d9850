"""From what a user wrote to checked models, and from what pydantic refuses to one message a user can act on."""

import difflib
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from micromacro.cases.feature_sections import FEATURES
from micromacro.cases.molecule_sections import (
    NAMED,
    ComponentSection,
    ComponentsSection,
    DeviationSection,
    MolecularSection,
    NamedSection,
    ShapeSection,
)
from micromacro.cases.schema import (
    LEARNED,
    CaseFile,
    FunctionSection,
    LearnedSection,
    OverdampedSection,
    StochasticSection,
)
from micromacro.errors import InputError

SECTIONS: dict[str, dict[str, type[BaseModel]]] = {
    "system": {"overdamped": OverdampedSection, "sde": StochasticSection, "openmm": MolecularSection},
    "coarse": {
        "function": FunctionSection,
        **dict.fromkeys(NAMED, NamedSection),
        "radius-of-gyration": ShapeSection,
        "rmsd": DeviationSection,
        "components": ComponentsSection,
        **dict.fromkeys(LEARNED, LearnedSection),
    },
}
"""Of each section whose keys depend on its kind, the model of each kind."""

KINDS = {
    "system": tuple(SECTIONS["system"]),
    "coarse": tuple(SECTIONS["coarse"]),
    "generator": ("score", "flow", "gan", "matching", "kernel"),
}
"""The kinds of each section with a `kind`."""

REQUIREMENTS = {
    "string_type": "be a string",
    "float_type": "be a number",
    "finite_number": "be finite",
    "int_type": "be a whole number",
    "bool_type": "be true or false",
    "list_type": "be a list",
    "dict_type": "be a table",
    "literal_error": "be {expected}",
    "model_type": "be a table",
    "model_attributes_type": "be a table",
    "greater_than": "be greater than {gt:g}",
    "greater_than_equal": "be at least {ge:g}",
    "less_than_equal": "be at most {le:g}",
    "union_tag_invalid": "be of a kind among {expected_tags}",
    "too_short": "have {min_length} entries or more",
    "too_long": "have {max_length} entries or fewer",
}

LONGEST_SHOWN = 120

Model = TypeVar("Model", bound=BaseModel)
Place = Callable[[str], str]
"""From a key with dots to what a message names as the place of its mistake: a file, an option."""


def validate(model: type[Model], raw: dict[str, Any], place: Place) -> Model:
    """The checked model of a raw table.

    **Arguments:**

    - `model`: `CaseFile`, or `Settings` for a built-in case.
    - `raw`: tables of keys and values, as TOML has them.
    - `place`: where each key was given.
    """
    _refuse_other_kinds(raw, place)
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        # a misspelt key is also a missing one; its spelling is the mistake
        problems = sorted(error.errors(), key=lambda problem: problem["type"] != "extra_forbidden")
        raise _translated(problems[0], model, place) from None


def suggestion(given: str, known: Iterable[str]) -> str | None:
    """What the user may have meant, as advice; `None` where nothing known is close.

    >>> suggestion("potental", ["potential", "dimension"])
    "Did you mean 'potential'?"
    """
    near = difflib.get_close_matches(given, list(known), n=1)
    return f"Did you mean '{near[0]}'?" if near else None


def _refuse_other_kinds(raw: dict[str, Any], place: Place) -> None:
    """Refuse kinds that do not exist."""
    for section, supported in KINDS.items():
        table = raw.get(section)
        kind = table.get("kind") if isinstance(table, dict) else None
        if kind is None or kind in supported:
            continue
        choices = " or ".join(f"'{name}'" for name in supported)
        remedy = suggestion(str(kind), supported)
        key = f"{section}.kind"
        raise InputError(key, f"be {choices}", repr(kind), source=place(key), remedy=remedy)


def _translated(problem: Any, model: type[BaseModel], place: Place) -> InputError:
    """The message for one of pydantic's complaints."""
    path, kind_model = _path(problem["loc"], model)
    kind, context = problem["type"], problem.get("ctx", {})
    given, remedy = _shown(problem["input"]), None
    if kind == "micromacro":
        path, requirement, given = [*path, context["key"]], context["requirement"], context["given"]
    elif kind == "extra_forbidden":
        requirement, given, remedy = _unknown_key(path, _keys(model, path[:-1], kind_model))
    elif kind == "string_pattern_mismatch":
        requirement = _pattern_requirement(path)
    elif kind in ("missing", "union_tag_not_found"):
        path = path if kind == "missing" else [*path, "kind"]
        requirement, given = "be given", "nothing"
    else:
        requirement = (REQUIREMENTS.get(kind) or str(problem["msg"])).format(**context)
    key = _dotted(path)
    return InputError(key, requirement, given, source=place(key), remedy=remedy)


def _pattern_requirement(path: list[str | int]) -> str:
    if path[-1] == "[key]":
        return "be a name of letters, digits and underscores"
    return "name a function as 'file.py:function'"


def _path(location: tuple[str | int, ...], model: type[BaseModel]) -> tuple[list[str | int], type[BaseModel] | None]:
    """The keys on the way to a mistake, and the model of the kind that pydantic puts between them."""
    if issubclass(model, CaseFile) and len(location) > 1 and location[0] in SECTIONS:
        kinds = SECTIONS[str(location[0])]
        if location[1] in kinds:
            return _within_entries([location[0], *location[2:]], kinds[str(location[1])])
    return list(location), None


def _within_entries(path: list[str | int], model: type[BaseModel]) -> tuple[list[str | int], type[BaseModel]]:
    """The same without the kind of an entry of features, and the model of the entry where there is one."""
    if len(path) > 3 and path[1] == "features" and path[3] in FEATURES:
        return [*path[:3], *path[4:]], FEATURES[str(path[3])]
    if len(path) > 3 and path[1] == "components":
        return path, ComponentSection
    return path, model


def _dotted(path: list[str | int]) -> str:
    """`["system", "initial", 0]` as `system.initial[0]`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif part != "[key]":
            text += f".{part}" if text else part
    return text


def _unknown_key(path: list[str | int], known: list[str]) -> tuple[str, str, str]:
    """Requirement, what was given, and a remedy."""
    *sections, key = [str(part) for part in path]
    requirement = f"be a key of [{'.'.join(sections)}]" if sections else "be a section or a key of the case"
    return requirement, f"the unknown key '{key}'", suggestion(key, known) or f"Known here: {', '.join(known)}."


def _keys(model: type[BaseModel], sections: list[str | int], kind_model: type[BaseModel] | None) -> list[str]:
    """The known keys of the case, or of one of its sections."""
    if kind_model is not None:
        model = kind_model
    elif sections:
        return list(getattr(model.model_fields[str(sections[0])].annotation, "model_fields", ()))
    return list(model.model_fields)


def shortened(text: str) -> str:
    """A text as it is shown in messages."""
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…"


def _shown(value: object) -> str:
    try:
        return shortened(repr(value))
    # of a whole number with more digits than Python writes
    except ValueError:
        return "a number of thousands of digits"
