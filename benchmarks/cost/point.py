"""One point of the measurements of cost, in a process of its own: `python -m benchmarks.cost.point run --windows 10`.

Prints the seconds of each part of the work as JSON.
"""

import argparse
import json
import tempfile
import time

import jax
import numpy as np

from micromacro.cases.case import BiasSettings, Case, CloseSettings, CoupleSettings, GeneratorSettings
from micromacro.coordinates.coarse import CoarseVariable
from micromacro.coupling.learning import fit_generator
from micromacro.coupling.pairs import blurred_pairs
from micromacro.generators.kinds import family
from micromacro.molecules.system import observed_space
from micromacro.run import run
from micromacro.systems.hidden_barrier import LOWER, UPPER, WELLS, bath_potential, centres, first_coordinate
from micromacro.systems.model import OverdampedSystem

WIDTH = 0.1
WITHIN_WELLS = 0.2


def case(dimension: int, bias: BiasSettings) -> Case:
    """The hidden barrier with baths, by one round of umbrella windows, and no longer simulations of the dynamics."""
    initial = np.stack([np.asarray(centres(dimension - 2, well)) for well in WELLS])
    system = OverdampedSystem(bath_potential(dimension), dimension, initial, time_step=1e-3)
    coarse = CoarseVariable(first_coordinate, np.array([LOWER]), np.array([UPPER]), (False,))
    close = CloseSettings(basins={"left": ([LOWER], [0.0]), "right": ([0.0], [UPPER])}, bursts=0, full_model=0)
    couple = CoupleSettings(rounds=1)
    return Case("cost", "Cost", system, coarse, bias, GeneratorSettings("kernel"), couple, close)


def sampled(options: argparse.Namespace) -> dict[str, float]:
    """Seconds of the stages of a run, of what is between them, and of the report; force evaluations."""
    bias = BiasSettings(windows=options.windows, walkers=options.walkers, steps=options.steps)
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        result = run(case(options.dimension, bias), folder, method="umbrella")
        seconds = time.perf_counter() - began
        began = time.perf_counter()
        result.write_report()
        report = time.perf_counter() - began
    stages = {name: cost["wall_seconds"] for name, cost in result.summary["stages"].items()}
    rest = seconds - sum(stages.values())
    return (
        {"run": seconds}
        | stages
        | {"between stages": rest, "report": report}
        | {"evaluations": result.summary["force_evaluations"]}
    )


def trained(options: argparse.Namespace) -> dict[str, float]:
    """Seconds of making pairs of so many states, and of training on them."""
    rng = np.random.default_rng(0)
    wells = np.concatenate([WELLS, WELLS * [1, -1]])
    q = wells[rng.integers(len(wells), size=options.points)] + rng.normal(0, WITHIN_WELLS, (options.points, 2))
    problem = case(2, BiasSettings())
    width = np.array([WIDTH])
    began = time.perf_counter()
    pairs = blurred_pairs(q, q[:, :1], problem.coarse, width, rng)
    ready = time.perf_counter()
    space = observed_space(problem.system, problem.coarse)
    settings = family(options.kind, {"training_steps": options.training_steps}).for_moves(space)
    fit_generator(settings, pairs, space, problem.coarse, width, jax.random.key(0))
    return {"learn": time.perf_counter() - began, "pairs": ready - began, "training": time.perf_counter() - ready}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", choices=["run", "train"])
    parser.add_argument("--windows", type=int, default=24)
    parser.add_argument("--walkers", type=int, default=16)
    parser.add_argument("--dimension", type=int, default=2)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--points", type=int, default=10_000)
    parser.add_argument("--kind", default="score")
    parser.add_argument("--training-steps", type=int, default=1000)
    options = parser.parse_args()
    print(json.dumps(sampled(options) if options.work == "run" else trained(options)))


if __name__ == "__main__":
    main()
