r"""The walk on some of its points: what a preconditioner for its slowest modes is made of.

A slow mode is a smooth function, told by its values at a few of the points. Every eighth is kept, L, and all that the
walk seldom leads to one of these from; P makes values at all points from those at L, by the walk's own probabilities
$P_{iJ} \propto p_{iJ}$ of going there, so that a constant stays constant. On such functions the generator 1 - S is
$P^T (1 - S) P$, small enough to be factorised. What is not of that kind, the walk itself wears off in a step: as every
point goes to L with a probability of θ at least, no mode of a rate below θ vanishes on it. A step of the walk, the
solution on L and another step together are an inverse of 1 - S, near enough to be a preconditioner that does not get
worse with more points: the two-level method of algebraic multigrid. Sources: Trottenberg, Oosterlee and Schüller,
Multigrid (2001), appendix A; for the choice of L by the decay of a step, Brandt, Electron. Trans. Numer. Anal. 10, 1
(2000).
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.sparse import csr_array
from scipy.sparse.linalg import SuperLU, splu

from micromacro.diffusion_maps.shared_rows import SharedRows

STRIDE = 8  # points for each that is kept
LEAST_LED = 0.02  # θ
LEAST_SHARE = 0.1  # of the greatest probability in a row of P, below which others are left out
BEYOND_ONE = 1e-10  # what the generator on L is shifted by: of the constant it is zero
MOST_WAYS = 150  # entries in a row of the walk on L; twice those of a surface, and as many as a space has
SAMPLE = 100  # rows on which that is counted
INVERSE_STEPS = 4
LEAST_LEAVING = 1e-12  # probability of a step to another point, of those that hardly have any


@dataclass(frozen=True, eq=False)
class CoarseSpace:
    """Functions on some points, extended to all.

    **Arguments:**

    - `interpolation`: P `(n, m)`, and `restriction`, its transpose.
    - `mass`: $P^T P$ `(m, m)`.
    - `constant`: what P makes the leading vector of `(m,)`.
    - `factors`: of $P^T (1 - S) P$, shifted.
    - `step`: inverse of the diagonal of 1 - S `(n, 1)`.
    """

    interpolation: csr_array
    restriction: csr_array
    mass: csr_array
    constant: Float[np.ndarray, "m"]
    factors: SuperLU
    step: Float[np.ndarray, "n 1"]

    def slowest(self, count: int) -> Float[np.ndarray, "n count"]:
        """About the slowest modes beside the constant: inverse iteration among the functions of the space."""
        columns = np.random.default_rng(0).standard_normal((len(self.constant), count))
        weighed = self.mass @ self.constant
        for _ in range(INVERSE_STEPS):
            columns = columns - self.constant[:, None] * (weighed @ columns) / (weighed @ self.constant)
            columns, _ = np.linalg.qr(self.factors.solve(self.mass @ columns))
        return self.interpolation @ columns

    def correction(
        self, rows: SharedRows, walk: csr_array, residual: Float[np.ndarray, "n b"]
    ) -> Float[np.ndarray, "n b"]:
        """What solves (1 - S) x = residual, roughly; symmetric and positive definite in the residual."""
        found = self.step * residual
        rest = residual - found + rows.product(walk, found)
        found = found + rows.product(self.interpolation, self.factors.solve(rows.product(self.restriction, rest)))
        return found + self.step * (residual - found + rows.product(walk, found))


def coarse_space(rows: SharedRows, walk: csr_array, leading: Float[np.ndarray, "n"]) -> CoarseSpace | None:
    """The space for a walk in symmetric form `(n, n)` with the positive unit vector of eigenvalue one.

    `None` where factors of the walk on it would not be sparse, or there are none.
    """
    kept = np.arange(len(leading)) % STRIDE == 0
    kept |= walk @ (leading * kept) < LEAST_LED * leading
    interpolation = _interpolation(walk, leading, np.flatnonzero(kept))
    used = np.bincount(interpolation.indices, minlength=kept.sum()) > 0
    interpolation, constant = interpolation[:, np.flatnonzero(used)], leading[kept][used]
    restriction = interpolation.T.tocsr()
    some = restriction[:: max(1, len(constant) // SAMPLE)]
    if (some @ walk @ interpolation).nnz > MOST_WAYS * some.shape[0]:
        return None
    moved = rows.sparse_product(restriction, rows.sparse_product(walk, interpolation))
    mass = rows.sparse_product(restriction, interpolation)
    generator = ((1 + BEYOND_ONE) * mass - moved).tocsc()
    try:
        factors = splu(generator, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})
    except RuntimeError:  # singular
        return None
    step = 1 / np.maximum(1 - walk.diagonal(), LEAST_LEAVING)
    return CoarseSpace(interpolation, restriction, mass, constant, factors, step[:, None])


def _interpolation(walk: csr_array, leading: np.ndarray, kept: np.ndarray) -> csr_array:
    """P in the symmetric form: it makes the leading vector of its own values at L."""
    ways = walk[:, kept]
    ways.data *= leading[kept][ways.indices]
    row = np.repeat(np.arange(len(leading)), np.diff(ways.indptr))
    large = ways.data >= LEAST_SHARE * np.maximum.reduceat(ways.data, ways.indptr[:-1])[row]
    row, column, share = row[large], ways.indices[large], ways.data[large]
    share *= (leading / np.bincount(row, weights=share))[row] / leading[kept][column]
    starts = np.concatenate([[0], np.cumsum(np.bincount(row))]).astype(column.dtype)
    return csr_array((share, column, starts), shape=ways.shape)
