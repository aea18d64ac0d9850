r"""Coarse steady states: roots of $Φ_T(z) - z$ by Newton–Krylov, with their stability.

$Φ_T(z) - z$ is what the healed coarse state moves by over the horizon; the coarse equation is never written down.
Source: Kelley, Kevrekidis and Qiao, "Newton-Krylov solvers for time-steppers", arXiv:math/0404374 (2004).
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Complex, Float

from micromacro.equation_free.estimate import Estimate, Significance
from micromacro.equation_free.newton import Evaluation, NewtonSettings, Outcome, find_root
from micromacro.equation_free.time_stepper import CoarseStep, Stepper

DECIDED = 2.0
"""Standard errors of a growth rate from zero, beyond which stability is known."""


@dataclass(frozen=True)
class SteadyState:
    """A coarse steady state.

    **Arguments:**

    - `z`: `(m,)`, the healed coarse state, with its error; of unknown error where it did not converge.
    - `outcome`: `within noise`: the residual is no larger than its error, and more iterations would fit the noise;
      `converged`: there is no noise above the tolerance; `not converged`.
    - `test`: of the residual against zero.
    - `iterations`: Newton steps.
    - `growth_rates`: `(k,)`, eigenvalues of the linearised coarse equation per time, the largest real part first.
    - `growth_stderr`: `(k,)`, of their real parts; NaN where not known.
    - `multipliers`: `(k,)`, the same as eigenvalues of $DΦ_T$.
    - `force_evaluations`: of the whole search.
    """

    z: Estimate
    outcome: Outcome
    test: Significance
    iterations: int
    growth_rates: Complex[np.ndarray, "k"]
    growth_stderr: Float[np.ndarray, "k"]
    multipliers: Complex[np.ndarray, "k"]
    force_evaluations: int

    @property
    def stable(self) -> bool | None:
        """Whether disturbances decay; `None` where the error of the leading growth rate leaves it open."""
        rate, error = self.growth_rates[0].real, np.nan_to_num(self.growth_stderr[0])
        return None if abs(rate) <= DECIDED * error else bool(rate < 0)


class Displacement:
    """$Φ_T(z) - z$ in units of `scale` as a function of z in the same units; counts what it costs."""

    def __init__(self, stepper: Stepper, scale: Float[np.ndarray, "m"], parameters: tuple[float, ...] = ()):
        self.stepper, self.scale, self.parameters = stepper, scale, parameters
        self.force_evaluations = 0
        self.last: CoarseStep | None = None

    def __call__(self, point: Float[np.ndarray, "m"]) -> Evaluation:
        """The residual and the offset of the healed state from z, both in scaled units."""
        return self.at(point, self.parameters)

    def at(self, point: Float[np.ndarray, "m"], parameters: tuple[float, ...]) -> Evaluation:
        """The same for other parameters."""
        step = self.stepper(point * self.scale, parameters)
        self.last = step
        self.force_evaluations += step.force_evaluations
        return Evaluation(
            step.displacement.map(lambda moved: moved / self.scale),
            step.healed.map(lambda healed: healed / self.scale - point),
        )


def find_steady_state(
    stepper: Stepper,
    guess: Float[np.ndarray, "m"],
    *,
    scale: Float[np.ndarray, "m"] | float = 1.0,
    parameters: tuple[float, ...] = (),
    settings: NewtonSettings | None = None,
    eigenvalues: int = 4,
) -> SteadyState:
    """A coarse steady state near a guess.

    **Arguments:**

    - `stepper`: with a fixed key, so that its noise is the same at every z.
    - `guess`: `(m,)`.
    - `scale`: the size of each component, `(m,)` or one for all: differences and tolerances are in its units.
    - `parameters`: of the system.
    - `eigenvalues`: how many of the leading ones are wanted.

    **Raises:** `PhysicsError` where a burst fails or the linearised stepper is singular.
    """
    guess = np.asarray(guess, float)
    scale = np.broadcast_to(np.asarray(scale, float), guess.shape)
    function = Displacement(stepper, scale, parameters)
    root = find_root(function, guess / scale, settings or NewtonSettings())
    values, errors = root.linearisation.eigenvalues(min(eigenvalues, len(guess)))
    assert function.last is not None, "the residual was evaluated"
    horizon = function.last.times[-1] - function.last.times[1]
    return SteadyState(
        root.point.map(lambda point: point * scale),
        root.outcome,
        root.test,
        root.iterations,
        np.log1p(values) / horizon,
        errors / (horizon * np.abs(1 + values)),
        1 + values,
        function.force_evaluations,
    )
