"""A double well seen through a spiral, whose slowest time scale is known."""

from dataclasses import dataclass

import numpy as np
import pytest
from scipy.linalg import eigvalsh_tridiagonal

from micromacro.learners.learner import TimeSeries, TrainingData

INTERVAL, STEP = 0.02, 2e-3
LAG = 0.1


@dataclass(frozen=True)
class Spiral:
    """Trajectories of the double well.

    - `x`: the slow variable, `(frames, walkers)`; `series`: what is seen of it, in two dimensions.
    - `time_scale`: exact, of the slowest process.
    """

    x: np.ndarray
    series: TimeSeries
    data: TrainingData
    time_scale: float


def spiral(x: np.ndarray) -> np.ndarray:
    """An injective curve along which no linear function grows: its arms turn around the origin."""
    return np.stack([(2.5 + x) * np.cos(4 * x), (2.5 + x) * np.sin(4 * x)], axis=-1)


def force(x: np.ndarray) -> np.ndarray:
    """Of the double well V = 3 (x² - 1)², kT = 1."""
    return -12 * x * (x**2 - 1)


def exact_time_scale() -> float:
    """The slowest of the generator, by finite volumes of width 1/200."""
    grid = np.arange(-2.2, 2.2, 0.005)
    density = np.exp(-3 * (grid**2 - 1) ** 2)
    flux = np.sqrt(density[1:] * density[:-1]) / 0.005**2
    leaving = np.concatenate([flux, [0]]) + np.concatenate([[0], flux])
    off = flux / np.sqrt(density[1:] * density[:-1])
    values = eigvalsh_tridiagonal(-leaving / density, off, select="i", select_range=(len(grid) - 2, len(grid) - 1))
    return float(-1 / values[0])


@pytest.fixture(scope="session")
def spiral_runs() -> Spiral:
    """Trajectories of 100 walkers that start in equilibrium but for the shape of the wells."""
    rng = np.random.default_rng(7)
    x, frames = rng.choice([-1.0, 1.0], 100), []
    for step in range(500 + 600 * round(INTERVAL / STEP)):
        x = x + STEP * force(x) + np.sqrt(2 * STEP) * rng.normal(size=x.size)
        if step >= 500 and step % round(INTERVAL / STEP) == 0:
            frames.append(x)
    path = np.stack(frames)
    seen = spiral(path)
    series = TimeSeries(seen, INTERVAL)
    points = seen[::20].reshape(-1, 2)
    tangent = (spiral(path[::20].ravel() + 1e-6) - spiral(path[::20].ravel() - 1e-6)) / 2e-6
    noise = tangent[:, :, None] * tangent[:, None, :]
    data = TrainingData(points, np.ones(len(points)), noise=noise, series=series)
    return Spiral(path, series, data, exact_time_scale())
