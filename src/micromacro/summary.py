"""What `summary.json` must hold for commands to read it; written by `micromacro.run`."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from micromacro.errors import StoreError

Figure = int | float | None


class _Part(BaseModel):
    """A part of the summary: what is not named here may be there too."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)


class Cost(_Part):
    """What a stage cost."""

    wall_seconds: Annotated[float, Field(ge=0)]
    force_evaluations: Annotated[int, Field(ge=0)]


class Basin(_Part):
    """Its free energy relative to the lowest, in kT."""

    free_energy_kT: Figure
    stderr_kT: Figure


class Verdict(_Part):
    """What a check came to."""

    value: Figure
    threshold: Figure
    passed: bool | None
    reason: str | None


class Summary(Cost):
    """The whole."""

    version: str
    case: str
    title: str = ""
    method: str
    generator: str | None
    seed: Annotated[int, Field(ge=0)]
    device: str
    stages: dict[str, Cost]
    basins: dict[str, Basin]
    consistency: dict[str, Verdict]
    rounds: list[dict[str, Figure | list[int]]] = Field(default_factory=list)
    hidden_barriers: list[str] = Field(default_factory=list)
    notes: list[str] = Field(default_factory=list)
    last_generator: Annotated[str, Field(pattern=r"^\w+$")] | None = None
    stationary: bool = True
    generator_quality: dict[str, Any] | None = None
    reduction: dict[str, Any] = Field(default_factory=dict)


def checked_summary(found: dict[str, Any], path: Path) -> dict[str, Any]:
    """The same object, once it holds what it must.

    **Raises:** `StoreError` that names the first key that it does not.
    """
    try:
        Summary.model_validate(found)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        given = repr(first["input"])[:80]
        raise StoreError(f"{path}: {key} must hold what a run wrote; {first['msg']}, got {given}.") from error
    return found
