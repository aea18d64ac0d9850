r"""Passage between two sets of cells: committors, and the mean times of going from one to the other and back.

All are solutions of linear equations of the generator $L = b\cdot\nabla + D:\nabla^2$ on the cells, free of sampling
noise. Sources: Gardiner, Handbook of Stochastic Methods, 5.2; E and Vanden-Eijnden, J. Stat. Phys. 123, 503 (2006).
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy.linalg import expm

from micromacro.closures.finite_volume import generator_matrix, mean_passage_times, solve, stationary_density
from micromacro.closures.reduced import ReducedDynamics
from micromacro.errors import InputError


@dataclass(frozen=True)
class TransitionTimes:
    """How long the dynamics takes from entering one set until it enters the other.

    **Arguments:**

    - `forward`: mean time from the first to the second, in units of time; infinite where no way leads there.
    - `backward`: from the second to the first.
    """

    forward: float
    backward: float

    @property
    def share(self) -> float:
        """The share of time for which the first set was the last that was visited."""
        return self.forward / (self.forward + self.backward)


def mean_passage_time(
    dynamics: ReducedDynamics, start: Float[np.ndarray, "n"] | Bool[np.ndarray, "n"], target: Bool[np.ndarray, "n"]
) -> float:
    """The mean time to the faces of the `target` cells from a distribution over cells.

    **Arguments:**

    - `start`: the weight of each cell `(n,)`; of a set of cells `(n,)` booleans, the stationary density within it.
    - `target`: `(n,)` booleans.

    **Raises:** `InputError` for a start that has no weight in the region.
    """
    weight = np.where(start, stationary_density(dynamics), 0.0) if start.dtype == bool else np.asarray(start, float)
    weight = np.where(dynamics.region, weight, 0.0)
    if not weight.sum() > 0:
        raise InputError("start", "have weight in the region that was sampled", "none")
    times = mean_passage_times(dynamics, target)
    return float(np.sum(np.where(weight > 0, times, 0.0) * weight) / weight.sum())


def committor(
    dynamics: ReducedDynamics, first: Bool[np.ndarray, "n"], second: Bool[np.ndarray, "n"]
) -> Float[np.ndarray, "n"]:
    """The probability of entering `second` before `first` from each cell, `(n,)`; NaN outside the region.

    **Arguments:**

    - `first`, `second`: two sets of cells, `(n,)` booleans, that do not overlap.

    **Raises:** `InputError` for sets that overlap, or one without a cell in the region.
    """
    _require_apart(dynamics, first, second)
    outside = np.flatnonzero(dynamics.region & ~first & ~second)
    matrix = generator_matrix(dynamics, first | second)
    result = np.where(dynamics.region, second.astype(float), np.nan)
    into = np.asarray(matrix[outside][:, np.flatnonzero(second)].sum(axis=1)).ravel()
    result[outside] = solve(matrix[outside][:, outside], -into)
    return result


def transition_times(
    dynamics: ReducedDynamics, first: Bool[np.ndarray, "n"], second: Bool[np.ndarray, "n"]
) -> TransitionTimes:
    r"""Mean times from entering one set until entering the other, in the stationary state.

    With m the stationary density of those that visited the first set last, $T = \int m / J$, J their flux into the
    second; m solves the Fokker–Planck equation between the sets with the stationary density on one and zero on the
    other. Valid without detailed balance.

    **Arguments:**

    - `first`, `second`: two sets of cells, `(n,)` booleans, with at least one cell between them.

    **Raises:** `InputError` for sets that overlap or touch, or one without a cell in the region.
    """
    _require_apart(dynamics, first, second)
    matrix = generator_matrix(dynamics)
    if matrix[np.flatnonzero(first)][:, np.flatnonzero(second)].nnz:
        raise InputError("the two sets", "have a cell between them", "sets that touch")
    absorbed = generator_matrix(dynamics, first | second)
    density = np.nan_to_num(stationary_density(dynamics))
    return TransitionTimes(
        _transition_time(density, matrix, absorbed, dynamics.region, first, second),
        _transition_time(density, matrix, absorbed, dynamics.region, second, first),
    )


def observed_transition_times(
    dynamics: ReducedDynamics, first: Bool[np.ndarray, "n"], second: Bool[np.ndarray, "n"], interval: float
) -> TransitionTimes:
    r"""The same of the dynamics seen only at multiples of `interval`: visits between two looks go unnoticed.

    This is what a count of transitions in saved trajectories estimates. The chain has the transition matrix
    $e^{L \cdot interval}$, which is dense: meant for at most about a thousand cells.
    """
    _require_apart(dynamics, first, second)
    region = np.flatnonzero(dynamics.region)
    chain = expm(generator_matrix(dynamics)[region][:, region].toarray() * interval)
    density = stationary_density(dynamics)[region]
    one, other = first[region], second[region]
    return TransitionTimes(
        interval * _visits(density, chain, one, other), interval * _visits(density, chain, other, one)
    )


def _require_apart(dynamics: ReducedDynamics, first, second) -> None:
    if np.any(first & second):
        raise InputError("the two sets", "not overlap", f"{np.count_nonzero(first & second)} cells in both")
    for name, cells in (("first", first), ("second", second)):
        if not np.any(cells & dynamics.region):
            raise InputError(f"the {name} set", "have a cell in the region that was sampled", "none")


def _transition_time(density, matrix, absorbed, region, source, target) -> float:
    """From the labelled density between the sets: what flows over the faces of `source` is fixed by the density."""
    between, inside = np.flatnonzero(region & ~source & ~target), np.flatnonzero(source & region)
    arriving = density[inside] @ matrix[inside][:, between]
    leaving = (
        density[between] * np.asarray((absorbed[between][:, inside] - matrix[between][:, inside]).sum(axis=1)).ravel()
    )
    labelled = solve(absorbed[between][:, between].T.tocsr(), -(arriving + leaving))
    rate = np.asarray(absorbed[between][:, np.flatnonzero(target)].sum(axis=1)).ravel()
    flux = float(labelled @ rate)
    return float((density[inside].sum() + labelled.sum()) / flux) if flux > 0 else np.inf


def _visits(density, chain, source, target) -> float:
    """Looks from the first in `source` until the first in `target`, on average."""
    between = ~source & ~target
    inner = np.eye(int(between.sum())) - chain[np.ix_(between, between)]
    labelled = np.linalg.solve(inner.T, density[source] @ chain[np.ix_(source, between)])
    flux = density[source] @ chain[np.ix_(source, target)].sum(axis=1)
    flux += labelled @ chain[np.ix_(between, target)].sum(axis=1)
    return float((density[source].sum() + labelled.sum()) / flux) if flux > 0 else np.inf
