import re
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

from micromacro.cases import schema
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
    sections = [schema.CaseFile, schema.OverdampedSection, schema.StochasticSection]
    sections += [schema.FunctionSection, schema.LearnedSection, schema.ExploreSection]
    sections += [schema.BiasSection, schema.GeneratorSection, schema.CoupleSection, schema.CloseSection]
    for key in {key for section in [*sections, schema.BudgetSection] for key in section.model_fields}:
        assert f"`{key}`" in page or f"`[{key}]`" in page, key


def example_of(page: str) -> str:
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)
    return example


@pytest.mark.slow
@pytest.mark.parametrize("page", ["README.md", "docs/equation-free.md"])
def test_python_example_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(example_of(page), page, "exec"), {})
