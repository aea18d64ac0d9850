"""The random walk on a kernel matrix, and its slowest modes."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.sparse import csr_array, diags_array
from scipy.sparse.csgraph import connected_components

from micromacro.diffusion_maps.eigenpairs import leading_eigenpairs


@dataclass(frozen=True, eq=False)
class Columns:
    r"""How the kernel is turned into a walk, $P_{ij} \propto K_{ij} e^{l_j}$.

    **Arguments:**

    - `log_normalisation`: l `(n,)`; minus infinity for points that the walk never visits.
    - `scale`: ρ `(n,)` of a variable bandwidth; the walk at i takes time ε ρ_i². `None` for ρ = 1.
    """

    log_normalisation: Float[np.ndarray, "n"]
    scale: Float[np.ndarray, "n"] | None = None


@dataclass(frozen=True, eq=False)
class Modes:
    """Slowest modes on the points that a walk visits: eigenvalues `(k,)` descending, vectors `(n, k)`, measure `(n,)`.

    The constant mode is left out; vectors have unit mean square in the measure, which sums to one.
    """

    eigenvalues: Float[np.ndarray, "k"]
    vectors: Float[np.ndarray, "n k"]
    stationary: Float[np.ndarray, "n"]


def symmetric_walk(
    matrix: np.ndarray | csr_array, columns: Columns
) -> tuple[np.ndarray | csr_array, Float[np.ndarray, "n"]]:
    r"""The walk in symmetric form `(n, n)`, and its stationary measure `(n,)`.

    With $c = e^l$ and $s_i = \sum_j K_{ij} c_j$ the walk $K_{ij} c_j / s_i$ is similar to $S_{ij} = K_{ij}
    \sqrt{c_i c_j / s_i s_j}$, and keeps the measure $c_i s_i$. Where the step at i takes time $\rho_i^2$, what is
    similar to a walk of unit time is $S_{ij} / \rho_i \rho_j + \delta_{ij} (1 - \rho_i^{-2})$, with the measure
    $c_i s_i \rho_i^2$.
    """
    column = np.exp(columns.log_normalisation - columns.log_normalisation.max())
    total = matrix @ column
    factor = np.sqrt(column / total)
    measure = column * total
    if columns.scale is None:
        return _scaled(matrix, factor), measure / measure.sum()
    walk, stay = _scaled(matrix, factor / columns.scale), 1 - columns.scale**-2
    walk = walk + diags_array(stay) if isinstance(walk, csr_array) else walk + np.diag(stay)
    measure = measure * columns.scale**2
    return walk, measure / measure.sum()


def slowest_modes(matrix: np.ndarray | csr_array, columns: Columns, count: int) -> Modes:
    """The slowest modes of a walk that visits all points of its matrix, and in one piece."""
    walk, stationary = symmetric_walk(matrix, columns)
    values, vectors = leading_eigenpairs(walk, np.sqrt(stationary), count + 1)
    modes = vectors[:, 1:] / np.sqrt(stationary)[:, None]
    signs = np.sign(stationary @ modes**3)
    return Modes(values[1:], modes * np.where(signs == 0, 1.0, signs), stationary)


def pieces(
    matrix: np.ndarray | csr_array, columns: Columns, least: float
) -> tuple[Int[np.ndarray, "n"], Int[np.ndarray, "pieces"]]:
    """The piece that each point belongs to where steps of normalised probability up to `least` are none, and sizes."""
    walk, _ = symmetric_walk(matrix, Columns(columns.log_normalisation))
    _, labels = connected_components(csr_array(walk > least), directed=False)
    return labels, np.bincount(labels)


def _scaled(matrix: np.ndarray | csr_array, factor: np.ndarray) -> np.ndarray | csr_array:
    """The matrix with rows and columns multiplied by a factor `(n,)`, as sparse as it was."""
    if not isinstance(matrix, csr_array):
        return factor[:, None] * matrix * factor
    scaled = matrix.copy()  # scipy sorts in place: indices shared with the kernel would be sorted under its feet
    scaled.data *= np.repeat(factor, np.diff(matrix.indptr)) * factor[matrix.indices]
    return scaled
