"""Fits our generators to a problem and measures them: seconds, draws, weights."""

import time
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from benchmarks.judging import judged_draws
from benchmarks.problems import Problem
from micromacro.estimates.calibration import effective_fraction, log_normaliser, metropolis_acceptance
from micromacro.generators.kinds import KINDS

SAMPLES = 10_000  # drawn at once when draws are timed
PROPOSALS = 2_000  # with the way back, for the acceptance
WEIGHTED = {2: 10_000}  # draws with weights by dimension
WEIGHTED_BEYOND = 4_000


@dataclass(frozen=True)
class Fit:
    """A fitted generator and what the fit took; `compiled` where this fit had to compile its training first."""

    generator: Any
    seconds: float
    compiled: bool


@dataclass(frozen=True)
class Draws:
    """`states (m, n, Y)` for each held-out condition; seconds for `SAMPLES` the first time, compiling, and again."""

    states: Float[np.ndarray, "m n Y"]
    cold_seconds: float
    seconds: float


@dataclass(frozen=True)
class Weights:
    """For each held-out condition, `m` numbers; `rate`: weighted samples a second, after a first call.

    `acceptance`: of independence Metropolis; `log_normaliser`: zero for an exact density, with its standard error.
    """

    acceptance: list[float]
    log_normaliser: list[float]
    log_normaliser_stderr: list[float]
    effective_fraction: list[float]
    rate: float


def settings_of(name: str, training_steps: int | None = None) -> Any:
    """The default settings of a family; with fewer steps, for a trial, where it trains."""
    settings: Any = KINDS[name]()
    if training_steps is not None and "training_steps" in {field.name for field in fields(settings)}:
        return replace(settings, training_steps=training_steps)
    return settings


def fit(problem: Problem, settings: Any, pairs: tuple[np.ndarray, np.ndarray], seed: int, *, fresh: bool) -> Fit:
    """A generator of a seed; `fresh` forgets what was compiled, so that its seconds are those of a user's first fit."""
    if fresh:
        jax.clear_caches()
    q, z = pairs
    start = time.perf_counter()
    generator = settings.fit(
        q, z, np.ones(len(q)), jax.random.key(seed), state=problem.state, condition=problem.condition
    )
    jax.block_until_ready(eqx.filter(generator, eqx.is_array))
    return Fit(generator, time.perf_counter() - start, fresh)


def draw(problem: Problem, generator: Any, seed: int) -> Draws:
    """Draws to be judged, and how long draws take."""
    sample = batched(generator, "sample")
    seconds, states = [], []
    for number, z in enumerate([problem.held_out[0], *problem.held_out]):  # the first twice: it compiles
        made, took = _timed(sample, z, SAMPLES, jax.random.key(1000 * seed + number))
        seconds.append(took)
        states.append(made[: judged_draws(problem)])
    return Draws(np.stack(states[1:]), seconds[0], float(np.median(seconds[1:])))


def weigh(problem: Problem, generator: Any, seed: int) -> Weights | None:
    """What the density of a generator is worth; nothing where it has none."""
    if not hasattr(generator, "weighted_sample"):
        return None
    count = WEIGHTED.get(problem.dimension, WEIGHTED_BEYOND)
    weighted, proposed = batched(generator, "weighted_sample"), batched(generator, "sample_and_log_prob")
    _timed(weighted, problem.held_out[0], count, jax.random.key(0))
    figures, seconds = [], []
    for number, z in enumerate(problem.held_out):
        key = jax.random.key(1000 * seed + 500 + number)
        made, took = _timed(weighted, z, count, key)
        log_weight = log_weights(problem, made, z)
        seconds.append(took)
        proposals = log_weights(problem, _timed(proposed, z, PROPOSALS, key)[0], z)
        normaliser = log_normaliser(log_weight)
        acceptance = metropolis_acceptance(proposals).value if np.isfinite(proposals).any() else 0.0
        figures.append((acceptance, normaliser.value, normaliser.stderr, effective_fraction(log_weight)))
    return Weights(*(list(column) for column in zip(*figures, strict=True)), rate=count / float(np.median(seconds)))


def log_weights(problem: Problem, made: Any, z: np.ndarray) -> Float[np.ndarray, "n"]:
    """Logarithms of truth over density of draws, minus infinity for those that are not valid."""
    state, log_prob, valid = (np.asarray(part) for part in made)
    valid = valid & np.isfinite(log_prob) & np.isfinite(state).all(axis=1)
    safe = np.where(valid[:, None], state, 0.0).astype(float)
    return np.where(valid, problem.log_density(safe, z) - log_prob, -np.inf)


def batched(generator: Any, method: str) -> Callable:
    """A method of one sample as a compiled function of `z (d,)` and keys `(n,)`."""
    call = eqx.filter_jit(lambda generator, z, keys: jax.vmap(lambda key: getattr(generator, method)(z, key))(keys))
    return lambda z, keys: call(generator, z, keys)


def _timed(function: Callable, z: np.ndarray, count: int, key: jax.Array) -> tuple[Any, float]:
    start = time.perf_counter()
    made = function(jnp.asarray(z), jax.random.split(key, count))
    made = jax.tree.map(np.asarray, made)
    return made, time.perf_counter() - start
