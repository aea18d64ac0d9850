"""What sections of a case file are made of: kinds of numbers and names, and a table that refuses unknown keys."""

from collections.abc import Sequence
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError


def whole(value: object) -> object:
    """Let 2e8 stand for 200000000: TOML reads it as a float."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def listed(value: object) -> object:
    """Let one number stand for a list of one."""
    return [value] if isinstance(value, (int, float)) and not isinstance(value, bool) else value


Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Positive = Annotated[Number, Field(gt=0)]
Integer = Annotated[int, BeforeValidator(whole), Field(strict=True)]
Count = Annotated[Integer, Field(ge=1)]
Natural = Annotated[Integer, Field(ge=0)]
Steps = Annotated[Count, Field(le=10**15)]
Walkers = Annotated[Count, Field(le=10**6)]
Points = Annotated[Integer, Field(ge=2, le=10**7)]
Width = Annotated[Count, Field(le=2**14)]
Depth = Annotated[Count, Field(le=256)]
Few = Annotated[Count, Field(le=10**4)]
Seed = Annotated[Natural, Field(lt=2**63)]
"""Sizes have bounds far above what is of use, so that a misprint is told before the memory is full."""
Flag = Annotated[bool, Field(strict=True)]
Text = Annotated[str, Field(strict=True)]
Numbers = Annotated[list[Number], BeforeValidator(listed), Field(min_length=1)]
Reference = Annotated[Text, Field(pattern=r"^[^:]+\.py:[A-Za-z_]\w*$")]
Name = Annotated[Text, Field(pattern=r"^[A-Za-z_]\w*$")]
Point = Annotated[list[Number], Field(min_length=1)]


def problem(key: str, requirement: str, given: object) -> PydanticCustomError:
    """What a model validator raises: the key within its section, and both halves of the message."""
    return PydanticCustomError(
        "micromacro", "{requirement}", {"key": key, "requirement": requirement, "given": str(given)}
    )


def ordered(lower: Sequence[float], upper: Sequence[float]) -> bool:
    """Whether each lower end is below its upper one."""
    return all(low < high for low, high in zip(lower, upper, strict=True))


class Section(BaseModel):
    """A table of the case file: unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)
