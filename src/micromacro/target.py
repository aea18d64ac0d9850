"""What a run is asked for: its standard error by now, and what each chain adds to it."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from micromacro.cases.case import Case, TargetSettings
from micromacro.closures.conditional import conditional_averages
from micromacro.coupling.estimate import Estimate
from micromacro.errors import InputError
from micromacro.estimates.basins import find_basins
from micromacro.estimates.surface import LOW, basin_free_energies

FREE_ENERGY, BASINS = "free_energy", "basins"
METHODS = ("coupled", "umbrella")


@dataclass(frozen=True)
class Reached:
    """A standard error, infinite where nothing is known of it, and what each chain adds to its square, `(C,)`."""

    error: float
    chain_variance: Float[np.ndarray, "C"]


UNKNOWN = Reached(float("inf"), np.zeros(0))


def check_target(case: Case, method: str) -> None:
    """Refuse a target that the run could not judge. **Raises:** `InputError`."""
    target = case.target
    names = (FREE_ENERGY, BASINS, *case.close.observables)
    if target.of not in names:
        raise InputError("budget.error_of", f"be one of {', '.join(names)}", repr(target.of), source=case.name)
    if target.of == BASINS and len(case.close.basins) == 1:
        requirement = "be left out where [close] basins names a single one, whose free energy is 0"
        raise InputError("budget.error_of", requirement, repr(BASINS), source=case.name)
    if not target.sizes_rounds:
        return
    given = "budget.target_error" if target.error is not None else "budget.allocation"
    value = target.error if target.error is not None else repr(target.allocation)
    if method not in METHODS or not case.system.has_density:
        requirement = f"be left out but for methods {' and '.join(METHODS)} and a system with a density"
        raise InputError(given, requirement, value, remedy="Limit other runs by [budget] force_evaluations.")
    if case.bias.exchange and target.allocation == "adaptive":
        requirement = "be 'uniform' with [bias] exchange: walkers that change windows belong to none"
        raise InputError("budget.allocation", requirement, repr(target.allocation))


def reached(case: Case, found: Estimate) -> Reached:
    """The standard error of what the case asks for."""
    if case.target.of == FREE_ENERGY:
        return _of_free_energy(found)
    if case.target.of == BASINS:
        return _of_basins(case, found)
    return _of_observable(case, found)


def _of_free_energy(found: Estimate) -> Reached:
    variance = found.surface.chain_variance
    return UNKNOWN if variance is None else Reached(float(np.sqrt(variance.sum())), variance)


def _of_basins(case: Case, found: Estimate) -> Reached:
    members, _ = members_of_basins(case, found)
    if len(members) < 2:
        return UNKNOWN
    each = basin_free_energies(found.pool, found.mbar, found.bias, members).values()
    if not all(np.isfinite(basin.stderr) for basin in each):
        return UNKNOWN
    worst = max(each, key=lambda basin: basin.stderr)
    assert worst.chain_variance is not None
    return Reached(worst.stderr, worst.chain_variance)


def _of_observable(case: Case, found: Estimate) -> Reached:
    r"""The conditional average as in `closure.csv`; the share of each chain is that of plain averages over cells.

    For $\bar g_i = \sum_n w_n g_n / \sum_n w_n$ over the samples of cell i the influence of chain c is
    $\sum_{n \in c} w_n (g_n - \bar g_i) / \sum_n w_n$.
    """
    surface, pool = found.surface, found.pool
    observe = jax.jit(jax.vmap(lambda state: case.close.observables[case.target.of](case.system.observe(state))))
    values = np.asarray(observe(jnp.asarray(found.position)), float).reshape(-1)
    weight = found.flat_weight / np.mean(found.flat_weight)
    low = np.nan_to_num(surface.free_energy, nan=np.inf) < LOW
    averages = conditional_averages(case.coarse, surface.grid, pool.coarse, values[:, None], weight, pool.cluster)
    stderr = averages.stderr[low, 0]
    if not low.any() or not np.all(np.isfinite(stderr)):
        return UNKNOWN
    cell = surface.grid.cell(pool.coarse)
    inside = np.flatnonzero((cell >= 0) & low[cell])
    cells, clusters = len(surface.free_energy), found.mbar.influence.shape[1]
    total = np.bincount(cell[inside], weight[inside], minlength=cells)
    mean = np.bincount(cell[inside], (weight * values)[inside], minlength=cells) / np.maximum(total, 1e-300)
    influence = weight[inside] * (values[inside] - mean[cell[inside]]) / total[cell[inside]]
    # chains and cells as one label: the sum over both at once
    both = pool.cluster[inside] * cells + cell[inside]
    sums = np.bincount(both, influence, minlength=clusters * cells).reshape(clusters, cells)
    chain_variance = np.sum(sums**2, axis=1) / low.sum()
    error = float(np.sqrt(np.mean(stderr**2)))
    # binned averages and local fits differ in their error: the shares are scaled to the one that is reported
    scale = error**2 / chain_variance.sum() if chain_variance.sum() > 0 else 0.0
    return Reached(error, chain_variance * scale)


def members_of_basins(
    case: Case, found: Estimate
) -> tuple[dict[str, Bool[np.ndarray, "n"]], dict[str, tuple[np.ndarray, np.ndarray]]]:
    """Which samples lie in which basin, and the corners of named basins: those of the case, or found at the minima."""
    z = found.pool.coarse
    corners = {
        name: (np.asarray(low, float), np.asarray(high, float)) for name, (low, high) in case.close.basins.items()
    }
    if corners:
        inside = {name: np.all((z >= low) & (z < high), axis=1) for name, (low, high) in corners.items()}
        return inside, corners
    label = find_basins(found.surface.free_energy, found.surface.grid)
    cell = found.surface.grid.cell(z)
    of_sample = np.where(cell >= 0, label[cell], -1)
    members = {}
    for number in range(label.max() + 1):
        lowest = np.flatnonzero(label == number)[np.argmin(found.surface.free_energy[label == number])]
        name = "minimum at " + ", ".join(f"{value:.3g}" for value in found.surface.grid.points[lowest])
        members[name] = of_sample == number
    return members, {}


def verdict(target: TargetSettings, now: Reached, unsettled: list[str], ended: str) -> dict:
    """The row of `summary.json`: what was wanted and reached, and why a target was not met.

    **Arguments:**

    - `unsettled`: the checks that failed in the last round.
    - `ended`: what ended the run.
    """
    near = target.error is not None and now.error <= target.error
    reasons = [] if near or target.error is None else [ended]
    reasons += [f"these checks failed in the last round: {', '.join(unsettled)}"] if unsettled else []
    return {
        "wanted": target.error,
        "reached": now.error if np.isfinite(now.error) else None,
        "of": target.of,
        "met": bool(near and not unsettled) if target.error is not None else None,
        "reason": "; ".join(reasons) if target.error is not None else "",
    }
