"""Free energies on a grid and of basins against closed forms and quadrature, with errors that must be honest."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

from micromacro.estimates.mbar import Pool, solve_mbar
from micromacro.estimates.surface import Grid, basin_free_energies, coarse_grid, free_energy_surface
from micromacro.sampling.table import fit_table
from micromacro.sampling.windows import PooledBias, Windows

REPLICAS = 100


def line_grid(low, high, cells, periodic=False):
    spacing = (high - low) / cells
    points = low + spacing * (np.arange(cells) + 0.5)
    return Grid(points[:, None], points[:1], np.array([spacing]), (cells,), (periodic,))


def quantile(uniform, x, log_density):
    """Where a density, given on a fine grid, has these cumulative shares."""
    weight = np.exp(log_density - log_density.max())
    cumulative = np.concatenate([[0.0], np.cumsum(weight[1:] + weight[:-1])])
    return np.interp(uniform * cumulative[-1], cumulative, x)


class Tilted:
    """F = 3 (z² - 1)² + 2 z in windows of stiffness 30: two basins, steep walls."""

    def __init__(self, known):
        self.coarse = known.coarse_variable([-1.8], [1.8], [False])
        self.centers = np.linspace(-1.8, 1.8, 13)
        self.bias = known.pooled_bias(self.coarse, self.centers[:, None], 30.0)
        self.known = known

    @staticmethod
    def free_energy(z):
        return 3 * (z**2 - 1) ** 2 + 2 * z

    def draw(self, rng, frames, chains, memory=0.0):
        """Pool of chains that keep their rank in the window's distribution as an AR(1) does."""
        uniform = norm.cdf(self.known.ar1(rng, (frames, 13, chains), memory))
        x = np.linspace(-3, 3, 20_001)
        values = np.empty(uniform.shape)
        for k, center in enumerate(self.centers):
            values[:, k] = quantile(uniform[:, k], x, -self.free_energy(x) - 15 * (x - center) ** 2)
        return self.known.pool_of(values[..., None])


@pytest.fixture(scope="module")
def tilted(known):
    return Tilted(known)


def centred(surface, exact, level=6.0):
    """F minus its mean over the cells below 6 kT, less the exact one; and where that is known."""
    low = np.nan_to_num(surface.free_energy, nan=np.inf) < level
    found = surface.free_energy - surface.free_energy[low].mean()
    return found - (exact - exact[low].mean()), low


def test_the_surface_is_the_free_energy_and_its_errors_are_honest(known, tilted):
    grid = line_grid(-1.8, 1.8, 40)
    exact = tilted.free_energy(grid.points[:, 0])
    rng = np.random.default_rng(0)
    errors, squares = [], []
    for _ in range(REPLICAS):
        pool = tilted.draw(rng, 60, 10, 0.8)
        surface = free_energy_surface(pool, solve_mbar(pool, tilted.bias, 13), tilted.bias, grid)
        error, _ = centred(surface, exact)
        assert np.nanmin(surface.free_energy) == 0
        errors.append(error)
        squares.append(surface.stderr)
    errors, stderr = np.array(errors), np.array(squares)
    z = errors / stderr
    for cell in (5, 9, 20, 30, 34):
        assert known.honest(z[:, cell]), cell
    # unbiased in every cell that was always known, however steep, to a tenth of the error of one run
    always = np.isfinite(errors).all(axis=0)
    assert always.sum() > 33
    bias = errors[:, always].mean(axis=0) / errors[:, always].std(axis=0, ddof=1)
    assert np.abs(bias).max() < 4 / np.sqrt(REPLICAS)


@pytest.fixture(scope="module")
def flattened(known, tilted):
    """Exact draws of windows that carry F as their flattening bias, and that bias."""
    fine = np.linspace(-3, 3, 6001)
    spacing = fine[::50][1] - fine[0]
    table = fit_table(tilted.free_energy(fine[::50]), fine[:1], np.array([spacing]), (False,))
    windows = Windows(jnp.asarray(tilted.centers)[:, None], jnp.array([30.0]), table)
    bias = PooledBias((windows,), tilted.coarse)
    energies = np.asarray(bias(jnp.asarray(fine)[:, None]))
    rng = np.random.default_rng(7)
    values = np.empty((1000, 13, 10, 1))
    for k in range(13):
        values[:, k, :, 0] = quantile(rng.random((1000, 10)), fine, -tilted.free_energy(fine) - energies[:, k])
    return known.pool_of(values), bias


def test_a_flattened_pool_gives_the_same_surface(tilted, flattened):
    pool, bias = flattened
    grid = line_grid(-1.8, 1.8, 40)
    surface = free_energy_surface(pool, solve_mbar(pool, bias, 13), bias, grid)
    error, _ = centred(surface, tilted.free_energy(grid.points[:, 0]))
    # up to 15 kT, not below 6 alone
    assert np.abs(error / surface.stderr).max() < 4.5
    assert np.abs(error).max() < 0.1


def test_steep_slopes_do_not_smear(tilted, flattened):
    """Cells so wide that F falls by 7 kT from one to the next: values are those at the centre."""
    pool, bias = flattened
    grid = line_grid(-1.8, 1.8, 12)
    exact = tilted.free_energy(grid.points[:, 0])
    assert np.abs(np.diff(exact)).max() > 7
    mbar = solve_mbar(pool, bias, 13)
    error, _ = centred(free_energy_surface(pool, mbar, bias, grid), exact)
    assert np.abs(error).max() < 0.05
    # a histogram weighted by e^-F smears by far more
    inside = grid.cell(pool.coarse) >= 0
    weight = np.exp(-mbar.log_denominator[inside])
    histogram = -np.log(np.bincount(grid.cell(pool.coarse[inside]), weights=weight, minlength=12))
    plain = histogram - histogram.min() - (exact - exact.min())
    assert np.abs(plain).max() > 0.5


def test_cells_without_samples_are_unknown(known, tilted):
    pool = tilted.draw(np.random.default_rng(2), 100, 4)
    keep = np.abs(pool.coarse[:, 0] - 0.5) > 0.2
    # a cell of nine samples is unknown, one of ten is known
    few = np.flatnonzero((pool.coarse[:, 0] > 1.2) & keep)
    keep[few] = False
    extra = np.concatenate([np.full(9, 1.25), np.full(10, 1.35)])[:, None]
    pool = Pool(
        np.concatenate([pool.coarse[keep], extra]),
        np.concatenate([pool.state[keep], np.full(19, 11)]),
        np.concatenate([pool.cluster[keep], np.full(19, 44)]),
        np.ones(keep.sum() + 19),
    )
    grid = line_grid(-1.8, 1.8, 36)
    surface = free_energy_surface(pool, solve_mbar(pool, tilted.bias, 13), tilted.bias, grid)
    unknown = np.isnan(surface.free_energy)
    z = grid.points[:, 0]
    assert unknown[np.abs(z - 0.5) < 0.19].all()
    assert unknown[np.isclose(z, 1.25)].all()
    assert not unknown[np.isclose(z, 1.35)].any()
    np.testing.assert_array_equal(unknown, np.isnan(surface.stderr))
    assert np.nanmin(surface.free_energy) == 0


def test_weights_are_respected(known, tilted):
    """Half of the samples of z > 0 are thrown away and the others count twice, in the surface and in the basins."""
    rng = np.random.default_rng(3)
    pool = tilted.draw(rng, 500, 20)
    keep = (pool.coarse[:, 0] < 0) | (rng.random(len(pool.state)) < 0.5)
    weight = np.where(pool.coarse[:, 0] < 0, 1.0, 2.0)[keep]
    thin = Pool(pool.coarse[keep], pool.state[keep], pool.cluster[keep], weight)
    grid = line_grid(-1.8, 1.8, 40)
    exact = tilted.free_energy(grid.points[:, 0])
    worst = {}
    for name, one in (("weighted", thin), ("unweighted", replace(thin, weight=np.ones(len(weight))))):
        surface = free_energy_surface(one, solve_mbar(one, tilted.bias, 13), tilted.bias, grid)
        error, low = centred(surface, exact)
        worst[name] = np.abs(error / surface.stderr)[low].max()
    assert worst["weighted"] < 4.5
    assert worst["unweighted"] > 6


def test_two_dimensions_one_of_them_periodic(known):
    """F = cos(φ) + y²(1 + sin(φ)/2): exact draws within windows by rejection from the window's Gaussian."""
    coarse = known.coarse_variable([-np.pi, -1.5], [np.pi, 1.5], [True, False])
    centers = np.stack(np.meshgrid(np.linspace(-np.pi, np.pi, 8, endpoint=False), np.linspace(-1.5, 1.5, 4)), -1)
    centers = centers.reshape(-1, 2)
    stiffness = np.array([3.0, 3.0])
    bias = known.pooled_bias(coarse, centers, stiffness)
    rng = np.random.default_rng(4)

    def free_energy(z):
        return np.cos(z[..., 0]) + z[..., 1] ** 2 * (1 + np.sin(z[..., 0]) / 2)

    # differences wrap: propose on the circle itself, uniformly, not from the Gaussian
    frames, chains = 150, 8
    values = np.empty((frames, len(centers), chains, 2))
    for k, center in enumerate(centers):
        kept = np.empty((0, 2))
        while len(kept) < frames * chains:
            proposal = np.stack([rng.uniform(-np.pi, np.pi, 40_000), rng.normal(center[1], 3**-0.5, 40_000)], axis=1)
            turn = (proposal[:, 0] - center[0] + np.pi) % (2 * np.pi) - np.pi
            chance = np.exp(-1.5 * turn**2 - free_energy(proposal) - 1)
            kept = np.concatenate([kept, proposal[rng.random(40_000) < chance]])
        values[:, k] = kept[: frames * chains].reshape(frames, chains, 2)
    pool = known.pool_of(values)
    mbar = solve_mbar(pool, bias, len(centers))
    grid = replace_shape(coarse, (16, 10))
    surface = free_energy_surface(pool, mbar, bias, grid)
    error, low = centred(surface, free_energy(grid.points))
    z = (error / surface.stderr)[low]
    assert len(z) > 140
    # cells are correlated only weakly: 160 of them
    assert 0.7 < np.mean(z**2) < 1.4
    assert np.abs(z).max() < 4.5


def replace_shape(coarse, shape):
    spacing = coarse.range / np.array(shape)
    origin = coarse.lower + spacing / 2
    axes = [o + s * np.arange(n) for o, s, n in zip(origin, spacing, shape, strict=True)]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, len(shape))
    return Grid(points, origin, spacing, shape, coarse.periodic)


def test_the_grid_finds_the_cell_of_each_value(known):
    coarse = known.coarse_variable([-np.pi, 0.0], [np.pi, 2.0], [True, False])
    grid = coarse_grid(coarse, padding=3)
    assert grid.shape == (40, 46)
    np.testing.assert_array_equal(grid.cell(grid.points), np.arange(40 * 46))
    rng = np.random.default_rng(0)
    z = rng.uniform([-10, -0.1], [10, 2.1], (500, 2))
    away = np.abs(coarse.difference(z, grid.points[grid.cell(z)]))
    assert np.all(away <= grid.spacing / 2 + 1e-9)
    np.testing.assert_array_equal(grid.cell(np.array([[0.0, -0.2], [0.0, 2.2]])), [-1, -1])
    edge = coarse_grid(coarse)
    np.testing.assert_allclose(edge.points.min(axis=0) - edge.spacing / 2, coarse.lower)
    np.testing.assert_allclose(edge.points.max(axis=0) + edge.spacing / 2, coarse.upper)
    assert coarse_grid(known.coarse_variable([0.0], [1.0], [False])).shape == (120,)


@pytest.mark.parametrize(("memory", "chains"), [(0.8, 10), (0.5, 3)])
def test_basins_have_the_free_energy_of_quadrature_with_honest_errors(known, tilted, memory, chains):
    z = np.linspace(-3, 3, 60_001)
    density = np.exp(-tilted.free_energy(z))
    parts = {"left": z < 0.1, "right": z >= 0.1}
    mass = {name: -np.log(density[where].sum()) for name, where in parts.items()}
    rng = np.random.default_rng(5)
    scores = []
    for _ in range(REPLICAS):
        pool = tilted.draw(rng, 40, chains, memory)
        mbar = solve_mbar(pool, tilted.bias, 13)
        members = {"left": pool.coarse[:, 0] < 0.1, "right": pool.coarse[:, 0] >= 0.1}
        found = basin_free_energies(pool, mbar, tilted.bias, members)
        assert found["left"].free_energy == found["left"].stderr == 0
        scores.append((found["right"].free_energy - (mass["right"] - mass["left"])) / found["right"].stderr)
    # Student's t of 13 windows of so many chains, of which about half tell these basins apart
    freedom = 13 * (chains - 1) / 2
    assert known.honest(np.array(scores) / np.sqrt(freedom / (freedom - 2)))


def test_a_basin_that_nothing_visited_is_unknown(known, tilted):
    pool = tilted.draw(np.random.default_rng(6), 20, 4)
    members = {"here": pool.coarse[:, 0] < 9, "nowhere": pool.coarse[:, 0] > 9}
    found = basin_free_energies(pool, solve_mbar(pool, tilted.bias, 13), tilted.bias, members)
    assert found["here"].free_energy == 0
    assert np.isnan(found["nowhere"].free_energy)
    assert np.isnan(found["nowhere"].stderr)
