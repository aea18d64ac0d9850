"""Diffusion maps: dense, sparse and on landmarks."""

import numpy as np
import pytest

from micromacro.diffusion_maps.diffusion_map import DiffusionMapSettings, fit_diffusion_map
from micromacro.errors import InputError


def circle(size: int, seed: int = 0) -> np.ndarray:
    angles = np.random.default_rng(seed).uniform(0, 2 * np.pi, size)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def strip(size: int, seed: int = 0) -> np.ndarray:
    """Uniform on a rectangle whose modes along x are the slowest."""
    return np.random.default_rng(seed).random((size, 2)) * [3.0, 1.0]


def correlation(first: np.ndarray, second: np.ndarray) -> float:
    return abs(np.corrcoef(first, second)[0, 1])


def test_sparse_with_all_neighbours_is_dense():
    points = strip(300)
    dense = fit_diffusion_map(points, None, DiffusionMapSettings(components=5))
    sparse = fit_diffusion_map(points, None, DiffusionMapSettings(components=5, dense=0, neighbours=300))
    assert sparse.kernel.bandwidth == pytest.approx(dense.kernel.bandwidth, rel=1e-4)
    settings = DiffusionMapSettings(components=5, dense=0, neighbours=300, bandwidth=dense.kernel.bandwidth)
    same = fit_diffusion_map(points, None, settings)
    np.testing.assert_allclose(same.eigenvalues, dense.eigenvalues, rtol=1e-10)
    np.testing.assert_allclose(same.eigenvectors, dense.eigenvectors, atol=1e-8)


def test_weights_move_the_walk_to_their_measure():
    """Uniform samples with the weights of a Gaussian have the Ornstein-Uhlenbeck rates 1, 2 with α = 1/2."""
    points = np.linspace(-5, 5, 1500)[:, None]
    found = fit_diffusion_map(points, np.exp(-0.5 * points[:, 0] ** 2), DiffusionMapSettings(components=2))
    np.testing.assert_allclose(found.rates, [1, 2], rtol=0.02)
    assert correlation(found.eigenvectors[:, 0], points[:, 0]) > 0.999


def test_pieces_are_named():
    points = np.concatenate([circle(200), circle(150) + 100])
    with pytest.raises(InputError, match="2 pieces of 200, 150 points"):
        fit_diffusion_map(points, None, DiffusionMapSettings(bandwidth=0.01))
