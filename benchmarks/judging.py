"""How a generator is judged on a problem: the same truth and the same classifier, whoever made the draws."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from typing import Literal, cast

import numpy as np
from jaxtyping import Float

from benchmarks.problems import Problem
from micromacro.estimates.classifier import classifier_two_sample

TRUTH_SEED, CLASSIFIER_SEED = 7, 11
FEW, MANY = 5_000, 10_000  # draws for each condition, beyond two dimensions and up to two
MOST_FOR_NETWORK = 20  # dimensions: beyond, the network of the standard test takes a quarter of an hour a condition


def judged_draws(problem: Problem) -> int:
    """How many draws of each held-out condition are judged."""
    return MANY if problem.dimension <= 2 else FEW


def told_apart(
    problem: Problem, draws: Float[np.ndarray, "m n Y"], *, classifier: str | None = None, processes: int = 1
) -> list[float]:
    """How often a classifier tells draws from exact ones, for each held-out condition: a half is perfect.

    Not a number where a generator made states that are not. The classifier is the network of the standard test up to
    `MOST_FOR_NETWORK` dimensions and gradient boosting beyond, unless said.
    """
    classifier = classifier or ("mlp" if problem.dimension <= MOST_FOR_NETWORK else "boosting")
    rng = np.random.default_rng(TRUTH_SEED)
    truths = [problem.truth(z, draws.shape[1], rng) for z in problem.held_out]
    tasks = [
        (as_seen(problem, truth), as_seen(problem, made), classifier) for truth, made in zip(truths, draws, strict=True)
    ]
    if processes == 1:
        return [_accuracy(*task) for task in tasks]
    return list(_pool(processes).map(_accuracy, *zip(*tasks, strict=True)))


def as_seen(problem: Problem, states: Float[np.ndarray, "n Y"]) -> Float[np.ndarray, "n F"]:
    """The states as a classifier sees them: angles by cosine and sine, so that a cut is no edge to it."""
    circles = list(problem.state.circles)
    others = [axis for axis in range(problem.dimension) if axis not in circles]
    angle = 2 * np.pi * states[:, circles] / problem.state.range[circles]
    return np.hstack([states[:, others], np.cos(angle), np.sin(angle)])


@cache
def _pool(processes: int) -> ProcessPoolExecutor:
    """Processes started afresh: a copy of one in which JAX has started its threads could hang."""
    return ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"))


def _accuracy(truth: np.ndarray, made: np.ndarray, classifier: str) -> float:
    if not np.isfinite(made).all():
        return float("nan")
    kind = cast(Literal["mlp", "boosting"], classifier)
    return classifier_two_sample(truth, made, CLASSIFIER_SEED, classifier=kind).accuracy
