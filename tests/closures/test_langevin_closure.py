"""The closure of inertial dynamics: D of windows as a function, b of F and D, times of passage, and their errors."""

import jax.numpy as jnp
import numpy as np
import pytest

from micromacro.closures.finite_volume import stationary_density
from micromacro.closures.grid import uniform_grid
from micromacro.closures.langevin_barrier import barrier_crossing
from micromacro.closures.langevin_closure import fit_diffusion, langevin_closure, langevin_spread
from micromacro.closures.langevin_passages import cells_in, passage_times_of
from micromacro.closures.passage import transition_times
from micromacro.closures.reduced import ReducedDynamics
from micromacro.closures.table import ClosureTable
from micromacro.closures.umbrella_diffusion import umbrella_diffusion
from micromacro.coordinates.coarse import CoarseVariable
from micromacro.errors import InputError
from micromacro.estimates.surface import coarse_grid
from tests.closures.inertial import (
    BASINS,
    CENTRES,
    CIRCLE,
    NOISE,
    WINDOWS,
    Rough,
    damped,
    free_energy,
    linear,
    scores,
    surface_of,
    windows_of,
)

BAND = CoarseVariable(lambda q: q[:2], np.array([-np.pi, -1.5]), np.array([np.pi, 1.5]), (True, False))


def times(dynamics):
    found = transition_times(dynamics, *(cells_in(CIRCLE, dynamics.grid, box) for box in BASINS))
    return [found.forward, found.backward]


def test_drift_and_diffusion_within_their_errors():
    case = damped()
    assert case.windows.converged.sum() >= WINDOWS - 1, case.windows.reasons
    exact = case.system.exact(case.grid)
    # errors are smooth: of 24 windows about eight numbers are free
    assert scores(case.table.diffusion, exact.diffusion, case.table.diffusion_stderr) < 1 + 3 * np.sqrt(2 / 8)
    assert scores(case.table.drift, exact.drift, case.table.drift_stderr) < 1 + 3 * np.sqrt(2 / 20)
    assert np.sqrt(np.mean((case.table.diffusion / exact.diffusion - 1) ** 2)) < 0.1
    wrong = case.table.diffusion * 1.5
    assert scores(wrong, exact.diffusion, case.table.diffusion_stderr) > 10


def test_stationary_density_is_that_of_the_free_energy():
    case = damped()
    found = -np.log(stationary_density(ReducedDynamics.from_table(case.table, CIRCLE)))
    assert np.std(found - free_energy(case.grid.points[:, 0])) < 2 * NOISE


def test_passage_times_against_the_exact_closure_and_the_full_dynamics():
    case = damped()
    found = langevin_spread(CIRCLE, case.surface, case.fit, times, replicas=20)
    exact = times(ReducedDynamics.from_table(case.system.exact(case.grid), CIRCLE))
    assert np.all(np.abs(found.value - exact) < 3 * found.stderr)
    assert np.all(found.stderr < 0.1 * found.value)  # of F and D, not of b and D apart
    series = case.system.long(256, step=0.05, frames=600, interval=20, seed=5)
    counted = passage_times_of(CIRCLE, series, 1.0, *BASINS)
    assert min(counted.events) > 100
    crossing = barrier_crossing(
        CIRCLE,
        ReducedDynamics.from_table(case.table, CIRCLE),
        case.windows,
        *(cells_in(CIRCLE, case.grid, box) for box in BASINS),
    )
    assert 1 < crossing.factor < 1.1
    np.testing.assert_allclose(np.sort(np.abs(crossing.place[:, 0])), [0.04, 3.1], atol=0.15)
    np.testing.assert_allclose(np.max(crossing.share), 0.77, atol=0.1)
    full, error = np.array([counted.forward, counted.backward]), [counted.forward_stderr, counted.backward_stderr]
    difference = found.value * crossing.factor - full
    assert np.all(np.abs(difference) < 3 * np.hypot(found.stderr, error) + 0.03 * full), (found, counted)


def test_inertia_is_told_where_friction_is_weak():
    """Friction 3: passages take longer than the overdamped equation says, as Kramers' formula predicts."""
    system, grid = Rough(3.0), coarse_grid(CIRCLE)
    dynamics = ReducedDynamics.from_table(system.exact(grid), CIRCLE)
    rates = np.geomspace(0.01, 20, 40)
    free = 1 / (rates + 1 / system.diffusion(CENTRES))
    windows = windows_of(CENTRES, np.eye(1), np.zeros((WINDOWS, 1)), 0.1, rates, free[..., None, None])
    cells = [cells_in(CIRCLE, grid, box) for box in BASINS]
    crossing, reduced = barrier_crossing(CIRCLE, dynamics, windows, *cells), times(dynamics)[0]
    counted = passage_times_of(CIRCLE, system.long(256, step=0.04, frames=400, interval=25, seed=6), 1.0, *BASINS)
    assert counted.forward / reduced > 1.25
    assert 1.3 < crossing.factor < 1.6
    assert reduced * crossing.factor == pytest.approx(counted.forward, rel=0.15)


def test_memory_is_told_where_hidden_coordinates_are_slow():
    """Overdamped x over 2 cos 2x, coupled to a y that stands still while the barrier is crossed."""
    coupling, mobility, grid = 4.0, 0.3, coarse_grid(CIRCLE)
    z = grid.points[:, 0]
    slow = 1 / (1 + 1 / mobility)
    exact = ClosureTable(
        grid.points,
        (4 * slow * np.sin(2 * z))[:, None],
        0 * grid.points,
        np.full((120, 1, 1), slow),
        np.zeros((120, 1, 1)),
    )
    dynamics = ReducedDynamics.from_table(exact, CIRCLE)
    rates = np.geomspace(1e-3, 50, 80)
    at = np.broadcast_to((1 / (1 + coupling / (rates + mobility * coupling)))[:, None, None], (WINDOWS, 80, 1, 1))
    windows = windows_of(CENTRES, np.eye(1), np.zeros((WINDOWS, 1)), 0.1, rates, at)
    cells = [cells_in(CIRCLE, grid, box) for box in BASINS]
    crossing = barrier_crossing(CIRCLE, dynamics, windows, *cells)
    assert crossing.factor < 0.5
    rng, step = np.random.default_rng(0), 0.01
    x = np.full(400, 1.6)
    y, saved = x + rng.standard_normal(400) / np.sqrt(coupling), []
    for number in range(12_000):
        force = 4 * np.sin(2 * x) - coupling * (x - y)
        y = y + mobility * coupling * (x - y) * step + np.sqrt(2 * mobility * step) * rng.standard_normal(400)
        x = x + force * step + np.sqrt(2 * step) * rng.standard_normal(400)
        if number % 20 == 0:
            saved.append(x)
    series = np.asarray(CIRCLE.wrap(np.array(saved)[..., None]))
    counted = passage_times_of(CIRCLE, series, 20 * step, *BASINS)
    full, error = np.array([counted.forward, counted.backward]), [counted.forward_stderr, counted.backward_stderr]
    assert np.all(np.array(times(dynamics)) > 1.8 * full)
    assert np.all(np.abs(np.array(times(dynamics)) * crossing.factor - full) < 3 * np.array(error) + 0.05 * full)


def test_two_variables_with_a_tensor():
    """Elements of D that vary over the plane, from exact estimates in windows; b from F; errors that cover."""
    rng = np.random.default_rng(4)
    centres = uniform_grid(BAND, (12, 6)).points

    def tensor(z):
        x, y = z.T
        one, both, two = 1 + 0.3 * np.sin(x), 0.2 + 0.1 * y, 0.5 + 0.1 * np.cos(x)
        return np.stack([np.stack([one, both], -1), np.stack([both, two], -1)], -2)

    factors = np.linalg.cholesky(tensor(centres))
    elements = np.stack([np.log(factors[:, 0, 0]), factors[:, 1, 0], np.log(factors[:, 1, 1])], axis=1)
    measured = elements + 0.05 * rng.standard_normal(elements.shape)
    fit = fit_diffusion(BAND, windows_of(centres, 1e-4 * np.eye(2), measured, 0.05))
    grid = coarse_grid(BAND)
    x, y = grid.points.T
    values = np.where(2 * np.cos(x) + y**2 < 3, 2 * np.cos(x) + y**2 + 0.5 * np.sin(x) * y, np.nan)
    gradient = np.stack([-2 * np.sin(x) + 0.5 * np.cos(x) * y, 2 * y + 0.5 * np.sin(x)], axis=1)
    table = langevin_closure(surface_of(grid, values, NOISE), fit)
    divergence = np.stack([0.3 * np.cos(x) + 0.1, np.zeros_like(x)], axis=1)
    drift = -np.einsum("nab,nb->na", tensor(grid.points), gradient) + divergence
    assert np.all(np.isfinite(table.drift).all(axis=1) == np.isfinite(values))
    assert scores(table.diffusion, tensor(grid.points), table.diffusion_stderr) < 2
    assert scores(table.drift, drift, table.drift_stderr) < 2
    assert scores(table.drift, drift - 2 * divergence, table.drift_stderr) > 2


def test_windows_tell_the_mean_friction_over_their_width():
    """1/<1/D> over a wide window is not D at its centre: a fit that took it to be so would be off."""
    width, centres = 0.5, CENTRES
    x = np.linspace(-5, 5, 2001)
    weight = np.exp(-(x**2) / 2)
    system = Rough(1.0)
    inside = 1 / system.diffusion(centres + width * x)
    friction = np.sum(weight * inside, axis=1) / weight.sum()
    measured = -0.5 * np.log(friction)[:, None]
    fit = fit_diffusion(CIRCLE, windows_of(centres, np.array([[width**2]]), measured, 0.003))
    found = np.array([float(fit(jnp.asarray(z))[0, 0]) for z in centres])
    truth = system.diffusion(centres[:, 0])
    assert np.max(np.abs(1 / friction / truth - 1)) > 0.08
    assert np.max(np.abs(found / truth - 1)) < 0.02


def test_too_few_windows():
    z = linear(np.eye(1), np.eye(1), (3, 16), interval=0.2, frames=500, seed=0)
    with pytest.raises(InputError, match="known in at least 4 windows"):
        fit_diffusion(CIRCLE, umbrella_diffusion(0.1 * z, np.zeros((3, 1)), CIRCLE, 0.2))
