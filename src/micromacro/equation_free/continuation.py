r"""Continuation of a branch of coarse steady states in a parameter, through its folds.

In scaled units u = (z, λ) the point $u_0$ of the branch is followed by a root of
$(Φ_T(z; λ) - z,\; t·(u - u_0 - t\,Δs))$ with t the tangent at $u_0$: the second equation keeps the
system regular where the branch turns back in λ. Source: Keller, "Numerical solution of bifurcation and nonlinear
eigenvalue problems", 1977; on coarse time steppers: Makeev, Maroudas and Kevrekidis, J. Chem. Phys. 116, 10083 (2002).
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from micromacro.equation_free.estimate import Estimate
from micromacro.equation_free.fold import Fold, find_folds
from micromacro.equation_free.linearisation import DENSE_DIMENSION, DenseLinearisation, leading
from micromacro.equation_free.newton import Evaluation, NewtonSettings, Root, find_root
from micromacro.equation_free.steady_states import DECIDED, Displacement
from micromacro.equation_free.time_stepper import Stepper
from micromacro.errors import InputError, PhysicsError

SMALLEST = 2.0**-5
EASY = 2
"""Newton steps up to which the next step along the branch may be longer again."""


@dataclass(frozen=True)
class ContinuationSettings:
    """How a branch is followed.

    **Arguments:**

    - `step`: along the branch, in scaled units; halved where the corrector fails, to no less than a 32nd.
    - `points`: at most.
    - `lower`, `upper`: the branch ends beyond these values of the parameter.
    - `newton`: of the corrector.
    """

    step: float = 0.1
    points: int = 40
    lower: float = -np.inf
    upper: float = np.inf
    newton: NewtonSettings = field(default_factory=NewtonSettings)

    def __post_init__(self):
        if not self.step > 0:
            raise InputError("step", "be positive", self.step)
        if self.points < 2:
            raise InputError("points", "be at least 2", self.points)


@dataclass(frozen=True)
class Branch:
    """Points along a branch of coarse steady states.

    **Arguments:**

    - `arclength`: `(n,)` in scaled units.
    - `z`, `z_stderr`: `(n, m)`.
    - `parameter`, `parameter_stderr`: `(n,)`; errors are of the distance from the branch, along its normal.
    - `stable`: `(n,)` of 1 for stable, -1 for unstable, 0 where noise leaves it open.
    - `folds`: where the branch turns back in the parameter.
    - `force_evaluations`: of the whole branch.
    - `complete`: whether it ended at a bound or by its number of points, not by a corrector that failed.
    """

    arclength: Float[np.ndarray, "n"]
    z: Float[np.ndarray, "n m"]
    z_stderr: Float[np.ndarray, "n m"]
    parameter: Float[np.ndarray, "n"]
    parameter_stderr: Float[np.ndarray, "n"]
    stable: np.ndarray
    folds: tuple[Fold, ...]
    force_evaluations: int
    complete: bool


@dataclass(frozen=True)
class _Point:
    """A point in scaled units with its error, its tangent and its stability."""

    state: Estimate
    iterate: Float[np.ndarray, "n"]
    tangent: Float[np.ndarray, "n"]
    stable: int
    iterations: int


def continue_branch(
    stepper: Stepper,
    guess: Float[np.ndarray, "m"],
    parameter: float,
    *,
    scale: Float[np.ndarray, "m"] | float = 1.0,
    parameter_scale: float = 1.0,
    direction: int = 1,
    settings: ContinuationSettings | None = None,
    advance: Callable[[int], None] | None = None,
) -> Branch:
    """Follow the branch of coarse steady states that passes near `guess` at `parameter`.

    **Arguments:**

    - `stepper`: of a system whose drift takes the state and the parameter; with a fixed key.
    - `guess`: `(m,)`.
    - `scale`, `parameter_scale`: the size of each component of z, and of the parameter: units of the arclength.
    - `direction`: 1 or -1, where the parameter goes first.
    - `advance`: told after every point how many were done.

    **Raises:** `PhysicsError` where not even the first point converges; `InputError` for coarse states of dimension
    above 15.
    """
    settings = settings or ContinuationSettings()
    guess = np.asarray(guess, float)
    if len(guess) >= DENSE_DIMENSION:
        raise InputError("guess", f"have fewer than {DENSE_DIMENSION} components", len(guess))
    scales = np.append(np.broadcast_to(np.asarray(scale, float), guess.shape), parameter_scale)
    function = Displacement(stepper, scales[:-1])
    points, complete = [_first(function, np.append(guess, parameter) / scales, scales, direction, settings)], True
    longest = step = settings.step
    while len(points) < settings.points and _inside(points[-1], scales, settings):
        found = _next(function, points[-1], step, scales, settings)
        if found is None and step <= SMALLEST * longest:
            complete = False
            break
        if found is None:
            step /= 2
            continue
        points.append(found)
        step = min(longest, 2 * step) if found.iterations <= EASY else step
        if advance is not None:
            advance(1)
    return _branch(points, scales, function.force_evaluations, complete)


def _inside(point: _Point, scales: np.ndarray, settings: ContinuationSettings) -> bool:
    return bool(settings.lower <= point.state.value[-1] * scales[-1] <= settings.upper)


def _first(
    function: Displacement, start: np.ndarray, scales: np.ndarray, direction: int, settings: ContinuationSettings
) -> _Point:
    """The point at the first value of the parameter."""
    upwards = np.append(np.zeros(len(start) - 1), float(direction))
    root = _correct(function, start, upwards, scales, settings)
    if root.outcome == "not converged":
        raise PhysicsError(
            "no coarse steady state was found",
            where=f"parameter = {start[-1] * scales[-1]:.4g}",
            remedy="Give a nearer guess.",
        )
    return _point(root, upwards)


def _next(
    function: Displacement, last: _Point, step: float, scales: np.ndarray, settings: ContinuationSettings
) -> _Point | None:
    """The next point a step further along the tangent; `None` where it is not reached."""
    try:
        root = _correct(function, last.iterate + step * last.tangent, last.tangent, scales, settings)
        return None if root.outcome == "not converged" else _point(root, last.tangent)
    except PhysicsError:
        return None  # a burst failed too far off the branch: the caller goes in smaller steps


def _correct(
    function: Displacement,
    predicted: np.ndarray,
    tangent: np.ndarray,
    scales: np.ndarray,
    settings: ContinuationSettings,
) -> Root:
    """A point of the branch in the plane through `predicted` normal to the tangent."""

    def augmented(point: np.ndarray) -> Evaluation:
        found = function.at(point[:-1], (float(point[-1] * scales[-1]),))
        plane = float(tangent @ (point - predicted))
        return Evaluation(
            found.residual.map(lambda residual: np.append(residual, plane)),
            found.offset.map(lambda offset: np.append(offset, 0.0)),
        )

    return find_root(augmented, predicted, settings.newton)


def _point(root: Root, previous: np.ndarray) -> _Point:
    linear = root.linearisation
    assert isinstance(linear, DenseLinearisation), "the dimension was checked"
    tangent = linear.solve(np.eye(len(previous))[-1:])[0]
    # the parameter has no offset, so that the block of z is that at a fixed parameter
    block = linear.shifted[:-1, :-1], linear.shifted_replicates[:, :-1, :-1]
    rate, error = (float(part[0].real) for part in leading(*block, 1))
    stable = 0 if abs(rate) <= DECIDED * error else -int(np.sign(rate))
    # the last row of the matrix is the previous tangent, so that the new one goes the same way
    corrected = root.iterate - linear.solve(root.residual.value[None])[0]
    return _Point(root.point, corrected, tangent / np.linalg.norm(tangent), stable, root.iterations)


def _branch(points: list[_Point], scales: np.ndarray, cost: int, complete: bool) -> Branch:
    states = np.stack([point.state.value for point in points])
    errors = np.stack([point.state.stderr for point in points]) * scales
    arclength = np.append(0.0, np.cumsum(np.linalg.norm(np.diff(states, axis=0), axis=1)))
    replicates = np.stack([point.state.replicates for point in points])
    tangents = np.stack([point.tangent for point in points])
    folds = find_folds(arclength, states * scales, replicates * scales, tangents[:, -1])
    return Branch(
        arclength,
        states[:, :-1] * scales[:-1],
        errors[:, :-1],
        states[:, -1] * scales[-1],
        errors[:, -1],
        np.array([point.stable for point in points]),
        folds,
        cost,
        complete,
    )
