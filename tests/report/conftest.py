"""Results of made-up runs in one, two and three dimensions."""

import functools

import numpy as np
import pytest

from micromacro.closures.table import ClosureTable
from micromacro.report.data import ReportData
from micromacro.report.page import render

SUMMARY = {
    "version": "0.1.0",
    "case": "hidden-barrier",
    "method": "coupled",
    "generator": "score",
    "seed": 0,
    "device": "cpu (2 cores)",
    "force_evaluations": 48_211_968,
    "wall_seconds": 143.2,
    "stages": {
        "explore": {"wall_seconds": 2.1, "force_evaluations": 128_000},
        "bias": {"wall_seconds": 61.8, "force_evaluations": 24_576_000},
        "learn": {"wall_seconds": 48.4, "force_evaluations": 0},
        "lift": {"wall_seconds": 22.0, "force_evaluations": 23_040_000},
        "close": {"wall_seconds": 6.4, "force_evaluations": 307_200},
    },
    "basins": {
        "left": {"free_energy_kT": 0.0, "stderr_kT": 0.0},
        "right": {"free_energy_kT": 0.013, "stderr_kT": 0.021},
    },
    "consistency": {
        "restriction": {"value": 0.004, "threshold": 0.02, "passed": True, "reason": ""},
        "mixing": {"value": 1.012, "threshold": 1.05, "passed": True, "reason": ""},
        "free_energy": {"value": 0.06, "threshold": 0.1, "passed": True, "reason": ""},
        "conditionals": {"value": 0.31, "threshold": 0.05, "passed": False, "reason": "z = 0.3: the generator differs"},
        "dynamics": {"value": None, "threshold": None, "passed": None, "reason": "no gap between time scales"},
        "effective_sample_size": {"value": 1530.0, "threshold": 100, "passed": True, "reason": ""},
    },
}


def made_up(d, unknown=False, seed=0):
    """Results with the shapes of a run; `unknown` puts gaps and missing parts in."""
    rng = np.random.default_rng(seed)
    cells = {1: 120, 2: 40, 3: 8}[d]
    axis = (np.arange(cells) + 0.5) / cells * 3.6 - 1.8
    z = np.stack(np.meshgrid(*[axis] * d, indexing="ij"), -1).reshape(-1, d)
    exact = 4 * (z[:, 0] ** 2 - 1) ** 2 + (2 * (z[:, 1:] - 0.4 * z[:, :1]) ** 2).sum(1)
    exact = exact - exact.min()
    stderr = 0.02 + 0.006 * exact
    free_energy = exact + stderr * rng.standard_normal(len(z))
    drift = -np.stack([16 * z[:, 0] * (z[:, 0] ** 2 - 1)] + [4 * z[:, a] for a in range(1, d)], axis=1)
    diffusion = np.broadcast_to(np.eye(d) + 0.2 * (1 - np.eye(d)), (len(z), d, d)) * (1 + z[:, :1, None] ** 2 / 4)
    if unknown:
        gap = np.max(np.abs(z), axis=1) > 1.5
        gap[len(z) // 3] = True
        free_energy, stderr = np.where(gap, np.nan, free_energy), np.where(gap, np.nan, stderr)
        drift = np.where(gap[:, None], np.nan, drift)
    weight = 1 / (1 + np.exp(4 * z[:, 0]))
    closure = ClosureTable(
        z,
        drift + 0.3 * rng.standard_normal(drift.shape),
        np.full(drift.shape, 0.3),
        diffusion + 0.02 * rng.standard_normal(diffusion.shape),
        np.full(diffusion.shape, 0.02),
        {"upper well": weight + 0.02 * rng.standard_normal(len(z))},
        {"upper well": np.full(len(z), 0.02)},
    )
    density = np.exp(-exact)
    t = np.linspace(0, 20, 301)
    walk = np.cumsum(0.12 * rng.standard_normal((6, 301, d)), axis=1)
    path = np.abs((walk + 1.0) % 6.4 - 3.2) - 1.6
    return ReportData(
        title="Hidden barrier <in two dimensions> & more",
        summary=SUMMARY,
        coarse_names=["x"] if d == 1 else [f"z{a + 1}" for a in range(d)],
        lower=np.full(d, -1.8),
        upper=np.full(d, 1.8),
        periodic=(False,) * d,
        z=z,
        free_energy=free_energy,
        stderr=stderr,
        closure=closure,
        exact_free_energy=None if unknown else exact + 3.0,
        exact_drift=None if unknown else drift,
        exact_diffusion=None if unknown else np.array(diffusion),
        exact_observables={} if unknown else {"upper well": weight},
        conditional_samples=conditional_draws(rng, d, raw=not unknown),
        reduced={"t": t, "z": path, "stationary_density": density / (density.sum() * (3.6 / cells) ** d)},
        rounds=[
            {"round": 1, "acceptance": 0.41, "change_kT": None, "windows": 24},
            {"round": 2, "acceptance": 0.78, "change_kT": 0.034, "windows": 26},
        ],
        basins={
            "left": (np.full(d, -1.8), np.array([0.0, 1.8, 1.8][:d])),
            "right": (np.array([0.0, -1.8, -1.8][:d]), np.full(d, 1.8)),
        },
    )


def conditional_draws(rng, d, raw):
    """Two hidden wells whose weights follow z, and a bath."""
    samples = []
    for value in np.linspace(-1.5, 1.5, 6):
        well = np.where(rng.uniform(size=1200) < 1 / (1 + np.exp(2 * value)), 1.0, -1.0)
        hidden = well + 0.12 * rng.standard_normal(1200)
        fixed = np.full((1200, d), value) + 1e-4 * rng.standard_normal((1200, d))
        bath = 0.5 * hidden + 0.4 * rng.standard_normal(1200)
        columns = [fixed, hidden[:, None]] + ([bath[:, None]] if d == 2 else [])
        draws = np.concatenate(columns, axis=1)
        samples.append((np.full(d, value), draws, 1.05 * draws[::-1] + 0.05 if raw else None))
    return samples


@pytest.fixture
def make():
    return made_up


@pytest.fixture(scope="session")
def page():
    """The rendered page of a made-up run, rendered once."""
    return functools.cache(lambda d, unknown=False: render(made_up(d, unknown)))
