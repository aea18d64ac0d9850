r"""The reduced model against the full one: time scales, passage times, density, autocorrelation, and the gap.

A closure in ξ alone is the leading order of an expansion in the fast over the slow time (Pavliotis and Stuart,
Multiscale Methods, 2008, chapter 11): it is held to its statistical error and twice that ratio. Where the ratio is not
small its premise does not hold, which is told and is no failure.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from micromacro.closures import full_model
from micromacro.closures.cores import default_cores
from micromacro.closures.finite_volume import stationary_density
from micromacro.closures.full_model import MeasuredDensity, features
from micromacro.closures.long_trajectories import FullTrajectories
from micromacro.closures.passage import observed_transition_times, transition_times
from micromacro.closures.reduced import ReducedDynamics
from micromacro.closures.spectrum import autocorrelation, slowest_modes
from micromacro.closures.spread import Spread, spread
from micromacro.closures.table import ClosureTable
from micromacro.closures.transitions import CountedTransitions, counted_transitions
from micromacro.closures.variational import slowest_time_scale
from micromacro.coordinates.coarse import CoarseVariable
from micromacro.errors import PhysicsError

SMALLEST_GAP = 5.0
"""Slow over fast time below which there is no closed equation in ξ alone to judge."""
LEAST_ALLOWANCE = 0.05
"""The relative difference that is allowed however large the gap: time step, grid, observation."""
STANDARD_ERRORS = 3.0
UNSTATIONARY = 1e-3
"""The probability of the drift of ξ below which it is not stationary."""
MOST_OUTSIDE = 0.05
"""The share of time that ξ may spend beyond the range of the closure."""


@dataclass(frozen=True)
class Ratio:
    """One time of the reduced model, in units of time, and of the full one, and their ratio with its standard error."""

    reduced: float
    full: float
    ratio: float
    stderr: float

    def __str__(self) -> str:
        return f"{self.ratio:.3g} ± {self.stderr:.2g}"


@dataclass(frozen=True)
class Agreement:
    """How well the reduced model predicts what the full one does.

    **Arguments:**

    - `ratios`: by name: `slowest time scale`, `forward passage`, `backward passage`; reduced over full.
    - `density_distance`, `density_noise`: total variation between the stationary densities, and what of it the
        standard errors of the measured one explain.
    - `correlation_difference`, `correlation_stderr`: the largest difference between the autocorrelations of ξ, and
        the standard error there.
    - `fast`: the time in which hidden coordinates relax; `slow`: the slowest time scale of the reduced model.
    - `score`: the largest deviation in units of what is allowed; NaN where the premise does not hold.
    - `passed`: whether the score is at most one; `None` where the premise does not hold.
    - `verdict`: a sentence.
    """

    ratios: dict[str, Ratio]
    density_distance: float
    density_noise: float
    correlation_difference: float
    correlation_stderr: float
    fast: float
    slow: float
    score: float
    passed: bool | None
    verdict: str

    @property
    def gap(self) -> float:
        """The slow over the fast time; infinite where nothing hidden drives ξ."""
        return self.slow / self.fast if self.fast > 0 else float("inf")


def compare(
    table: ClosureTable,
    coarse: CoarseVariable,
    trajectories: FullTrajectories,
    *,
    cores: tuple[Bool[np.ndarray, "n"], Bool[np.ndarray, "n"]] | None = None,
    fast: float | None = None,
    half_width: float = 1.0,
    replicas: int = 30,
    seed: int = 0,
) -> Agreement:
    """Judge the closure by long trajectories of the full model, for one or two coarse variables.

    **Arguments:**

    - `table`: the closure, with its standard errors.
    - `trajectories`: stationary ones, without what they need to forget their starts.
    - `cores`: two sets of cells of the table, `(n,)` booleans; by default the bottoms of the two deepest basins.
    - `fast`: the relaxation time of hidden coordinates; measured in the trajectories by default.
    - `half_width`: in cells, over which the errors of the table go together.
    - `replicas`: of the table, for the standard errors of what follows from it.

    **Raises:** `InputError` for trajectories too few to give standard errors.
    """
    dynamics = ReducedDynamics.from_table(table, coarse)
    first, second = default_cores(dynamics) if cores is None else cores
    hidden = full_model.hidden_relaxation(trajectories, dynamics.grid) if fast is None else fast
    slow = float(slowest_modes(dynamics, 1).time_scales[0])
    measured = full_model.measured_density(trajectories, dynamics.grid)
    obstacle = _obstacle(trajectories, coarse, measured, hidden, slow)
    if obstacle:
        return not_applicable(hidden, slow, obstacle)

    def times(replica: ReducedDynamics) -> list[float]:
        passage = transition_times(replica, first, second)
        return [float(slowest_modes(replica, 1).time_scales[0]), passage.forward, passage.backward]

    reduced = spread(table, coarse, times, replicas=replicas, seed=seed, half_width=half_width)
    seen = observed_transition_times(dynamics, first, second, trajectories.interval)
    counted = counted_transitions(trajectories, dynamics.grid, first, second)
    try:
        scale = slowest_time_scale(trajectories, coarse, shortest_lag=hidden, seed=seed).value
    except PhysicsError as error:
        return not_applicable(hidden, slow, str(error))
    if min(counted.events) == 0:
        return not_applicable(hidden, slow, "the simulations of the full model saw no transition: simulate for longer")
    ratios = _ratios(reduced, np.array([1, seen.forward, seen.backward]), scale, counted)
    return _judge(ratios, dynamics, coarse, trajectories, measured, hidden, slow)


def _obstacle(trajectories, coarse, measured: MeasuredDensity, fast: float, slow: float) -> str:
    """Why the comparison has no premise; empty where it has one."""
    if full_model.drift_probability(trajectories, coarse) < UNSTATIONARY:
        return "ξ is not stationary: its mean or spread differs between the halves of the simulations of the full model"
    if measured.outside > MOST_OUTSIDE:
        return f"ξ spends {measured.outside:.0%} of the time beyond the range of the closure"
    if fast * SMALLEST_GAP > slow:
        return (
            f"time scales do not separate: hidden coordinates relax in {fast:.3g}, the reduced dynamics in {slow:.3g}; "
            "no equation in ξ alone describes the full dynamics"
        )
    return ""


def not_applicable(fast: float, slow: float, reason: str) -> Agreement:
    """The result where the premise does not hold."""
    unknown = float("nan")
    sentence = f"not applicable: {reason}"
    return Agreement({}, unknown, unknown, unknown, unknown, fast, slow, unknown, None, sentence)


def _ratios(
    reduced: Spread, seen: Float[np.ndarray, "3"], scale: tuple[float, float], counted: CountedTransitions
) -> dict[str, Ratio]:
    """Each time of the reduced over that of the full model; passages as seen at the interval of the frames."""
    values = np.where(np.arange(3) == 0, reduced.value, seen)
    full = np.array([scale[0], counted.forward, counted.backward])
    errors = np.array([scale[1], counted.forward_stderr, counted.backward_stderr])
    relative = np.hypot(reduced.stderr / reduced.value, errors / full)
    names = ("slowest time scale", "forward passage", "backward passage")
    return {
        name: Ratio(float(values[i]), float(full[i]), float(values[i] / full[i]), float(values[i] / full[i] * error))
        for i, (name, error) in enumerate(zip(names, relative, strict=True))
    }


def _judge(ratios: dict[str, Ratio], dynamics, coarse, trajectories, measured, fast: float, slow: float) -> Agreement:
    """Every deviation over what its standard error and the gap allow."""
    allowed = LEAST_ALLOWANCE + 2 * fast / slow
    distance, noise = _density_distance(stationary_density(dynamics), measured, float(np.prod(dynamics.grid.spacing)))
    found = full_model.measured_autocorrelation(trajectories, coarse, 3 * slow)
    difference = np.abs(autocorrelation(dynamics, features(coarse, dynamics.grid.points), found.times) - found.value)
    against = difference / (allowed + STANDARD_ERRORS * found.stderr)
    worst = int(np.argmax(against))
    scores = {
        name: abs(np.log(ratio.ratio)) / (allowed + STANDARD_ERRORS * ratio.stderr / ratio.ratio)
        for name, ratio in ratios.items()
    }
    scores["stationary density"] = distance / (LEAST_ALLOWANCE + fast / slow / 2 + STANDARD_ERRORS * noise)
    scores["autocorrelation"] = float(against[worst])
    weakest = max(scores, key=lambda name: np.nan_to_num(scores[name], nan=np.inf))
    verdict = _sentence(ratios, weakest, scores[weakest], fast, slow)
    return Agreement(
        ratios,
        distance,
        noise,
        float(difference[worst]),
        float(found.stderr[worst]),
        fast,
        slow,
        float(scores[weakest]),
        bool(scores[weakest] <= 1),
        verdict,
    )


def _density_distance(reduced: Float[np.ndarray, "n"], measured: MeasuredDensity, volume: float) -> tuple[float, float]:
    """Total variation between the densities, and its mean were they the same, from the standard errors."""
    distance = 0.5 * volume * float(np.sum(np.abs(np.nan_to_num(reduced) - measured.density)))
    return distance, 0.5 * volume * float(np.sum(np.sqrt(2 / np.pi) * measured.stderr))


def _sentence(ratios: dict[str, Ratio], weakest: str, score: float, fast: float, slow: float) -> str:
    gap = "nothing hidden drives ξ" if fast == 0 else f"slow over fast time {slow / fast:.3g}"
    times = ", ".join(f"{name} {ratio}" for name, ratio in ratios.items())
    if score > 1:
        return f"the reduced model does not predict the {weakest} of the full one; reduced over full: {times}; {gap}"
    exact = all(abs(ratio.ratio - 1) < STANDARD_ERRORS * ratio.stderr for ratio in ratios.values())
    end = "within standard errors" if exact else "within what the gap between time scales allows"
    return f"the reduced model agrees with the full one {end}; reduced over full: {times}; {gap}"
