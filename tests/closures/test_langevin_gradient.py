"""The gradient of a free energy surface and its errors."""

import numpy as np
import pytest

from micromacro.closures.langevin_gradient import error_fields, surface_gradient
from micromacro.coordinates.coarse import CoarseVariable
from micromacro.estimates.surface import FreeEnergySurface, coarse_grid
from tests.closures.inertial import CIRCLE, free_energy, scores, slope, surface_of


@pytest.mark.parametrize(("own", "shared"), [(0.03, 0.0), (0.01, 0.05)])
def test_errors_of_the_gradient_cover_it(own, shared):
    """Noise of each cell's own, and noise that windows share: errors that are right, or too large by at most three."""
    grid = coarse_grid(CIRCLE)
    z, rng, squares = grid.points[:, 0], np.random.default_rng(1), []
    for _ in range(12):
        waves = np.arange(1, 6)
        smooth = (
            np.cos(np.outer(z, waves)) @ rng.standard_normal(5) + np.sin(np.outer(z, waves)) @ rng.standard_normal(5)
        ) / np.sqrt(5)
        values = free_energy(z) + own * rng.standard_normal(len(z)) + shared * smooth
        found = surface_gradient(FreeEnergySurface(grid, values, np.full(len(z), np.hypot(own, shared))))
        squares.append(scores(found.gradient[:, 0], slope(z), found.stderr[:, 0]))
    assert 1 / 9 < np.mean(squares) < 1.3
    share = own**2 / (own**2 + shared**2)
    assert found.own_share == pytest.approx(share, rel=0.5)


def test_gradient_of_a_cubic_is_exact_and_unknown_cells_stay_so():
    grid = coarse_grid(CoarseVariable(lambda q: q[:1], np.array([-1.0]), np.array([2.0]), (False,)))
    z = grid.points[:, 0]
    values = np.where((z > 0.3) & (z < 0.5), np.nan, z**3 - z)
    found = surface_gradient(FreeEnergySurface(grid, values, np.where(np.isnan(values), np.nan, 0.1)))
    known = np.isfinite(values)
    np.testing.assert_allclose(found.gradient[known, 0], (3 * z**2 - 1)[known], atol=1e-8)
    assert np.isnan(found.gradient[~known]).all()
    noisy = values + 0.1 * np.random.default_rng(0).standard_normal(len(z))
    errors = surface_gradient(FreeEnergySurface(grid, noisy, np.where(known, 0.1, np.nan))).stderr
    assert errors[0, 0] > 2 * np.nanmedian(errors)  # from one side alone


def test_error_fields_have_the_errors_of_the_surface():
    grid = coarse_grid(CIRCLE)
    surface = surface_of(grid, free_energy(grid.points[:, 0]), 0.1)
    fields = error_fields(surface, surface_gradient(surface), 400, np.random.default_rng(0))
    np.testing.assert_allclose(fields.std(axis=0).mean(), 0.1, rtol=0.15)
