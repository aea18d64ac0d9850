"""`[coarse]` of a case file whose coarse variable is learned: what it may set, and what a mistake is told."""

import jax.numpy as jnp
import numpy as np
import pytest

from micromacro.cases.case import CoarsenSettings
from micromacro.cases.file import load_case
from micromacro.errors import InputError

FUNCTION = 'function = "system.py:coarse"\nlower = [-1.8]\nupper = [1.8]'
BASINS = "basins = { left = [[-1.8], [0.0]], right = [[0.0], [1.8]] }"
BOTH = '[{ kind = "state" }, { kind = "function", function = "system.py:half" }]'


@pytest.fixture
def learned_file(case_file):
    """The same case, its coarse variable to be learned."""
    text = case_file.read_text().replace(FUNCTION, 'kind = "diffusion-map"').replace(BASINS, "")
    case_file.write_text(text)
    return case_file


def message(case_file, *overrides: str) -> str:
    with pytest.raises(InputError) as caught:
        load_case(case_file, overrides)
    text = str(caught.value)
    assert "\n" not in text
    return text.replace(str(case_file), "case.toml")


def test_what_is_left_out_has_its_default(learned_file):
    case = load_case(learned_file)
    assert case.coarsen == CoarsenSettings()
    assert case.coarse.dimension == 1
    with pytest.raises(InputError, match="learned before it is evaluated"):
        case.coarse(jnp.zeros(2))


def test_a_known_coarse_variable_is_not_learned(case_file):
    assert load_case(case_file).coarsen is None
    assert load_case(case_file, ["coarse.kind=function"]).coarsen is None


KEYS = {
    "components": 2,
    "rounds": 3,
    "tolerance": 0.01,
    "points": 400,
    "walkers": 4,
    "steps": 50,
    "copies": 10,
    "burst_steps": 2,
    "alpha": 0.5,
    "bandwidth": 0.3,
    "neighbours": 9,
    "landmarks": 77,
    "lag": 0.25,
    "width": 8,
    "depth": 1,
    "training_steps": 30,
    "covariance": "bursts",
    "kernel": "mahalanobis",
}


def test_every_key_reaches_the_settings(learned_file):
    overrides = [f"coarse.{name}={value}" for name, value in KEYS.items()]
    case = load_case(learned_file, [*overrides, "coarse.surrogate=true"])
    assert {name: getattr(case.coarsen, name) for name in KEYS} == KEYS
    assert case.coarsen.surrogate is True
    assert case.coarse.dimension == 2


@pytest.mark.parametrize("kind", ["diffusion-map", "tica", "vamp", "vampnet"])
def test_every_kind_is_known(learned_file, kind):
    assert load_case(learned_file, [f"coarse.kind={kind}"]).coarsen.kind == kind


def test_features_are_stacked_in_the_order_of_the_file(learned_file):
    features = load_case(learned_file, [f"coarse.features={BOTH}"]).coarsen.features
    np.testing.assert_allclose(features(jnp.array([1.0, 2.0])), [1.0, 2.0, 0.5, 1.0])
    one = load_case(learned_file, ["coarse.features=system.py:half"]).coarsen.features
    np.testing.assert_allclose(one(jnp.array([1.0, 2.0])), [0.5, 1.0])
    assert load_case(learned_file).coarsen.features is None


def test_corners_of_basins_have_a_number_for_each_component(learned_file):
    basin = "close.basins.left=[[-1, -1], [0, 0]]"
    assert "two corners of 1 numbers" in message(learned_file, basin)
    load_case(learned_file, [basin, "coarse.components=2"])


MISTAKES = {
    "unknown key": (
        "coarse.point=300",
        "command line: coarse.point must be a key of [coarse]; got the unknown key 'point'. Did you mean 'points'?",
    ),
    "key of a function": (
        "coarse.lower=[1.0]",
        "command line: coarse.lower must be a key of [coarse]; got the unknown key 'lower'.",
    ),
    "steepness of nothing": ("coarse.alpha=1.5", "command line: coarse.alpha must be at most 1; got 1.5."),
    "negative alpha": ("coarse.alpha=-0.5", "command line: coarse.alpha must be at least 0; got -0.5."),
    "few points": ("coarse.points=50", "command line: coarse.points must be at least 100; got 50."),
    "no rounds": ("coarse.rounds=0", "command line: coarse.rounds must be at least 1; got 0."),
    "four components": ("coarse.components=4", "command line: coarse.components must be at most 3; got 4."),
    "kernel of no name": (
        "coarse.kernel=cosine",
        "command line: coarse.kernel must be 'gaussian', 'variable' or 'mahalanobis'; got 'cosine'.",
    ),
    "no lag": ("coarse.lag=0", "command line: coarse.lag must be greater than 0; got 0."),
    "kind that is none": ("coarse.kind=diffusion_map", "Did you mean 'diffusion-map'?"),
    "features of no kind": ('coarse.features=[{kind="distance"}]', "coarse.features[0]"),
    "features without a kind": ("coarse.features=[{pairs=[[0,1]]}]", "coarse.features[0].kind must be given"),
    "unknown key of features": (
        'coarse.features=[{kind="distances", pair=[[0, 1]]}]',
        "got the unknown key 'pair'. Did you mean 'pairs'?",
    ),
    "pairs out of range": (
        'coarse.features=[{kind="state"}, {kind="distances", spatial_dimension=1, pairs=[[0, 2]]}]',
        "coarse.features[1].pairs must",
    ),
    "no features": ("coarse.features=[]", "command line: coarse.features must have 1 entries or more; got []."),
    "no such function": (
        "coarse.features=system.py:halve",
        "coarse.features[0].function must name a function of 'system.py'; got 'halve'. Did you mean 'half'?",
    ),
    "no reference": ("coarse.features=half", "must name a function as 'file.py:function'; got 'half'."),
    "features with numpy": ("coarse.features=system.py:with_numpy", "coarse.features[0].function must take one array"),
}


@pytest.mark.parametrize(("override", "expected"), MISTAKES.values(), ids=MISTAKES.keys())
def test_mistake_gets_one_message(learned_file, override, expected):
    assert expected in message(learned_file, override)


def test_settings_of_a_builtin_case_that_is_learned_may_be_set():
    case = load_case("hidden-barrier-rotated", ["coarse.points=500", "coarse.components=2"])
    assert (case.coarsen.points, case.coarse.dimension) == (500, 2)
    plain = load_case("hidden-barrier-rotated")
    assert (plain.coarsen.points, plain.coarse.dimension) == (CoarsenSettings().points, 1)


@pytest.mark.parametrize("name", ["hidden-barrier", "two-coarse-variables"])
def test_those_of_one_that_is_known_may_not(name):
    with pytest.raises(InputError, match=r"coarse\.points must be left out where the coarse variable is known"):
        load_case(name, ["coarse.points=500"])


def test_the_kind_of_a_builtin_case_is_fixed():
    with pytest.raises(InputError, match="unknown key 'kind'"):
        load_case("half-moon-learned", ["coarse.kind=tica"])
