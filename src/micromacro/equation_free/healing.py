r"""How long the transient after lifting lasts: measured on the restricted trajectory.

While fast variables relax, the velocity of the coarse path is that of the slow dynamics, a straight line over a window
far below the slow time, and a transient: $v(t) = a + b t + c\,e^{-t/τ}$, with one τ for all components. Least squares
gives a, b, c for every τ of a list, and the τ that leaves least. What the transient still adds to the coarse state
after a time h is $c τ e^{-h/τ}$; healing lasts until that is a small share of the error of the stepper's own burst.
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float
from scipy import stats

from micromacro.equation_free.estimate import Estimate
from micromacro.equation_free.time_stepper import CoarseStep, CoarseTimeStepper, StepperSettings
from micromacro.errors import InputError, PhysicsError

INTERVALS = 40
CANDIDATES = 30
CLOSER = 4.0
"""How much shorter the window is made where the transient fills only its beginning."""
SHORT, LONG = 1 / 30, 1 / 3
"""Relaxation times, in windows, below which the window is too long to resolve the transient, and above too short."""
FALSE_ALARM = 0.01
"""Probability that noise alone looks like a transient."""
NEGLIGIBLE = 0.01
"""Transients of less than this share of the largest speed are none, however small the noise."""
LEFT_OVER = 0.1
"""Share of the error of a burst that the transient may still add when healing ends."""


@dataclass(frozen=True)
class Healing:
    """The transient after lifting.

    **Arguments:**

    - `time`: how long to heal, in units of time; 0 where no transient was seen.
    - `relaxation_time`: τ; 0 where no transient was seen.
    - `amplitude`: c `(m,)`, with its error, in units of z per time.
    - `times`: the middle of each interval of the window, `(k,)`.
    - `velocity`: of the coarse state in each, `(k, m)`.
    - `fitted`: the same by the formula, `(k, m)`.
    - `force_evaluations`: of the measurement.
    """

    time: float
    relaxation_time: float
    amplitude: Estimate
    times: Float[np.ndarray, "k"]
    velocity: Float[np.ndarray, "k m"]
    fitted: Float[np.ndarray, "k m"]
    force_evaluations: int

    def require(self, healing_time: float, horizon: float) -> None:
        """Refuse to estimate inside the transient.

        **Raises:** `InputError` for a healing time that is too short, and for a horizon within the relaxation time.
        """
        if healing_time < self.time * (1 - 1e-9):
            raise InputError("healing_time", f"be at least {self.time:.4g}, for the transient to decay", healing_time)
        if horizon < self.relaxation_time:
            raise InputError("horizon", f"be at least the relaxation time, {self.relaxation_time:.4g}", horizon)


def measure_healing(
    stepper: CoarseTimeStepper,
    z: Float[np.ndarray, "m"],
    longest: float,
    *,
    parameters: tuple[float, ...] = (),
    replicas: int | None = None,
) -> Healing:
    """How long the coarse velocity remembers the lifting at z.

    The window is `longest` at first, and shorter where the transient turns out to fill only its beginning.

    **Arguments:**

    - `stepper`: its replicas and its horizon say how large an error is tolerable; its healing time does not matter.
    - `z`: the coarse state `(m,)`.
    - `longest`: the window, in units of time: far below the slow time, far above what the fast one may be.
    - `parameters`: of the system.
    - `replicas`: to measure with; those of the stepper where left out, whose error is what counts in any case.

    **Raises:** `PhysicsError` where the transient is still there at the end of the window.
    """
    shortest = INTERVALS * stepper.system.time_step
    window, z = max(longest, shortest), np.asarray(z, float)
    number = replicas or stepper.settings.replicas
    found = _within(stepper, z, window, parameters, number)
    if found.relaxation_time >= LONG * window * (1 - 1e-9):
        raise PhysicsError(
            f"the velocity had not settled {window:.3g} after lifting",
            where=f"healing at z = {z}",
            remedy="Measure over a longer window, or choose a coarse variable that is slower than the rest.",
        )
    spent = found.force_evaluations
    while 0 < found.relaxation_time < SHORT * window and window > shortest:
        window = max(window / CLOSER, shortest)
        closer = _within(stepper, z, window, parameters, number)
        spent += closer.force_evaluations
        if not 0 < closer.relaxation_time < LONG * window * (1 - 1e-9):
            break  # too close: what the wider window saw stands
        found = closer
    return replace(found, force_evaluations=spent)


def with_measured_healing(
    stepper: CoarseTimeStepper,
    z: Float[np.ndarray, "m"],
    longest: float,
    *,
    parameters: tuple[float, ...] = (),
    replicas: int | None = None,
) -> tuple[CoarseTimeStepper, Healing]:
    """The stepper that waits for as long as `measure_healing` finds at z, and the measurement."""
    healing = measure_healing(stepper, z, longest, parameters=parameters, replicas=replicas)
    return replace(stepper, settings=replace(stepper.settings, healing_time=healing.time)), healing


def _within(stepper: CoarseTimeStepper, z: np.ndarray, window: float, parameters: tuple, replicas: int) -> Healing:
    """The transient seen in one window."""
    settings = replace(stepper.settings, healing_time=0.0, horizon=window, frames=INTERVALS, replicas=replicas)
    burst = replace(stepper, settings=settings)(z, parameters)
    times, velocity = (burst.times[2:] + burst.times[1:-1]) / 2, _velocity(burst, burst.path)
    candidates = window * np.geomspace(1 / INTERVALS, LONG, CANDIDATES)
    left = [np.sum(((velocity - _fit(times, velocity, one)[1]) / np.std(velocity, axis=0)) ** 2) for one in candidates]
    relaxation = float(candidates[int(np.argmin(left))])
    amplitude = burst.estimate(lambda path: _fit(times, _velocity(burst, path), relaxation)[0])
    fitted, speed = _fit(times, velocity, relaxation)[1], np.abs(velocity).max(axis=0)
    if not _seen(amplitude, speed):
        return Healing(0.0, 0.0, amplitude, times, velocity, fitted, burst.force_evaluations)
    tolerable = _tolerable(burst, stepper.settings, replicas, speed)
    excess = float(np.max(np.abs(amplitude.value) * relaxation / tolerable))
    time = relaxation * max(0.0, float(np.log(excess)))
    return Healing(time, relaxation, amplitude, times, velocity, fitted, burst.force_evaluations)


def _velocity(burst: CoarseStep, path: Float[np.ndarray, "frames m"]) -> Float[np.ndarray, "k m"]:
    return np.diff(path[1:], axis=0) / np.diff(burst.times[1:])[:, None]


def _fit(
    times: Float[np.ndarray, "k"], velocity: Float[np.ndarray, "k m"], relaxation: float
) -> tuple[Float[np.ndarray, "m"], Float[np.ndarray, "k m"]]:
    """The amplitude c `(m,)` by least squares at one τ, and the fitted velocities."""
    width = times[1] - times[0]
    # the mean of e^(-t/τ) over an interval, not its value in the middle
    decay = np.exp(-times / relaxation) * np.sinh(width / (2 * relaxation)) * 2 * relaxation / width
    terms = np.column_stack([decay, np.ones_like(times), times / times[-1]])
    coefficients = np.linalg.lstsq(terms, velocity, rcond=None)[0]
    return coefficients[0], terms @ coefficients


def _seen(amplitude: Estimate, speed: Float[np.ndarray, "m"]) -> bool:
    """Whether a transient stands out of the noise, for the number of components and relaxation times tried."""
    quantile = stats.t.ppf(1 - FALSE_ALARM / (2 * CANDIDATES * len(speed)), len(amplitude.replicates) - 1)
    bound = np.maximum(quantile * amplitude.stderr, NEGLIGIBLE * speed)
    return bool(np.any(np.abs(amplitude.value) > bound))


def _tolerable(
    burst: CoarseStep, settings: StepperSettings, replicas: int, speed: Float[np.ndarray, "m"]
) -> Float[np.ndarray, "m"]:
    """What the transient may add to the coarse state over the horizon, `(m,)`."""
    half = len(burst.times) // 2
    spread = burst.estimate(lambda path: path[-1] - path[half]).stderr
    longer = settings.horizon / (burst.times[-1] - burst.times[half])
    error = spread * np.sqrt(longer * replicas / settings.replicas)
    return np.maximum(LEFT_OVER * error, LEFT_OVER * NEGLIGIBLE * speed * settings.horizon)
