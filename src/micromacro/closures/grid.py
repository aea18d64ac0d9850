"""Cells of the grid of results: which are neighbours, which are connected."""

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import ndimage

from micromacro.coordinates.coarse import CoarseVariable
from micromacro.errors import InputError
from micromacro.estimates.surface import Grid


def uniform_grid(coarse: CoarseVariable, shape: tuple[int, ...]) -> Grid:
    """The grid of `shape` cells that fill the range of `coarse`."""
    spacing = coarse.range / np.asarray(shape)
    index = np.indices(shape).reshape(coarse.dimension, -1).T
    origin = coarse.lower + spacing / 2
    return Grid(origin + index * spacing, origin, spacing, tuple(shape), coarse.periodic)


def grid_of_points(coarse: CoarseVariable, points: Float[np.ndarray, "n d"]) -> Grid:
    """The grid over the range of `coarse` whose centres are `points`; raises where there is none."""
    rounded = np.round((points - coarse.lower) / coarse.range, 9)
    grid = uniform_grid(coarse, tuple(len(np.unique(column)) for column in rounded.T))
    if grid.points.shape != points.shape or not np.allclose((grid.points - points) / coarse.range, 0, atol=1e-6):
        requirement = f"be the centres of a uniform grid from {coarse.lower} to {coarse.upper}, the last fastest"
        raise InputError("z", requirement, f"{len(points)} other points")
    return grid


def lower_corner(grid: Grid) -> Float[np.ndarray, "d"]:
    """Where the first cell begins."""
    return grid.origin - grid.spacing / 2


def neighbours(grid: Grid, offset: tuple[int, ...]) -> tuple[Int[np.ndarray, "e"], Int[np.ndarray, "e"]]:
    """All pairs of cells `(i, j)` with j at `offset` cells from i, round the period and not past other ends."""
    index = np.indices(grid.shape).reshape(len(grid.shape), -1)
    target = index + np.asarray(offset)[:, None]
    counts = np.asarray(grid.shape)[:, None]
    wraps = np.asarray(grid.periodic)[:, None] & (counts > 2)
    first = np.flatnonzero(np.all(wraps | ((target >= 0) & (target < counts)), axis=0))
    return first, np.asarray(np.ravel_multi_index(tuple((target % counts)[:, first]), grid.shape))


def axis_neighbours(grid: Grid, axis: int) -> tuple[Int[np.ndarray, "e"], Int[np.ndarray, "e"]]:
    """All pairs of cells next to each other along `axis`, each once."""
    return neighbours(grid, tuple(int(other == axis) for other in range(len(grid.shape))))


def largest_region(grid: Grid, allowed: Bool[np.ndarray, "n"]) -> Bool[np.ndarray, "n"]:
    """The largest set of allowed cells that are joined through their faces."""
    labels = np.empty(grid.shape, int)
    ndimage.label(allowed.reshape(grid.shape), output=labels)
    labels = labels.ravel()
    if not allowed.any():
        return np.zeros(len(allowed), bool)
    for axis in np.flatnonzero(grid.periodic):
        for i, j in zip(*axis_neighbours(grid, int(axis)), strict=True):
            if labels[i] > 0 and labels[j] > 0 and labels[i] != labels[j]:
                labels[labels == labels[j]] = labels[i]
    return labels == 1 + np.argmax(np.bincount(labels)[1:])
