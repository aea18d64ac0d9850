"""Constructors of the built-in cases: a reference system with the settings of its run."""

from collections.abc import Callable
from dataclasses import replace

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from micromacro.cases.alanine import ALANINE_CONSTRUCTORS
from micromacro.cases.case import BiasSettings, Case, CloseSettings, CoarsenSettings
from micromacro.coordinates.coarse import CoarseVariable, unlearned
from micromacro.systems.curved_levels import curved_level_sets, steep_well
from micromacro.systems.exact import ExactAnswers
from micromacro.systems.half_moon import CENTRE, half_moon, half_moon_confined
from micromacro.systems.hidden_barrier import hidden_barrier, hidden_barrier_bath, upper_well
from micromacro.systems.muller_brown import muller_brown
from micromacro.systems.multiplicative import multiplicative_closure
from micromacro.systems.reference import Reference
from micromacro.systems.rotated_barrier import rotated_barrier
from micromacro.systems.slow_manifold import quadratic_slow_manifold
from micromacro.systems.three_atom import MIDDLE, three_atom
from micromacro.systems.two_coarse import two_coarse_variables
from micromacro.systems.two_coarse import upper_well as third_upper_well


def component(index: int) -> Callable:
    """The observable that is one component of the observed state."""
    return lambda observed: observed[index]


def bond_length(observed: Float[Array, "3"]) -> Float[Array, ""]:
    """Length of the bond BC of the three-atom molecule."""
    return jnp.hypot(observed[1], observed[2])


def coarse_variable(reference: Reference) -> CoarseVariable:
    """The coarse variable of a reference system over its range."""
    return CoarseVariable(reference.coarse, np.array(reference.lower), np.array(reference.upper), reference.periodic)


def halves(reference: Reference, middle: float, names: tuple[str, str] = ("left", "right")) -> dict[str, tuple]:
    """Two basins: the range cut in two across the first coarse component at `middle`."""
    lower, upper = np.array(reference.lower), np.array(reference.upper)
    low_cut, high_cut = lower.copy(), upper.copy()
    low_cut[0] = high_cut[0] = middle
    return {names[0]: (lower, high_cut), names[1]: (low_cut, upper)}


def build(name: str, title: str, reference: Reference, **settings) -> Case:
    """A case from a reference system; `settings` are fields of `Case`, which refuses those it does not know."""
    return Case(
        name=name,
        title=title,
        system=reference.system,
        coarse=coarse_variable(reference),
        exact=reference.exact,
        **settings,
    )


def learning(
    name: str, title: str, reference: Reference, known: str, coarsen: CoarsenSettings, close: CloseSettings
) -> Case:
    """A case whose coarse variable is learned; of its exact answers those that do not depend on it."""
    exact = ExactAnswers(known, sample_stationary=reference.exact.sample_stationary)
    coarse = unlearned(coarsen.components)
    return Case(name, title, reference.system, coarse, close=close, budget=40_000_000, exact=exact, coarsen=coarsen)


def _hidden_barrier(name: str, title: str) -> Case:
    reference = hidden_barrier()
    close = CloseSettings({"hidden_weight": upper_well, "mean_y": component(1)}, halves(reference, 0.0))
    bias = BiasSettings(windows=24, stiffness=80.0, steps=2000, walkers=64)
    return build(name, title, reference, bias=bias, close=close, budget=20_000_000)


def _hidden_barrier_bath(name: str, title: str) -> Case:
    reference = hidden_barrier_bath(20)
    observables = {"hidden_weight": upper_well, "mean_y": component(1), "mean_bath": component(2)}
    bias = BiasSettings(windows=24, stiffness=80.0, steps=2000, walkers=64)
    close = CloseSettings(observables, halves(reference, 0.0))
    return build(name, title, reference, bias=bias, close=close, budget=100_000_000)


def _half_moon(name: str, title: str) -> Case:
    close = CloseSettings({"mean_u": component(0), "mean_v": component(1)})
    return build(name, title, half_moon(), close=close, budget=10_000_000)


def _half_moon_confined(name: str, title: str) -> Case:
    reference = half_moon_confined()
    close = CloseSettings({"mean_u": component(0), "mean_v": component(1)}, halves(reference, CENTRE))
    return build(name, title, reference, close=close, budget=20_000_000)


def _half_moon_learned(name: str, title: str) -> Case:
    reference = half_moon_confined()
    close = CloseSettings({"mean_u": component(0), "mean_v": component(1)})
    coarsen = CoarsenSettings(kernel="mahalanobis", covariance="bursts")
    return learning(
        name, title, reference, "F and draws of hypot(u, v), which a good ξ is a function of", coarsen, close
    )


def _hidden_barrier_rotated(name: str, title: str) -> Case:
    reference = rotated_barrier(10)
    close = CloseSettings({"mean_q1": component(0), "mean_q2": component(1)})
    case = learning(name, title, reference, reference.exact.known, CoarsenSettings(), close)
    return replace(case, bias=BiasSettings(steps=1000, walkers=32))


def _muller_brown(name: str, title: str) -> Case:
    reference = muller_brown()
    close = CloseSettings({"mean_y": component(1)}, halves(reference, 0.0))
    return build(name, title, reference, close=close, budget=20_000_000)


def _three_atom(name: str, title: str) -> Case:
    reference = three_atom()
    close = CloseSettings({"mean_bond": bond_length, "mean_x_c": component(1)}, halves(reference, MIDDLE))
    return build(name, title, reference, close=close, budget=20_000_000)


def _quadratic_slow_manifold(name: str, title: str) -> Case:
    close = CloseSettings({"mean_x3": component(2), "mean_x4": component(3)})
    return build(name, title, quadratic_slow_manifold(), close=close, budget=20_000_000)


def _multiplicative_closure(name: str, title: str) -> Case:
    close = CloseSettings({"mean_z": component(1), "sine_z": lambda observed: jnp.sin(observed[1])})
    bias = BiasSettings(steps=20_000, walkers=16)
    return build(name, title, multiplicative_closure(), bias=bias, close=close, budget=30_000_000)


def _curved_level_sets(name: str, title: str) -> Case:
    reference = curved_level_sets()
    close = CloseSettings({"hidden_weight": steep_well, "mean_q2": component(1)}, halves(reference, 0.0))
    return build(name, title, reference, close=close, budget=20_000_000)


def _two_coarse_variables(name: str, title: str) -> Case:
    reference = two_coarse_variables()
    close = CloseSettings({"hidden_weight": third_upper_well, "mean_y": component(2)}, halves(reference, 0.0))
    bias = BiasSettings(windows=12, steps=1000, walkers=32)
    return build(name, title, reference, bias=bias, close=close, budget=50_000_000)


CONSTRUCTORS: dict[str, Callable[[str, str], Case]] = {
    "hidden-barrier": _hidden_barrier,
    "hidden-barrier-bath": _hidden_barrier_bath,
    "half-moon": _half_moon,
    "half-moon-confined": _half_moon_confined,
    "half-moon-learned": _half_moon_learned,
    "hidden-barrier-rotated": _hidden_barrier_rotated,
    "muller-brown": _muller_brown,
    "three-atom": _three_atom,
    "quadratic-slow-manifold": _quadratic_slow_manifold,
    "multiplicative-closure": _multiplicative_closure,
    "curved-level-sets": _curved_level_sets,
    "two-coarse-variables": _two_coarse_variables,
    **ALANINE_CONSTRUCTORS,
}
