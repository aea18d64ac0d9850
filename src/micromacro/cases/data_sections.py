"""`[data]` of a case file: people's own trajectories, and what weighs their frames."""

from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field, model_validator

from micromacro.cases.section import Natural, Number, Numbers, Positive, Section, Steps, Text, listed, problem
from micromacro.errors import InputError
from micromacro.molecules.data_files import OwnData, Umbrella


def _as_list(value: object) -> object:
    """Let one name stand for a list of one."""
    return [value] if isinstance(value, str) else value


Names = Annotated[list[Text], BeforeValidator(_as_list)]


class UmbrellaSection(Section):
    """An entry of `windows`: `{ at = [-1.0], kappa = [100.0] }`, kappa in kJ/mol per squared unit of ξ."""

    at: Numbers
    kappa: Annotated[list[Positive], BeforeValidator(listed), Field(min_length=1)]

    @model_validator(mode="after")
    def _one_kappa_for_each(self):
        if len(self.kappa) not in (1, len(self.at)):
            raise problem("kappa", f"be one number or {len(self.at)} numbers, as 'at'", self.kappa)
        return self


class DataSection(Section):
    """`[data]`."""

    topology: Text
    trajectories: Annotated[Names, Field(min_length=1)]
    colvar: Names = Field(default_factory=list)
    weights: Names = Field(default_factory=list)
    log_weights: Names = Field(default_factory=list)
    bias: Names = Field(default_factory=list)
    coarse: Names = Field(default_factory=list)
    windows: list[UmbrellaSection] = Field(default_factory=list)
    discard: Annotated[Natural, Field(le=10**15)] = 0
    stride: Steps = 1
    times: Annotated[list[Number], Field(min_length=2, max_length=2)] | None = None
    selection: Text = "all"

    @model_validator(mode="after")
    def _times_go_on(self):
        if self.times is not None and self.times[1] <= 0:
            raise problem("times", "be the time of the first frame and a step greater than 0", self.times)
        return self


def build_data(section: DataSection, folder: Path, size: int) -> OwnData:
    """The files of the section, relative to `folder`; they are read when the case is run.

    **Arguments:**

    - `size`: the number of coarse variables.

    **Raises:** `InputError` where the settings do not go together.
    """
    for number, window in enumerate(section.windows):
        _check_length(len(window.at), size, f"data.windows[{number}].at")
    if section.coarse:
        _check_length(len(section.coarse), size, "data.coarse")

    def files(names: list[str]) -> tuple[Path, ...]:
        return tuple(folder / name for name in names)

    return OwnData(
        folder / section.topology,
        files(section.trajectories),
        files(section.colvar),
        files(section.weights),
        files(section.log_weights),
        tuple(section.bias),
        tuple(section.coarse),
        tuple(Umbrella(tuple(one.at), tuple(one.kappa) * (size // len(one.kappa))) for one in section.windows),
        section.discard,
        section.stride,
        None if section.times is None else (section.times[0], section.times[1]),
        section.selection,
    )


def _check_length(given: int, size: int, key: str) -> None:
    if given != size:
        raise InputError(key, f"have {size} entries, one for each coarse variable", given)
