"""Structures laid on each other for drawing."""

import numpy as np
from jaxtyping import Bool, Float


def superposed(
    positions: Float[np.ndarray, "m atoms 3"],
    fitted: Bool[np.ndarray, "atoms"],
    reference: Float[np.ndarray, "atoms 3"] | None = None,
) -> Float[np.ndarray, "m atoms 3"]:
    """Structures on each other by the `fitted` atoms, those centred at zero, and all together on `reference`.

    First on the first one, then on their mean. Without `reference`, the long axes of the mean lie in the plane of the
    first two coordinates.
    """
    rows = fitted if fitted.sum() >= 3 else np.ones_like(fitted)
    centred = positions - positions[:, rows].mean(axis=1, keepdims=True)
    centred = _onto(centred, centred[0], rows)
    centred = _onto(centred, centred.mean(axis=0), rows)
    mean = centred.mean(axis=0)
    turn = _long_axes(mean[rows]) if reference is None else rotation(mean[rows], reference[rows])
    return centred @ turn


def _onto(structures: np.ndarray, target: np.ndarray, rows: np.ndarray) -> np.ndarray:
    return np.stack([one @ rotation(one[rows], target[rows]) for one in structures])


def rotation(moving: Float[np.ndarray, "n 3"], target: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "3 3"]:
    """The proper rotation R for which `moving @ R` is nearest to `target`, both centred (Kabsch, 1976)."""
    left, _, right = np.linalg.svd(moving.T @ target)
    handed = np.sign(np.linalg.det(left @ right)) or 1.0
    return (left * np.array([1.0, 1.0, handed])) @ right


def _long_axes(points: np.ndarray) -> np.ndarray:
    """The rotation onto the principal axes, the longest first; a mirror image never."""
    _, _, right = np.linalg.svd(points - points.mean(axis=0), full_matrices=True)
    turn = right.T
    # signs of singular vectors are arbitrary: the heavier skew points to the right and up
    skew = np.sign(np.sum((points @ turn) ** 3, axis=0))
    turn = turn * np.where(skew == 0, 1.0, skew)
    turn[:, 2] *= np.sign(np.linalg.det(turn)) or 1.0
    return turn
