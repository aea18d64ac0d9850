"""The free energy of weighted walkers, such as those of an adaptive bias."""

import numpy as np
from jaxtyping import Float

from micromacro.coordinates.coarse import CoarseVariable
from micromacro.estimates.surface import FEWEST_SAMPLES, LOW, FreeEnergySurface, coarse_grid


def reweighted_free_energy(
    coarse: CoarseVariable,
    coarse_values: Float[np.ndarray, "frames walkers d"],
    weight: Float[np.ndarray, "frames walkers"],
) -> FreeEnergySurface:
    r"""F on the grid of results in kT, $-\log \sum_i w_i$ over the frames in each cell, zero at its smallest.

    Walkers count as independent, their frames need not be. A barrier that no walker crosses, and what all walkers have
    in common, is not in the error. Where F is steep the average over a cell is not the value at its centre: a slope of
    one kT a cell shifts F by 0.04 kT.

    **Returns:** NaN in cells with fewer than `FEWEST_SAMPLES` frames of some weight.
    """
    grid, (frames, walkers) = coarse_grid(coarse), weight.shape
    cell = grid.cell(coarse_values.reshape(-1, coarse.dimension))
    kept = (cell >= 0) & (weight.ravel() > 0)
    walker = np.broadcast_to(np.arange(walkers), (frames, walkers)).ravel()[kept]
    flat, size = cell[kept] * walkers + walker, len(grid.points) * walkers
    each = np.bincount(flat, weights=weight.ravel()[kept], minlength=size).reshape(-1, walkers)
    total = each.sum(axis=1)
    sampled = np.bincount(cell[kept], minlength=len(grid.points)) >= FEWEST_SAMPLES
    free_energy = np.where(sampled, -np.log(np.where(sampled, total, 1.0)), np.nan)
    if not sampled.any():
        return FreeEnergySurface(grid, free_energy, np.full(len(free_energy), np.nan))
    free_energy = free_energy - np.nanmin(free_energy)
    influence = -each / np.where(sampled, total, 1.0)[:, None]
    influence = influence - influence[sampled & (np.nan_to_num(free_energy, nan=np.inf) < LOW)].mean(axis=0)
    variance = np.sum(influence**2, axis=1) * walkers / max(walkers - 1, 1)
    return FreeEnergySurface(grid, free_energy, np.where(sampled, np.sqrt(variance), np.nan))
