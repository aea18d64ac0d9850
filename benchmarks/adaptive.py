"""Force evaluations until a target error is reached, adaptive over uniform work: `python -m benchmarks.adaptive`.

Both allocations have the same case, seed, target, checks and rule for the length of the next round: they differ in the
windows that the work goes to, alone. Everything before the closure counts: exploration, pulling walkers into windows,
the first pass, training data. The true error is the rms difference of F from quadrature over the cells below 6 kT,
minus its mean: an error bar that was small by luck shows as a true error well above the target.
"""

import argparse
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from micromacro import pipeline, stages
from micromacro.cases.case import BiasSettings, Case, GeneratorSettings, TargetSettings
from micromacro.cases.file import load_case
from micromacro.estimates.surface import LOW
from micromacro.progress import Progress
from micromacro.round_sizes import ADAPTIVE, UNIFORM
from micromacro.store import Store

BUDGET = 60_000_000
"""Beyond what any of these runs should need."""


@dataclass(frozen=True)
class Problem:
    """A built-in case: the error asked for in kT, whether a generator crosses hidden barriers, and its windows."""

    target: float
    coupled: bool
    bias: BiasSettings


PROBLEMS = {
    "hidden-barrier": Problem(0.03, True, BiasSettings(windows=16, walkers=16, steps=1600)),
    "muller-brown": Problem(0.015, True, BiasSettings(windows=20, walkers=16, steps=2000)),
    "two-coarse-variables": Problem(0.05, True, BiasSettings(windows=8, walkers=8, steps=1600)),
}


@dataclass(frozen=True)
class Outcome:
    """What one run cost and reached: errors in kT."""

    evaluations: int
    reported: float
    true: float
    met: bool


def problem_case(name: str, allocation: str, seed: int) -> Case:
    """The built-in case with its target; the kernel generator, as training is not what is compared."""
    problem, case = PROBLEMS[name], load_case(name)
    target = TargetSettings(problem.target, allocation=allocation)
    generator = GeneratorSettings("kernel")
    return replace(case, seed=seed, budget=BUDGET, bias=problem.bias, generator=generator, target=target)


def measure(name: str, allocation: str, seed: int) -> Outcome:
    """One run until its target, the closure left out."""
    case = problem_case(name, allocation, seed)
    with tempfile.TemporaryDirectory() as folder:
        run = stages.Run(case, Store(Path(folder)), Progress(quiet=True), stages.engine_for(case))
        found = pipeline.sample_windows(run, coupled=PROBLEMS[name].coupled)
    assert found.target is not None
    assert case.exact is not None
    assert case.exact.free_energy is not None
    surface = found.estimate.surface
    low = np.nan_to_num(surface.free_energy, nan=np.inf) < LOW
    error = (surface.free_energy - case.exact.free_energy(surface.grid.points))[low]
    return Outcome(run.engine.evaluations, found.target["reached"] or np.inf, float(np.std(error)), found.target["met"])


def ratio(adaptive: list[Outcome], uniform: list[Outcome]) -> tuple[float, float]:
    """The geometric mean over seeds of adaptive over uniform evaluations, with its standard error."""
    logs = np.log([a.evaluations / u.evaluations for a, u in zip(adaptive, uniform, strict=True)])
    mean = float(np.exp(logs.mean()))
    return mean, float(mean * np.std(logs, ddof=1) / np.sqrt(len(logs))) if len(logs) > 1 else float("nan")


def row(words: str, outcomes: list[Outcome]) -> str:
    """One line of the table: means over seeds, the true error as root mean square."""
    millions = np.mean([one.evaluations for one in outcomes]) / 1e6
    reported = np.mean([one.reported for one in outcomes])
    true = np.sqrt(np.mean([one.true**2 for one in outcomes]))
    met = sum(one.met for one in outcomes)
    return f"  {words:<10}{millions:>12.2f}{reported:>12.4f}{true:>12.4f}{met:>8} of {len(outcomes)}"


def main() -> None:
    """Print the table, a system at a time."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, help="how many, counted from 0")
    parser.add_argument("--cases", nargs="+", choices=sorted(PROBLEMS), default=list(PROBLEMS))
    asked = parser.parse_args()
    print(f"{'':<12}{'million':>12}{'reported':>12}{'true':>12}{'target':>8}")
    print(f"{'':<12}{'evaluations':>12}{'error kT':>12}{'error kT':>12}{'met':>8}")
    for name in asked.cases:
        print(f"{name}, target {PROBLEMS[name].target} kT", flush=True)
        found = {}
        for allocation in (UNIFORM, ADAPTIVE):
            found[allocation] = [measure(name, allocation, seed) for seed in range(asked.seeds)]
            print(row(allocation, found[allocation]), flush=True)
        mean, stderr = ratio(found[ADAPTIVE], found[UNIFORM])
        print(f"  ratio of evaluations, adaptive over uniform: {mean:.2f} ± {stderr:.2f}", flush=True)


if __name__ == "__main__":
    main()
