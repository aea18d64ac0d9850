"""Densities in a plane on a fine grid: exact draws, umbrella samples with their weights, and the true generator."""

from dataclasses import dataclass

import jax
import numpy as np
from scipy import sparse
from scipy.sparse.linalg import eigsh

NEGLIGIBLE = 25.0  # kT below the top of the density


@dataclass(frozen=True, eq=False)
class Plane:
    """A density proportional to exp(log_density) on `shape` cells of `spacing` around `centres` `(n, 2)`."""

    centres: np.ndarray
    spacing: np.ndarray
    shape: tuple[int, int]
    log_density: np.ndarray


def plane(potential, kT, lower, upper, cells):
    """The Boltzmann density of a potential."""
    spacing = (np.array(upper) - lower) / cells
    axes = [low + (np.arange(count) + 0.5) * step for low, count, step in zip(lower, cells, spacing, strict=True)]
    centres = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
    log_density = -np.asarray(jax.vmap(potential)(centres)) / kT
    return Plane(centres, spacing, tuple(cells), log_density - log_density.max())


def draw(given, count, rng, bias=0.0):
    """Points `(count, 2)` of the density times exp(-bias), even within cells, and the cells they are of."""
    cumulative = np.cumsum(np.exp(given.log_density - bias))
    cells = np.searchsorted(cumulative, rng.random(count) * cumulative[-1])
    return given.centres[cells] + (rng.random((count, 2)) - 0.5) * given.spacing, cells


def umbrella(given, windows, stiffness, count, rng, axes):
    """Points of harmonic windows along some axes, `count` of each, and their exact weights in the density."""
    points, cells, mixture = [], [], np.zeros(len(given.centres))
    for window in windows:
        bias = 0.5 * stiffness * np.sum((given.centres[:, axes] - window) ** 2, axis=1)
        density = np.exp(given.log_density - bias)
        mixture += density / density.sum()
        drawn = draw(given, count, rng, bias)
        points.append(drawn[0])
        cells.append(drawn[1])
    cells = np.concatenate(cells)
    return np.concatenate(points), np.exp(given.log_density[cells]) / mixture[cells]


def generator_modes(given, count):
    """Rates `(count,)` of the generator of overdamped dynamics, and its modes `(cells, count)`, NaN where no density.

    Jumps to neighbouring cells at the rates sqrt(p_j / p_i) / h² are in balance and of second order in h.
    """
    log_density, index = given.log_density, np.arange(len(given.log_density)).reshape(given.shape)
    kept = log_density > -NEGLIGIBLE
    entries = []
    for axis, step in enumerate(given.spacing):
        first = np.take(index, range(given.shape[axis] - 1), axis).ravel()
        second = np.take(index, range(1, given.shape[axis]), axis).ravel()
        both = kept[first] & kept[second]
        first, second = first[both], second[both]
        half = (log_density[second] - log_density[first]) / 2
        one = np.ones(len(first))
        for rows, columns, values in (
            (first, second, -one),
            (second, first, -one),
            (first, first, np.exp(half)),
            (second, second, np.exp(-half)),
        ):
            entries.append((rows, columns, values / step**2))
    rows, columns, values = (np.concatenate(each) for each in zip(*entries, strict=True))
    symmetric = sparse.coo_array((values, (rows, columns)), shape=(len(kept), len(kept))).tocsc()
    kept = np.flatnonzero(kept)
    rates, vectors = eigsh(symmetric[kept][:, kept], count + 1, sigma=-0.01, v0=np.ones(len(kept)))
    order = np.argsort(rates)[1:]
    modes = np.full((len(log_density), count), np.nan)
    modes[kept] = vectors[:, order] / np.exp(log_density[kept] / 2)[:, None]
    return rates[order], modes


def at(given, modes, points):
    """Values `(n, k)` of modes in the cells of points."""
    lower = given.centres[0] - given.spacing / 2
    cells = ((points - lower) / given.spacing).astype(int)
    return modes[np.ravel_multi_index(tuple(cells.T), given.shape)]
