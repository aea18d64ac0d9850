"""The multistate Bennett acceptance ratio over umbrella windows, with errors from independent walkers."""

import logging
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from scipy import sparse
from scipy.special import logsumexp

CHUNK = 65_536
THINNED = 20_000
MOST_NEWTON_STEPS = 50
SMALL_RESIDUAL = 1e-4
NEGLIGIBLE = -100.0


@dataclass(frozen=True)
class Pool:
    """Samples of every window, pooled.

    A sample needs its coarse value alone: the windows differ by biases of ξ, so the physics cancels.

    **Arguments:**

    - `coarse`: ξ of each sample, `(n, d)`.
    - `state`: which window drew it, `(n,)`.
    - `cluster`: which chain drew it, `(n,)`; chains are independent of one another, samples within one are not.
    - `weight`: importance weights relative to its window, `(n,)`; ones for samples of the window itself.
    """

    coarse: Float[np.ndarray, "n d"]
    state: Int[np.ndarray, "n"]
    cluster: Int[np.ndarray, "n"]
    weight: Float[np.ndarray, "n"]


@dataclass(frozen=True)
class MBAR:
    r"""Free energies of the windows and what follows from them.

    **Arguments:**

    - `free_energy`: f of each window in kT, `(K,)`, first one zero.
    - `counts`: total weight of the samples of each window, `(K,)`.
    - `log_denominator`: $\log \sum_k N_k e^{f_k - b_k(\xi_n)}$ of each sample, `(n,)`: minus the log of its weight.
    - `overlap`: the overlap matrix `(K, K)`; rows sum to one.
    - `influence`: of each chain on f, `(K, clusters)`: its squares sum to the variance.
    """

    free_energy: Float[np.ndarray, "K"]
    counts: Float[np.ndarray, "K"]
    log_denominator: Float[np.ndarray, "n"]
    overlap: Float[np.ndarray, "K K"]
    influence: Float[np.ndarray, "K C"]

    def log_denominator_at(self, biases: Float[np.ndarray, "m K"]) -> Float[np.ndarray, "m"]:
        """The denominator at other coarse values, from their biases `(m, K)`."""
        return logsumexp(self.free_energy - biases, b=self.counts, axis=1)

    def responsibilities_at(self, biases: Float[np.ndarray, "m K"]) -> Float[np.ndarray, "m K"]:
        """The share of each window in the pooled density at other coarse values; rows sum to one."""
        return self.counts * np.exp(self.free_energy - biases - self.log_denominator_at(biases)[:, None])


Bias = Callable[[Float[Array, "m d"]], Float[Array, "m K"]]
"""Coarse values to the bias of every window in kT: a JAX function that is itself a pytree, such as `PooledBias`."""


def solve_mbar(pool: Pool, bias: Bias, state_count: int) -> MBAR:
    r"""Solve the MBAR equations for every window, and the influence of every chain on the solution.

    pymbar solves for a thinned pool; Newton steps on all samples then reach the solution of the whole pool, so that
    memory does not hold windows × samples. The errors are those of an M-estimator with independent chains:
    $\delta f_c = -H^{-1} \sum_{n \in c} (p(\xi_n) - \bar p_{k(n)})$ with p the responsibilities, H their covariance.

    **Arguments:**

    - `bias`: coarse values `(m, d)` to biases in kT `(m, K)`, as a pytree.
    - `state_count`: K.

    Sources: Shirts & Chodera, J. Chem. Phys. 129, 124105 (2008); for the errors Geyer, Tech. Rep. 568, Minnesota (1994);
    Doss & Tan, J. R. Stat. Soc. B 76, 683 (2014).
    """
    counts = np.bincount(pool.state, weights=pool.weight, minlength=state_count)
    if state_count == 1:
        return _with_influence(pool, bias, np.zeros(1), counts)
    free_energy = _thinned_solution(pool, bias, counts)
    for _ in range(MOST_NEWTON_STEPS):
        total, outer = _moments(pool, bias, free_energy, counts)
        residual = total - counts
        step = -np.linalg.pinv(np.diag(total) - outer, hermitian=True, rcond=1e-12) @ residual
        free_energy = free_energy + step * min(1.0, 2.0 / np.max(np.abs(step), initial=1e-300))
        # Newton's method squares the error: after a step from here what is left is below rounding
        if np.max(np.abs(residual) / np.maximum(counts, 1)) < SMALL_RESIDUAL:
            break
    free_energy = free_energy - free_energy[0]
    return _with_influence(pool, bias, free_energy, counts)


def _chunks(pool: Pool) -> Iterator[tuple[slice, Array, Array]]:
    """Coarse values and weights in chunks of one size, the last filled up with weightless copies: one compilation."""
    for begin in range(0, len(pool.state), CHUNK):
        part = slice(begin, begin + CHUNK)
        coarse, weight = pool.coarse[part], pool.weight[part]
        missing = CHUNK - len(weight) if len(pool.state) > CHUNK else 0
        coarse = np.concatenate([coarse, np.repeat(coarse[:1], missing, axis=0)])
        yield part, jnp.asarray(coarse), jnp.asarray(np.concatenate([weight, np.zeros(missing)]))


@jax.jit
def _responsibilities(bias: Bias, coarse: Array, free_energy: Array, counts: Array) -> tuple[Array, Array]:
    exponent = free_energy + jnp.log(counts) - bias(coarse)
    top = jnp.max(exponent, axis=1, keepdims=True)
    # windows far away would leave denormal numbers, whose products are a hundred times slower than any other
    share = jnp.where(exponent - top < NEGLIGIBLE, 0.0, jnp.exp(exponent - top))
    total = jnp.sum(share, axis=1, keepdims=True)
    return share / total, (top + jnp.log(total))[:, 0]


@jax.jit
def _chunk_moments(bias: Bias, coarse: Array, weight: Array, free_energy: Array, counts: Array) -> tuple[Array, Array]:
    share, _ = _responsibilities(bias, coarse, free_energy, counts)
    weighted = weight[:, None] * share
    return weighted.sum(axis=0), weighted.T @ share


def _moments(
    pool: Pool, bias: Bias, free_energy: np.ndarray, counts: np.ndarray
) -> tuple[Float[np.ndarray, "K"], Float[np.ndarray, "K K"]]:
    parts = [
        _chunk_moments(bias, coarse, weight, jnp.asarray(free_energy), jnp.asarray(counts))
        for _, coarse, weight in _chunks(pool)
    ]
    total, outer = (np.sum([np.asarray(part) for part in column], axis=0) for column in zip(*parts, strict=True))
    return total, outer


def _thinned_solution(pool: Pool, bias: Bias, counts: np.ndarray) -> np.ndarray:
    # pymbar configures JAX when it is imported, and speaks of it on its logger
    logging.getLogger("pymbar").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pymbar import MBAR as PyMBAR

        order = np.argsort(pool.state, kind="stable")
        kept = order[:: max(1, len(order) // THINNED)]
        sampled = np.bincount(pool.state[kept], minlength=len(counts))
        biases = np.asarray(bias(jnp.asarray(pool.coarse[kept])))
        solver = PyMBAR(biases.T, sampled, solver_protocol="robust", relative_tolerance=1e-6)
    return np.asarray(solver.f_k, float)


def _with_influence(pool: Pool, bias: Bias, free_energy: np.ndarray, counts: np.ndarray) -> MBAR:
    size, clusters = len(counts), int(pool.cluster.max()) + 1
    per_cluster, per_state, outer = np.zeros((clusters, size)), np.zeros((size, size)), np.zeros((size, size))
    log_denominator = np.empty(len(pool.state))
    for part, coarse, _ in _chunks(pool):
        found = _responsibilities(bias, coarse, jnp.asarray(free_energy), jnp.asarray(counts))
        here = len(pool.state[part])
        share, log_denominator[part] = (np.asarray(values)[:here] for values in found)
        weighted = pool.weight[part, None] * share
        outer += weighted.T @ share
        per_cluster += grouping(pool.cluster[part], clusters) @ weighted
        per_state += grouping(pool.state[part], size) @ weighted
    total = per_state.sum(axis=0)
    centred = per_cluster - chain_weights(pool, clusters, size) @ state_means(per_state, counts)
    inverse = np.linalg.pinv(np.diag(total) - outer, hermitian=True, rcond=1e-12)
    influence = -inverse @ centred.T * finite_cluster_factor(clusters)
    return MBAR(free_energy, counts, log_denominator, outer / np.maximum(total, 1e-300)[:, None], influence)


def grouping(label: Int[np.ndarray, "n"], size: int) -> sparse.csr_matrix:
    """The sparse matrix `(size, n)` that sums samples by label."""
    count = len(label)
    return sparse.csr_matrix((np.ones(count), (label, np.arange(count))), shape=(size, count))


def chain_weights(pool: Pool, clusters: int, states: int) -> sparse.csr_matrix:
    """How much weight each chain has in each window, `(clusters, states)`."""
    return sparse.coo_matrix((pool.weight, (pool.cluster, pool.state)), shape=(clusters, states)).tocsr()


def state_means(sums: Float[np.ndarray, "K m"], counts: Float[np.ndarray, "K"]) -> Float[np.ndarray, "K m"]:
    """Averages of each window from its sums; zero where a window has no samples."""
    return sums / np.where(counts > 0, counts, 1.0)[:, None]


def finite_cluster_factor(clusters: int) -> float:
    """The small-sample factor of clustered standard errors."""
    return float(np.sqrt(clusters / max(clusters - 1, 1)))
