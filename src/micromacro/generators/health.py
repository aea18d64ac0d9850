"""Draws of a generator against data of about the same condition: figures of collapse, and what they must be."""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from micromacro.coordinates.space import wrap
from micromacro.estimates.distances import embed_periodic
from micromacro.estimates.modes import LEAST_PART, Coverage, ModeRecall, coverage, find_modes, mode_recall
from micromacro.generators.representation import Layout

LEAST_COVERAGE = 0.5
LEAST_RATIO, MOST_RATIO = 0.6, 1.6
MOST_LABEL_BIAS, MOST_LABEL_SPREAD = 0.5, 1.6
STANDARD_ERRORS = 4.0


@dataclass(frozen=True)
class Neighbourhood:
    """Represented states near one condition, and how far their labels are from it.

    **Arguments:**

    - `z`: `(d,)`, for the record.
    - `data`: `(n, Y)`; `drawn`: k draws for each at its own condition, `(k, n, Y)`.
    - `label_error`: what the state says of the condition, minus the condition, in units of the blur: of the data
      `(n, d)` and of the draws `(k, n, d)`; `None` where the state says nothing.
    """

    z: Float[np.ndarray, "d"]
    data: Float[np.ndarray, "n Y"]
    drawn: Float[np.ndarray, "k n Y"]
    layout: Layout
    label_error: tuple[Float[np.ndarray, "n d"], Float[np.ndarray, "k n d"]] | None = None


@dataclass(frozen=True)
class ConditionHealth:
    """Figures of a generator at one condition.

    **Arguments:**

    - `coverage`: share of the data that have a draw next to them, with what is expected of a perfect generator.
    - `modes`: of the data, and of the draws in them.
    - `deviation_ratio`: standard deviation of draws over that of data, per represented coordinate `(Y,)`.
    - `label_bias`: mean label error of draws minus that of data; `label_spread`: its root mean square over that of
      data; both in units of the blur, `(d,)`; `None` where states say nothing of their condition.
    - `failures`: sentences that name condition, figure and bound.

    All but `failures` are `None` where draws are not finite.
    """

    z: Float[np.ndarray, "d"]
    failures: tuple[str, ...]
    coverage: Coverage | None = None
    modes: ModeRecall | None = None
    deviation_ratio: Float[np.ndarray, "Y"] | None = None
    label_bias: Float[np.ndarray, "d"] | None = None
    label_spread: Float[np.ndarray, "d"] | None = None


def examine(near: Neighbourhood, rng: np.random.Generator) -> ConditionHealth:
    """The figures at one condition; bounds are missed where they are by more than four standard errors."""
    finite = np.isfinite(near.drawn).all(axis=-1)
    if not finite.all():
        share = f"{1 - finite.mean():.2g}"
        return ConditionHealth(near.z, (f"At z = {_text(near.z)} a share {share} of the draws is not finite.",))
    failures, fields = [], {}
    for check in (_check_coverage, _check_modes, _check_deviations, _check_labels):
        found, sentences = check(near, rng)
        fields |= found
        failures += [f"At z = {_text(near.z)} {sentence}" for sentence in sentences]
    return ConditionHealth(near.z, tuple(failures), **fields)


def _check_coverage(near: Neighbourhood, rng: np.random.Generator) -> tuple[dict, list[str]]:  # noqa: ARG001
    # as many draws as data: more would reach the neighbourhood of anything
    found = coverage(_embedded(near.data, near.layout), _embedded(near.drawn[0], near.layout))
    error = np.sqrt(found.expected * (1 - found.expected) / len(near.data))
    bound = LEAST_COVERAGE * found.expected
    failed = found.coverage + STANDARD_ERRORS * error < bound
    sentence = f"draws cover {found.coverage:.2f} of the data; a sound generator covers {found.expected:.2f}"
    return {"coverage": found}, [f"{sentence}, and {bound:.2f} is required."] if failed else []


def _check_modes(near: Neighbourhood, rng: np.random.Generator) -> tuple[dict, list[str]]:
    modes = find_modes(_embedded(near.data, near.layout), rng)
    found = mode_recall(modes, _embedded(near.drawn.reshape(-1, near.layout.dimension), near.layout))
    sentences = []
    for mode in found.missed:
        share, known = found.share[mode], found.reference_share[mode]
        sentence = f"a mode that holds {known:.3f} of the data holds {share:.4f} of the draws"
        sentences.append(f"{sentence}; at least {LEAST_PART * known:.4f} is required.")
    return {"modes": found}, sentences


def _check_deviations(near: Neighbourhood, rng: np.random.Generator) -> tuple[dict, list[str]]:  # noqa: ARG001
    data, drawn = _centred(near)
    log_ratio, error = _log_ratio(drawn, data)
    low, high = log_ratio + STANDARD_ERRORS * error, log_ratio - STANDARD_ERRORS * error
    sentences = []
    for axis in np.flatnonzero((low < np.log(LEAST_RATIO)) | (high > np.log(MOST_RATIO))):
        figure = f"represented coordinate {axis} deviates by {np.exp(log_ratio[axis]):.3f} times what the data do"
        sentences.append(f"{figure}; {LEAST_RATIO} to {MOST_RATIO} is required.")
    return {"deviation_ratio": np.exp(log_ratio)}, sentences


def _check_labels(near: Neighbourhood, rng: np.random.Generator) -> tuple[dict, list[str]]:  # noqa: ARG001
    if near.label_error is None:
        return {}, []
    data, drawn = near.label_error
    drawn = drawn.reshape(-1, drawn.shape[-1])
    bias = drawn.mean(axis=0) - data.mean(axis=0)
    error = np.sqrt(data.var(axis=0) / len(data) + drawn.var(axis=0) / len(drawn))
    spread, spread_error = _log_ratio(drawn, data)
    sentences = []
    for axis in np.flatnonzero(np.abs(bias) - STANDARD_ERRORS * error > MOST_LABEL_BIAS):
        figure = f"the coarse variable {axis} of draws is off by {bias[axis]:+.2f} times the blur"
        sentences.append(f"{figure}; at most {MOST_LABEL_BIAS} is allowed.")
    for axis in np.flatnonzero(spread - STANDARD_ERRORS * spread_error > np.log(MOST_LABEL_SPREAD)):
        figure = f"the coarse variable {axis} of draws scatters {np.exp(spread[axis]):.2f} times as far as that of data"
        sentences.append(f"{figure}; at most {MOST_LABEL_SPREAD} times is allowed.")
    return {"label_bias": bias, "label_spread": np.exp(spread)}, sentences


def _centred(near: Neighbourhood) -> tuple[Float[np.ndarray, "n Y"], Float[np.ndarray, "m Y"]]:
    """States relative to the middle of the data, angles by the shortest way round."""
    reals = near.layout.reals
    middle = near.data.mean(axis=0)
    middle[reals:] = np.angle(np.exp(1j * near.data[:, reals:]).mean(axis=0))
    drawn = near.drawn.reshape(-1, near.layout.dimension)
    first, second = (wrap(jnp.asarray(part - middle), _period(near.layout)) for part in (near.data, drawn))
    return np.asarray(first), np.asarray(second)


def _log_ratio(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    r"""The logarithm of the ratio of standard deviations, and its standard error, $\sqrt{(\kappa - 1)/4n}$ each."""
    parts = []
    for values in (first, second):
        centred = values - values.mean(axis=0)
        # a constant has no logarithm: the smallest deviation serves
        variance = np.maximum(np.mean(centred**2, axis=0), 1e-12)
        kurtosis = np.mean(centred**4, axis=0) / variance**2
        parts.append((0.5 * np.log(variance), np.maximum(kurtosis - 1, 0) / (4 * len(values))))
    (one, one_error), (other, other_error) = parts
    return one - other, np.sqrt(one_error + other_error)


def _embedded(states: Float[np.ndarray, "n Y"], layout: Layout) -> Float[np.ndarray, "n E"]:
    return embed_periodic(states, _period(layout))


def _period(layout: Layout) -> Float[np.ndarray, "Y"]:
    return np.concatenate([np.full(layout.reals, np.inf), np.full(layout.circles, 2 * np.pi)])


def _text(z: Float[np.ndarray, "d"]) -> str:
    return "(" + ", ".join(f"{value:.4g}" for value in z) + ")"
