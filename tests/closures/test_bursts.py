"""Bursts: the homogenised closure against exact answers, the fast time measured, and wrong lags and lifts caught."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from micromacro.closures.burst_paths import run_bursts
from micromacro.closures.bursts import BurstClosure, BurstSettings, burst_closure, lag_table, mean_square_scores
from micromacro.closures.grid import uniform_grid
from micromacro.closures.smooth import smooth_closure
from micromacro.coordinates.coarse import CoarseVariable
from micromacro.errors import InputError
from micromacro.systems.hidden_barrier import hidden_barrier
from micromacro.systems.model import OverdampedSystem
from micromacro.systems.multiplicative import multiplicative_closure
from micromacro.systems.reference import Reference
from micromacro.systems.slow_manifold import correlation, quadratic_slow_manifold, stationary_covariance
from micromacro.systems.three_atom import three_atom

CELLS = 20


@dataclass(frozen=True)
class Lifted:
    """A system, its coarse variable and exact conditional samples spread evenly in it."""

    case: Reference
    coarse: CoarseVariable
    states: np.ndarray
    stationary: np.ndarray

    @property
    def grid(self):
        return uniform_grid(self.coarse, (CELLS,))

    def close(self, states=None, seed=0, **settings) -> BurstClosure:
        states = self.states if states is None else states
        count = len(states)
        return burst_closure(
            self.case.system,
            self.coarse,
            self.grid,
            states,
            np.ones(count),
            np.arange(count),
            jax.random.key(seed),
            settings=BurstSettings(**settings),
            stationary_weights=self.stationary,
        )


def lifted(case: Reference, count=4000, seed=0) -> Lifted:
    coarse = CoarseVariable(case.coarse, np.array(case.lower), np.array(case.upper), case.periodic)
    z = np.repeat(coarse.lower + (np.arange(count // 4)[:, None] + 0.5) / (count // 4) * coarse.range, 4, axis=0)
    rng = np.random.default_rng(seed)
    observed = np.concatenate([case.exact.sample_conditional(one, 4, rng) for one in z[::4]])
    states = np.asarray(jax.vmap(case.system.hidden)(jnp.asarray(observed)))
    return Lifted(case, coarse, states, np.exp(-case.exact.free_energy(z)))


@pytest.fixture(scope="module")
def manifold():
    return lifted(quadratic_slow_manifold())


@pytest.fixture(scope="module")
def closed(manifold):
    return manifold.close(evaluations=1_500_000)


def judge(table, drift, diffusion, known_to=0.0):
    """Mean squared z-scores, and root mean square errors as shares of the range of b and of D.

    `known_to`: how nearly the answers are known themselves, as a share of them.
    """
    b, matrix = table.drift - drift, table.diffusion - diffusion
    spread = np.hypot(table.drift_stderr, known_to * drift), np.hypot(table.diffusion_stderr, known_to * diffusion)
    squares = np.mean((b / spread[0]) ** 2), np.mean((matrix / spread[1]) ** 2)
    return np.array(squares), np.sqrt([np.mean(b**2) / np.ptp(drift) ** 2, np.mean((matrix / diffusion) ** 2)])


def slow_answer(z):
    """Rate 1, the slowest of the linear system, and the D that has its stationary variance."""
    return -z, np.full((len(z), 1, 1), stationary_covariance()[3, 3])


def test_slow_manifold_at_the_plateau(manifold, closed):
    """Rate 1 and D = 1.11 T, where projection gives 0.90 and T."""
    squares, errors = judge(closed.table, *slow_answer(manifold.grid.points))
    assert np.all((squares > 0.3) & (squares < 2)), squares
    assert np.all(errors < [0.05, 0.12]), errors
    z, weight = manifold.grid.points, closed.table.drift_stderr**-2.0
    rate = -np.sum(weight * z * closed.table.drift) / np.sum(weight * z**2)
    assert abs(rate - 1) < 0.04, rate
    assert closed.evaluations <= 1_500_000
    assert "settle" in closed.reason


def test_the_projected_closure_is_told_from_the_plateau(manifold, closed):
    z, exact = manifold.grid.points, manifold.case.exact
    squares, _ = judge(closed.table, exact.drift(z), exact.diffusion(z))
    assert np.all(squares > 2.5), squares


def test_the_shortest_lag_is_the_projection(manifold, closed):
    z, exact = manifold.grid.points, manifold.case.exact
    squares, _ = judge(closed.short_lag_table, exact.drift(z), exact.diffusion(z))
    assert np.all((squares > 0.3) & (squares < 2)), squares
    assert closed.short_lag < 0.1 * closed.healing_time


def test_healing_time_is_that_of_the_hidden_coordinates(closed):
    """When the exact correlation of x3 - E[x3 | v] is 5 %."""
    times = np.linspace(0, 0.4, 401)
    matrices = correlation(times)
    gain = matrices[0][2, 3] / matrices[0][3, 3]
    row = np.array([0, 0, 1, -gain])
    memory = matrices @ row @ row
    exact = times[np.argmax(memory < 0.05 * memory[0])]
    assert abs(closed.healing_time / exact - 1) < 0.25, (closed.healing_time, exact)


def test_a_lag_inside_the_fast_time_is_convicted(closed):
    """Slopes at lag zero are ten per cent off those of the plateau, which agree among themselves."""
    begin, end = closed.plateau
    assert 0 < begin <= closed.healing_time
    assert closed.study.departure(0.0) > 5
    assert closed.study.departure((begin + end) / 2) < 3
    assert mean_square_scores(closed.short_lag_table, closed.table)[1] > 1.6


def test_the_plain_quotient_at_a_long_lag_is_biased(manifold):
    """At lag 0.5 the drift of rate 1 is 20 % low: why the lag is compensated."""
    chosen = np.random.default_rng(0).integers(len(manifold.states), size=4000)
    system, term_records = manifold.case.system, np.array([0])
    paths = run_bursts(
        system, manifold.coarse, manifold.states[chosen], chosen, 125, term_records, 2, jax.random.key(1)
    )
    table = lag_table(manifold.coarse, manifold.grid, paths, 0.5)
    z = manifold.grid.points
    rate = -np.sum(z * table.drift) / np.sum(z**2)
    assert 0.7 < rate < 0.87, rate


def test_exact_lifts_pass_and_displaced_ones_do_not(manifold, closed):
    """Two standard deviations of every fast coordinate: caught; and the plateau, past healing, is still right."""
    assert closed.lifting.passed, closed.lifting
    moved = manifold.states.copy()
    moved[:, :3] += 2 * np.sqrt(np.diagonal(stationary_covariance())[:3])
    wrong = manifold.close(moved, evaluations=600_000)
    assert not wrong.lifting.passed
    assert wrong.lifting.shift > 1
    assert wrong.study.departure(0.0) > 5
    _, errors = judge(wrong.table, *slow_answer(manifold.grid.points))
    assert errors[0] < 0.06, errors
    short = wrong.short_lag_table.drift - manifold.case.exact.drift(manifold.grid.points)
    assert short.mean() > 0.3  # x3 pulls v along


def test_hidden_barrier_has_no_plateau():
    """Its wells in y are forgotten by no burst: a reason instead of a number."""
    found = lifted(hidden_barrier(), 1200).close(pilot_bursts=512, pilot_steps=512, evaluations=400_000)
    assert found.table is None
    assert found.plateau is None
    assert found.healing_time is None
    assert "no gap" in found.reason
    assert found.separated is False


def test_a_pilot_that_ends_early_does_not_deny_a_gap():
    found = lifted(hidden_barrier(), 1200).close(pilot_bursts=512, pilot_steps=32, evaluations=400_000)
    assert found.table is None
    assert found.separated is None
    assert "not known" in found.reason


@pytest.mark.parametrize("case", [multiplicative_closure, three_atom], ids=["multiplicative", "three atoms"])
def test_where_projection_is_the_limit(case):
    """The fast time is that of the hidden coordinate's rate 1/ε, and no lag is too short."""
    system = lifted(case())
    found, z = system.close(evaluations=800_000), system.grid.points
    epsilon = 10 * system.case.system.time_step
    squares, errors = judge(found.table, system.case.exact.drift(z), system.case.exact.diffusion(z), epsilon)
    assert np.all((squares > 0.3) & (squares < 2)), squares
    assert np.all(errors < [0.15, 0.05]), errors
    assert 2 * epsilon < found.healing_time < 4 * epsilon
    assert found.plateau[0] == 0
    assert found.lifting.passed, found.lifting


def test_settings_that_cannot_work_are_refused(manifold):
    with pytest.raises(InputError, match="at least 2 fast times"):
        BurstSettings(length=1.0)
    nothing = manifold.close(evaluations=10_000)
    assert nothing.table is None
    assert "500 bursts need" in nothing.reason
    assert nothing.separated is None
    assert nothing.evaluations > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    "case", [quadratic_slow_manifold, multiplicative_closure, three_atom], ids=["manifold", "multiplicative", "three"]
)
def test_at_the_default_cost(case):
    """Three seeds of four million force evaluations: mean squared z-scores near one, errors near 5 % at the most."""
    system = lifted(case(), 8000)
    z, exact = system.grid.points, system.case.exact
    answer = (*slow_answer(z), 0.0)
    if case is not quadratic_slow_manifold:
        answer = (exact.drift(z), exact.diffusion(z), 10 * system.case.system.time_step)
    tables = [system.close(seed=seed).table for seed in range(3)]
    squares, errors = np.mean([judge(table, *answer) for table in tables], axis=0)
    assert np.all((squares > 0.5) & (squares < 1.6)), squares
    assert np.all(errors < 0.06), errors
    smooth = [smooth_closure(table, system.coarse).table(z) for table in tables]
    assert np.all(np.mean([judge(table, *answer)[1] for table in smooth], axis=0) < 0.04)


@pytest.mark.slow
def test_two_coarse_variables_with_a_stiff_tilted_valley():
    r"""$V = x^2/2 + \cos w + (y - 0.7 x)^2/2ε$: along the valley D is 1/(1 + 0.7²) in x, where projection gives 1."""
    epsilon = 0.02
    system = OverdampedSystem(
        lambda q: q[0] ** 2 / 2 + jnp.cos(q[1]) + (q[2] - 0.7 * q[0]) ** 2 / (2 * epsilon),
        3,
        np.zeros((1, 3)),
        time_step=1e-3,
    )
    coarse = CoarseVariable(lambda q: q[:2], np.array([-1.5, -np.pi]), np.array([1.5, np.pi]), (False, True))
    rng, grid = np.random.default_rng(0), uniform_grid(coarse, (8, 8))
    z = coarse.lower + rng.random((4000, 2)) * coarse.range
    states = np.column_stack([z, 0.7 * z[:, 0] + np.sqrt(epsilon) * rng.standard_normal(4000)])
    even, clusters = np.ones(4000), np.arange(4000)
    settings = BurstSettings(evaluations=1_500_000)
    found = burst_closure(system, coarse, grid, states, even, clusters, jax.random.key(0), settings=settings)
    valley = np.array([1 / (1.49 + epsilon), 1.0])  # the slow rate to first order in ε
    drift = valley * np.stack([-grid.points[:, 0], np.sin(grid.points[:, 1])], axis=1)
    score = (found.table.drift - drift) / found.table.drift_stderr
    assert 0.5 < np.mean(score**2) < 1.6, np.mean(score**2)
    score = (found.table.diffusion - np.diag(valley)) / found.table.diffusion_stderr
    assert np.all((np.mean(score**2, axis=0) > 0.4) & (np.mean(score**2, axis=0) < 2)), np.mean(score**2, axis=0)
    np.testing.assert_allclose(found.table.diffusion.mean(axis=0), np.diag(valley), atol=0.05)
    assert abs(found.short_lag_table.diffusion.mean(axis=0)[0, 0] - 1) < 0.1
    assert found.study.departure(0.0) > 5
