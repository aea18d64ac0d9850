"""Passage times counted between boxes of coarse values."""

import numpy as np
import pytest

from micromacro.closures.langevin_passages import in_box, passage_times_of
from micromacro.coordinates.coarse import CoarseVariable
from micromacro.errors import InputError
from tests.closures.inertial import CIRCLE

BAND = CoarseVariable(lambda q: q[:2], np.array([-np.pi, -1.5]), np.array([np.pi, 1.5]), (True, False))


def test_passage_times_of_a_jump_process():
    """Exponential waiting of mean 50 and 20, cut off at 300 by the end; few walkers; a box that goes round the seam."""
    rng, walkers, frames = np.random.default_rng(0), 4, 30_000
    state, saved = np.zeros(walkers, int), []
    for _ in range(frames):
        state = np.where(rng.random(walkers) < np.where(state == 0, 1 / 50, 1 / 20), 1 - state, state)
        saved.append(state)
    z = np.where(np.array(saved) == 0, np.pi - 0.1, 0.5)[..., None]
    z[::3] *= np.where(z[::3] > 3, -1, 1)  # the same basin from beyond the seam
    boxes = ([2.5], [-2.5]), ([0.0], [1.0])
    whole = passage_times_of(CIRCLE, z, 1.0, *boxes)
    assert abs(whole.forward - 50) < 3 * whole.forward_stderr
    assert abs(whole.backward - 20) < 3 * whole.backward_stderr
    assert whole.forward_stderr == pytest.approx(50 / np.sqrt(whole.events[0]), rel=0.5)
    short = z.reshape(-1, 30, walkers, 1).swapaxes(0, 1).reshape(30, -1, 1)
    cut = passage_times_of(CIRCLE, short, 1.0, *boxes)
    assert abs(cut.forward - 50) < 4 * cut.forward_stderr
    with pytest.raises(InputError, match="not overlap"):
        passage_times_of(CIRCLE, z, 1.0, boxes[0], ([2.0], [3.1]))


def test_no_passage_is_infinite():
    z = np.full((100, 8, 1), 0.5)
    found = passage_times_of(CIRCLE, z, 1.0, ([0.0], [1.0]), ([2.0], [3.0]))
    assert found.events == (0, 0)
    assert found.forward == np.inf


def test_boxes_of_two_variables():
    z = np.array([[3.0, 0.0], [-3.0, 0.0], [0.0, 0.0], [3.0, 2.0]])
    assert in_box(BAND, z, ([2.5, -1.0], [-2.5, 1.0])).tolist() == [True, True, False, False]
