"""Slow modes of large walks: by blocks, against all eigenpairs of the dense matrix."""

import numpy as np
import pytest
from scipy.linalg import eigh
from scipy.stats import t as student_t
from threadpoolctl import threadpool_limits

from micromacro.diffusion_maps import block_modes, eigenpairs, shared_rows
from micromacro.diffusion_maps.coarse_space import coarse_space
from micromacro.diffusion_maps.eigenpairs import leading_eigenpairs
from micromacro.diffusion_maps.graph import kernel_graph
from micromacro.diffusion_maps.settings import DiffusionMapSettings
from micromacro.diffusion_maps.walk import Columns, symmetric_walk

COUNT = 9


def walk_of(points, weight=None, neighbours=40, **others):
    """The walk in symmetric form, and its leading vector."""
    settings = DiffusionMapSettings(dense=0, neighbours=neighbours, **others)
    graph = kernel_graph(points, settings, None)
    log_mass = np.zeros(len(points)) if weight is None else np.log(weight)
    columns = Columns(log_mass - np.log(graph.matrix @ np.ones(len(points))), graph.kernel.scale)
    walk, stationary = symmetric_walk(graph.matrix, columns)
    return walk, np.sqrt(stationary)


def plane():
    return walk_of(np.random.default_rng(0).random((1000, 2)) * [3.0, 1.0])


def curve():
    angle = np.random.default_rng(0).random(1000) * 6
    return walk_of(np.stack([np.cos(angle), np.sin(angle), angle], axis=1))


def torus():
    """A grid on a torus, whose modes come in fours."""
    angles = np.stack(np.meshgrid(*2 * [np.arange(32) * np.pi / 16]), axis=-1).reshape(-1, 2)
    return walk_of(np.concatenate([np.cos(angles), np.sin(angles)], axis=1), neighbours=45)


def wells():
    """Two clouds that hardly anything connects, with a mode of an eigenvalue of nearly one."""
    rng = np.random.default_rng(0)
    points = 0.4 * rng.standard_normal((1000, 2)) + np.where(np.arange(1000) < 500, -2.0, 2.0)[:, None] * [1.0, 0.0]
    points[:20] = np.stack([np.linspace(-2, 2, 20), np.zeros(20)], axis=1)
    return walk_of(points, variable=True)


def weights():
    """A stationary measure over thirty powers of ten."""
    points = np.random.default_rng(0).uniform(-4, 4, (1000, 2))
    return walk_of(points, np.exp(-8 * (points[:, 0] ** 2 / 4 - 1) ** 2 - points[:, 1] ** 2))


def tails():
    """Points far from all others, of modes their own."""
    return walk_of(student_t(3).rvs((1000, 2), random_state=0), variable=True)


WALKS = {each.__name__: each for each in (plane, curve, torus, wells, weights, tails)}


def all_eigenpairs(walk):
    """Of the dense matrix, descending; by one thread, for cores may have other work."""
    with threadpool_limits(1):
        values, vectors = eigh(walk.toarray())
    return values[::-1], vectors[:, ::-1]


def by_blocks(walk, leading, count=COUNT):
    with shared_rows.shared_rows() as rows:
        return eigenpairs._by_blocks(rows, walk, leading, count)


@pytest.mark.parametrize("name", WALKS)
def test_blocks_find_the_modes_of_the_dense_matrix(name):
    walk, leading = WALKS[name]()
    exact, axes = all_eigenpairs(walk)
    found = by_blocks(walk, leading)
    assert found is not None
    values, vectors = found
    np.testing.assert_allclose(values, exact[:COUNT], rtol=0, atol=1e-13)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(COUNT), atol=1e-12)
    assert np.linalg.norm(walk @ vectors - vectors * values, axis=0).max() < 1e-10
    # vectors of equal eigenvalues may turn among themselves, so: what each has outside those of its own eigenvalue
    for value, vector in zip(values, vectors.T, strict=True):
        own = axes[:, np.abs(exact - value) < 1e-9]
        assert np.linalg.norm(vector - own @ (own.T @ vector)) < 1e-5
    slow = axes[:, exact > values[-1] - 1e-9]
    assert np.linalg.norm(vectors - slow @ (slow.T @ vectors), axis=0).max() < 1e-7


def test_steps_do_not_grow_with_the_points(monkeypatch):
    asked = []
    original = block_modes._improved
    monkeypatch.setattr(block_modes, "_improved", lambda *given: asked.append(1) or original(*given))
    steps = []
    for count in (1000, 6000):
        asked.clear()
        assert by_blocks(*walk_of(np.random.default_rng(1).random((count, 2)))) is not None
        steps.append(len(asked))
    assert max(steps) <= 25
    assert steps[1] <= steps[0] + 4


def test_the_correction_is_symmetric_positive_and_near_the_inverse():
    walk, leading = plane()
    rng = np.random.default_rng(0)
    with shared_rows.shared_rows() as rows:
        space = coarse_space(rows, walk, leading)
        assert space is not None
        np.testing.assert_allclose(space.interpolation @ space.constant, leading, rtol=1e-12)
        columns = rng.standard_normal((len(leading), 30))
        columns -= leading[:, None] * (leading @ columns)
        corrected = space.correction(rows, walk, columns)
        products = columns.T @ corrected
        np.testing.assert_allclose(products, products.T, atol=1e-8 * np.abs(products).max())
        assert np.linalg.eigvalsh(products + products.T).min() > 0
        slow = all_eigenpairs(walk)[1][:, 1:6]
        near = space.correction(rows, walk, slow - walk @ slow)
        assert np.linalg.norm(near - slow, axis=0).max() < 0.3


def test_nearly_dense_walks_go_by_lanczos():
    walk, leading = walk_of(np.random.default_rng(0).standard_normal((1200, 8)))
    with shared_rows.shared_rows() as rows:
        assert coarse_space(rows, walk, leading) is None
    values, vectors = leading_eigenpairs(walk, leading, COUNT)
    np.testing.assert_allclose(values, all_eigenpairs(walk)[0][:COUNT], atol=1e-10)
    assert np.linalg.norm(walk @ vectors - vectors * values, axis=0).max() < 1e-8


def test_what_blocks_do_not_reach_lanczos_does(monkeypatch):
    walk, leading = plane()
    values, _ = leading_eigenpairs(walk, leading, COUNT)
    monkeypatch.setattr(block_modes, "STEPS", 2)
    assert by_blocks(walk, leading) is None
    np.testing.assert_allclose(leading_eigenpairs(walk, leading, COUNT)[0], values, atol=1e-10)


def test_more_modes_than_the_coarse_walk_has_points_go_by_lanczos():
    walk, leading = walk_of(np.random.default_rng(0).random((600, 2)))
    assert by_blocks(walk, leading, 100) is None
    values, _ = leading_eigenpairs(walk, leading, 100)
    np.testing.assert_allclose(values, all_eigenpairs(walk)[0][:100], atol=1e-10)


def test_results_do_not_depend_on_threads(monkeypatch):
    walk, leading = walk_of(np.random.default_rng(0).random((9000, 2)))
    found = []
    for workers in (1, 3):
        monkeypatch.setattr(shared_rows, "cpu_count", lambda workers=workers: workers)
        found.append(leading_eigenpairs(walk, leading, 4)[1])
    np.testing.assert_array_equal(*found)
