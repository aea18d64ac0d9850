import subprocess
import sys
from importlib import import_module

import pytest

import micromacro

NUMERICAL = [
    "systems",
    "coordinates",
    "cases.case",
    "sampling",
    "estimates",
    "generators",
    "coupling",
    "closures",
    "equation_free",
    "diffusion_maps",
    "learners",
]


def in_a_new_process(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.parametrize("name", NUMERICAL)
def test_numerical_parts_compute_in_64_bits(name):
    code = f"import os; os.environ.pop('JAX_ENABLE_X64'); import micromacro.{name}, jax; print(jax.numpy.ones(1).dtype)"
    assert in_a_new_process(code) == "float64"


def test_names_are_loaded_on_first_use():
    code = "import sys, micromacro; print('jax' in sys.modules); micromacro.Case; print('jax' in sys.modules)"
    assert in_a_new_process(code).split() == ["False", "True"]


@pytest.mark.parametrize("name", micromacro.__all__)
def test_every_public_name_is_there(name):
    assert getattr(micromacro, name) is not None
    assert name in dir(micromacro)


def test_run_stays_a_function_when_its_module_was_imported_first():
    import_module("micromacro.run")
    assert callable(micromacro.run)


def test_unknown_name():
    with pytest.raises(AttributeError, match="no attribute 'runn'"):
        micromacro.runn  # noqa: B018


def test_compilations_go_where_the_user_says(tmp_path):
    code = (
        "import os; os.environ['JAX_COMPILATION_CACHE_DIR'] = '/tmp/mine'; import micromacro.systems, jax; "
        "print(jax.config.values['jax_compilation_cache_dir'])"
    )
    assert in_a_new_process(code) == "/tmp/mine"
