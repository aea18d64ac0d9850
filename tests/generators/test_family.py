"""What families share: settings where moves correct, steps that are told, validation rows that hold all copies."""

import jax
import numpy as np
import pytest

from micromacro.coordinates.coarse import CoarseVariable
from micromacro.coordinates.space import Space
from micromacro.coupling.pairs import blurred_pairs
from micromacro.generators import flow
from micromacro.generators.flow import FlowSettings
from micromacro.generators.gan import GanSettings
from micromacro.generators.kernel import KernelSettings
from micromacro.generators.score import ScoreSettings

PLANE = Space.unbounded(2)


def test_moves_ask_for_a_third_of_the_training():
    assert FlowSettings().for_moves(PLANE).training_steps == FlowSettings().all_steps(2) // 3
    assert GanSettings(density="flow").for_moves(PLANE).training_steps == GanSettings(density="flow").all_steps(2) // 3


def test_moves_ask_for_fewer_steps_of_a_sampler_in_few_dimensions():
    settings = ScoreSettings()
    steps = [settings.for_moves(Space.unbounded(dimension)).steps_of_sampler for dimension in (2, 10, 20)]
    assert steps[0] < steps[1] < steps[2] == settings.steps_of_sampler


def test_moves_on_a_circle_ask_for_no_fewer_steps():
    circle = Space((-np.inf, 0.0), (np.inf, 1.0), (False, True))
    assert ScoreSettings().for_moves(circle).steps_of_sampler == ScoreSettings().steps_of_sampler


@pytest.mark.parametrize(
    "settings",
    [FlowSettings(training_steps=700), ScoreSettings(training_steps=700, sampler_steps=9), KernelSettings()],
    ids=["flow", "score", "kernel"],
)
def test_what_was_given_is_kept(settings):
    assert settings.for_moves(PLANE) == settings


def test_nothing_corrects_a_generator_without_a_density():
    for settings in GanSettings(), ScoreSettings(sampler="stochastic"):
        assert settings.for_moves(PLANE) == settings


@pytest.mark.parametrize("warm", [False, True], ids=["new", "warm"])
@pytest.mark.parametrize(
    "settings",
    [
        FlowSettings(width=4, layers=1, training_steps=300, batch_size=8),
        GanSettings(width=4, training_steps=300, batch_size=8, density="flow"),
        GanSettings(width=4, training_steps=300, batch_size=8, candidates=1),
        KernelSettings(centres=16),
    ],
    ids=["flow", "gan with a flow", "gan without a choice", "kernel"],
)
def test_as_many_steps_are_done_as_were_told(settings, warm, monkeypatch):
    monkeypatch.setattr("micromacro.generators.distilled.FEWEST_DRAWS", 200)
    rng, told = np.random.default_rng(0), []
    q, z = rng.normal(size=(200, 2)), rng.uniform(-1, 1, (200, 1))
    data = q, z, np.ones(200), jax.random.key(0)
    first = settings.fit(*data, on_chunk=told.append)
    if warm:
        told.clear()
        settings.fit(*data, condition=first.condition, previous=first, on_chunk=told.append)
    assert sum(told) == settings.steps_for(2, warm=warm)


def test_copies_of_a_frame_at_several_conditions_are_all_held_out_or_none(monkeypatch):
    """The represented states of a frame differ from condition to condition: the rows must be chosen before."""
    seen = []
    monkeypatch.setattr(flow, "train", lambda objective, model, data, *rest: seen.append(data) or _Trained(model))
    rng = np.random.default_rng(0)
    frames = rng.normal(size=(1000, 2))
    coarse = CoarseVariable(lambda q: q[:1], np.array([-2.0]), np.array([2.0]), (False,))
    pairs = blurred_pairs(frames, frames[:, :1], coarse, np.array([0.1]), rng)
    FlowSettings().fit(pairs.q, pairs.z, pairs.weight, jax.random.key(0), condition=Space((-3.0,), (3.0,), (False,)))
    copies = seen[0].held_out.reshape(3, -1)
    assert np.all(copies == copies[0])
    assert 0.05 < copies.mean() < 0.15


class _Trained:
    def __init__(self, model):
        self.model = model
