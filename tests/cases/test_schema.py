from dataclasses import fields

import pytest

from micromacro.cases import case, schema


@pytest.mark.parametrize(
    ("section", "settings"),
    [
        (schema.BiasSection, case.BiasSettings),
        (schema.GeneratorSection, case.GeneratorSettings),
        (schema.CoupleSection, case.CoupleSettings),
        (schema.CloseSection, case.CloseSettings),
    ],
)
def test_case_file_offers_every_setting(section, settings):
    assert list(section.model_fields) == [field.name for field in fields(settings)]
