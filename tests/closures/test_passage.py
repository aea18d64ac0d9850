"""Passage times and committors against quadrature."""

import numpy as np
import pytest
from scipy import integrate

from micromacro.closures.passage import committor, mean_passage_time, observed_transition_times, transition_times
from micromacro.closures.reduced import ReducedDynamics, simulate
from micromacro.errors import InputError

LEFT, RIGHT = -0.9, 0.9


def weight(x):
    return np.exp(-3 * (x**2 - 1) ** 2)


def diffusion(x):
    return 1 + x**2 / 4


def below(x):
    return integrate.quad(weight, -1.8, x)[0]


def double_well_of(exact, cells):
    """F = 3 (z² - 1)² and D = 1 + z²/4; the cells to the left of -0.9, to the right of 0.9."""
    coarse = exact.coarse([-1.8], [1.8], [False])
    table = exact.reversible(
        coarse, (cells,), lambda z: 12 * z * (z**2 - 1), lambda z: diffusion(z)[:, :, None], lambda z: z / 2
    )
    return ReducedDynamics.from_table(table, coarse), table.z[:, 0] < LEFT, table.z[:, 0] > RIGHT


def second_order(errors):
    return np.all(-np.diff(np.log2(np.abs(errors))) > 1.8)


def test_transition_time_is_the_exact_passage_time_from_face_to_face(exact):
    truth = integrate.quad(lambda x: below(x) / (weight(x) * diffusion(x)), LEFT, RIGHT)[0]
    errors = []
    for cells in (60, 120, 240):
        found = transition_times(*double_well_of(exact, cells))
        errors.append(found.forward / truth - 1)
        assert found.backward == pytest.approx(found.forward, rel=1e-6)  # by symmetry
    assert abs(errors[1]) < 4e-3
    assert second_order(errors), errors


def test_committor_is_the_share_of_the_resistance(exact):
    def resistance(x):
        return 1 / (weight(x) * diffusion(x))

    total = integrate.quad(resistance, LEFT, RIGHT)[0]
    errors = []
    for cells in (60, 120, 240):
        dynamics, left, right = double_well_of(exact, cells)
        z = dynamics.grid.points[:, 0]
        truth = np.array([integrate.quad(resistance, LEFT, x)[0] / total for x in z[~left & ~right]])
        found = committor(dynamics, left, right)
        errors.append(np.max(np.abs(found[~left & ~right] - truth)))
        assert np.all(found[left] == 0)
        assert np.all(found[right] == 1)
    assert errors[1] < 1e-3
    assert second_order(errors), errors


def test_passage_time_from_a_basin(exact):
    """From the stationary density below -0.9: the double integral averaged over it."""

    def from_start(y):
        return integrate.quad(lambda x: below(x) / (weight(x) * diffusion(x)), y, RIGHT)[0]

    truth = integrate.quad(lambda y: weight(y) * from_start(y), -1.8, LEFT)[0] / below(LEFT)
    dynamics, left, right = double_well_of(exact, 120)
    assert mean_passage_time(dynamics, left, right) == pytest.approx(truth, rel=4e-3)
    start = np.where(left, weight(dynamics.grid.points[:, 0]), 0.0)
    assert mean_passage_time(dynamics, start, right) == pytest.approx(truth, rel=4e-3)


def test_driven_circle(exact):
    """Constant drift v round a circle: q = (1 - e^(-vx)) / (1 - e^(-vl)) at x between two sets at a distance of l."""
    coarse, speed = exact.coarse([0.0], [6.0], [True]), 2.0
    table = exact.table(coarse, (300,), lambda z: np.full_like(z, speed), lambda z: np.ones((len(z), 1, 1)))
    dynamics, z = ReducedDynamics.from_table(table, coarse), table.z[:, 0]
    first, second = z < 0.5, (z > 3.0) & (z < 3.5)
    inner = (z > 0.5) & (z < 3.0)
    found = committor(dynamics, first, second)[inner]
    truth = np.expm1(-speed * (z[inner] - 0.5)) / np.expm1(-2.5 * speed)
    np.testing.assert_allclose(found, truth, atol=2e-4)
    times = transition_times(dynamics, first, second)
    # a first passage that begins at the face 0.5 or 6: each as often as the flux through it and back is of either side
    ahead, behind = transition_flux(speed, 2.5, 2.5)
    assert 6 / (times.forward + times.backward) == pytest.approx(ahead + behind, rel=2e-3)


def transition_flux(speed, ahead, behind):
    """Transitions from one set to the next ahead, and behind, per time and density of one: the flux between walls.

    Between sets at distance l the density of those labelled obeys v m - m' = J with m = 1 at the one, 0 at the other.
    """
    return speed / -np.expm1(-speed * ahead), speed / np.expm1(speed * behind)


def sheared_well(exact):
    """F = 2 (x² - 1)² + 2 (y - x/2)² with constant D of correlation 0.5; the cells left of -0.6 and right of 0.6."""
    matrix = np.array([[1.0, 0.35], [0.35, 0.5]])

    def drift(z):
        x, y = z.T
        return -np.stack([8 * x * (x**2 - 1) - 2 * (y - x / 2), 4 * (y - x / 2)], axis=1) @ matrix

    coarse = exact.coarse([-1.8, -2.2], [1.8, 2.2], [False, False])
    table = exact.table(coarse, (24, 24), drift, lambda z: np.tile(matrix, (len(z), 1, 1)))
    return ReducedDynamics.from_table(table, coarse), table.z[:, 0] < -0.6, table.z[:, 0] > 0.6


@pytest.mark.parametrize("plane", [False, True])
def test_simulated_trajectories_agree(exact, plane):
    """Counting transitions in simulated trajectories, reflecting in one and two dimensions, with off-diagonal D."""
    if plane:
        dynamics, first, second = sheared_well(exact)
    else:
        dynamics, first, second = double_well_of(exact, 120)
    rng = np.random.default_rng(0)
    starts = dynamics.grid.points[rng.choice(np.flatnonzero(first), 400)]
    trajectories = simulate(dynamics, starts, 10.0, seed=3, saves=201, largest_step=4e-3)
    cell = dynamics.grid.cell(trajectories.z.reshape(-1, starts.shape[1])).reshape(400, -1)
    label = np.where(first[cell], 0, np.where(second[cell], 1, -1))
    for frame in range(1, label.shape[1]):
        label[:, frame] = np.where(label[:, frame] < 0, label[:, frame - 1], label[:, frame])
    exposure = (label[:, :-1] == 0).sum(axis=1) * 0.05
    events = ((label[:, :-1] == 0) & (label[:, 1:] == 1)).sum(axis=1)
    found = exposure.sum() / events.sum()
    stderr = np.std(exposure - found * events) * np.sqrt(400) / events.sum()
    seen = observed_transition_times(dynamics, first, second, 0.05).forward
    assert abs(found - seen) < 3.5 * stderr + 0.01 * seen, (found, seen, stderr)
    assert stderr < 0.06 * seen


def test_looking_more_often_approaches_the_continuous_time(exact):
    dynamics, left, right = double_well_of(exact, 120)
    truth = transition_times(dynamics, left, right).forward
    found = [observed_transition_times(dynamics, left, right, interval).forward for interval in (0.04, 0.01)]
    assert truth < found[1] < found[0] < 1.2 * truth
    assert found[0] - truth == pytest.approx(2 * (found[1] - truth), rel=0.25)  # of order one half in the interval


def test_sets_that_overlap_touch_or_lie_outside_are_refused(exact):
    dynamics, left, right = double_well_of(exact, 60)
    with pytest.raises(InputError, match="overlap"):
        committor(dynamics, left, ~right)
    with pytest.raises(InputError, match="between"):
        transition_times(dynamics, left, ~left)
    with pytest.raises(InputError, match="first set"):
        committor(dynamics, np.zeros(60, bool), right)
    with pytest.raises(InputError, match="start"):
        mean_passage_time(dynamics, np.zeros(60), right)
