from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest

from micromacro.cases.builtin import builtin_cases
from micromacro.cases.case import BiasSettings
from micromacro.cases.file import load_case
from micromacro.errors import InputError
from micromacro.systems.model import StochasticSystem, identity

SDE = 'system={kind="sde", drift="system.py:half", diffusion="system.py:flat", dimension=2, initial=[[1.0, 2.0]]%s}'


def message(case_file, *overrides: str) -> str:
    """The message for a mistake, less the path of the case file."""
    with pytest.raises(InputError) as caught:
        load_case(case_file, overrides)
    text = str(caught.value)
    assert "\n" not in text
    return text.replace(str(case_file), "case.toml")


def test_case_file_has_everything_it_says(case_file):
    case = load_case(case_file)
    assert (case.title, case.seed, case.budget, case.name) == ("Two wells", 3, 200_000_000, str(case_file))
    assert case.system.potential(jnp.zeros(2)) == 8.0
    assert case.system.kT == 1.0
    np.testing.assert_array_equal(case.system.mobility, [1.0, 1.0])
    np.testing.assert_array_equal(case.coarse(jnp.array([0.5, 2.0])), [0.5])
    assert case.coarse.periodic == (False,)
    assert case.bias == replace(BiasSettings(), windows=12)
    assert case.close.basins["left"] == (np.array([-1.8]), np.array([0.0]))
    above = case.close.observables["above"](jnp.array([0.0, 1.0]))
    assert above == 1.0
    assert above.dtype == float


MISTAKES = {
    "unknown key": (
        "bias.stepz=10",
        "command line: bias.stepz must be a key of [bias]; got the unknown key 'stepz'. Did you mean 'steps'?",
    ),
    "unknown section": (
        "closs.basins=1",
        "command line: closs must be a section or a key of the case; got the unknown key 'closs'. "
        "Did you mean 'close'?",
    ),
    "key of the other kind": (
        "system.drift='system.py:half'",
        "command line: system.drift must be a key of [system]; got the unknown key 'drift'. "
        "Known here: dimension, time_step, initial, kind, potential, kT, mobility.",
    ),
    "negative temperature": ("system.kT=-1", "command line: system.kT must be greater than 0; got -1."),
    "text for a number": ("system.kT='1'", "command line: system.kT must be a number; got '1'."),
    "truth for a number": ("system.time_step=true", "command line: system.time_step must be a number; got True."),
    "part of a step": ("bias.steps=1.5", "command line: bias.steps must be a whole number; got 1.5."),
    "no steps": ("bias.steps=0", "command line: bias.steps must be at least 1; got 0."),
    "negative seed": ("seed=-1", "command line: seed must be at least 0; got -1."),
    "not a number": ("system.initial=[[nan, 1.0]]", "command line: system.initial[0][0] must be finite; got nan."),
    "point of another dimension": (
        "system.initial=[[1.0, 2.0], [1.0]]",
        "command line: system.initial must hold points of 2 numbers each (the dimension); got [1.0].",
    ),
    "mobility of another dimension": (
        "system.mobility=[1, 2, 3]",
        "command line: system.mobility must be one number or 2 numbers (the dimension); got [1.0, 2.0, 3.0].",
    ),
    "range upside down": (
        "coarse.upper=-3",
        "command line: coarse.upper must be greater than 'lower' ([-1.8]) in every component; got [-3.0].",
    ),
    "range of another dimension": (
        "coarse.upper=[1, 2]",
        "command line: coarse.upper must have as many numbers as 'lower' (1); got [1.0, 2.0].",
    ),
    "flags of another dimension": (
        "coarse.periodic=[true, false]",
        "command line: coarse.periodic must have as many entries as 'lower' (1); got [True, False].",
    ),
    "basin upside down": (
        "close.basins.left=[[1], [0]]",
        "command line: close.basins.left must be its lower and then its upper corner; got [[1.0], [0.0]].",
    ),
    "basin of another dimension": (
        "close.basins.left=[[1, 2], [3, 4]]",
        "command line: close.basins.left must be two corners of 1 numbers each; got [[1.0, 2.0], [3.0, 4.0]].",
    ),
    "basin with one corner": (
        "close.basins.left=[[1]]",
        "command line: close.basins.left must have 2 entries or more; got [[1]].",
    ),
    "unusable name": (
        "close.observables.1st='system.py:above'",
        "command line: close.observables.1st must be a name of letters, digits and underscores; got '1st'.",
    ),
    "section that is no table": ("budget=3", "command line: budget must be a table; got 3."),
    "geometry without atoms": (
        'coarse={kind="torsion", atoms=[[0, 1, 2, 3]]}',
        "command line: coarse.kind must be 'function' or one that learns where system.kind is 'overdamped': "
        "it has no atoms; got 'torsion'.",
    ),
    "kind of coarse variable that is none": (
        "coarse.kind=torsions",
        "command line: coarse.kind must be 'function' or 'torsion' or 'distance' or 'angle' or 'radius-of-gyration' "
        "or 'rmsd' or 'components' or 'diffusion-map' or 'tica' or 'vamp' or 'vampnet'; got 'torsions'. "
        "Did you mean 'torsion'?",
    ),
    "generator of no kind": (
        "generator.kind=gam",
        "command line: generator.kind must be 'score' or 'flow' or 'gan' or 'matching' or 'kernel'; got 'gam'. "
        "Did you mean 'gan'?",
    ),
    "schedule of no name": (
        "generator.schedule=cosine",
        "command line: generator.schedule must be 'edm', 've' or 'vp'; got 'cosine'.",
    ),
    "kind that is none": (
        "system.kind=overdumped",
        "command line: system.kind must be 'overdamped' or 'sde' or 'openmm'; got 'overdumped'. "
        "Did you mean 'overdamped'?",
    ),
    "no reference": (
        "system.potential=potential",
        "command line: system.potential must name a function as 'file.py:function'; got 'potential'.",
    ),
    "no such file": (
        "system.potential=sistem.py:potential",
        "case.toml: system.potential must name a Python file that exists; got 'sistem.py' (no such file).",
    ),
    "file from the root": (
        "system.potential=/system.py:potential",
        "case.toml: system.potential must name a file relative to the case file; got '/system.py'.",
    ),
    "no such function": (
        "system.potential=system.py:potental",
        "case.toml: system.potential must name a function of 'system.py'; got 'potental'. Did you mean 'potential'?",
    ),
    "no function": (
        "coarse.function=system.py:NUMBER",
        "case.toml: coarse.function must name a function of 'system.py'; got 'NUMBER'.",
    ),
    "wrong shape": (
        "system.potential=system.py:coarse",
        "case.toml: system.potential must return shape () for an array of shape (2,); got shape (1,).",
    ),
    "coarse variable of another dimension": (
        "coarse.function=system.py:half",
        "case.toml: coarse.function must return shape (1,) or () for an array of shape (2,); got shape (2,).",
    ),
    "infinite potential": (
        "system.potential=system.py:infinite",
        "case.toml: system.potential must have a finite value at every initial point; got -inf at [-1. -1.].",
    ),
    "infinite force": (
        "system.potential=system.py:steep",
        "case.toml: system.potential must have a finite gradient at every initial point; got [inf  0.] at [-1. -1.].",
    ),
    "inverse of nothing": (
        SDE % ', hidden="system.py:half"',
        "command line: system.hidden must be left out where there is no 'observe' for it to invert; "
        "got 'system.py:half'.",
    ),
    "inverse of something else": (
        SDE % ', observe="system.py:half", hidden="system.py:half"',
        "case.toml: system.hidden must undo 'observe' at every initial point; got [0.25 0.5 ] for [1. 2.].",
    ),
    "no override": ("seed", "--set must be section.key=value; got 'seed'."),
    "override within a number": (
        "seed.x=3",
        "--set must name a key within a table, and 'seed' is none; got 'seed.x=3'.",
    ),
}


@pytest.mark.parametrize(("override", "expected"), MISTAKES.values(), ids=MISTAKES.keys())
def test_mistake_gets_one_message(case_file, override, expected):
    assert message(case_file, override) == expected


def test_numpy_instead_of_jax_is_named(case_file):
    text = message(case_file, "system.potential=system.py:with_numpy")
    assert text.startswith(
        "case.toml: system.potential must take one array of shape (2,) and be written with jax.numpy"
    )
    assert "TracerArrayConversionError" in text


@pytest.mark.parametrize("key", ["dimension", "potential", "initial", "kind"])
def test_missing_key(case_file, key):
    lines = [line for line in case_file.read_text().splitlines() if not line.startswith(f"{key} =")]
    case_file.write_text("\n".join(lines))
    assert message(case_file) == f"case.toml: system.{key} must be given; got nothing."


def test_mistake_in_the_file_names_the_file(case_file):
    case_file.write_text(case_file.read_text().replace("windows = 12", "windows = 1"))
    assert message(case_file) == "case.toml: bias.windows must be at least 2; got 1."


def test_invalid_toml(case_file):
    case_file.write_text("seed = = 3")
    assert message(case_file).startswith("case.toml: a case file must be valid TOML; got Invalid value (at line 1")


def test_python_file_that_fails(case_file):
    (case_file.parent / "constants.py").write_text("HEIGHT = hight\n")
    assert message(case_file) == (
        "case.toml: system.potential must name a file that can be imported; "
        "got NameError in 'system.py': name 'hight' is not defined."
    )


def test_unknown_case():
    requirement = "CASE must be a built-in case or the path of a case file"
    with pytest.raises(InputError, match=rf"^{requirement}; got 'hiden-barrier'\. Did you mean 'hidden-barrier'\?$"):
        load_case("hiden-barrier")


def test_two_cases_may_name_their_files_alike(case_file, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    for name in ("case.toml", "system.py"):
        (other / name).write_text((case_file.parent / name).read_text())
    (other / "constants.py").write_text("HEIGHT = 1.0\n")
    first, second = load_case(case_file), load_case(other / "case.toml")
    assert (first.system.potential(jnp.zeros(2)), second.system.potential(jnp.zeros(2))) == (8.0, 2.0)


def test_sde_is_seen_as_it_is_without_observation(case_file):
    system = load_case(case_file, [SDE % ""]).system
    assert isinstance(system, StochasticSystem)
    assert system.observe is identity
    assert system.hidden is identity
    assert not system.has_density


def test_sde_with_observation_and_density(case_file):
    keys = ', observe="system.py:half", hidden="system.py:double", log_density="system.py:potential"'
    system = load_case(case_file, [SDE % keys]).system
    np.testing.assert_array_equal(system.observe(jnp.array([1.0, 2.0])), [0.5, 1.0])
    np.testing.assert_array_equal(system.hidden(jnp.array([1.0, 2.0])), [2.0, 4.0])
    assert system.has_density


def test_observation_without_inverse(case_file):
    assert load_case(case_file, [SDE % ', observe="system.py:half"']).system.hidden is None


def test_overrides_of_a_builtin_case():
    case = load_case("hidden-barrier", ["bias.steps=7", "seed=5", "budget.force_evaluations=1e6", "couple.rounds=2"])
    plain = builtin_cases()["hidden-barrier"]()
    assert (case.bias.steps, case.seed, case.budget, case.couple.rounds) == (7, 5, 1_000_000, 2)
    assert case.bias.windows == plain.bias.windows
    assert case.exact is not None


def test_physics_of_a_builtin_case_is_fixed():
    assert message("hidden-barrier", "system.kT=2") == (
        "command line: system must be a section or a key of the case; got the unknown key 'system'. "
        "Known here: seed, explore, bias, generator, couple, budget, coarse, close."
    )


def test_a_misspelt_key_is_named_before_the_one_it_leaves_missing(case_file):
    case_file.write_text(case_file.read_text().replace("lower", "lowr", 1))
    assert "Did you mean 'lower'?" in message(case_file)
