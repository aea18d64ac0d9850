"""Where results come from: every environment that had a part in them, and a word where they differ."""

import os
from importlib import metadata

import pytest

from micromacro import provenance as module
from micromacro.cases.file import load_case
from micromacro.provenance import LIBRARIES, environment, mixed_environments, provenance

HERE = {
    "version": "1",
    "python": "3.11",
    "machine": "linux",
    "devices": ["cpu"],
    "threads": "3",
    "libraries": dict.fromkeys(LIBRARIES, "1.0"),
}
NEWER = HERE | {"python": "3.12", "libraries": HERE["libraries"] | {"jax": "1.1"}}

FEWER_CORES = HERE | {"threads": "2"}


def described(monkeypatch, *environments: dict) -> dict:
    """The provenance of a run that went on in one environment after the other."""
    found: dict = {}
    for one in environments:
        monkeypatch.setattr(module, "environment", lambda one=one: one)
        found = provenance(load_case("hidden-barrier"), "umbrella", {}, found)
    return found


def test_the_environment_is_that_of_this_process():
    found = environment()
    assert found["libraries"]["jax"] == metadata.version("jax")
    assert found["devices"] == ["cpu"]
    assert found["threads"] == os.environ["NPROC"]


def test_an_environment_is_noted_once(monkeypatch):
    found = described(monkeypatch, HERE, HERE)
    assert len(found["environments"]) == 1
    assert mixed_environments(found) is None
    assert (found["case"], found["method"]) == ("hidden-barrier", "umbrella")


@pytest.mark.parametrize("order", [(HERE, NEWER), (HERE, NEWER, NEWER)])
def test_a_run_that_goes_on_elsewhere_says_what_changed(monkeypatch, order):
    found = described(monkeypatch, *order)
    assert len(found["environments"]) == 2
    said = mixed_environments(found)
    assert said is not None
    assert "python 3.11 to 3.12, jax 1.0 to 1.1" in said


def test_a_run_that_goes_on_with_other_threads_says_so(monkeypatch):
    said = mixed_environments(described(monkeypatch, HERE, FEWER_CORES))
    assert said is not None
    assert "threads 3 to 2" in said
