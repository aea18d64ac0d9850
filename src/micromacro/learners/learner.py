"""What every learner of coarse variables takes and gives."""

from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

import equinox as eqx
import numpy as np
from jaxtyping import Array, Float, Int, Key

from micromacro.errors import InputError


@dataclass(frozen=True, eq=False)
class TimeSeries:
    """Features along trajectories.

    **Arguments:**

    - `features`: `(frames, walkers, F)`.
    - `interval`: between frames, in units of time.
    - `weight`: of each frame as a starting point, `(frames, walkers)`, where the trajectories do not start from the
      measure that is meant; `None` for equal ones.

    **Raises:** `InputError` for shapes that do not fit each other, and numbers that are not finite.
    """

    features: Float[np.ndarray, "frames walkers F"]
    interval: float
    weight: Float[np.ndarray, "frames walkers"] | None = None

    def __post_init__(self):
        if self.features.ndim != 3:
            raise InputError("series.features", "be (frames, walkers, features)", self.features.shape)
        if not np.all(np.isfinite(self.features)):
            raise InputError("series.features", "be finite", f"{np.sum(~np.isfinite(self.features))} that are not")
        if not (np.isfinite(self.interval) and self.interval > 0):
            raise InputError("series.interval", "be positive", self.interval)
        if self.weight is not None:
            _check_weight("series.weight", self.weight, self.features.shape[:2])

    def frames_of(self, lag: float | None) -> int:
        """A lag in units of time as a number of frames; a tenth of a trajectory, ten at most, where left out.

        **Raises:** `InputError` for a lag that leaves less than two pairs of frames on a trajectory.
        """
        length = len(self.features)
        frames = min(10, max(1, length // 10)) if lag is None else max(1, round(lag / self.interval))
        if frames > length - 2:
            most = (length - 2) * self.interval
            raise InputError("lag", f"be {most:g} or less, for trajectories of {length} frames", lag)
        return frames


@dataclass(frozen=True, eq=False)
class TrainingData:
    """Points to learn a coarse variable from.

    **Arguments:**

    - `features`: `(n, F)`.
    - `weight`: of each point in the target measure, `(n,)`; their scale does not matter.
    - `metric`: inverse covariance of the noise at each point, `(n, F, F)`, for a Mahalanobis kernel; or `None`.
    - `noise`: covariance of the noise in the features per time, `(F, F)` or `(n, F, F)`, where it is known: it gives
      learned coordinates their scale.
    - `series`: trajectories, for learners with a lag; or `None`.
    - `previous`: values at the points of the coordinates learned before, `(n, d)`, which new ones may be turned to; or
      `None`.

    **Raises:** `InputError` for shapes that do not fit each other, weights below zero, numbers that are not finite.
    """

    features: Float[np.ndarray, "n F"]
    weight: Float[np.ndarray, "m"]
    metric: Float[np.ndarray, "n F F"] | None = None
    noise: Float[np.ndarray, "*n F F"] | None = None
    series: TimeSeries | None = None
    previous: Float[np.ndarray, "n d"] | None = None

    def __post_init__(self):
        if self.features.ndim != 2 or len(self.features) < 2:
            raise InputError("features", "be two points or more, (n, F)", self.features.shape)
        if not np.all(np.isfinite(self.features)):
            raise InputError("features", "be finite", f"{np.sum(~np.isfinite(self.features))} that are not")
        _check_weight("weight", self.weight, self.features.shape[:1])
        if self.series is not None and self.series.features.shape[2] != self.size:
            raise InputError("series.features", f"have {self.size} features", self.series.features.shape[2])

    @property
    def size(self) -> int:
        """How many features, `F`."""
        return self.features.shape[1]

    def trajectories(self, kind: str) -> TimeSeries:
        """The trajectories.

        **Raises:** `InputError` where there are none.
        """
        if self.series is None:
            remedy = "Give trajectories of the unbiased dynamics, or learn with kind 'diffusion-map'."
            raise InputError("series", f"be given for kind '{kind}'", "none", remedy=remedy)
        return self.series


@dataclass(frozen=True, eq=False)
class Diagnostics:
    """What was found on the way to a learned coordinate.

    **Arguments:**

    - `eigenvalues`: of the operator that was approximated, `(k,)`, in the order of the slowest first.
    - `time_scales`: that they imply, `(k,)`, in units of time; `None` for learners that see no time.
    - `chosen`: which of them the coordinates are, `(d,)`.
    - `points`: how many points, or pairs of frames, were learned from.
    - `error`: of the coordinate against what it stands for, a sum over fewer points or a network, in standard
      deviations; `None` where it stands for nothing else.
    """

    eigenvalues: Float[np.ndarray, "k"]
    time_scales: Float[np.ndarray, "k"] | None
    chosen: Int[np.ndarray, "d"]
    points: int
    error: float | None = None


class Learned(eqx.Module):
    """A learned coordinate: features `(F,)` to `(d,)`, twice differentiable.

    **Arguments:**

    - `coordinate`: the module behind it.
    - `diagnostics`: of its fit; carried along unchanged.
    """

    coordinate: eqx.Module
    diagnostics: Diagnostics = eqx.field(static=True)

    def __call__(self, features: Float[Array, "F"]) -> Float[Array, "d"]:
        """The coordinate of one point."""
        return self.coordinate(features)  # pyright: ignore[reportCallIssue]


@runtime_checkable
class Learner(Protocol):
    """Settings of one kind of learner: whether it needs trajectories, and takes weighted ones or points."""

    kind: ClassVar[str]
    needs_series: ClassVar[bool]
    takes_weights: ClassVar[bool]

    def fit(self, data: TrainingData, key: Key[Array, ""]) -> Learned:
        """A coordinate learned from data."""
        ...


def _check_weight(name: str, weight: np.ndarray, shape: tuple[int, ...]) -> None:
    if weight.shape != shape:
        raise InputError(name, f"have shape {shape}, one for each point", weight.shape)
    if not (np.all(np.isfinite(weight)) and np.all(weight >= 0) and weight.sum() > 0):
        raise InputError(name, "be finite, not negative, and positive somewhere", f"a sum of {weight.sum()}")
