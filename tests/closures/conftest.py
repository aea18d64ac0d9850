"""Closures that are known exactly."""

import numpy as np
import pytest

from micromacro.closures.grid import uniform_grid
from micromacro.closures.table import ClosureTable
from micromacro.coordinates.coarse import CoarseVariable


class Exact:
    """Makes coarse variables and tables from formulas."""

    @staticmethod
    def coarse(lower, upper, periodic):
        d = len(lower)
        return CoarseVariable(lambda q: q[:d], np.array(lower, float), np.array(upper, float), tuple(periodic))

    @staticmethod
    def table(coarse, shape, drift, diffusion, stderr=0.0):
        """From `drift` `(n, d) -> (n, d)` and `diffusion` `(n, d) -> (n, d, d)`."""
        z = uniform_grid(coarse, shape).points
        b, matrix = drift(z), diffusion(z)
        return ClosureTable(z, b, np.full(b.shape, stderr), matrix, np.full(matrix.shape, stderr))

    @classmethod
    def reversible(cls, coarse, shape, gradient, diffusion, divergence):
        """b = -D ∇F + ∇·D for given gradient `(n, d)`, D `(n, d, d)` and its divergence `(n, d)`."""

        def drift(z):
            return -np.einsum("nab,nb->na", diffusion(z), gradient(z)) + divergence(z)

        return cls.table(coarse, shape, drift, diffusion)


@pytest.fixture(scope="session")
def exact():
    return Exact


@pytest.fixture(scope="session")
def double_well(exact):
    """F = 3 (z² - 1)² and D = 1 + z²/4 on [-1.8, 1.8]: the coarse variable, the table, F."""
    coarse = exact.coarse([-1.8], [1.8], [False])
    table = exact.reversible(
        coarse,
        (120,),
        lambda z: 12 * z * (z**2 - 1),
        lambda z: 1 + z[:, :, None] ** 2 / 4,
        lambda z: z / 2,
    )
    return coarse, table, 3 * (table.z[:, 0] ** 2 - 1) ** 2


@pytest.fixture(scope="session")
def sheared(exact):
    """F = 2 (x² - 1)² + 2 (y - x/2)² with constant D of correlation 0.5, on a plane: variable, table, F."""
    coarse = exact.coarse([-1.8, -2.2], [1.8, 2.2], [False, False])
    matrix = np.array([[1.0, 0.35], [0.35, 0.5]])

    def gradient(z):
        x, y = z.T
        return np.stack([8 * x * (x**2 - 1) - 2 * (y - x / 2), 4 * (y - x / 2)], axis=1)

    table = exact.reversible(
        coarse, (60, 60), gradient, lambda z: np.broadcast_to(matrix, (len(z), 2, 2)).copy(), np.zeros_like
    )
    x, y = table.z.T
    return coarse, table, 2 * (x**2 - 1) ** 2 + 2 * (y - x / 2) ** 2
