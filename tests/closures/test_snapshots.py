"""Pairs of coarse values one lag apart."""

import numpy as np
import pytest

from micromacro.closures.snapshots import SnapshotPairs, snapshot_pairs
from micromacro.errors import InputError


def test_pairs_of_frames_start_everywhere_and_keep_their_walker(exact):
    coarse = exact.coarse([-5.0], [5.0], [False])
    values = np.arange(12.0).reshape(4, 3, 1) ** 2 / 30
    pairs = snapshot_pairs(coarse, values, 0.5, 1.0, force_evaluations=7)
    assert pairs.start.shape == (6, 1)
    np.testing.assert_array_equal(pairs.cluster, [0, 1, 2, 0, 1, 2])
    np.testing.assert_allclose(pairs.start, values[:2].reshape(-1, 1))
    np.testing.assert_allclose(pairs.displacement, (values[2:] - values[:2]).reshape(-1, 1))
    assert pairs.force_evaluations == 7
    assert pairs.select(pairs.cluster == 1).start.shape == (2, 1)


def test_a_walker_that_goes_round_within_a_lag_has_gone_all_the_way(exact):
    coarse = exact.coarse([-np.pi], [np.pi], [True])
    angle = 0.9 * np.arange(12.0)[:, None, None]
    pairs = snapshot_pairs(coarse, (angle + np.pi) % (2 * np.pi) - np.pi, 1.0, 9.0)
    np.testing.assert_allclose(pairs.displacement, 8.1)
    both = SnapshotPairs.between(coarse, np.array([[3.0]]), np.array([[-3.0]]), 0.1)
    np.testing.assert_allclose(both.displacement, 2 * np.pi - 6)


@pytest.mark.parametrize("lag", [0.7, 0.2, 2.0, 50.0])
def test_lags_that_the_frames_do_not_have_are_refused(exact, lag):
    coarse = exact.coarse([-5.0], [5.0], [False])
    with pytest.raises(InputError, match="lag"):
        snapshot_pairs(coarse, np.zeros((4, 2, 1)), 0.5, lag)


def test_numbers_that_are_not_finite_are_refused(exact):
    coarse = exact.coarse([-5.0], [5.0], [False])
    with pytest.raises(InputError, match="displacement must be finite; got 1"):
        SnapshotPairs.between(coarse, np.zeros((3, 1)), np.array([[0.0], [np.nan], [1.0]]), 0.5)
    with pytest.raises(InputError, match="lag must be positive"):
        SnapshotPairs.between(coarse, np.zeros((3, 1)), np.ones((3, 1)), 0.0)
