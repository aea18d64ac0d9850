"""What settings become where moves correct a generator."""

import pytest

from micromacro.generators.flow import FlowSettings
from micromacro.generators.gan import GanSettings
from micromacro.generators.kernel import KernelSettings
from micromacro.generators.score import ScoreSettings


def test_moves_ask_for_a_third_of_the_training():
    assert FlowSettings().for_moves(2).training_steps == FlowSettings().all_steps(2) // 3
    assert GanSettings(density="flow").for_moves(2).training_steps == GanSettings(density="flow").all_steps(2) // 3


def test_moves_ask_for_fewer_steps_of_a_sampler_in_few_dimensions():
    settings = ScoreSettings()
    assert settings.for_moves(2).sampler_steps_for(2) == settings.sampler_steps_for(2) // 2
    assert settings.for_moves(20).sampler_steps_for(20) == settings.sampler_steps_for(20)


@pytest.mark.parametrize(
    "settings",
    [FlowSettings(training_steps=700), ScoreSettings(training_steps=700, sampler_steps=9), KernelSettings()],
    ids=["flow", "score", "kernel"],
)
def test_what_was_given_is_kept(settings):
    assert settings.for_moves(2) == settings


def test_nothing_corrects_a_generator_without_a_density():
    for settings in GanSettings(), ScoreSettings(sampler="stochastic"):
        assert settings.for_moves(2) == settings
