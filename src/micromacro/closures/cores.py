"""Two sets of cells between which transitions are counted, where the user names none."""

import numpy as np
from jaxtyping import Bool, Float

from micromacro.closures.finite_volume import stationary_density
from micromacro.closures.reduced import ReducedDynamics
from micromacro.estimates.basins import find_basins

DEPTH = 1.0
"""A core holds the cells of a basin up to this height (kT) over its minimum."""
TAIL = 0.2
"""Without a second basin: the share of the distribution at either end of the first component."""
ARC = 0.125
"""The same on a circle: arcs of this share of the period, about the peak of the density and opposite to it."""


def default_cores(dynamics: ReducedDynamics) -> tuple[Bool[np.ndarray, "n"], Bool[np.ndarray, "n"]]:
    """The bottoms of the two deepest basins, or the two ends of the first component where there is one basin alone.

    Both are sets of cells `(n,)`, the one at the smaller z first, with cells between them.
    """
    with np.errstate(divide="ignore"):
        free_energy = -np.log(stationary_density(dynamics))
    label = find_basins(free_energy, dynamics.grid, persistence=1.5 * DEPTH)
    if label.max() < 1:
        return _ends(dynamics, free_energy)
    cores = []
    for number in (0, 1):
        lowest = free_energy[label == number].min()
        cores.append((label == number) & (free_energy < lowest + DEPTH))
    first, second = sorted(cores, key=lambda core: float(dynamics.grid.points[core, 0].mean()))
    return first, second


def _ends(
    dynamics: ReducedDynamics, free_energy: Float[np.ndarray, "n"]
) -> tuple[Bool[np.ndarray, "n"], Bool[np.ndarray, "n"]]:
    z, region = dynamics.grid.points[:, 0], dynamics.region
    if dynamics.grid.periodic[0]:
        period = dynamics.grid.spacing[0] * dynamics.grid.shape[0]
        turn = (z - z[np.nanargmin(free_energy)]) / period
        away = np.abs(turn - np.round(turn))
        return region & (away < ARC / 2), region & (away > 0.5 - ARC / 2)
    weight = np.where(region, np.exp(-np.where(region, free_energy, 0.0)), 0.0)
    shape = dynamics.grid.shape
    share = np.cumsum(weight.reshape(shape[0], -1).sum(axis=1)) / weight.sum()
    along = np.broadcast_to(share.reshape(-1, *(1,) * (len(shape) - 1)), shape).ravel()
    return region & (along < TAIL), region & (along > 1 - TAIL)
