"""The conditional laws that generators are judged on, all with exact draws and exact densities."""

from collections.abc import Callable
from functools import partial

from benchmarks.problems.problem import Problem
from benchmarks.problems.torus import torus_problem
from benchmarks.problems.two_moons import two_moons_problem
from benchmarks.problems.windows import bath_problem, half_moon_problem, hidden_barrier_problem, muller_brown_problem

__all__ = ["PROBLEMS", "Problem"]

PROBLEMS: dict[str, Callable[[], Problem]] = {
    "half-moon": half_moon_problem,
    "hidden-barrier": hidden_barrier_problem,
    "hidden-barrier-bath-20": partial(bath_problem, 20),
    "hidden-barrier-bath-60": partial(bath_problem, 60),
    "muller-brown": muller_brown_problem,
    "two-moons": two_moons_problem,
    "torus": torus_problem,
}
