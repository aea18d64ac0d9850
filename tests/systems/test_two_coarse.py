"""The two-dimensional coarse variable against adaptive quadrature of formulas written out anew."""

import numpy as np
from scipy.integrate import quad

from micromacro.systems.two_coarse import two_coarse_variables

POINTS = np.array([[-1.1, 0.9], [0.2, -0.4], [1.5, 1.3], [0.0, 0.0]])


def integral(x: float, w: float, function=lambda _y: 1.0) -> float:
    seen = 3 * (x * x - 1) ** 2 + 2 * (w * w - 1) ** 2 + 0.8 * x * w

    def integrand(y):
        return np.exp(-seen - 12 * (y * y - 1) ** 2 - (1.2 * x + 0.8 * w) * y) * function(y)

    return sum(quad(integrand, *ends, epsabs=0, epsrel=1e-11)[0] for ends in ((-3.0, 0.0), (0.0, 3.0)))


def test_free_energy_hidden_weight_and_drift():
    exact = two_coarse_variables().exact
    norm = np.array([integral(x, w) for x, w in POINTS])
    difference = exact.free_energy(POINTS) + np.log(norm)
    np.testing.assert_allclose(difference, difference[0], atol=1e-8)
    upper = np.array([integral(x, w, lambda y: float(y > 0)) for x, w in POINTS])
    np.testing.assert_allclose(exact.hidden_weight(POINTS), upper / norm, atol=1e-8)
    mean = np.array([integral(x, w, lambda y: y) for x, w in POINTS]) / norm
    x, w = POINTS.T
    first = -12 * x * (x**2 - 1) - 0.8 * w - 1.2 * mean
    second = -0.5 * (8 * w * (w**2 - 1) + 0.8 * x + 0.8 * mean)
    np.testing.assert_allclose(exact.drift(POINTS), np.column_stack([first, second]), atol=1e-7)


def test_diffusion_holds_the_mobilities():
    found = two_coarse_variables().exact.diffusion(POINTS)
    np.testing.assert_allclose(found, np.tile(np.diag([1.0, 0.5]), (len(POINTS), 1, 1)), atol=1e-12)


def test_more_values_than_one_chunk_holds():
    exact = two_coarse_variables().exact
    axis = np.linspace(-1.6, 1.6, 30)
    grid = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    alone = np.concatenate([exact.hidden_weight(grid[k : k + 1]) for k in (0, 511, 512, 899)])
    np.testing.assert_allclose(exact.hidden_weight(grid)[[0, 511, 512, 899]], alone, rtol=1e-12)
