"""Lines, intervals and circles: differences by the shortest way, and back from JSON."""

import json

import numpy as np
import pytest

from micromacro.coordinates.space import Space
from micromacro.errors import InputError

MIXED = Space((-np.pi, 0.0, -np.inf), (np.pi, 1.0, np.inf), (True, False, False))


def test_differences_go_the_shortest_way_round():
    found = MIXED.difference(np.array([3.0, 0.9, 50.0]), np.array([-3.0, 0.1, -50.0]))
    np.testing.assert_allclose(found, [6 - 2 * np.pi, 0.8, 100.0], atol=1e-12)


def test_wrapping_changes_circles_alone():
    states = np.random.default_rng(0).normal(0, 20, (200, 3))
    wrapped = np.asarray(MIXED.wrap(states))
    assert np.array_equal(wrapped[:, 1:], states[:, 1:])
    assert np.all((wrapped[:, 0] >= -np.pi) & (wrapped[:, 0] < np.pi))
    np.testing.assert_allclose(np.exp(1j * wrapped[:, 0]), np.exp(1j * states[:, 0]), atol=1e-12)


def test_single_precision_stays_single():
    assert MIXED.difference(np.ones(3, np.float32), np.zeros(3, np.float32)).dtype == np.float32


def test_a_space_survives_json():
    assert Space.from_dict(json.loads(json.dumps(MIXED.as_dict(), allow_nan=False))) == MIXED


def test_a_box_holds_its_values_and_is_never_empty():
    box = Space.containing(np.array([[0.0, 2.0], [1.0, 2.0]]))
    assert box == Space((0.0, 1.5), (1.0, 2.5), (False, False))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(((0.0,), (1.0, 2.0), (False,)), "equal lengths", id="lengths"),
        pytest.param(((1.0,), (0.0,), (False,)), "greater than lower", id="order"),
        pytest.param(((0.0,), (np.inf,), (True,)), "period must be finite", id="period"),
    ],
)
def test_spaces_that_make_no_sense_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        Space(*arguments)
