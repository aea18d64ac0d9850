r"""How long the transient after lifting lasts: measured on the restricted trajectory.

Once the fast variables have relaxed, the velocity of the coarse path drifts slowly: a straight line over a window far
below the slow time. A line through the last third of the window is carried back, and healing ends after the last
earlier velocity that deviates from it by more than its error.
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float
from scipy import stats

from micromacro.equation_free.estimate import Estimate
from micromacro.equation_free.time_stepper import CoarseStep, CoarseTimeStepper
from micromacro.errors import InputError, PhysicsError

INTERVALS = 30
CLOSER = 5.0
"""How much shorter the window is made where the transient fills only its beginning."""
RESOLVED = 3
"""Intervals that a transient must last to be resolved."""
FALSE_ALARM = 0.01
"""Probability that noise alone looks like a transient."""
NEGLIGIBLE = 0.01
"""Deviations below this share of the largest speed are none, however small the noise."""


@dataclass(frozen=True)
class Healing:
    """The transient after lifting.

    **Arguments:**

    - `time`: when it was over, in units of time; 0 where none was seen.
    - `resolution`: the interval to which that is known.
    - `times`: the middle of each interval of the window, `(k,)`.
    - `velocity`, `stderr`: of the coarse state in each, `(k, m)`.
    - `baseline`: the line that the settled velocities follow, `(k, m)`.
    - `force_evaluations`: of the measurement.
    """

    time: float
    resolution: float
    times: Float[np.ndarray, "k"]
    velocity: Float[np.ndarray, "k m"]
    stderr: Float[np.ndarray, "k m"]
    baseline: Float[np.ndarray, "k m"]
    force_evaluations: int

    def require(self, healing_time: float) -> None:
        """Refuse to estimate inside the transient. **Raises:** `InputError` for a healing time below the measured."""
        if healing_time < self.time:
            raise InputError("healing_time", f"be at least {self.time:.4g}, as long as the transient", healing_time)


def measure_healing(
    stepper: CoarseTimeStepper,
    z: Float[np.ndarray, "m"],
    longest: float,
    *,
    parameters: tuple[float, ...] = (),
) -> Healing:
    """How long the coarse velocity remembers the lifting at z.

    The window is `longest` at first, and shorter where the transient turns out to fill only its beginning.

    **Arguments:**

    - `stepper`: its healing time and horizon do not matter here.
    - `z`: the coarse state `(m,)`.
    - `longest`: the window, in units of time: far below the slow time, far above what the fast one may be.
    - `parameters`: of the system.

    **Raises:** `PhysicsError` where the velocity has not settled by two thirds of the window.
    """
    shortest = INTERVALS * stepper.system.time_step
    window, spent, found = max(longest, shortest), 0, None
    while True:
        one = _within(stepper, np.asarray(z, float), window, parameters)
        spent += one.force_evaluations
        if found is None or one.time > 0:
            found = one
        if one.time == 0 or one.time > RESOLVED * one.resolution or window <= shortest:
            return replace(found, force_evaluations=spent)
        window = max(window / CLOSER, shortest)


def with_measured_healing(
    stepper: CoarseTimeStepper,
    z: Float[np.ndarray, "m"],
    longest: float,
    *,
    parameters: tuple[float, ...] = (),
) -> tuple[CoarseTimeStepper, Healing]:
    """The stepper that waits for as long as `measure_healing` finds at z, and the measurement."""
    healing = measure_healing(stepper, z, longest, parameters=parameters)
    return replace(stepper, settings=replace(stepper.settings, healing_time=healing.time)), healing


def _within(stepper: CoarseTimeStepper, z: np.ndarray, window: float, parameters: tuple) -> Healing:
    """The transient seen in one window."""
    settings = replace(stepper.settings, healing_time=0.0, horizon=window, frames=INTERVALS)
    burst = replace(stepper, settings=settings)(z, parameters)
    edges = burst.times[1:]
    middles, width = (edges[1:] + edges[:-1]) / 2, edges[1] - edges[0]
    velocity = np.diff(burst.path[1:], axis=0) / width
    settled = middles > 2 / 3 * edges[-1]
    line = np.vander(middles, 2) @ np.linalg.pinv(np.vander(middles[settled], 2))
    deviation = _flat(burst, lambda path: _off(line, settled, np.diff(path[1:], axis=0) / width))
    stderr = _flat(burst, lambda path: np.diff(path[1:], axis=0) / width).stderr.reshape(velocity.shape)
    last = _last(_deviates(deviation, velocity), settled)
    if last == np.count_nonzero(~settled) - 1:
        raise PhysicsError(
            f"the velocity had not settled {edges[last + 1]:.3g} after lifting",
            where=f"healing at z = {z}",
            remedy="Measure over a longer window, or choose a coarse variable that is slower than the rest.",
        )
    baseline = line @ velocity[settled]
    return Healing(float(edges[last + 1]), float(width), middles, velocity, stderr, baseline, burst.force_evaluations)


def _off(line: np.ndarray, settled: np.ndarray, velocity: np.ndarray) -> np.ndarray:
    return velocity - line @ velocity[settled]


def _flat(burst: CoarseStep, function) -> Estimate:
    return burst.estimate(lambda path: function(path).reshape(-1))


def _deviates(deviation: Estimate, velocity: Float[np.ndarray, "k m"]) -> Bool[np.ndarray, "k"]:
    """Whether any component of each interval's velocity is off the line by more than noise."""
    count, groups = velocity.size, len(deviation.replicates)
    errors = stats.t.ppf(1 - FALSE_ALARM / (2 * count), groups - 1) * deviation.stderr.reshape(velocity.shape)
    bound = np.maximum(errors, NEGLIGIBLE * np.abs(velocity).max(axis=0))
    return np.any(np.abs(deviation.value.reshape(velocity.shape)) > bound, axis=1)


def _last(deviates: Bool[np.ndarray, "k"], settled: Bool[np.ndarray, "k"]) -> int:
    """The last deviating interval before the settled ones; -1 for none."""
    found = np.flatnonzero(deviates & ~settled)
    return int(found[-1]) if len(found) else -1
