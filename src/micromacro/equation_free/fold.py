"""Folds of a branch: where the parameter turns back."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from micromacro.equation_free.estimate import Estimate

FITTED_POINTS = 4


@dataclass(frozen=True)
class Fold:
    """A fold: the parameter, `(1,)`, and the coarse state there, `(m,)`, with their errors."""

    parameter: Estimate
    z: Estimate


def find_folds(
    arclength: Float[np.ndarray, "n"],
    states: Float[np.ndarray, "n k"],
    replicates: Float[np.ndarray, "n groups k"],
    slope: Float[np.ndarray, "n"],
) -> tuple[Fold, ...]:
    r"""A fold wherever the parameter's share of the tangent changes sign.

    A parabola in arclength is fitted to the four nearest points, $λ(s) ≈ λ_0 + b s + c s^2$; the fold is its vertex,
    and z that of its own parabola there. The noise is common to all points, so each replicate of the branch has its own
    vertex, and these give the error.

    **Arguments:**

    - `states`: `(n, m + 1)`, coarse states with the parameter last.
    - `replicates`: `(n, groups, m + 1)`, the same without each group of replicas.
    - `slope`: `(n,)`, the parameter's component of the tangent.
    """
    folds = []
    for turn in np.flatnonzero(slope[1:] * slope[:-1] < 0):
        centre = (arclength[turn] + arclength[turn + 1]) / 2
        near = np.argsort(np.abs(arclength - centre))[:FITTED_POINTS]
        if len(near) < 3:
            continue
        s = arclength[near] - centre
        vertices = np.stack([_vertex(s, states[near]), *(_vertex(s, one) for one in replicates[near].swapaxes(0, 1))])
        vertex = Estimate(vertices[0], vertices[1:])
        folds.append(Fold(vertex.map(lambda point: point[-1:]), vertex.map(lambda point: point[:-1])))
    return tuple(folds)


def _vertex(s: Float[np.ndarray, "p"], states: Float[np.ndarray, "p k"]) -> Float[np.ndarray, "k"]:
    """All components at the vertex of the parabola of the last."""
    coefficients = np.polyfit(s, states, 2)
    turning = -coefficients[1, -1] / (2 * coefficients[0, -1])
    return np.array([turning**2, turning, 1.0]) @ coefficients
