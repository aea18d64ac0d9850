import re
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

from micromacro.cases import schema
from micromacro.cases.feature_sections import FEATURES
from micromacro.cases.molecule_sections import ComponentSection, DeviationSection, MolecularSection, NamedSection
from micromacro.cli.main import app

ROOT = Path(__file__).parents[1]


@pytest.fixture
def update():
    """The script that writes the help texts."""
    spec = spec_from_file_location("update", ROOT / "docs" / "update.py")
    assert spec
    assert spec.loader
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_help_texts_are_those_of_the_commands(update):
    page = update.PAGE.read_text(encoding="utf-8")
    assert page == update.updated(page), "run: python docs/update.py"
    documented = re.findall(r"<!-- help: (\w+) -->", page)
    assert documented == [command.callback.__name__ for command in app.registered_commands if command.callback]


def test_every_key_of_the_case_file_is_documented():
    page = (ROOT / "docs" / "case-file.md").read_text(encoding="utf-8")
    sections = [schema.CaseFile, schema.OverdampedSection, schema.StochasticSection, schema.FunctionSection]
    sections += [schema.LearnedSection, schema.ExploreSection, schema.BiasSection, schema.GeneratorSection]
    sections += [MolecularSection, NamedSection, DeviationSection, ComponentSection]
    sections += [schema.CoupleSection, schema.CloseSection, *FEATURES.values()]
    for key in {key for section in [*sections, schema.BudgetSection] for key in section.model_fields}:
        assert f"`{key}`" in page or f"`[{key}]`" in page, key


def test_every_kind_of_feature_and_of_learner_is_documented():
    page = (ROOT / "docs" / "case-file.md").read_text(encoding="utf-8")
    for kind in (*FEATURES, *schema.LEARNED):
        assert f'`"{kind}"`' in page, kind


def example_of(page: str) -> str:
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)
    return example


@pytest.mark.slow
@pytest.mark.parametrize("page", ["README.md", "docs/equation-free.md", "docs/learned-coarse-variables.md"])
def test_python_example_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(example_of(page), page, "exec"), {})
