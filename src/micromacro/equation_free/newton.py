r"""Newton–Krylov for functions known with an error: it stops where the error begins, and says so.

The Jacobian is never formed on the way: GMRES asks for its products, which are finite differences of the function with
the same noise on both sides. A residual within its own standard error (Hotelling's T²) tells nothing more of where the
root is; there the iteration ends, with one last linear correction that costs no residual and gives the root's error,
$C_u = J^{-1} C_r J^{-T}$. Source of the iteration: Knoll and Keyes, J. Comput. Phys. 193, 357 (2004).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Float

from micromacro.equation_free.estimate import Estimate, Significance, significance
from micromacro.equation_free.linearisation import (
    Derivative,
    Linearisation,
    Product,
    krylov_solve,
    linearise,
)
from micromacro.errors import InputError

Outcome: TypeAlias = Literal["within noise", "converged", "not converged"]
HALVINGS = 6


@dataclass(frozen=True)
class NewtonSettings:
    """How a root is looked for.

    **Arguments:**

    - `iterations`: at most.
    - `level`: probability with which a true root passes the test of its residual.
    - `tolerance`: what counts as zero where there is no noise, in scaled units.
    - `difference`: step of finite differences, in scaled units; a lifting that is not smooth in z needs a larger one.
    """

    iterations: int = 20
    level: float = 0.95
    tolerance: float = 1e-8
    difference: float = 1e-4

    def __post_init__(self):
        if self.iterations < 1:
            raise InputError("iterations", "be at least 1", self.iterations)
        if not 0 < self.level < 1:
            raise InputError("level", "lie between 0 and 1", self.level)
        if not (self.tolerance > 0 and self.difference > 0):
            raise InputError("tolerance and difference", "be positive", (self.tolerance, self.difference))


class Evaluation(NamedTuple):
    """The residual `(m,)`, and an offset `(m,)` of the argument that is to be reported with the root."""

    residual: Estimate
    offset: Estimate


Function: TypeAlias = Callable[[np.ndarray], Evaluation]


@dataclass(frozen=True)
class Root:
    """Where the iteration ended.

    **Arguments:**

    - `point`: the root `(m,)` in scaled units with its error, offset included; the last iterate, of unknown
        error, where it did not converge.
    - `iterate`: the last iterate `(m,)`, before correction and offset.
    - `residual`: the residual there.
    - `test`: its distance from zero.
    - `outcome`: `within noise`, `converged` to the tolerance (there is no noise above it) or `not converged`.
    - `iterations`: Newton steps that were taken.
    - `linearisation`: of the residual there.
    """

    point: Estimate
    iterate: Float[np.ndarray, "m"]
    residual: Estimate
    test: Significance
    outcome: Outcome
    iterations: int
    linearisation: Linearisation


def find_root(function: Function, guess: Float[np.ndarray, "m"], settings: NewtonSettings) -> Root:
    """A root of a noisy function from a guess `(m,)`, all in scaled units."""
    point, taken = np.asarray(guess, float), 0
    now = function(point)
    test = significance(now.residual, level=settings.level, tolerance=settings.tolerance)
    while not test.zero and taken < settings.iterations:
        product = _product(function, point, now, settings.difference)
        step = krylov_solve(lambda v, product=product: product(v).residual.value, -now.residual.value)
        moved = _damped(function, point, step, now.residual)
        if moved is None:
            break
        taken += 1
        point, now = moved
        test = significance(now.residual, level=settings.level, tolerance=settings.tolerance)
    linear = linearise(_product(function, point, now, settings.difference), len(point))
    return Root(_corrected(point, now, linear, test), point, now.residual, test, _outcome(test), taken, linear)


def _corrected(point: np.ndarray, now: Evaluation, linear: Linearisation, test: Significance) -> Estimate:
    residual = now.residual
    if not test.zero:
        return Estimate(point, np.full_like(residual.replicates, np.nan))
    found = Estimate(point - linear.solve(residual.value[None])[0], point - linear.solve(residual.replicates))
    return found.plus(now.offset)


def _outcome(test: Significance) -> Outcome:
    if not test.zero:
        return "not converged"
    return "within noise" if test.noisy else "converged"


def _product(function: Function, point: np.ndarray, now: Evaluation, difference: float) -> Product:
    """Directional derivatives by common random numbers."""

    def product(direction: np.ndarray) -> Derivative:
        rate = float(np.linalg.norm(direction)) / difference
        if rate == 0:
            zero = Estimate(np.zeros_like(direction), np.zeros_like(now.residual.replicates))
            return Derivative(zero, zero)
        ahead = function(point + direction / rate)
        return Derivative(_rate(ahead.residual, now.residual, rate), _rate(ahead.offset, now.offset, rate))

    return product


def _rate(ahead: Estimate, now: Estimate, rate: float) -> Estimate:
    return Estimate(rate * (ahead.value - now.value), rate * (ahead.replicates - now.replicates))


def _damped(function: Function, point: np.ndarray, step: np.ndarray, residual: Estimate):
    """The step, halved until it makes the residual smaller: the point and its evaluation, or `None` for no success."""
    for halving in range(HALVINGS):
        trial = point + step / 2**halving
        found = function(trial)
        if np.linalg.norm(found.residual.value) < np.linalg.norm(residual.value):
            return trial, found
    return None
