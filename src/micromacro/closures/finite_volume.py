r"""The generator of the reduced dynamics on the cells of the grid, and what follows from it by linear algebra.

The Fokker–Planck flux $b_a p - \sum_b \partial_b(D_{ab} p)$ is discretised by exponential fitting (Scharfetter and
Gummel, IEEE Trans. Electron Devices 16, 64, 1969) in $u = D_{aa} p$, which needs no derivative of the noisy D.
Off-diagonal diffusion enters by jumps to diagonal neighbours (Kushner and Dupuis, Numerical Methods for Stochastic
Control, 5.3), taken off the axes, so that all rates stay positive; where $|D_{ab}|$ is too large for that it is reduced
to the limit. Ends of the region reflect; off-diagonal diffusion is ignored in cells next to them.

A set of cells that absorbs begins at its faces, half a cell from the centres outside: the flux into it is that of
half the distance, $\frac{2D_{aa}}{h^2} B(-r/2)$ for a rise r of $\int b_a/D_{aa}$ from centre to centre, which keeps
passage times and committors of second order in the cell.
"""

import itertools

import numpy as np
from jaxtyping import Bool, Float
from scipy import sparse
from scipy.sparse import linalg as sparse_linalg

from micromacro.closures.grid import axis_neighbours, neighbours
from micromacro.closures.reduced import ReducedDynamics

OFF_DIAGONAL_LIMIT = 0.95
"""The largest share of an axis's diffusion that jumps to diagonal neighbours may take."""


def generator_matrix(dynamics: ReducedDynamics, absorbing: Bool[np.ndarray, "n"] | None = None) -> sparse.csr_array:
    """Jump rates between cells, `(n, n)`: row i holds the rates out of cell i and minus their sum on the diagonal.

    Rows and columns of cells outside the region are zero. Jumps between `absorbing` cells `(n,)` and others have the
    rates to the face between them, at half the distance.
    """
    target = np.zeros(len(dynamics.region), bool) if absorbing is None else absorbing
    axis, diagonal = _split_diffusion(dynamics)
    jumps = [*_axis_jumps(dynamics, axis, target), *_diagonal_jumps(dynamics, diagonal, target)]
    rows, columns, rates = zip(*jumps, strict=True)
    size = len(dynamics.region)
    entries = (np.concatenate(rates), (np.concatenate(rows), np.concatenate(columns)))
    jumps = sparse.coo_array(entries, shape=(size, size)).tocsr()
    return (jumps - sparse.diags_array(np.asarray(jumps.sum(axis=1)).ravel())).tocsr()


def stationary_density(dynamics: ReducedDynamics) -> Float[np.ndarray, "n"]:
    """The stationary density of the reduced dynamics, `(n,)`, of integral one; NaN outside its region."""
    region = np.flatnonzero(dynamics.region)
    forward = generator_matrix(dynamics)[region][:, region].T.tocsr()
    density = _nearly_stationary(forward)
    density = np.clip(_null_vector(forward, pinned=int(np.argmax(density))), 0, None)
    density = np.clip(_null_vector(forward, pinned=int(np.argmax(density))), 0, None)
    result = np.full(len(dynamics.region), np.nan)
    result[region] = density / (density.sum() * np.prod(dynamics.grid.spacing))
    return result


def mean_passage_times(dynamics: ReducedDynamics, target: Bool[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
    """The mean time from each cell to the faces of the `target` cells, `(n,)`; NaN outside the region."""
    outside = np.flatnonzero(dynamics.region & ~target)
    result = np.where(dynamics.region, 0.0, np.nan)
    if not np.any(dynamics.region & target):
        result[outside] = np.inf
        return result
    matrix = generator_matrix(dynamics, target)[outside][:, outside]
    result[outside] = solve(matrix, -np.ones(len(outside)))
    return result


def solve(matrix: sparse.csr_array, right: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
    """The solution of `matrix x = right`."""
    return np.asarray(sparse_linalg.spsolve(matrix.tocsc(), right))


def _nearly_stationary(matrix: sparse.csr_array) -> np.ndarray:
    """The uniform density after a time that is long against the fastest rate: it lies where there is density.

    Pinned at a cell whose density is below rounding, the equations of the others would be singular.
    """
    size = len(matrix.indptr) - 1
    waiting = 1e-10 * np.abs(matrix.diagonal()).max() or 1.0
    return solve((sparse.diags_array(np.full(size, waiting)) - matrix).tocsr(), np.full(size, waiting))


def _null_vector(matrix: sparse.csr_array, pinned: int) -> np.ndarray:
    """The solution of `matrix x = 0` with the entry `pinned` equal to one."""
    size = len(matrix.indptr) - 1
    others = np.delete(np.arange(size), pinned)
    solution = np.ones(size)
    if size > 1:
        column = matrix[others][:, [pinned]].toarray().ravel()
        solution[others] = solve(matrix[others][:, others], -column)
    return solution


def _split_diffusion(dynamics: ReducedDynamics):
    """What is left of the axes' diffusion `(n, d)` and the off-diagonal part `(n, d, d)` that jumps diagonally."""
    grid, d = dynamics.grid, len(dynamics.grid.shape)
    on_axis = np.diagonal(dynamics.diffusion, axis1=1, axis2=2)
    if d == 1:
        return on_axis, np.zeros_like(dynamics.diffusion)
    off_axis = np.where(_interior(dynamics)[:, None, None], dynamics.diffusion, 0) * (1 - np.eye(d))
    taken = np.einsum("nab,ab->na", np.abs(off_axis), grid.spacing[:, None] / grid.spacing[None, :])
    with np.errstate(divide="ignore"):
        scale = np.minimum(1, (OFF_DIAGONAL_LIMIT * on_axis / taken).min(axis=1))
    return on_axis - scale[:, None] * taken, scale[:, None, None] * off_axis


def _interior(dynamics: ReducedDynamics) -> Bool[np.ndarray, "n"]:
    """Cells of the region all of whose neighbours, diagonal ones included, are in it too."""
    interior = dynamics.region.copy()
    for offset in itertools.product((-1, 0, 1), repeat=len(dynamics.grid.shape)):
        first, second = neighbours(dynamics.grid, offset)
        present = np.zeros_like(interior)
        present[first] = dynamics.region[second]
        interior &= present
    return interior


def _axis_jumps(dynamics: ReducedDynamics, diffusion: Float[np.ndarray, "n d"], target: Bool[np.ndarray, "n"]):
    """Triples (from, to, rate) along each axis, both ways."""
    for a, spacing in enumerate(dynamics.grid.spacing):
        first, second = _within(dynamics.region, *axis_neighbours(dynamics.grid, a))
        slope = dynamics.drift[:, a] / diffusion[:, a]
        nearer = np.where(target[first] != target[second], 2, 1)
        rise = spacing * (slope[first] + slope[second]) / (2 * nearer)
        yield first, second, nearer * diffusion[first, a] / spacing**2 * _bernoulli(-rise)
        yield second, first, nearer * diffusion[second, a] / spacing**2 * _bernoulli(rise)


def _diagonal_jumps(dynamics: ReducedDynamics, off_axis: Float[np.ndarray, "n d d"], target: Bool[np.ndarray, "n"]):
    """Triples (from, to, rate) to diagonal neighbours, along the sign of the off-diagonal diffusion."""
    d = len(dynamics.grid.shape)
    for a, b in itertools.combinations(range(d), 2):
        area = dynamics.grid.spacing[a] * dynamics.grid.spacing[b]
        for forwards, same in itertools.product((1, -1), repeat=2):
            offset = tuple(forwards if axis == a else forwards * same if axis == b else 0 for axis in range(d))
            first, second = _within(dynamics.region, *neighbours(dynamics.grid, offset))
            nearer = np.where(target[first] != target[second], 2, 1)
            rate = nearer * np.clip(same * off_axis[first, a, b], 0, None) / area
            yield first, second, rate


def _within(region, first, second):
    inside = region[first] & region[second]
    return first[inside], second[inside]


def _bernoulli(x: np.ndarray) -> np.ndarray:
    """The Bernoulli function x / (exp(x) - 1), 1 at zero."""
    small = np.abs(x) < 1e-8
    safe = np.where(small, 1.0, np.clip(x, -700, 700))
    return np.where(small, 1 - x / 2, safe / np.expm1(safe))
