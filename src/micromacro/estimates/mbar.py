"""The multistate Bennett acceptance ratio over umbrella windows, with errors from independent walkers."""

import logging
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy import sparse
from scipy.special import logsumexp

CHUNK = 65_536
THINNED = 20_000


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
        return _responsibilities(biases, self.free_energy, self.counts)[0]


type_of_bias = Callable[[Float[np.ndarray, "m d"]], Float[np.ndarray, "m K"]]


def solve_mbar(pool: Pool, bias: type_of_bias, state_count: int) -> MBAR:
    r"""Solve the MBAR equations for every window, and the influence of every chain on the solution.

    pymbar solves for a thinned pool; Newton steps on all samples then reach the solution of the whole pool, so that
    memory does not hold windows × samples. The errors are those of an M-estimator with independent chains:
    $\delta f_c = -H^{-1} \sum_{n \in c} (p(\xi_n) - \bar p_{k(n)})$ with p the responsibilities, H their covariance.

    **Arguments:**

    - `bias`: coarse values `(m, d)` to biases in kT `(m, K)`.
    - `state_count`: K.

    Sources: Shirts & Chodera, J. Chem. Phys. 129, 124105 (2008); for the errors Geyer, Tech. Rep. 568, Minnesota (1994);
    Doss & Tan, J. R. Stat. Soc. B 76, 683 (2014).
    """
    counts = np.bincount(pool.state, weights=pool.weight, minlength=state_count)
    free_energy = _thinned_solution(pool, bias, counts)
    for _ in range(50):
        total, outer = _moments(pool, bias, free_energy, counts)
        residual = total - counts
        if np.max(np.abs(residual) / np.maximum(counts, 1)) < 1e-9:
            break
        hessian = np.diag(total) - outer
        step = -np.linalg.pinv(hessian, hermitian=True, rcond=1e-12) @ residual
        free_energy = free_energy + step * min(1.0, 2.0 / np.max(np.abs(step)))
    free_energy = free_energy - free_energy[0]
    return _with_influence(pool, bias, free_energy, counts)


def _chunks(pool: Pool, bias: type_of_bias) -> Iterator[tuple[slice, np.ndarray]]:
    for begin in range(0, len(pool.state), CHUNK):
        part = slice(begin, begin + CHUNK)
        yield part, np.asarray(bias(pool.coarse[part]))


def _responsibilities(biases: np.ndarray, free_energy: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    with np.errstate(divide="ignore"):
        exponent = free_energy + np.log(counts) - biases
    top = exponent.max(axis=1, keepdims=True)
    share = np.exp(exponent - top)
    total = share.sum(axis=1, keepdims=True)
    return share / total, (top + np.log(total))[:, 0]


def _moments(
    pool: Pool, bias: type_of_bias, free_energy: np.ndarray, counts: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    size = len(counts)
    total, outer = np.zeros(size), np.zeros((size, size))
    for part, biases in _chunks(pool, bias):
        share, _ = _responsibilities(biases, free_energy, counts)
        weighted = pool.weight[part, None] * share
        total += weighted.sum(axis=0)
        outer += weighted.T @ share
    return total, outer


def _thinned_solution(pool: Pool, bias: type_of_bias, counts: np.ndarray) -> np.ndarray:
    # pymbar configures JAX when it is imported, and speaks of it on its logger
    logging.getLogger("pymbar").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pymbar import MBAR as PyMBAR

        order = np.argsort(pool.state, kind="stable")
        kept = order[:: max(1, len(order) // THINNED)]
        sampled = np.bincount(pool.state[kept], minlength=len(counts))
        biases = np.asarray(bias(pool.coarse[kept]))
        solver = PyMBAR(biases.T, sampled, solver_protocol="robust", relative_tolerance=1e-6)
    return np.asarray(solver.f_k, float)


def _with_influence(pool: Pool, bias: type_of_bias, free_energy: np.ndarray, counts: np.ndarray) -> MBAR:
    size, clusters = len(counts), int(pool.cluster.max()) + 1
    log_denominator = np.empty(len(pool.state))
    per_cluster, per_state = np.zeros((clusters, size)), np.zeros((size, size))
    total, outer = np.zeros(size), np.zeros((size, size))
    for part, biases in _chunks(pool, bias):
        share, log_denominator[part] = _responsibilities(biases, free_energy, counts)
        weighted = pool.weight[part, None] * share
        total += weighted.sum(axis=0)
        outer += weighted.T @ share
        per_cluster += grouping(pool.cluster[part], clusters) @ weighted
        per_state += grouping(pool.state[part], size) @ weighted
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
