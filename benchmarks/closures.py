"""Prints how far the closure of each route is from its own exact answer: `python -m benchmarks.closures [CASE ...]`.

Every case is run with its defaults and a flow. The exact answer of the projection is that of lag zero; bursts and the
learned equation see the homogenised one. A route that does not apply says why.
"""

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Float

from micromacro.cases.builtin import builtin_cases
from micromacro.cases.case import GeneratorSettings
from micromacro.closures.files import PROJECTED, ROUTES
from micromacro.closures.table import ClosureTable
from micromacro.progress import Progress
from micromacro.run import Result, run

CASES = ("hidden-barrier", "quadratic-slow-manifold", "multiplicative-closure", "three-atom")
LOW = 8.0
ROUNDING = 1e-9
HEAD = (("z² b", 7), ("z² D", 7), ("rms b", 8), ("rms D", 8), ("worst b", 9), ("worst D", 9), ("cost", 10))


def main() -> None:
    """Run the cases and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="*", default=list(CASES))
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    print(
        f"{'case':25}{'route':11}{'z² b':>7}{'z² D':>7}{'rms b':>8}{'rms D':>8}{'worst b':>9}{'worst D':>9}{'cost':>10}"
    )
    for name in asked.cases:
        case = replace(builtin_cases()[name](), generator=GeneratorSettings(kind="flow"), seed=asked.seed)
        with tempfile.TemporaryDirectory() as folder:
            show(name, run(case, Path(folder) / "out", progress=Progress(quiet=True)))


def show(name: str, result: Result) -> None:
    """One line a route."""
    reasons = result.summary["reduction"]["reasons"]
    for route in ROUTES:
        table = result.closures.get(route)
        if table is None:
            print(f"{name:25}{route:11}none: {reasons.get(route, 'not asked for')}", flush=True)
            continue
        figures = judge(result, table, route)
        words = "".join(f"{figure:{width}.3f}" for figure, width in zip(figures, (7, 7, 8, 8, 9, 9), strict=True))
        print(f"{name:25}{route:11}{words}{cost(result, route):10.1e}", flush=True)


def judge(result: Result, table: ClosureTable, route: str) -> Float[np.ndarray, "6"]:
    """Mean squared z-scores of b and D, then errors as shares of the range of b and of D: rms, and largest.

    Where F is below 8 kT. No z-score where all is exact to rounding.
    """
    exact = result.case.exact
    assert exact is not None, "built-in cases have exact answers"
    names = ("drift", "diffusion") if route == PROJECTED else ("homogenised_drift", "homogenised_diffusion")
    answers = [getattr(exact, one) for one in names]
    known = table.finite & (np.nan_to_num(result.free_energy.free_energy, nan=np.inf) < LOW)
    if None in answers or not known.any():
        return np.full(6, np.nan)
    drift, diffusion = (answer(table.z[known]) for answer in answers)
    b, matrix = table.drift[known] - drift, table.diffusion[known] - diffusion
    scores = [
        np.mean((error / stderr[known]) ** 2) if np.max(np.abs(error)) > ROUNDING * np.max(np.abs(values)) else np.nan
        for error, stderr, values in ((b, table.drift_stderr, drift), (matrix, table.diffusion_stderr, diffusion))
    ]
    b, matrix = np.abs(b) / np.ptp(drift), np.abs(matrix) / np.max(np.abs(diffusion), axis=(1, 2), keepdims=True)
    return np.array([*scores, np.sqrt(np.mean(b**2)), np.sqrt(np.mean(matrix**2)), b.max(), matrix.max()])


def cost(result: Result, route: str) -> float:
    """Force evaluations that the route spent: of the projection, everything before it."""
    stages = result.summary["stages"]
    own = {"bursts": ["bursts"], "learned": ["full_model"]}
    names = own.get(route, [name for name in stages if name not in ("bursts", "full_model", "effective_equation")])
    return float(sum(stages[name]["force_evaluations"] for name in names))


if __name__ == "__main__":
    main()
