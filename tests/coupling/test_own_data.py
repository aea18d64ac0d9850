import numpy as np
import pytest

from micromacro.coordinates.coarse import CoarseVariable
from micromacro.coupling.own_data import WeightedStates, weighted_segment, window_segments
from micromacro.errors import InputError
from micromacro.molecules.data_files import Umbrella

KT = 2.5


def states(sizes, seed=0):
    rng = np.random.default_rng(seed)
    count = sum(sizes)
    number = np.concatenate([np.arange(float(size)) for size in sizes])
    trajectory = np.repeat(np.arange(len(sizes)), sizes)
    return WeightedStates(number[:, None], rng.normal(size=(count, 1)), np.zeros(count), trajectory)


LINE = CoarseVariable(lambda q: q[:1], np.array([-3.0]), np.array([3.0]), (False,))


def test_blocks_keep_the_ends_of_trajectories_in_order():
    segment = weighted_segment(LINE, states([103, 47]))
    position = segment.frames.position[:, 0, :, 0]
    assert position.shape == (17, 8)
    assert list(segment.start[0]) == [0] * 6 + [1] * 2
    assert np.array_equal(np.diff(position, axis=0), np.ones((16, 8)))
    assert (position[-1, 5], position[-1, 7]) == (102, 46)
    assert (position[0, 0], position[0, 6]) == (1, 13)


def test_walkers_of_one_window_are_its_trajectories():
    umbrellas = [Umbrella((0.0,), (2.0,)), Umbrella((1.0,), (2.0,)), Umbrella((0.0,), (2.0,)), Umbrella((1.0,), (2.0,))]
    (segment,) = window_segments(LINE, states([80, 60, 80, 60]), umbrellas, KT)
    assert segment.windows.count == 2
    assert np.allclose(segment.windows.stiffness, 2.0 / KT)
    assert np.array_equal(segment.start, [[0] * 4 + [1] * 4] * 2)
    assert list(segment.first) == [0, 5]
    assert np.array_equal(segment.frames.position[5:, 1, 0, 0], np.arange(15.0))


@pytest.mark.parametrize("sizes", [[30], [400, 3]])
def test_trajectories_that_are_too_short(sizes):
    with pytest.raises(InputError, match=r"data\.trajectories must have at least"):
        weighted_segment(LINE, states(sizes))
