"""The families of conditional generators by their names in a case file."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from micromacro.errors import InputError
from micromacro.generators.family import Family
from micromacro.generators.flow import FlowSettings
from micromacro.generators.gan import GanSettings
from micromacro.generators.kernel import KernelSettings
from micromacro.generators.matching import MatchingSettings
from micromacro.generators.score import ScoreSettings

FAMILIES = (ScoreSettings, KernelSettings, FlowSettings, MatchingSettings, GanSettings)
KINDS: dict[str, type[Family]] = {family.kind: family for family in FAMILIES}


def family(kind: str, given: Mapping[str, Any]) -> Family:
    """The settings of a kind.

    **Raises:** `InputError` for a kind that does not exist, and for a setting that the kind does not have.

    >>> family("score", {"width": 32}).width
    32
    """
    if kind not in KINDS:
        raise InputError("generator.kind", f"be one of {', '.join(KINDS)}", repr(kind))
    known = [field.name for field in fields(KINDS[kind])]
    for name, value in given.items():
        if name not in known:
            remedy = f"Settings of kind '{kind}': {', '.join(known)}."
            raise InputError(
                f"generator.{name}", f"be left out for kind '{kind}', which has none", value, remedy=remedy
            )
    return KINDS[kind](**given)
