"""The classifier two-sample test: whether a classifier can tell draws from the reference."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Int
from sklearn.base import ClassifierMixin
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.model_selection import PredefinedSplit, cross_val_score
from sklearn.neural_network import MLPClassifier
from threadpoolctl import threadpool_limits

from micromacro.errors import InputError
from micromacro.estimates.correlation import kish_sample_size
from micromacro.estimates.distances import pooled_scale

UNITS_PER_DIMENSION = 10
MOST_EPOCHS = 10_000


@dataclass(frozen=True)
class TwoSampleAccuracy:
    """How well a classifier tells two samples apart.

    **Arguments:**

    - `accuracy`: mean over the folds of the share of held-out states that were told apart; a half for equal laws.
    - `stderr`: of the accuracy, never below that of as many coin tosses as the smaller sample has distinct states.
    - `folds`: accuracy of each fold, `(folds,)`.
    """

    accuracy: float
    stderr: float
    folds: Float[np.ndarray, "folds"]


def classifier_two_sample(
    first: Float[np.ndarray, "n D"],
    second: Float[np.ndarray, "m D"],
    rng_seed: int,
    *,
    folds: int = 5,
    classifier: Literal["mlp", "boosting"] = "mlp",
    group_repeats: bool = True,
) -> TwoSampleAccuracy:
    r"""The accuracy of a classifier on held-out states of two samples: 1/2 where their laws are equal, at most 1.

    A finite classifier gives a lower bound of the best accuracy, $\frac12 + \frac14 \int |p - q|$. States are
    standardised by the first sample, the reference, as in the benchmark that set this test.

    A state that occurs more than once is a trap: where one copy is learnt from and another held out, a classifier that
    remembers tells equal laws apart. So identical states share a fold, and count once in the standard error. Nearly
    identical ones, such as successive frames of a chain, are not recognised: thin them first.

    **Arguments:**

    - `classifier`: `mlp`, the network of the benchmark: two hidden layers of ten units per dimension, relu, adam, until
      it converges; or `boosting`, histogram gradient boosting, faster in many dimensions.
    - `group_repeats`: false where all states are independent, so that repeats are evidence. A generator that collapses
      onto few points is then found out; with repeats in one fold it only has a large standard error.

    **Raises:** `InputError` where the samples have unequal sizes or less distinct states than `folds`.

    Sources: Lopez-Paz & Oquab, ICLR 2017; Lueckmann, Boelts, Greenberg, Gonçalves & Macke, AISTATS 2021.
    """
    if len(first) != len(second):
        raise InputError("both samples", "have the same size", f"{len(first)} and {len(second)} states")
    # a coordinate that the reference leaves constant is scaled by how the draws vary
    spread = np.std(first, axis=0)
    both = pooled_scale(first, second)
    scale = np.where(spread > 1e-12 * np.maximum(both, np.max(np.abs(first), axis=0)), spread, both)
    states = (np.concatenate([first, second]) - np.mean(first, axis=0)) / scale
    label = np.repeat([0, 1], len(first))
    which = np.unique(states, axis=0, return_inverse=True)[1].ravel() if group_repeats else np.arange(len(states))
    fold = _held_out(which, label, folds, np.random.default_rng(rng_seed))
    model = _model(classifier, states.shape[1], rng_seed)
    # on small samples threads cost more than they bring: much more on a busy machine
    with threadpool_limits(1):
        scores = np.asarray(cross_val_score(model, states, label, cv=PredefinedSplit(fold), scoring="accuracy"))
    effective = min(kish_sample_size(np.bincount(which[label == k]).astype(float)) for k in (0, 1))
    return TwoSampleAccuracy(float(np.mean(scores)), _standard_error(scores, effective), scores)


def _model(name: str, dimension: int, seed: int) -> ClassifierMixin:
    if name == "boosting":
        return HistGradientBoostingClassifier(early_stopping=True, random_state=seed)  # pyright: ignore[reportArgumentType]
    layers = (UNITS_PER_DIMENSION * dimension,) * 2
    return MLPClassifier(layers, activation="relu", solver="adam", max_iter=MOST_EPOCHS, random_state=seed)


def _held_out(
    which: Int[np.ndarray, "N"], label: Int[np.ndarray, "N"], folds: int, rng: np.random.Generator
) -> Int[np.ndarray, "N"]:
    """In which fold each state is held out: shuffled, states of one number `which` together.

    Each fold has as many states of either sample, up to rounding and repeats: a fold with more of one leaves more of
    the other to learn from, and the accuracy for equal laws falls below a half.
    """
    distinct, where, position = np.unique(which, return_index=True, return_inverse=True)
    if not 2 <= folds <= len(distinct):
        raise InputError("folds", f"be between two and the number of distinct states, {len(distinct)}", folds)
    order = np.lexsort([rng.random(len(distinct)), label[where]])
    fold = np.empty(len(distinct), int)
    fold[order] = np.arange(len(distinct)) % folds
    return fold[position.ravel()]


def _standard_error(scores: Float[np.ndarray, "folds"], effective: float) -> float:
    # folds learn from nearly the same states, so the accuracy scatters more than 2n coin tosses would: n is about right
    return float(max(0.5 / np.sqrt(effective), np.std(scores, ddof=1) / np.sqrt(len(scores))))
