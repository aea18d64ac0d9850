"""The whole way from exact conditional draws to the closure and back to the free energy, against quadrature."""

import numpy as np
import pytest

from micromacro.closures.generator import projected_terms
from micromacro.closures.grid import uniform_grid
from micromacro.closures.table import closure_table
from micromacro.closures.thermodynamic import free_energy_from_closure, free_energy_spread
from micromacro.coordinates.coarse import CoarseVariable
from micromacro.systems.curved_levels import curved_level_sets
from micromacro.systems.hidden_barrier import hidden_barrier


@pytest.fixture(scope="module", params=[hidden_barrier, curved_level_sets], ids=["hidden barrier", "curved levels"])
def closed(request):
    """Coarse variable, exact answers and the closure from 40 draws at each of 1,000 coarse values."""
    case = request.param()
    coarse = CoarseVariable(case.coarse, np.array(case.lower), np.array(case.upper), case.periodic)
    rng = np.random.default_rng(0)
    values = rng.uniform(coarse.lower[0], coarse.upper[0], 1000)
    states = np.concatenate([case.exact.sample_conditional(np.array([z]), 40, rng) for z in values])
    z = np.repeat(values, 40)[:, None]
    drift, diffusion = projected_terms(case.system, coarse, states)
    cluster = np.repeat(np.arange(1000), 40)  # draws at one value share where it lies
    grid = uniform_grid(coarse, (80,))
    return coarse, case, closure_table(coarse, grid, z, drift, diffusion, {}, np.ones(len(z)), cluster)


def test_drift_and_diffusion(closed):
    _, case, table = closed
    fine = table.z + np.linspace(-1, 1, 21) * (table.z[1, 0] - table.z[0, 0])
    kernel = 1 - np.linspace(-1, 1, 21) ** 2  # the average that a kernel of one cell takes of a curved function

    def smoothed(function):
        values = np.stack([np.reshape(function(column[:, None]), -1) for column in fine.T])
        return kernel @ values / kernel.sum()

    for found, stderr, exact in (
        (table.drift[:, 0], table.drift_stderr[:, 0], smoothed(case.exact.drift)),
        (table.diffusion[:, 0, 0], table.diffusion_stderr[:, 0, 0], smoothed(case.exact.diffusion)),
    ):
        inner = slice(1, -1)
        score = np.abs(found - exact)[inner] / (stderr[inner] + 1e-9)
        assert score.max() < 4.5, score
        assert np.mean(score**2) < 2, score


def test_free_energy_from_the_closure(closed):
    coarse, case, table = closed
    found = free_energy_from_closure(table, coarse)
    truth = case.exact.free_energy(table.z)
    difference = found - truth
    difference = difference - difference.mean()
    allowed = 0.05 + 4 * free_energy_spread(table, coarse)  # h² b''/10 over the range
    assert np.all(np.abs(difference) < allowed), difference / allowed
