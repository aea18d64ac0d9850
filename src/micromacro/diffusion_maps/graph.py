"""The kernel matrix of points: whole where they are few, between nearest neighbours where they are many."""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float
from scipy.sparse import csr_array

from micromacro.diffusion_maps.bandwidth import kernel_scaling
from micromacro.diffusion_maps.kernel import Kernel, squared_distances
from micromacro.diffusion_maps.neighbours import Neighbours, nearest_neighbours, symmetric_graph
from micromacro.diffusion_maps.settings import DiffusionMapSettings
from micromacro.diffusion_maps.variable import bandwidth_scale


@dataclass(frozen=True, eq=False)
class KernelGraph:
    """The kernel matrix `(n, n)` of points, dense or sparse, its kernel and the dimension that it sees."""

    kernel: Kernel
    matrix: np.ndarray | csr_array
    dimension: float


def kernel_graph(
    points: Float[np.ndarray, "n F"], settings: DiffusionMapSettings, metric: Float[np.ndarray, "n F F"] | None
) -> KernelGraph:
    """The kernel matrix with the bandwidth that was asked for or that the points ask for."""
    if len(points) <= settings.dense:
        return _dense_graph(points, settings, metric)
    found = nearest_neighbours(points, settings.neighbours, metric=metric)
    scale = bandwidth_scale(found, len(points)) if settings.variable else None
    squares = found.squares if scale is None else found.squares / (scale[:, None] * scale[found.indices])
    scaling = kernel_scaling(squares)
    bandwidth = settings.bandwidth or scaling.bandwidth
    matrix = symmetric_graph(found, np.exp(-squares / (4 * bandwidth)))
    return KernelGraph(Kernel(bandwidth, scale, metric), matrix, scaling.dimension)


def widened(graph: KernelGraph) -> KernelGraph:
    """The same graph with twice the bandwidth: every kernel becomes its root."""
    kernel = replace(graph.kernel, bandwidth=2 * graph.kernel.bandwidth)
    return KernelGraph(kernel, graph.matrix**0.5, graph.dimension)


def _dense_graph(points: np.ndarray, settings: DiffusionMapSettings, metric: np.ndarray | None) -> KernelGraph:
    """All pairs of points."""
    squares = squared_distances(points, metric)
    np.fill_diagonal(squares, 0.0)
    scale = bandwidth_scale(_dense_neighbours(squares), len(points)) if settings.variable else None
    squares = squares if scale is None else squares / (scale[:, None] * scale)
    scaling = kernel_scaling(squares)
    bandwidth = settings.bandwidth or scaling.bandwidth
    return KernelGraph(Kernel(bandwidth, scale, metric), np.exp(-squares / (4 * bandwidth)), scaling.dimension)


def _dense_neighbours(squares: np.ndarray) -> Neighbours:
    """All points as neighbours of all, nearest first."""
    indices = np.argsort(squares, axis=1, kind="stable")
    return Neighbours(indices, np.take_along_axis(squares, indices, axis=1))
