"""Basins of a free energy surface: the minima that are deeper than a given persistence."""

import numpy as np
from jaxtyping import Float, Int

from micromacro.estimates.surface import Grid


def find_basins(
    free_energy: Float[np.ndarray, "n"], grid: Grid, persistence: float = 1.0, ceiling: float = 15.0
) -> Int[np.ndarray, "n"]:
    """Label each cell with its basin, lowest minimum first; -1 for cells that are unknown or above `ceiling`.

    Cells are flooded from low to high; where two basins meet, the shallower is merged into the deeper if the barrier
    over its minimum is below `persistence` (kT).

    Source: Edelsbrunner, Letscher & Zomorodian, Discrete Comput. Geom. 28, 511 (2002).
    """
    values = np.where(np.isfinite(free_energy), free_energy, np.inf)
    order = np.argsort(values, kind="stable")
    parent = np.full(len(values), -1)
    for cell in order[values[order] <= ceiling].tolist():
        roots = sorted({_root(parent, n) for n in _neighbours(cell, grid) if parent[n] >= 0}, key=lambda r: values[r])
        parent[cell] = roots[0] if roots else cell
        for other in roots[1:]:
            if values[cell] - values[other] < persistence:
                parent[other] = roots[0]
    return _relabel(parent, values)


def _root(parent: np.ndarray, cell: int) -> int:
    while parent[cell] != cell:
        cell = parent[cell]
    return int(cell)


def _neighbours(cell: int, grid: Grid) -> list[int]:
    index = np.array(np.unravel_index(cell, grid.shape))
    found = []
    for axis, (size, periodic) in enumerate(zip(grid.shape, grid.periodic, strict=True)):
        for step in (-1, 1):
            moved = index.copy()
            moved[axis] += step
            if periodic:
                moved[axis] %= size
            if 0 <= moved[axis] < size:
                found.append(int(np.ravel_multi_index(tuple(moved), grid.shape)))
    return found


def _relabel(parent: np.ndarray, values: np.ndarray) -> np.ndarray:
    roots = np.array([_root(parent, cell) if parent[cell] >= 0 else -1 for cell in range(len(parent))])
    minima = sorted({int(root) for root in roots if root >= 0}, key=lambda root: values[root])
    label = {root: number for number, root in enumerate(minima)}
    return np.array([label.get(int(root), -1) for root in roots])
