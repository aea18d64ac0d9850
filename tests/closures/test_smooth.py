"""Smooth closures: exact functions and derivatives, honest standard errors, less noise than the table, D definite."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from micromacro.closures.grid import uniform_grid
from micromacro.closures.smooth import SmoothSettings, smooth_closure
from micromacro.closures.table import ClosureTable
from micromacro.coordinates.coarse import CoarseVariable
from micromacro.errors import InputError

ALONE = SmoothSettings(overlap=0.0)
CIRCLE = CoarseVariable(lambda q: q[:1], np.array([-np.pi]), np.array([np.pi]), (True,))
LINE = CoarseVariable(lambda q: q[:1], np.array([-1.0]), np.array([2.0]), (False,))
BAND = CoarseVariable(lambda q: q[:2], np.array([-np.pi, -1.0]), np.array([np.pi, 1.0]), (True, False))


def over(function, points):
    return np.asarray(jax.jit(jax.vmap(function))(jnp.asarray(points)))


def noisy(coarse, shape, drift, diffusion, error, rng):
    """A table with independent normal errors, those of D in proportion to it and symmetric."""
    z = uniform_grid(coarse, shape).points
    b, matrix = drift(z), diffusion(z)
    spread = error * np.abs(matrix).max(axis=(1, 2), keepdims=True) * np.ones_like(matrix)
    noise = rng.standard_normal(matrix.shape)
    noise = np.tril(noise) + np.swapaxes(np.tril(noise, -1), 1, 2)
    return ClosureTable(
        z, b + error * rng.standard_normal(b.shape), np.full(b.shape, error), matrix + spread * noise, spread
    )


def wave(z):
    return np.sin(z)


def modulated(z):
    return (1 + 0.4 * np.sin(np.sin(z)))[:, :, None] / 2


def sheared(z):
    x, y = z.T
    return np.stack([np.stack([1 + 0.3 * np.cos(x), 0.4 * y], 1), np.stack([0.4 * y, 0.6 + 0.2 * y**2], 1)], 1)


def test_derivatives_against_closed_forms_on_a_circle():
    """b = sin z and D = (1 + 0.4 sin sin z) / 2 to four digits, their derivatives to three, across the seam too."""
    rng = np.random.default_rng(0)
    smooth = smooth_closure(noisy(CIRCLE, (120,), wave, modulated, 1e-6, rng), CIRCLE, ALONE)
    z = np.append(rng.uniform(-np.pi, np.pi, (50, 1)), [[np.pi], [-np.pi], [np.pi - 1e-9]], axis=0)
    np.testing.assert_allclose(over(smooth.drift, z), np.sin(z), atol=1e-4)
    np.testing.assert_allclose(over(smooth.diffusion, z), modulated(z), atol=1e-4)
    slope = over(jax.jacfwd(smooth.drift), z)[:, 0]
    np.testing.assert_allclose(slope, np.cos(z), atol=3e-3)
    slope = over(jax.grad(lambda point: smooth.diffusion(point)[0, 0]), z)
    np.testing.assert_allclose(slope, 0.2 * np.cos(np.sin(z)) * np.cos(z), atol=3e-3)


def test_two_coarse_variables_one_of_them_periodic():
    """A D that varies and is not diagonal, and its divergence by automatic differentiation."""
    rng = np.random.default_rng(1)
    table = noisy(BAND, (30, 20), lambda z: np.stack([np.sin(z[:, 0]) * z[:, 1], z[:, 1] ** 2], 1), sheared, 1e-6, rng)
    smooth = smooth_closure(table, BAND, ALONE)
    z = np.stack([rng.uniform(-np.pi, np.pi, 40), rng.uniform(-0.95, 0.95, 40)], axis=1)
    np.testing.assert_allclose(over(smooth.diffusion, z), sheared(z), atol=3e-3)
    np.testing.assert_allclose(over(smooth.drift, z)[:, 1], z[:, 1] ** 2, atol=3e-3)
    divergence = np.einsum("nabb->na", over(jax.jacfwd(smooth.diffusion), z))
    expected = np.stack([0.4 - 0.3 * np.sin(z[:, 0]), 0.4 * z[:, 1]], axis=1)
    np.testing.assert_allclose(divergence, expected, atol=0.05)


def scores_of(understated=1.0):
    """Mean squared z-scores and errors over ten noisy tables: `(10, 2)` each, and the raw tables' errors."""
    squares, errors, raw = [], [], []
    for seed in range(10):
        table = noisy(CIRCLE, (60,), wave, modulated, 0.15, np.random.default_rng(seed))
        claimed = ClosureTable(
            table.z,
            table.drift,
            table.drift_stderr * understated,
            table.diffusion,
            table.diffusion_stderr * understated,
        )
        z = table.z
        found = smooth_closure(claimed, CIRCLE, ALONE).table(z)
        drift, diffusion = found.drift - wave(z), found.diffusion - modulated(z)
        squares.append([np.mean((drift / found.drift_stderr) ** 2), np.mean((diffusion / found.diffusion_stderr) ** 2)])
        errors.append([np.mean(drift**2), np.mean(diffusion**2)])
        raw.append([np.mean((table.drift - wave(z)) ** 2), np.mean((table.diffusion - modulated(z)) ** 2)])
    return np.mean(squares, axis=0), np.mean(errors, axis=0), np.mean(raw, axis=0)


def test_standard_errors_and_less_noise_than_the_table():
    """Ten tables of 60 cells: mean squared z-scores near one, and less than half of the table's error."""
    squares, errors, raw = scores_of()
    assert np.all((squares > 0.5) & (squares < 1.6)), squares
    assert np.all(errors < raw / 4), errors / raw


def test_errors_of_the_table_that_are_understated_show():
    """A quarter of the true errors: the z-scores say so."""
    squares, _, _ = scores_of(understated=0.25)
    assert np.all(squares > 3), squares


def test_errors_that_neighbours_share():
    """Cells whose errors are correlated, as kernels of two cells make them: honest only if they are told so."""
    squares = {2.0: [], 0.0: []}
    kernel = np.clip(1 - (np.arange(-2, 3) / 2.0) ** 2, 0, None)
    kernel /= np.sqrt(np.sum(kernel**2))
    for seed in range(10):
        table = noisy(CIRCLE, (80,), wave, modulated, 1e-9, np.random.default_rng(seed))
        noise = np.random.default_rng(seed + 100).standard_normal(84)
        noise = 0.2 * np.convolve(noise, kernel, mode="valid")[:, None]
        shared = ClosureTable(
            table.z, table.drift + noise, np.full_like(noise, 0.2), table.diffusion, np.full_like(table.diffusion, 0.1)
        )
        for overlap, found in squares.items():
            fit = smooth_closure(shared, CIRCLE, SmoothSettings(overlap=overlap)).table(table.z)
            found.append(np.mean(((fit.drift - wave(table.z)) / fit.drift_stderr) ** 2))
    assert 0.5 < np.mean(squares[2.0]) < 1.6, squares
    assert np.mean(squares[0.0]) > 1.6, squares


def test_positive_definite_where_the_table_is_not():
    """Errors of 80 % make many cells negative; the fit is positive and right on average."""
    rng = np.random.default_rng(2)
    table = noisy(BAND, (20, 20), lambda z: np.zeros_like(z), sheared, 0.8, rng)
    assert np.mean(np.linalg.eigvalsh(table.diffusion)[:, 0] < 0) > 0.2
    found = smooth_closure(table, BAND, ALONE).table(table.z).diffusion
    assert np.linalg.eigvalsh(found).min() > 0
    assert np.abs(found.mean(axis=0) - sheared(table.z).mean(axis=0)).max() < 0.15


def test_cells_that_are_not_known_have_wide_errors():
    rng = np.random.default_rng(3)
    table = noisy(LINE, (60,), lambda z: z**2, lambda z: 1 + z[:, :, None] ** 2, 0.05, rng)
    gap = (table.z[:, 0] > 0.3) & (table.z[:, 0] < 1.0)
    table.drift[gap] = np.nan
    found = smooth_closure(table, LINE, ALONE).table(table.z)
    known, missing = (np.median(found.drift_stderr[chosen]) for chosen in (~gap, gap))
    assert np.isfinite(found.drift).all()
    assert missing > 1.5 * known


def test_beyond_an_end_the_drift_is_linear_and_the_diffusion_constant():
    rng = np.random.default_rng(4)
    smooth = smooth_closure(noisy(LINE, (60,), lambda z: z**2, lambda z: 1 + z[:, :, None], 1e-6, rng), LINE, ALONE)
    z = np.array([[2.0], [2.5], [3.0]])
    np.testing.assert_allclose(over(smooth.drift, z)[:, 0], [4, 6, 8], atol=0.02)
    np.testing.assert_allclose(over(smooth.diffusion, z)[:, 0, 0], 3.0, atol=0.01)
    np.testing.assert_allclose(over(jax.jacfwd(smooth.drift), z).ravel(), 4.0, atol=0.02)


def test_too_few_cells_are_refused():
    table = noisy(LINE, (60,), wave, modulated, 0.1, np.random.default_rng(5))
    table.drift[3:] = np.nan
    with pytest.raises(InputError, match="at least four cells"):
        smooth_closure(table, LINE)
