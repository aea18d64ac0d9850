"""The reduced model against the full one: what agrees, what is caught, what cannot be judged."""

import dataclasses

import jax
import numpy as np
import pytest

from micromacro.closures.agreement import compare
from micromacro.closures.cores import default_cores
from micromacro.closures.grid import uniform_grid
from micromacro.closures.long_trajectories import simulate_full
from micromacro.closures.reduced import ReducedDynamics
from micromacro.closures.spectrum import slowest_modes
from micromacro.closures.table import ClosureTable
from micromacro.coordinates.coarse import CoarseVariable
from micromacro.systems.hidden_barrier import hidden_barrier
from micromacro.systems.model import OverdampedSystem, StochasticSystem
from micromacro.systems.slow_manifold import drift_matrix, quadratic_slow_manifold, stationary_covariance

FAST = 0.02


def exact_table(coarse, drift, diffusion, cells=90, stderr=0.0):
    z = uniform_grid(coarse, (cells,)).points
    b, matrix = np.asarray(drift(z)), np.asarray(diffusion(z))
    return ClosureTable(z, b, stderr * np.ones_like(b), matrix, stderr * np.ones_like(matrix))


def well(state):
    """A double well of 2 kT in x, and a stiff y about x that does not weigh on F."""
    x, y = state
    return 2 * (x**2 - 1) ** 2 + (y - x) ** 2 / (2 * FAST)


@pytest.fixture(scope="module")
def double():
    """The variable, its exact closure and trajectories of a double well with a fast hidden coordinate."""
    system = OverdampedSystem(well, 2, np.array([[-1.0, -1.0], [1.0, 1.0]]), time_step=FAST / 20)
    coarse = CoarseVariable(lambda q: q[:1], np.array([-2.0]), np.array([2.0]), (False,))
    # E[y | x] = x: the force of the stiff spring averages to nothing
    table = exact_table(coarse, lambda z: -8 * z * (z**2 - 1), lambda z: np.ones((len(z), 1, 1)))
    starts = np.repeat(system.initial, 48, axis=0)
    found = simulate_full(system, coarse, starts, time=40.0, interval=0.05, key=jax.random.key(0))
    return coarse, table, found.after(5.0)


def test_projection_that_a_stiff_spring_spoils_is_caught_and_its_plateau_agrees(double):
    """x and y are bound so stiffly that they move together, with half the mobility: the plateau is half the projection.

    Time scales do separate, and yet the force of the spring, of size ε^(-1/2), does not average out.
    """
    coarse, table, trajectories = double
    found = compare(table, coarse, trajectories, replicas=2)
    assert found.passed is False
    assert found.ratios["slowest time scale"].ratio == pytest.approx(0.5, abs=0.1)
    homogenised = dataclasses.replace(table, drift=table.drift / 2, diffusion=table.diffusion / 2)
    again = compare(homogenised, coarse, trajectories, replicas=2)
    assert again.passed is True, again.verdict
    assert again.gap > 20
    assert "agrees" in again.verdict


def test_wrong_diffusion_is_caught(double):
    coarse, table, trajectories = double
    drift, diffusion = table.drift / 2, table.diffusion / 2
    both = dataclasses.replace(table, drift=1.5 * drift, diffusion=1.5 * diffusion)
    found = compare(both, coarse, trajectories, replicas=2)
    assert found.passed is False
    assert found.ratios["slowest time scale"].ratio == pytest.approx(1 / 1.5, abs=0.1)
    assert "does not predict" in found.verdict
    alone = compare(
        dataclasses.replace(table, drift=drift, diffusion=1.5 * diffusion), coarse, trajectories, replicas=2
    )
    assert alone.passed is False
    assert alone.density_distance > 0.08
    slow = dataclasses.replace(table, drift=drift / 1.5, diffusion=diffusion / 1.5)
    assert compare(slow, coarse, trajectories, replicas=2).passed is False


def test_errors_of_the_table_enter_the_ratio(double):
    coarse, table, trajectories = double
    noisy = dataclasses.replace(table, diffusion_stderr=np.full_like(table.diffusion, 0.3))
    quiet = compare(table, coarse, trajectories, replicas=4).ratios["forward passage"]
    loud = compare(noisy, coarse, trajectories, replicas=20).ratios["forward passage"]
    assert loud.stderr > 1.1 * quiet.stderr
    assert loud.full == quiet.full


@pytest.fixture(scope="module")
def cascade():
    """The slow manifold: coarse variable, projected closure, stationary trajectories."""
    reference = quadratic_slow_manifold()
    coarse = CoarseVariable(reference.coarse, np.array([-1.1]), np.array([1.1]), (False,))
    starts = np.random.default_rng(0).multivariate_normal(np.zeros(4), stationary_covariance(), 96)
    found = simulate_full(reference.system, coarse, starts, time=100.0, interval=0.08, key=jax.random.key(1))
    return coarse, exact_table(coarse, reference.exact.drift, reference.exact.diffusion), found


def test_slow_manifold_deviates_as_its_gap_allows(cascade):
    """The projected rate is 0.9 of the full one: time scales 1.11 as long, with a gap of 17."""
    coarse, table, trajectories = cascade
    found = compare(table, coarse, trajectories, replicas=2)
    assert found.passed is True, found.verdict
    ratio = found.ratios["slowest time scale"]
    assert abs(ratio.ratio - 1.098) < 3.5 * ratio.stderr
    assert ratio.ratio - 1 > 3 * ratio.stderr
    assert 12 < found.gap < 25
    assert "gap" in found.verdict
    assert found.density_distance < 0.04


def test_projected_time_scale_approaches_the_exact_one_as_the_fast_time_vanishes():
    """The full system has the rate 1 for every ε, the projection 1 - E[x3 | v]/v, here by finite volumes."""
    coarse = CoarseVariable(lambda q: q, np.array([-1.3]), np.array([1.3]), (False,))
    ratios = []
    for epsilon in (0.16, 0.04, 0.01):
        reference, covariance = quadratic_slow_manifold(epsilon), stationary_covariance(epsilon)
        assert -np.linalg.eigvals(drift_matrix(epsilon)).real.max() == pytest.approx(1)
        table = exact_table(coarse, reference.exact.drift, reference.exact.diffusion, cells=200)
        ratios.append(slowest_modes(ReducedDynamics.from_table(table, coarse), 1).time_scales[0])
        assert ratios[-1] == pytest.approx(1 / (1 - covariance[2, 3] / covariance[3, 3]), rel=2e-3)
    assert ratios[0] > 1.2
    assert ratios[2] - 1 == pytest.approx((ratios[1] - 1) / 4, rel=0.15)


def test_no_gap_is_not_applicable(cascade):
    coarse, table, trajectories = cascade
    found = compare(table, coarse, trajectories, fast=0.5, replicas=2)
    assert found.passed is None
    assert "separate" in found.verdict


def test_hidden_barrier_is_not_applicable():
    """The hidden wells do not exchange: x has no closed equation, which is no failure of anything."""
    reference = hidden_barrier()
    coarse = CoarseVariable(reference.coarse, np.array(reference.lower), np.array(reference.upper), (False,))
    starts = np.repeat(reference.system.initial, 24, axis=0)
    found = simulate_full(reference.system, coarse, starts, time=20.0, interval=0.1, key=jax.random.key(2))
    table = exact_table(coarse, reference.exact.drift, reference.exact.diffusion)
    result = compare(table, coarse, found.after(4.0), replicas=2)
    assert result.passed is None
    assert "separate" in result.verdict
    assert np.isnan(result.score)


def test_a_variable_that_wanders_off_is_not_applicable():
    system = StochasticSystem(lambda q: 0.3 + 0 * q, lambda q: 0.1 + 0 * q, 1, np.zeros((1, 1)), time_step=0.05)
    coarse = CoarseVariable(lambda q: q, np.array([-1.0]), np.array([1.0]), (False,))
    found = simulate_full(system, coarse, np.zeros((16, 1)), time=2.0, interval=0.1, key=jax.random.key(3))
    table = exact_table(coarse, lambda z: 0.3 + 0 * z, lambda z: np.full((len(z), 1, 1), 0.005))
    result = compare(table, coarse, found, replicas=2)
    assert result.passed is None
    assert "stationary" in result.verdict


def test_cores_are_bottoms_of_wells_or_ends(exact):
    coarse = exact.coarse([-2.0], [2.0], [False])
    wells = exact.table(coarse, (80,), lambda z: -16 * z * (z**2 - 1), lambda z: np.ones((len(z), 1, 1)))
    first, second = default_cores(ReducedDynamics.from_table(wells, coarse))
    assert np.all(wells.z[first] < -0.5)
    assert np.all(wells.z[second] > 0.5)
    line = exact.table(coarse, (80,), lambda z: -4 * z, lambda z: np.ones((len(z), 1, 1)))
    first, second = default_cores(ReducedDynamics.from_table(line, coarse))
    assert wells.z[first].max() == pytest.approx(-0.45, abs=0.06)  # the quantile 0.2 of a deviation of 0.5
    assert wells.z[second].min() == pytest.approx(0.45, abs=0.06)
    circle = exact.coarse([0.0], [2 * np.pi], [True])
    flat = exact.table(circle, (80,), lambda z: np.sin(z), lambda z: np.ones((len(z), 1, 1)))
    first, second = default_cores(ReducedDynamics.from_table(flat, circle))
    assert np.all(np.cos(flat.z[first]) < -0.9)
    assert np.all(np.cos(flat.z[second]) > 0.9)
