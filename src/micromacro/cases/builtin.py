"""The built-in cases: a table that costs nothing to read, and constructors that import what they need when called."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from micromacro.cases.case import Case


@dataclass(frozen=True)
class CaseDescription:
    """What the list of cases says of one.

    **Arguments:**

    - `title`: for people.
    - `dimension`: of the micro state that is simulated, `D`.
    - `coarse`: the coarse variable in words.
    - `known`: what is known exactly; the same phrase as `ExactAnswers.known`, or nothing.
    """

    title: str
    dimension: int
    coarse: str
    known: str


NOTHING = "nothing"

BUILTIN_DESCRIPTIONS: dict[str, CaseDescription] = {
    "hidden-barrier": CaseDescription("Hidden barrier", 2, "x", "F, hidden weight, moments, b, D by quadrature"),
    "hidden-barrier-bath": CaseDescription(
        "Hidden barrier with 18 curved baths", 20, "x", "F, hidden weight, moments, b, D by quadrature"
    ),
    "half-moon": CaseDescription(
        "Half-moon", 2, "hypot(u, v)", "moments, b, D in closed form; no free energy: x is not stationary"
    ),
    "half-moon-confined": CaseDescription(
        "Half-moon confined in a double well", 2, "hypot(u, v)", "F, moments, b, D in closed form"
    ),
    "muller-brown": CaseDescription("Müller-Brown surface at kT = 15", 2, "x", "F, moments, b, D by quadrature"),
    "three-atom": CaseDescription("Three-atom molecule", 3, "angle ABC", "F, moments, b, D by quadrature"),
    "quadratic-slow-manifold": CaseDescription(
        "Quadratic slow manifold", 4, "x4 - x3² - x2²", "F, moments, b, D, correlations from a Lyapunov equation"
    ),
    "multiplicative-closure": CaseDescription(
        "Multiplicative closure on the circle, ε = 0.01", 2, "y (periodic)", "F, moments, b, D, each to O(ε)"
    ),
    "curved-level-sets": CaseDescription(
        "Curved level sets", 2, "q1 + ½ q2²", "F, hidden weight, moments, b, D by quadrature"
    ),
    "half-moon-learned": CaseDescription(
        "Half-moon confined in a double well, its slow variable unknown",
        2,
        "learned: diffusion map of (u, v), Mahalanobis kernel from bursts",
        "F and draws of hypot(u, v), which a good ξ is a function of",
    ),
    "hidden-barrier-rotated": CaseDescription(
        "Hidden barrier with 8 curved baths, rotated",
        10,
        "learned: diffusion map of the state",
        "draws of the whole law; F, hidden weight, b, D of x by quadrature",
    ),
    "two-coarse-variables": CaseDescription(
        "Two coarse variables over a hidden barrier", 3, "(x, w)", "F, hidden weight, moments, b, D by quadrature"
    ),
    "alanine-dipeptide-vacuum": CaseDescription("Alanine dipeptide in vacuum", 66, "φ (torsion)", NOTHING),
    "alanine-dipeptide-vacuum-psi": CaseDescription(
        "Alanine dipeptide in vacuum, φ hidden", 66, "ψ (torsion)", NOTHING
    ),
    "alanine-dipeptide-vacuum-phi-psi": CaseDescription(
        "Alanine dipeptide in vacuum, both torsions", 66, "(φ, ψ) (torsions)", NOTHING
    ),
    "alanine-dipeptide-implicit": CaseDescription("Alanine dipeptide in implicit solvent", 66, "φ (torsion)", NOTHING),
    "alanine-dipeptide-implicit-psi": CaseDescription(
        "Alanine dipeptide in implicit solvent, φ hidden", 66, "ψ (torsion)", NOTHING
    ),
    "alanine-dipeptide-implicit-phi-psi": CaseDescription(
        "Alanine dipeptide in implicit solvent, both torsions", 66, "(φ, ψ) (torsions)", NOTHING
    ),
    "alanine-dipeptide-learned": CaseDescription(
        "Alanine dipeptide in vacuum, its slow variable unknown",
        66,
        "learned: diffusion map of distances between heavy atoms",
        NOTHING,
    ),
}


def builtin_cases() -> dict[str, Callable[[], Case]]:
    """Name to constructor of every built-in case, in the order of the table; nothing is built until one is called."""
    return {name: partial(_build, name) for name in BUILTIN_DESCRIPTIONS}


def _build(name: str) -> Case:
    from micromacro.cases.library import CONSTRUCTORS

    return CONSTRUCTORS[name](name, BUILTIN_DESCRIPTIONS[name].title)
