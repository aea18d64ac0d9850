"""Every generator on every problem: `python -m benchmarks.generators [--problems a,b] [--generators score,flow]`.

Each is fitted to the same pairs for several seeds and judged on conditions that no pair was near. Seconds of training
are those of the first fit in a fresh cache, compilation included; those of the further seeds, which find everything
compiled, stand beside them.
"""

import argparse
import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.fitting import Weights, draw, fit, settings_of, weigh
from benchmarks.judging import told_apart
from benchmarks.problems import PROBLEMS, Problem
from micromacro.generators.kinds import KINDS

PAIRS_SEED = 1


@dataclass(frozen=True)
class Outcome:
    """What one fit of one generator to one problem came to; accuracies by held-out condition."""

    problem: str
    generator: str
    seed: int
    pairs: int
    training_seconds: float
    compiled: bool
    accuracy: list[float]
    sampling_cold_seconds: float
    sampling_seconds: float
    weights: Weights | None


def run(problem: Problem, name: str, options: argparse.Namespace) -> list[Outcome]:
    """Fit and judge one generator on one problem for each seed."""
    count = options.pairs or problem.pair_count
    pairs = problem.pairs(count, np.random.default_rng(PAIRS_SEED))
    settings = settings_of(name, options.training_steps)
    outcomes = []
    for seed in range(options.seeds):
        fitted = fit(problem, settings, pairs, seed, fresh=seed == 0)
        draws = draw(problem, fitted.generator, seed)
        weights = weigh(problem, fitted.generator, seed)
        accuracy = told_apart(problem, draws.states, classifier=options.classifier, processes=options.processes)
        seconds = fitted.seconds, fitted.compiled, accuracy, draws.cold_seconds, draws.seconds
        outcomes.append(Outcome(problem.name, name, seed, count, *seconds, weights))
    return outcomes


HEADER = (
    f"{'problem':24}{'generator':10}{'train s':>8}{'again s':>8}{'C2ST':>7}{'worst':>7}"
    f"{'accept':>8}{'|dlogZ|':>9}{'±':>8}{'eff.':>6}{'10k s':>7}{'cold s':>7}{'w. /s':>8}"
)


def row(outcomes: list[Outcome]) -> str:
    """One line of the table: means over seeds and conditions, but the worst where it says so and for |Δ log Z|."""
    first, again = outcomes[0], [outcome.training_seconds for outcome in outcomes[1:]]
    accuracy = np.array([outcome.accuracy for outcome in outcomes])
    line = f"{first.problem:24}{first.generator:10}{first.training_seconds:8.1f}"
    line += f"{np.mean(again):8.1f}" if again else f"{'':8}"
    line += f"{accuracy.mean():7.3f}{accuracy.max():7.3f}{_density_columns(outcomes)}"
    line += f"{np.median([outcome.sampling_seconds for outcome in outcomes]):7.2f}{first.sampling_cold_seconds:7.2f}"
    known = [outcome.weights.rate for outcome in outcomes if outcome.weights]
    return line + (f"{np.median(known):8.0f}" if known else "")


def _density_columns(outcomes: list[Outcome]) -> str:
    known = [outcome.weights for outcome in outcomes if outcome.weights]
    if not known:
        return " " * 31
    error = np.abs([weights.log_normaliser for weights in known])
    worst = np.unravel_index(np.argmax(error), error.shape)
    stderr = np.array([weights.log_normaliser_stderr for weights in known])[worst]
    acceptance = np.mean([weights.acceptance for weights in known])
    effective = np.mean([weights.effective_fraction for weights in known])
    return f"{acceptance:8.3f}{error[worst]:9.4f}{stderr:8.4f}{effective:6.2f}"


def options() -> argparse.Namespace:
    """What was asked for on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--problems", type=_names_of(PROBLEMS), default=list(PROBLEMS))
    parser.add_argument("--generators", type=_names_of(KINDS), default=list(KINDS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="where to write every figure")
    parser.add_argument("--pairs", type=int, help="fewer pairs than the problem says, for a trial")
    parser.add_argument("--training-steps", type=int, help="fewer than by default, for a trial")
    parser.add_argument("--classifier", choices=["mlp", "boosting"], help="by dimension unless said")
    parser.add_argument("--processes", type=int, default=2, help="classifiers that run at once")
    return parser.parse_args()


def _names_of(known: Iterable[str]) -> Callable[[str], list[str]]:
    def parse(given: str) -> list[str]:
        names = given.split(",")
        unknown = [name for name in names if name not in known]
        if unknown:
            raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: not among {', '.join(known)}")
        return names

    return parse


def main() -> None:
    """Run what was asked for; the table grows, and the file with it, as figures come."""
    asked, outcomes = options(), []
    jnp.zeros(()).block_until_ready()  # the backend starts before anything is timed
    print(f"{jax.devices()[0].platform}, JAX {jax.__version__}\n{HEADER}", flush=True)
    for problem_name in asked.problems:
        problem = PROBLEMS[problem_name]()
        for generator in asked.generators:
            outcomes.append(run(problem, generator, asked))
            print(row(outcomes[-1]), flush=True)
            if asked.json:
                asked.json.write_text(json.dumps([asdict(one) for group in outcomes for one in group], indent=1))


if __name__ == "__main__":
    main()
