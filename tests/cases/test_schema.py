from dataclasses import fields

import pytest

from micromacro.cases import case, schema
from micromacro.cli.run import Generator
from micromacro.generators.kinds import KINDS


@pytest.mark.parametrize(
    ("section", "settings"),
    [
        (schema.BiasSection, case.BiasSettings),
        (schema.GeneratorSection, case.GeneratorSettings),
        (schema.CoupleSection, case.CoupleSettings),
        (schema.CloseSection, case.CloseSettings),
        (schema.ExploreSection, case.ExploreSettings),
        (schema.LearnedSection, case.CoarsenSettings),
    ],
)
def test_case_file_offers_every_setting(section, settings):
    assert set(section.model_fields) == {field.name for field in fields(settings)}


def test_settings_of_generators_are_those_of_some_kind():
    known = {field.name for settings in KINDS.values() for field in fields(settings)}
    # what is said of the molecule instead of a kind
    offered = {field.name for field in fields(case.GeneratorSettings)} - {"kind", "exact", "heavy_atoms"}
    assert offered <= known
    # of the adaptive sampler, whose density no move may use, and what `heavy_atoms` sets
    assert known - offered == {"tolerance", "divergence", "apart"}


def test_a_run_offers_every_kind():
    assert set(schema.GeneratorSection.model_fields["kind"].annotation.__args__[0].__args__) == set(KINDS)
    assert {kind.value for kind in Generator} == set(KINDS)
