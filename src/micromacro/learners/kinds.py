"""The kinds of learners by their names in a case file."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from micromacro.errors import InputError
from micromacro.learners.diffusion_map import DiffusionMapLearner
from micromacro.learners.learner import Learner
from micromacro.learners.linear import TicaLearner, VampLearner
from micromacro.learners.vampnet import VampNetLearner

LEARNERS = (DiffusionMapLearner, TicaLearner, VampLearner, VampNetLearner)
KINDS: dict[str, type[Learner]] = {settings.kind: settings for settings in LEARNERS}


def learner(kind: str, given: Mapping[str, Any]) -> Learner:
    """The settings of a kind.

    **Raises:** `InputError` for a kind that does not exist, and for a setting that the kind does not have.

    >>> learner("tica", {"lag": 0.5}).lag
    0.5
    """
    if kind not in KINDS:
        raise InputError("coarse.kind", f"be one of {', '.join(KINDS)}", repr(kind))
    known = [field.name for field in fields(KINDS[kind])]  # pyright: ignore[reportArgumentType]
    for name, value in given.items():
        if name not in known:
            remedy = f"Settings of kind '{kind}': {', '.join(known)}."
            raise InputError(f"coarse.{name}", f"be left out for kind '{kind}', which has none", value, remedy=remedy)
    return KINDS[kind](**given)
