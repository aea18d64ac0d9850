"""Where work goes: Neyman's closed form, the least that every window gets, and lineages of copies."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from micromacro.coordinates.coarse import CoarseVariable
from micromacro.coupling.allocation import (
    MOST_COPIES,
    Spending,
    Walkers,
    columns_of,
    first_columns,
    origins,
    share_copies,
    spending,
)
from micromacro.sampling.engine import Tuning
from micromacro.sampling.table import zero_table
from micromacro.sampling.windows import Windows

LINE = CoarseVariable(lambda q: q[:1], np.array([-1.0]), np.array([1.0]), (False,))


def windows(count: int, stiffness: float = 1e6) -> Windows:
    centers = jnp.linspace(-1, 1, count)[:, None]
    return Windows(centers, jnp.array([stiffness]), zero_table(LINE, 8))


def test_two_windows_are_worked_on_in_proportion_to_their_standard_deviations():
    copies = share_copies(Spending(np.zeros(2), np.array([1.0, 9.0])), 40, added=100.0)
    np.testing.assert_array_equal(copies, [10, 30])


def test_the_squared_error_of_neymans_allocation_is_the_squared_sum_of_deviations():
    spent = Spending(np.zeros(2), np.array([1.0, 9.0]))
    total = 4000.0
    assert spent.squared_error(np.array([1000.0, 3000.0])) == pytest.approx((1 + 3) ** 2 / total)
    assert spent.squared_error(np.array([2000.0, 2000.0])) == pytest.approx(2 * (1 + 9) / total)


def test_work_that_is_done_is_not_done_again():
    # the first window has had all that it is to get of 400: only the least goes there
    copies = share_copies(Spending(np.array([100.0, 0.0]), np.array([1.0, 9.0])), 4, added=100.0)
    np.testing.assert_array_equal(copies, [1, 3])


@given(
    variance=st.lists(st.floats(0, 1e6), min_size=2, max_size=12),
    work=st.floats(0, 1e4),
    per_window=st.integers(1, 6),
)
def test_every_window_gets_a_copy_and_no_more_are_given_than_there_are(variance, work, per_window):
    count = len(variance)
    copies = share_copies(Spending(np.full(count, work), np.array(variance)), per_window * count, 50.0)
    assert copies.sum() == per_window * count
    assert copies.min() >= 1


@pytest.mark.parametrize("variance", [[4.0, 1.0, 0.3], [2.0, 2.0, 2.0], [0.0, 5.0, 1.0]])
def test_no_other_way_to_share_copies_leaves_a_smaller_error(variance):
    spent = Spending(np.array([30.0, 10.0, 20.0]), np.array(variance))
    found = spent.squared_error(share_copies(spent, 9, 10.0) * 10.0)
    others = [(a, b, 9 - a - b) for a in range(1, 8) for b in range(1, 9 - a)]
    assert found <= min(spent.squared_error(10.0 * np.array(copies)) for copies in others) * (1 + 1e-12)


def test_a_window_that_looks_quiet_is_not_starved():
    # no chain of the first window ever crossed its hidden barrier: by its own chains there is nothing left to learn
    spent = spending(LINE, windows(3), 40, np.full(3, 1e4), np.concatenate([np.zeros(40), np.ones(80)]))
    copies = share_copies(spent, 12, 1e4)
    assert copies[0] >= 1
    # at least a quarter of the mean, over any number of rounds
    assert copies[0] / copies.mean() >= 0.25


def test_one_window_gets_at_most_so_many_copies():
    copies = share_copies(Spending(np.ones(40), np.array([1e6] + [0.0] * 39)), 160, 1.0)
    assert copies[0] == MOST_COPIES


def test_variances_add_up_to_that_of_the_chains():
    rng = np.random.default_rng(0)
    per_chain, work = rng.exponential(size=5 * 8), rng.uniform(1, 2, 5)
    spent = spending(LINE, windows(5, 8.0), 8, work, per_chain)
    assert spent.squared_error(np.zeros(5)) == pytest.approx(per_chain.sum())


def test_few_chains_are_steadied_by_the_windows_around():
    # equal windows of two chains each: the scatter of their own estimates is noise, and shrinks
    rng = np.random.default_rng(1)
    chains = rng.chisquare(1, size=(40, 2))
    own = chains.sum(axis=1)
    spent = spending(LINE, windows(40, 8.0), 2, np.ones(40), chains.ravel())
    assert np.std(spent.variance) < 0.5 * np.std(own)


def test_a_window_without_frames_takes_the_variance_of_its_neighbours():
    spent = spending(LINE, windows(3, 8.0), 10, np.array([1.0, 0.0, 1.0]), np.repeat([0.1, 0.0, 0.1], 10))
    assert spent.variance[1] == pytest.approx(spent.variance[0])


def test_copies_go_on_from_the_walkers_of_their_window_one_by_one():
    before = columns_of(np.array([1, 2, 1]))
    columns = columns_of(np.array([2, 3, 1]))
    np.testing.assert_array_equal(first_columns(columns), [0, 2, 5])
    found = origins(before, columns)
    np.testing.assert_array_equal(found, [0, 0, 1, 2, 1, 3])
    position = np.arange(4 * 5.0).reshape(4, 5, 1)
    tuning = Tuning(jnp.array([0.1, 0.2, 0.3]), jnp.ones((3, 1, 1)))
    walkers = Walkers(position, before, tuning, np.zeros((3, 5), int))
    placed = walkers.placed(columns)
    np.testing.assert_array_equal(placed.position, position[found])
    np.testing.assert_allclose(placed.tuning.step_size, [0.1, 0.1, 0.2, 0.2, 0.2, 0.3])


def test_added_windows_come_last_and_are_tuned_like_the_nearest():
    tuning = Tuning(jnp.array([0.1, 0.2]), jnp.ones((2, 1, 1)))
    walkers = Walkers(np.zeros((2, 3, 1)), np.arange(2), tuning, np.zeros((2, 3), int))
    more = walkers.with_added(np.ones((1, 3, 1)), [1])
    placed = more.placed(np.array([0, 1, 2, 2]))
    np.testing.assert_array_equal(placed.position[:, 0, 0], [0, 0, 1, 1])
    np.testing.assert_allclose(placed.tuning.step_size, [0.1, 0.2, 0.2, 0.2])
    # which well the walkers of an added window came from is not known
    assert placed.start.shape == (2, 3)
