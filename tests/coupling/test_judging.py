"""Figures of a generator by itself: near their best for equal laws, far from it for wrong ones."""

import jax.numpy as jnp
import numpy as np
import pytest

from micromacro.coordinates.coarse import CoarseVariable
from micromacro.coupling.checks import RawDraws
from micromacro.coupling.estimate import Segment
from micromacro.coupling.judging import DRAWS, Quality, judge_draws, judge_weights
from micromacro.coupling.weights import generator_free_energy
from micromacro.sampling.production import Frames
from micromacro.sampling.table import zero_table
from micromacro.sampling.windows import Windows

CENTERS = np.array([[-0.6], [0.0], [0.6]])
COARSE = CoarseVariable(lambda q: q[:1], np.array([-1.0]), np.array([1.0]), (False,))
FREE = np.full(2, np.inf)


def states(shape, upper, rng):
    """x about the window's centre, y in one of two wells: `(windows, …, 2)`."""
    x = CENTERS.reshape(3, *(1,) * (len(shape) - 1)) + 0.2 * rng.normal(size=shape)
    return np.stack([x, np.where(rng.random(shape) < upper, 1, -1) + 0.2 * rng.normal(size=shape)], axis=-1)


def judged(upper, period=FREE):
    rng = np.random.default_rng(0)
    position = np.moveaxis(states((3, 200, 16), 0.7, rng), 1, 0)
    frames = Frames(position, position[..., :1], np.zeros(position.shape[:3]), np.ones(3))
    windows = Windows(jnp.asarray(CENTERS), jnp.array([25.0]), zero_table(COARSE, 20))
    drawn = states((3, 1024), upper, rng)
    raw = RawDraws(np.arange(3), drawn, drawn[..., :1])
    return judge_draws(raw, lambda state: state, Segment(windows, frames, np.zeros(3, int)), CENTERS, period, rng)


@pytest.mark.parametrize("period", [FREE, np.array([np.inf, 2 * np.pi])], ids=["line", "circle"])
def test_equal_laws_look_equal(period):
    found = judged(0.7, period)
    assert abs(found["classifier_accuracy"] - 0.5) < 4.5 * found["classifier_stderr"]
    assert found["mode_recall"] == 1.0
    assert abs(found["energy_coefficient"]) < 0.02
    # two samples of n: the distance of distribution functions is of order n to the minus one half
    assert found["sliced_wasserstein"] < 4.5 / np.sqrt(DRAWS)


def test_a_missing_well_is_seen_by_every_figure():
    good, bad = judged(0.7), judged(0.0)
    assert bad["classifier_accuracy"] > 0.7
    assert bad["mode_recall"] == 0.5
    assert bad["energy_coefficient"] > 0.1
    assert bad["sliced_wasserstein"] > 3 * good["sliced_wasserstein"]


def test_the_figures_of_weights_are_means_over_windows():
    rng = np.random.default_rng(1)
    log_weight = np.stack([np.zeros(20_000), rng.normal(size=20_000)], axis=1)
    found = judge_weights(np.array([0.8, 0.6]), generator_free_energy(log_weight))
    assert found["acceptance"] == pytest.approx(0.7)
    # log-normal weights of unit variance are worth 1/e of their number
    assert found["effective_fraction"] == pytest.approx((1 + np.exp(-1)) / 2, abs=0.02)
    assert Quality(**found).as_dict()["classifier_accuracy"] is None
