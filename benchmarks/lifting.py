"""Lifting by double diffusion maps beside the generators: `python -m benchmarks.lifting [--pairs N] [--points n]`.

All are given the same pairs and judged on the same held-out conditions. The maps take the first `points` of them, in
each problem with a bandwidth chosen once. Their condition is exact where that of the generators is a window: so they
lift at quantiles of the window. Sliced: Wasserstein distance, about 0.02 for a perfect answer. Mean: the largest error
of the conditional mean of a coordinate, in deviations of the truth. Draws are timed after a first call.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import ndtri

from benchmarks.fitting import draw, fit, settings_of
from benchmarks.judging import judged_draws, told_apart
from benchmarks.problems import PROBLEMS, Problem
from benchmarks.problems.problem import WINDOW
from micromacro.diffusion_maps.conditional_lifting import lift_conditional
from micromacro.diffusion_maps.lifting import DoubleDiffusionMaps, DoubleSettings, fit_double_maps
from micromacro.diffusion_maps.settings import DiffusionMapSettings
from micromacro.estimates.distances import sliced_wasserstein
from micromacro.generators.kinds import KINDS
from micromacro.systems import half_moon, hidden_barrier

DRAWS = 10_000
TRUTH_SEED, PAIRS_SEED = 7, 1
OURS = "double maps"
COARSE: dict[str, Callable] = {"half-moon": half_moon.radius, "hidden-barrier": hidden_barrier.first_coordinate}
BANDWIDTH = {"half-moon": 0.08, "hidden-barrier": 0.05}
COMPONENTS = 16
STRATA = 40  # values of the exact condition within a window
QUANTILES = ndtri((np.arange(STRATA) + 0.5) / STRATA)


@dataclass(frozen=True)
class Figures:
    """What one way of lifting came to: seconds, and `draws (m, n, Y)` for each held-out condition."""

    fit_seconds: float
    draw_seconds: float
    draws: np.ndarray
    note: str = ""


def by_generator(problem: Problem, name: str, pairs: tuple, steps: int | None) -> Figures:
    """A generator's figures."""
    fitted = fit(problem, settings_of(name, steps), pairs, 0, fresh=True)
    drawn = draw(problem, fitted.generator, 0)
    return Figures(fitted.seconds, drawn.seconds, drawn.states)


def by_double_maps(problem: Problem, pairs: tuple, points: int) -> Figures:
    """The figures of double diffusion maps on the first points."""
    states, coarse = pairs[0][:points], COARSE[problem.name]
    exact = np.asarray(jax.vmap(coarse)(jnp.asarray(states)))
    settings = DiffusionMapSettings(components=COMPONENTS, alpha=1.0, bandwidth=BANDWIDTH[problem.name])
    start = time.perf_counter()
    double = fit_double_maps(states, DoubleSettings(tuple(range(COMPONENTS)), settings))
    fit_seconds = time.perf_counter() - start
    width = WINDOW * problem.condition.range
    seconds, draws, reached = [], [], []
    for number, z in enumerate([problem.held_out[0], *problem.held_out]):  # the first twice: it compiles
        start = time.perf_counter()
        lifted = [
            lift_conditional(double, coarse, exact, z + width * quantile, DRAWS // STRATA, jax.random.key(number))
            for quantile in QUANTILES
        ]
        seconds.append(time.perf_counter() - start)
        states_made = np.concatenate([each.state for each in lifted])
        draws.append(np.random.default_rng(number).permutation(states_made)[: judged_draws(problem)])
        reached.append(np.mean([each.reached.mean() for each in lifted]))
    return Figures(fit_seconds, float(np.median(seconds[1:])), np.stack(draws[1:]), _note(double, reached))


def _note(double: DoubleDiffusionMaps, reached: list) -> str:
    return f"round trip {np.max(np.asarray(double.state_error)):.3f}, z reached by {np.min(reached):.3f}"


def row(problem: Problem, name: str, figures: Figures, classifier: str | None) -> str:
    """One line of the table: means over conditions, but the largest error of a mean."""
    rng, errors, distances = np.random.default_rng(TRUTH_SEED), [], []
    for z, made in zip(problem.held_out, figures.draws, strict=True):
        truth = problem.truth(z, len(made), rng)
        errors.append(np.max(np.abs(made.mean(axis=0) - truth.mean(axis=0)) / truth.std(axis=0)))
        distances.append(sliced_wasserstein(truth, made, np.random.default_rng(0)))
    accuracy = np.mean(told_apart(problem, figures.draws, classifier=classifier))
    line = f"{problem.name:16}{name:13}{figures.fit_seconds:8.1f}{figures.draw_seconds:8.2f}{accuracy:7.3f}"
    return line + f"{np.mean(distances):8.4f}{np.max(errors):8.3f}  {figures.note}"


def main() -> None:
    """Print the table, line by line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, help="fewer pairs than the problem says, for a trial")
    parser.add_argument("--points", type=int, default=2000, help="of the pairs, for the maps")
    parser.add_argument("--training-steps", type=int, help="fewer than by default, for a trial")
    parser.add_argument("--classifier", choices=["mlp", "boosting"], help="the network unless said")
    asked = parser.parse_args()
    print(f"{'problem':16}{'lifting':13}{'fit s':>8}{'10k s':>8}{'C2ST':>7}{'sliced':>8}{'mean':>8}", flush=True)
    for name in COARSE:
        problem = PROBLEMS[name]()
        pairs = problem.pairs(asked.pairs or problem.pair_count, np.random.default_rng(PAIRS_SEED))
        print(row(problem, OURS, by_double_maps(problem, pairs, asked.points), asked.classifier), flush=True)
        for kind in KINDS:
            figures = by_generator(problem, kind, pairs, asked.training_steps)
            print(row(problem, kind, figures, asked.classifier), flush=True)


if __name__ == "__main__":
    main()
