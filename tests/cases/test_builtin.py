"""The built-in cases: a table that costs nothing, and constructors that keep what it says."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from micromacro.cases.builtin import BUILTIN_DESCRIPTIONS, builtin_cases
from micromacro.cases.file import load_case
from micromacro.errors import InputError
from micromacro.molecules.system import MolecularSystem

NAMES = list(BUILTIN_DESCRIPTIONS)
CASES = {name: construct() for name, construct in builtin_cases().items()}
KNOWN = [name for name, case in CASES.items() if case.coarsen is None]
MOLECULES = [name for name, case in CASES.items() if isinstance(case.system, MolecularSystem)]
PLAIN = [name for name in NAMES if name not in MOLECULES]
TWO = ("two-coarse-variables", "alanine-dipeptide-vacuum-phi-psi", "alanine-dipeptide-implicit-phi-psi")


def test_the_table_is_read_without_jax_and_openmm():
    code = "import sys, micromacro.cases.builtin as b; assert b.builtin_cases(); "
    code += "print({'jax', 'openmm', 'mdtraj'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_every_promised_case_is_there():
    promised = {
        "hidden-barrier",
        "hidden-barrier-bath",
        "half-moon",
        "half-moon-confined",
        "muller-brown",
        "three-atom",
        "quadratic-slow-manifold",
        "multiplicative-closure",
        "curved-level-sets",
        "two-coarse-variables",
        "half-moon-learned",
        "hidden-barrier-rotated",
        "alanine-dipeptide-vacuum",
        "alanine-dipeptide-implicit",
    }
    assert promised <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_case_is_what_the_table_says(name):
    case, described = CASES[name], BUILTIN_DESCRIPTIONS[name]
    assert (case.name, case.title, case.system.dimension) == (name, described.title, described.dimension)
    assert (case.exact.known if case.exact else "nothing") == described.known
    assert case.budget is not None
    assert case.close.observables


@pytest.mark.parametrize("name", [name for name in NAMES if not name.endswith("-psi")])
def test_observables_are_scalars_of_the_observed_state(name):
    case = CASES[name]
    states = jnp.asarray(case.system.initial)
    for observable in case.close.observables.values():
        values = jax.jit(jax.vmap(lambda state, f=observable: f(case.system.observe(state))))(states)
        assert values.shape == (len(states),)
        assert jnp.isfinite(values).all()


@pytest.mark.parametrize("name", NAMES)
def test_basins_lie_in_the_range_and_do_not_overlap(name):
    case = CASES[name]
    for lower, upper in case.close.basins.values():
        assert (np.asarray(lower) >= case.coarse.lower).all()
        assert (np.asarray(upper) <= case.coarse.upper).all()
        assert (np.asarray(lower) < np.asarray(upper)).all()
    if case.close.basins:
        left, right = case.close.basins.values()
        assert left[1][0] == right[0][0]


@pytest.mark.parametrize("name", KNOWN)
def test_the_coarse_variable_is_defined_on_observed_states(name):
    case = CASES[name]
    value = case.coarse(case.system.observe(jnp.asarray(case.system.initial[0])))
    assert value.shape == (case.coarse.dimension,)
    assert case.coarse.dimension == (2 if name in TWO else 1)


@pytest.mark.parametrize("name", PLAIN)
def test_one_step_of_the_dynamics_is_small(name):
    """The time step resolves the drift at the starting points: a step moves less than its noise does, or 0.2."""
    case = CASES[name]
    states = jnp.asarray(case.system.initial)
    move = case.system.time_step * jax.jit(jax.vmap(case.system.drift))(states)
    noise = jnp.sqrt(case.system.time_step) * jax.jit(jax.vmap(case.system.diffusion))(states)
    assert (jnp.abs(move) < jnp.maximum(3 * noise, 0.2)).all()


def test_the_hidden_barrier_has_the_settings_of_the_contract():
    case = CASES["hidden-barrier"]
    assert (case.bias.windows, case.bias.stiffness, case.bias.steps, case.bias.walkers) == (24, 80.0, 2000, 64)
    assert case.budget == 20_000_000
    assert CASES["hidden-barrier-bath"].budget == 100_000_000
    weight = case.close.observables["hidden_weight"]
    assert [float(weight(jnp.array([0.0, y]))) for y in (-1.0, 1.0)] == [0.0, 1.0]


@pytest.mark.parametrize("name", sorted(set(NAMES) - set(KNOWN)))
def test_a_coarse_variable_that_is_not_learned_yet_says_so(name):
    with pytest.raises(InputError, match="learned before it is evaluated"):
        CASES[name].coarse(jnp.zeros(2))


def test_settings_of_learning_are_for_coarse_variables_that_are_learned():
    assert load_case("half-moon-learned", ["coarse.points=500"]).coarsen.points == 500
    with pytest.raises(InputError, match=r"coarse\.points must be left out where the coarse variable is known"):
        load_case("hidden-barrier", ["coarse.points=500"])


def test_a_target_is_a_setting_of_every_case():
    keys = ["budget.target_error=0.05", "budget.error_of=hidden_weight", "budget.allocation=uniform"]
    target = load_case("hidden-barrier", keys).target
    assert (target.error, target.of, target.allocation) == (0.05, "hidden_weight", "uniform")
    assert target.sizes_rounds
    assert not load_case("hidden-barrier").target.sizes_rounds


@pytest.mark.parametrize(
    "setting", ["budget.target_error=0", "budget.target_error=nan", "budget.allocation=sideways", "budget.error=0.1"]
)
def test_a_target_that_means_nothing_is_refused(setting):
    with pytest.raises(InputError, match=r"budget\."):
        load_case("hidden-barrier", [setting])
