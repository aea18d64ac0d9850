"""Many slow modes of a large walk at once: locally optimal block preconditioned conjugate gradients.

Every step looks for the best modes in the span of those so far, of their residuals, solved for roughly by a
preconditioner, and of the last step. Sources: Knyazev, SIAM J. Sci. Comput. 23, 517 (2001); for a basis that stays
orthonormal, Duersch, Shao, Yang and Gu, SIAM J. Sci. Comput. 40, C655 (2018). scipy's own `lobpcg` waits for guard
vectors too, which never converge, and comes no nearer than 1e-11.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy.linalg import eigh
from scipy.sparse import csr_array

from micromacro.diffusion_maps.shared_rows import SharedRows

RESIDUAL = 1e-11  # norm of what is left of each mode
STEPS = 60  # ten to twenty-five are needed, and more where the slowest modes are strays
DEPENDENT = 1e-10  # squared length of what is new in a direction, below which it is left out


@dataclass(frozen=True, eq=False)
class Search:
    """Orthonormal columns: modes so far, best first, and then where they came from in the last step.

    **Arguments:**

    - `columns`: `(n, p)`, and their `images` by the matrix.
    - `inner`: scalar products of both `(p, p)`.
    """

    columns: Float[np.ndarray, "n p"]
    images: Float[np.ndarray, "n p"]
    inner: Float[np.ndarray, "p p"]


def block_modes(
    rows: SharedRows,
    matrix: csr_array,
    correction: Callable[[Float[np.ndarray, "n a"]], Float[np.ndarray, "n a"]],
    start: Float[np.ndarray, "n b"],
    count: int,
) -> tuple[Float[np.ndarray, "count"], Float[np.ndarray, "n count"]] | None:
    """The greatest eigenvalues of a symmetric matrix, descending, and vectors.

    `start` spans them roughly, with some more columns that guard the last ones. `None` where residuals are not small
    after so many steps.
    """
    search = _begun(rows, matrix, start)
    size = len(search.inner)
    if size < count:
        return None
    for _ in range(STEPS):
        modes, images = search.columns[:, :size], search.images[:, :size]
        residual = images - modes * np.diag(search.inner)[:size]
        norms = np.linalg.norm(residual, axis=0)
        if norms[:count].max() < RESIDUAL:
            return _checked(rows, matrix, modes[:, :count])
        active = norms > RESIDUAL / 2
        step = _orthogonal(rows, correction(residual[:, active] / norms[active]), search.columns)
        search = _improved(rows, search, step, rows.product(matrix, step), active)
    return None


def _begun(rows: SharedRows, matrix: csr_array, start: np.ndarray) -> Search:
    """The best modes in the span of the first columns."""
    columns = rows.turned([start], _normalising(rows.gram(start, start)))
    images = rows.product(matrix, columns)
    inner = rows.gram(columns, images)
    values, turns = eigh((inner + inner.T) / 2)
    turns = turns[:, ::-1]
    return Search(rows.turned([columns], turns), rows.turned([images], turns), np.diag(values[::-1]))


def _orthogonal(rows: SharedRows, step: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """What is new in a step, orthonormal; twice, for what is left after the first time may be small."""
    for _ in range(2):
        step = step - rows.turned([columns], rows.gram(columns, step))
        step = rows.turned([step], _normalising(rows.gram(step, step)))
    return step


def _normalising(gram: Float[np.ndarray, "p p"]) -> Float[np.ndarray, "p q"]:
    """Combinations of columns that are orthonormal, without those that depend on others."""
    scale = 1 / np.sqrt(np.maximum(np.diag(gram), np.finfo(float).tiny))
    squares, axes = eigh(gram * scale[:, None] * scale)
    new = squares > DEPENDENT
    return scale[:, None] * axes[:, new] / np.sqrt(squares[new])


def _improved(
    rows: SharedRows, search: Search, step: np.ndarray, images: np.ndarray, active: Bool[np.ndarray, "b"]
) -> Search:
    """The best modes in the span of a search and a step, and what is new in those that were active."""
    size = len(active)
    across, own = rows.gram(search.columns, images), rows.gram(step, images)
    inner = np.block([[search.inner, across], [across.T, (own + own.T) / 2]])
    _, turns = eigh(inner)
    best = turns[:, ::-1][:, :size]
    change = best[:, active].copy()
    change[:size] = 0
    for _ in range(2):
        change = change - best @ (best.T @ change)
        change = change @ _normalising(change.T @ change)
    both = np.hstack([best, change])
    inner = both.T @ inner @ both
    columns, images = rows.turned([search.columns, step], both), rows.turned([search.images, images], both)
    return Search(columns, images, (inner + inner.T) / 2)


def _checked(
    rows: SharedRows, matrix: csr_array, modes: np.ndarray
) -> tuple[Float[np.ndarray, "count"], Float[np.ndarray, "n count"]] | None:
    """Eigenvalues and vectors, whose images of many steps had small errors of their own; `None` where not so small."""
    modes = modes / np.linalg.norm(modes, axis=0)
    images = rows.product(matrix, modes)
    values = np.sum(modes * images, axis=0)
    return (values, modes) if np.linalg.norm(images - modes * values, axis=0).max() < 10 * RESIDUAL else None
