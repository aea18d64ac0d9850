"""The multistate Bennett acceptance ratio over umbrella windows, with errors from independent walkers."""

import logging
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int
from scipy import sparse
from scipy.special import expit, logsumexp

MOST_ROWS, MOST_NUMBERS = 65_536, 2**24
"""Of samples × windows that memory holds at a time."""
THINNED = 20_000
MOST_NEWTON_STEPS = 50
SMALL_RESIDUAL = 1e-4
NEGLIGIBLE = -100.0
MANY_WINDOWS = 200
"""From so many on, most are too far from a sample to have a share in it, and their products are left out."""


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
class Bridge:
    r"""Comparisons of windows with a normalised density, such as a generator's: they make f of each window absolute.

    **Arguments:**

    - `log_ratio`: $\log \pi_k(q) / p(q|z_k)$ of states drawn from either, `(n,)`; infinite where one of them is zero.
    - `from_window`: whether the chain of the window drew the state, or the density, `(n,)`.
    - `state`, `cluster`: as in `Pool`, `(n,)`.
    """

    log_ratio: Float[np.ndarray, "n"]
    from_window: Bool[np.ndarray, "n"]
    state: Int[np.ndarray, "n"]
    cluster: Int[np.ndarray, "n"]

    def log_odds(self, states: int) -> Float[np.ndarray, "n"]:
        """The log-ratio plus the log of how many draws of its window stand against one of the density."""
        own = np.bincount(self.state, weights=self.from_window, minlength=states)
        other = np.bincount(self.state, weights=~self.from_window, minlength=states)
        with np.errstate(divide="ignore", invalid="ignore"):
            return self.log_ratio + np.log(own / other)[self.state]


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
        return np.asarray(logsumexp(self.free_energy - biases, b=self.counts, axis=1))

    def responsibilities_at(self, biases: Float[np.ndarray, "m K"]) -> Float[np.ndarray, "m K"]:
        """The share of each window in the pooled density at other coarse values; rows sum to one."""
        return self.counts * np.exp(self.free_energy - biases - self.log_denominator_at(biases)[:, None])


Bias = Callable[[Float[Array, "m d"]], Float[Array, "m K"]]
"""Coarse values to the bias of every window in kT: a JAX function that is itself a pytree, such as `PooledBias`."""


def solve_mbar(
    pool: Pool,
    bias: Bias,
    state_count: int,
    bridge: Bridge | None = None,
    start: Float[np.ndarray, "K"] | None = None,
) -> MBAR:
    r"""Solve the MBAR equations for every window, and the influence of every chain on the solution.

    MBAR alone adds up errors from window to window. A `bridge` ties each window to a normalised density by Bennett's
    acceptance ratio; the two sets of equations are summed,
    $\sum_n p_k(\xi_n) - N_k + \sum_m \sigma_k(q_m) - M_k = 0$. Each has the right solution, whatever the density: a
    poor one only says little.

    Where no `start` is known, pymbar solves for a thinned pool; Newton steps on all samples then reach the solution of
    the whole pool, so that memory does not hold windows × samples. The errors are those of an M-estimator with
    independent chains: $\delta f_c = -H^{-1} \sum_{n \in c} (p(\xi_n) - \bar p_{k(n)})$ with p the responsibilities,
    H their covariance.

    **Arguments:**

    - `bias`: coarse values `(m, d)` to biases in kT `(m, K)`, as a pytree.
    - `state_count`: K.
    - `bridge`: comparisons with a generator's density.
    - `start`: free energies of the windows near the solution.

    Sources: Shirts & Chodera, J. Chem. Phys. 129, 124105 (2008); for the errors Geyer, Tech. Rep. 568, Minnesota
    (1994); Doss & Tan, J. R. Stat. Soc. B 76, 683 (2014); for the bridge Bennett, J. Comput. Phys. 22, 245 (1976).
    """
    counts = np.bincount(pool.state, weights=pool.weight, minlength=state_count)
    if state_count == 1:
        return _with_influence(pool, bias, np.zeros(1), counts, None)
    free_energy = _thinned_solution(pool, bias, counts) if start is None else start
    if bridge is not None:
        free_energy = _on_bridge_scale(bridge, free_energy)
    for _ in range(MOST_NEWTON_STEPS):
        total, outer = _moments(pool, bias, free_energy, counts)
        residual, hessian = total - counts, np.diag(total) - outer
        if bridge is not None:
            excess, information = _bridge_moments(bridge, free_energy)
            residual, hessian = residual + excess, hessian + np.diag(information)
        step = -np.linalg.pinv(hessian, hermitian=True, rcond=1e-12) @ residual
        free_energy = free_energy + step * min(1.0, 2.0 / np.max(np.abs(step), initial=1e-300))
        # Newton's method squares the error: after a step from here what is left is below rounding
        if np.max(np.abs(residual) / np.maximum(counts, 1)) < SMALL_RESIDUAL:
            break
    return _with_influence(pool, bias, free_energy, counts, bridge)


def _bridge_moments(bridge: Bridge, free_energy: np.ndarray) -> tuple[Float[np.ndarray, "K"], Float[np.ndarray, "K"]]:
    size = len(free_energy)
    share = expit(bridge.log_odds(size) + free_energy[bridge.state])
    excess = np.bincount(bridge.state, weights=share - bridge.from_window, minlength=size)
    return excess, np.bincount(bridge.state, weights=share * (1 - share), minlength=size)


def _on_bridge_scale(bridge: Bridge, free_energy: np.ndarray) -> np.ndarray:
    # a common shift solves the sum of the bridge equations: Newton's method starts where they are not saturated
    finite = bridge.log_ratio[np.isfinite(bridge.log_ratio)]
    middle, reach = -np.median(finite), np.ptp(finite) + np.ptp(free_energy) + 10.0
    shift, low, high = middle, middle - reach, middle + reach
    while high - low > 0.1:
        shift = (low + high) / 2
        excess = _bridge_moments(bridge, free_energy + shift)[0].sum()
        low, high = (shift, high) if excess < 0 else (low, shift)
    return free_energy + shift


def rows_at_once(states: int) -> int:
    """How many samples are looked at together where each has a number for every window."""
    return min(MOST_ROWS, MOST_NUMBERS // states + 1)


def _chunks(pool: Pool, states: int) -> Iterator[tuple[slice, Array, Array]]:
    """Coarse values and weights in chunks of one size, the last filled up with weightless copies: one compilation."""
    rows = rows_at_once(states)
    for begin in range(0, len(pool.state), rows):
        part = slice(begin, begin + rows)
        coarse, weight = pool.coarse[part], pool.weight[part]
        missing = rows - len(weight) if len(pool.state) > rows else 0
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


def _sparse_moments(
    bias: Bias, coarse: Array, weight: Array, free_energy: Array, counts: Array
) -> tuple[np.ndarray, np.ndarray]:
    share = sparse.csr_array(np.asarray(_responsibilities(bias, coarse, free_energy, counts)[0]))
    weighted = sparse.diags_array(np.asarray(weight)) @ share
    return weighted.sum(axis=0), (weighted.T @ share).toarray()


def _moments(
    pool: Pool, bias: Bias, free_energy: np.ndarray, counts: np.ndarray
) -> tuple[Float[np.ndarray, "K"], Float[np.ndarray, "K K"]]:
    solution = jnp.asarray(free_energy), jnp.asarray(counts)
    moments = _chunk_moments if len(counts) < MANY_WINDOWS else _sparse_moments
    parts = [moments(bias, coarse, weight, *solution) for _, coarse, weight in _chunks(pool, len(counts))]
    total, outer = (np.sum([np.asarray(part) for part in column], axis=0) for column in zip(*parts, strict=True))
    return total, outer


def _thinned_solution(pool: Pool, bias: Bias, counts: np.ndarray) -> np.ndarray:
    # pymbar configures JAX when it is imported, and speaks of it on its logger
    logging.getLogger("pymbar").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pymbar

        order = np.argsort(pool.state, kind="stable")
        kept = order[:: max(1, len(order) // THINNED)]
        sampled = np.bincount(pool.state[kept], minlength=len(counts))
        biases = np.asarray(bias(jnp.asarray(pool.coarse[kept])))
        solver = pymbar.MBAR(biases.T, sampled, solver_protocol="robust", relative_tolerance=1e-6)
    return np.asarray(solver.f_k, float)


def _with_influence(pool: Pool, bias: Bias, free_energy: np.ndarray, counts: np.ndarray, bridge: Bridge | None) -> MBAR:
    size, clusters = len(counts), int(pool.cluster.max()) + 1
    weights = chain_weights(pool, clusters, size)
    factor = window_factors(weights)
    per_cluster, per_state, outer = np.zeros((clusters, size)), np.zeros((size, size)), np.zeros((size, size))
    log_denominator = np.empty(len(pool.state))
    for part, coarse, _ in _chunks(pool, size):
        found = _responsibilities(bias, coarse, jnp.asarray(free_energy), jnp.asarray(counts))
        here = len(pool.state[part])
        share, log_denominator[part] = (np.asarray(values)[:here] for values in found)
        share = sparse.csr_array(share) if size >= MANY_WINDOWS else share
        weighted = sparse.diags_array(pool.weight[part]) @ share
        outer += weighted.T @ share
        scaled = sparse.diags_array(factor[pool.state[part]]) @ weighted
        per_cluster += grouping(pool.cluster[part], clusters) @ scaled
        per_state += grouping(pool.state[part], size) @ weighted
    total = per_state.sum(axis=0)
    centred = per_cluster - weights @ (factor[:, None] * state_means(per_state, counts))
    hessian = np.diag(total) - outer
    if bridge is not None:
        centred = centred + _bridge_influence(bridge, free_energy, clusters)
        hessian = hessian + np.diag(_bridge_moments(bridge, free_energy)[1])
    influence = -np.linalg.pinv(hessian, hermitian=True, rcond=1e-12) @ centred.T
    overlap = outer / np.maximum(total, 1e-300)[:, None]
    return MBAR(free_energy - free_energy[0], counts, log_denominator - free_energy[0], overlap, influence)


def _bridge_influence(bridge: Bridge, free_energy: np.ndarray, clusters: int) -> Float[np.ndarray, "C K"]:
    """The score of each chain in the bridge equations, `(clusters, K)`: draws of either kind about their own mean."""
    size = len(free_energy)
    share = expit(bridge.log_odds(size) + free_energy[bridge.state])
    score = np.zeros((clusters, size))
    for kind in (bridge.from_window, ~bridge.from_window):
        state, value, cluster = bridge.state[kind], share[kind], bridge.cluster[kind]
        count = np.bincount(state, minlength=size)
        mean = np.bincount(state, weights=value, minlength=size) / np.maximum(count, 1)
        chains = sparse.csr_array((np.ones(len(state)), (cluster, state)), shape=score.shape)
        np.add.at(score, (cluster, state), window_factors(chains)[state] * (value - mean[state]))
    return score


def grouping(label: Int[np.ndarray, "n"], size: int) -> sparse.csr_array:
    """The sparse matrix `(size, n)` that sums samples by label."""
    count = len(label)
    return sparse.csr_array((np.ones(count), (label, np.arange(count))), shape=(size, count))


def chain_weights(pool: Pool, clusters: int, states: int) -> sparse.csr_array:
    """How much weight each chain has in each window, `(clusters, states)`."""
    return sparse.csr_array((pool.weight, (pool.cluster, pool.state)), shape=(clusters, states))


def state_means(sums: Float[np.ndarray, "K m"], counts: Float[np.ndarray, "K"]) -> Float[np.ndarray, "K m"]:
    """Averages of each window from its sums; zero where a window has no samples."""
    return sums / np.where(counts > 0, counts, 1.0)[:, None]


def window_factors(weights: sparse.csr_array) -> Float[np.ndarray, "K"]:
    """The small-sample factor of each window, from `chain_weights`: its chains are compared with their own mean."""
    return np.array([finite_cluster_factor(int(chains)) for chains in np.ravel(weights.count_nonzero(axis=0))])


def finite_cluster_factor(clusters: int) -> float:
    """The small-sample factor of clustered standard errors."""
    return float(np.sqrt(clusters / max(clusters - 1, 1)))
