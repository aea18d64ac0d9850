r"""Relaxation of the reduced dynamics: eigenvalues of its generator, implied time scales, autocorrelation.

The eigenfunctions of $L = b\cdot\nabla + D:\nabla^2$ decay as $e^{λt}$; $-1/\mathrm{Re}\,λ$ are the implied time
scales. Without detailed balance eigenvalues may be complex: such modes also rotate, with period
$2π/|\mathrm{Im}\,λ|$.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from jaxtyping import Complex, Float
from scipy import linalg, sparse
from scipy.sparse import linalg as sparse_linalg

from micromacro.closures.finite_volume import generator_matrix, stationary_density
from micromacro.closures.reduced import ReducedDynamics
from micromacro.errors import InputError

DENSE = 300
"""Up to so many cells all eigenvalues are computed."""
CANDIDATES = 24
"""Beyond, at least so many of the smallest modulus, of which the slowest are picked."""
ROUNDING = 1e-6
"""An imaginary part below this share of the modulus is the rounding of a real eigenvalue."""
SMALLEST = 1e-13
"""A rate below this share of the fastest is lost in the rounding of the matrix: its time scale is infinite."""


@dataclass(frozen=True)
class Spectrum:
    """The slowest modes of the reduced dynamics, slowest first, without the stationary one.

    **Arguments:**

    - `eigenvalues`: `(k,)`, complex, per unit of time; pairs of conjugates are both listed.
    - `eigenfunctions`: `(n, k)`, right eigenvectors of the generator on the cells, of unit mean square under the
        stationary density; NaN outside the region.
    """

    eigenvalues: Complex[np.ndarray, "k"]
    eigenfunctions: Complex[np.ndarray, "n k"]

    @property
    def time_scales(self) -> Float[np.ndarray, "k"]:
        """Implied time scales, `(k,)`; infinite where the rate is too small for double precision."""
        with np.errstate(divide="ignore"):
            return 1 / np.abs(np.real(self.eigenvalues))

    @property
    def periods(self) -> Float[np.ndarray, "k"]:
        """Periods of rotation `(k,)`; infinite for modes that only decay."""
        with np.errstate(divide="ignore"):
            return 2 * np.pi / np.abs(np.imag(self.eigenvalues))


def slowest_modes(dynamics: ReducedDynamics, count: int = 4) -> Spectrum:
    """The `count` slowest modes of the reduced dynamics, fewer where the region has fewer cells.

    By shift-invert about a point next to zero, which resolves rates down to 1e-13 of the fastest; in a region of
    more than 300 cells from the eigenvalues of smallest modulus, so that a mode that turns many times while it decays
    may be missed.
    """
    region = np.flatnonzero(dynamics.region)
    matrix = generator_matrix(dynamics)[region][:, region]
    values, vectors = _near_zero(matrix, max(CANDIDATES, 4 * count))
    order = np.argsort(-values.real, kind="stable")[1 : count + 1]
    values = values[order]
    values = np.where(np.abs(values.imag) < ROUNDING * np.abs(values), values.real + 0j, values)
    values = np.where(values.real > -SMALLEST * np.abs(matrix.diagonal()).max(), 1j * values.imag, values)
    weight = stationary_density(dynamics)[region]
    norm = np.sqrt(weight @ np.abs(vectors[:, order]) ** 2 / weight.sum())
    functions = np.full((len(dynamics.region), len(order)), np.nan + 0j)
    functions[region] = vectors[:, order] / norm
    return Spectrum(values, functions)


def autocorrelation(
    dynamics: ReducedDynamics, values: Float[np.ndarray, "n m"], times: Float[np.ndarray, "k"]
) -> Float[np.ndarray, "k"]:
    r"""The stationary autocorrelation $\sum_m \mathrm{cov}(f_m(z_t), f_m(z_0)) / \sum_m \mathrm{var} f_m$ at `times`.

    By the matrix $e^{Lt}$ in a region of up to 300 cells, by its action on f in a larger one (Al-Mohy and Higham, SIAM
    J. Sci. Comput. 33, 488, 2011).

    **Arguments:**

    - `values`: functions on the cells, `(n, m)`: z itself, or the cosine and sine of an angle.
    - `times`: `(k,)`, not negative, increasing to a positive last one, in units of time.

    **Raises:** `InputError` for times in another order, and for functions that are constant.
    """
    if len(times) == 0 or times[0] < 0 or times[-1] <= 0 or np.any(np.diff(times) <= 0):
        raise InputError("times", "be increasing from zero or later", times)
    region = np.flatnonzero(dynamics.region)
    matrix = generator_matrix(dynamics)[region][:, region].tocsc()
    weight = stationary_density(dynamics)[region]
    weight = weight / weight.sum()
    start = values[region] - weight @ values[region]
    variance = float(np.sum(weight @ start**2))
    if not variance > 1e-20 * float(np.sum(weight @ values[region] ** 2)):
        raise InputError("values", "vary over the region", "a constant")
    result, moved, propagate = [], start, _propagator(matrix)
    for step in np.diff(times, prepend=0.0):
        moved = propagate(round(step / times[-1], 12) * times[-1], moved)
        result.append(np.sum(weight @ (start * moved)) / variance)
    return np.array(result)


def _propagator(matrix: sparse.csc_array) -> Callable[[float, np.ndarray], np.ndarray]:
    """A step of time and functions `(n, m)` to those functions moved by it; each length of step is prepared once."""
    if len(matrix.indptr) - 1 > DENSE:
        return lambda step, values: np.asarray(sparse_linalg.expm_multiply(matrix * step, values))
    dense = matrix.toarray()
    prepared = cache(lambda step: linalg.expm(dense * step))
    return lambda step, values: prepared(step) @ values


def _near_zero(matrix: sparse.csr_array, count: int) -> tuple[Any, Any]:
    """Eigenvalues next to zero and their right eigenvectors: all of them for a small matrix."""
    size = len(matrix.indptr) - 1
    fastest = np.abs(matrix.diagonal()).max() if size else 0.0
    shift = 1e-6 * fastest / max(size, 1) or 1.0
    if size <= max(DENSE, count + 2):
        found: Any = linalg.eig(linalg.inv(matrix.toarray() - shift * np.eye(size)))
        return shift + 1 / found[0], found[1]
    start = np.random.default_rng(0).standard_normal(size)
    return sparse_linalg.eigs(matrix.tocsc(), k=count, sigma=shift, v0=start)  # pyright: ignore[reportReturnType]
