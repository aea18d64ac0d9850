"""Which files hold people's own data; read by `micromacro.molecules.imported`."""

from dataclasses import dataclass
from pathlib import Path

from micromacro.errors import InputError


@dataclass(frozen=True)
class Umbrella:
    """The harmonic bias of one trajectory: `at` `(d,)` and `kappa` `(d,)` in kJ/mol per squared unit of z."""

    at: tuple[float, ...]
    kappa: tuple[float, ...]


@dataclass(frozen=True)
class OwnData:
    """Which files hold the data, and what weighs their frames.

    Weights are one of these: `weights` or `log_weights` in files; `bias` columns of COLVAR files, for a bias that no
    longer changes; `windows`, one for each trajectory, whose weights MBAR finds. Without any, frames are unbiased.

    **Arguments:**

    - `topology`, `trajectories`: files that mdtraj reads.
    - `colvar`: one file for each trajectory, or none.
    - `weights`, `log_weights`: files of one number for each frame, text or `.npy`; one for each trajectory, or one for
      all of them, one after the other; frames that `discard` and `stride` leave out are counted.
    - `bias`: columns of the COLVAR files that add up to the bias; empty for those that end in `.bias`.
    - `coarse`: columns that hold the coarse variables, by which frames and rows are checked; empty for no check.
    - `windows`: of each trajectory.
    - `discard`, `stride`: frames of each trajectory left out at its beginning, and between two that are kept.
    - `times`: of the first frame and between frames in ps, for formats without times.
    - `selection`: atoms to keep, in the language of mdtraj.

    **Raises:** `InputError` where these do not go together.
    """

    topology: Path
    trajectories: tuple[Path, ...]
    colvar: tuple[Path, ...] = ()
    weights: tuple[Path, ...] = ()
    log_weights: tuple[Path, ...] = ()
    bias: tuple[str, ...] = ()
    coarse: tuple[str, ...] = ()
    windows: tuple[Umbrella, ...] = ()
    discard: int = 0
    stride: int = 1
    times: tuple[float, float] | None = None
    selection: str = "all"

    def __post_init__(self):
        wanted = len(self.trajectories)
        given = [name for name in ("weights", "log_weights", "bias", "windows") if getattr(self, name)]
        if len(given) > 1 and set(given) != {"bias", "windows"}:
            requirement = "be the only one of weights, log_weights and bias or windows"
            raise InputError(f"data.{given[0]}", requirement, " and ".join(given))
        for name in ("colvar", "windows"):
            count = len(getattr(self, name))
            if count not in (0, wanted):
                raise InputError(f"data.{name}", f"have one entry for each trajectory ({wanted}), or none", count)
        for name in ("weights", "log_weights"):
            count = len(getattr(self, name))
            if count not in (0, 1, wanted):
                raise InputError(f"data.{name}", f"be one file, or one for each trajectory ({wanted})", count)
        for name in ("bias", "coarse"):
            if getattr(self, name) and not self.colvar:
                raise InputError(f"data.{name}", "be left out where there is no colvar", list(getattr(self, name)))

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file that is read."""
        return (self.topology, *self.trajectories, *self.colvar, *self.weights, *self.log_weights)
