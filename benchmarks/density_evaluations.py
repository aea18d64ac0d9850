"""Network evaluations that a log-density needs: `python -m benchmarks.density_evaluations [--problem hidden-barrier]`.

A score model is fitted, and its log-density at exact states of held-out conditions is computed with fixed Heun steps in
two ways: by integrating the divergence, which approaches the density of the continuous flow, and by the determinants of
the steps, which is the density of what these steps draw, whatever their number. The reference is the continuous flow in
double precision at a tight tolerance. A density serves importance weights if it integrates to one over its own draws:
the last columns are ln of the mean weight of draws, against the exact law, zero for a right density.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from benchmarks.fitting import fit, log_weights
from benchmarks.problems import PROBLEMS, Problem
from micromacro.estimates.calibration import log_normaliser
from micromacro.generators.adaptive import AdaptiveModel, exact_divergence
from micromacro.generators.diffusion import Chain, generate, heun_step, invert
from micromacro.generators.generator import DensityGenerator
from micromacro.generators.samplers import HeunModel
from micromacro.generators.score import ScoreSettings
from micromacro.sampling.proposal import Draw

STEPS = (6, 8, 12, 18, 24, 32)
ENOUGH = 0.01  # nat
REFERENCE_TOLERANCE = 1e-6  # the reference errs by about ten times as much: far below what is looked for
PAIRS_SEED = 1


@dataclass(frozen=True)
class Row:
    """Of one number of steps: errors in nats, root mean square over states; ln of mean weights, mean over conditions.

    **Arguments:**

    - `evaluations`: of the network, with as many derivatives as dimensions each, for the density of a draw.
    - `unsolved`: share of the exact states that the steps cannot make.
    """

    steps: int
    evaluations: int
    divergence_error: float
    determinant_error: float
    unsolved: float
    divergence_normaliser: float
    determinant_normaliser: float
    stderr: float


def integrated_log_prob(chain: Chain, x: Float[Array, "Y"]) -> Float[Array, ""]:
    """The log-density by Heun steps of state and divergence back along the flow."""

    def slope(state: Array, t: Array) -> Array:
        value, divergence = exact_divergence(chain.slope, state[:-1], t)
        return jnp.append(value, divergence)

    def step(state: Array, times: tuple):
        return heun_step(slope, state, times[1], times[0]), None

    state, _ = jax.lax.scan(step, jnp.append(x, 0.0), chain.steps, reverse=True)
    return chain.base.log_prob(state[:-1]) + state[-1]


def represented(problem: Problem, generator: Any, count: int) -> list[Float[Array, "n Y"]]:
    """Exact states of each held-out condition as the model sees them."""
    rng = np.random.default_rng(PAIRS_SEED)
    encode = jax.jit(jax.vmap(lambda q, z: generator.representation.encode(q, z).state, in_axes=(0, None)))
    return [encode(jnp.asarray(problem.truth(z, count, rng)), jnp.asarray(z, jnp.float32)) for z in problem.held_out]


def reference(generator: Any, problem: Problem, states: list) -> list[Float[np.ndarray, "n"]]:
    """Log-densities of the continuous flow for each held-out condition, in double precision."""
    double = jax.tree.map(
        lambda leaf: leaf.astype(float) if eqx.is_inexact_array(leaf) else leaf, generator.model.denoiser
    )
    log_prob = _each(AdaptiveModel(double, REFERENCE_TOLERANCE).log_prob)
    found = [log_prob(x.astype(float), jnp.asarray(z)) for z, x in zip(problem.held_out, states, strict=True)]
    if not all(np.all(solved) for _, solved in found):
        raise SystemExit("the reference failed at some states")
    return [np.asarray(log_prob) for log_prob, _ in found]


def row(problem: Problem, generator: Any, steps: int, states: list, exact: list, draws: int) -> Row:
    """The figures of one number of steps."""
    model = HeunModel(generator.model.denoiser, steps)
    of_steps = DensityGenerator(generator.representation, model, generator.settings)
    integrated = _each(lambda x, z: integrated_log_prob(model.chain(z), x))
    inverted = _each(lambda x, z: invert(model.chain(z), x))
    weighted = _each(lambda key, z: of_steps.weighted_sample(z, key))
    divergent = _each(lambda key, z: _draw_with_divergence(of_steps, z, key))
    keys, figures = jax.random.split(jax.random.key(5), draws), []
    for z, x, right in zip(problem.held_out, states, exact, strict=True):
        condition = jnp.asarray(z, jnp.float32)
        one, found = np.asarray(integrated(x, condition)) - right, inverted(x, condition)
        solved = np.asarray(found.solved)
        other = np.where(solved, np.asarray(found.log_prob) - right, np.nan)
        way, own = (log_normaliser(log_weights(problem, make(keys, condition), z)) for make in (divergent, weighted))
        # rows of no state that is solved stay undefined
        square = np.nanmean(other**2) if solved.any() else np.nan
        figures.append((np.mean(one**2), square, 1 - solved.mean(), way.value, own.value, own.stderr**2))
    mean = np.mean(figures, axis=0)
    one, other = (float(value) for value in np.sqrt(mean[:2]))
    unsolved, way, own = (float(value) for value in mean[2:5])
    return Row(steps, 2 * steps, one, other, unsolved, way, own, float(np.sqrt(mean[5] / len(figures))))


def _draw_with_divergence(generator: Any, z: Array, key: Array) -> Draw:
    chain = generator.model.chain(z)
    x = generate(chain, chain.base.draw(key))
    q = generator.representation.decode(x, z)
    change = generator.representation.encode(q, z).log_determinant
    return Draw(q, integrated_log_prob(chain, x) + change, jnp.asarray(True))


def _each(function: Callable) -> Callable:
    """Compiled once for all conditions: the second argument."""
    return jax.jit(jax.vmap(function, in_axes=(0, None)))


def print_heading() -> None:
    """The names of the columns."""
    print("steps  evaluations   rms error, nat                      ln mean weight of draws")
    print("                     divergence  determinant  unsolved   divergence  determinant  stderr", flush=True)


def print_row(one: Row) -> None:
    """One line."""
    print(
        f"{one.steps:5d}  {one.evaluations:11d}   {one.divergence_error:10.4f}  {one.determinant_error:11.4f}"
        f"  {one.unsolved:8.4f}   {one.divergence_normaliser:+10.4f}  {one.determinant_normaliser:+11.4f}"
        f"  {one.stderr:6.4f}",
        flush=True,
    )


def print_verdict(rows: list[Row]) -> None:
    """The fewest evaluations that are enough."""
    for name in ("divergence", "determinant"):
        enough = [one.evaluations for one in rows if getattr(one, f"{name}_error") <= ENOUGH]
        fewest = min(enough) if enough else f"more than {rows[-1].evaluations}"
        print(f"by {name}: {fewest} evaluations for the continuous flow's density within {ENOUGH} nat")
    exact = [one.evaluations for one in rows if abs(one.determinant_normaliser) <= ENOUGH + 2 * one.stderr]
    fewest = min(exact) if exact else f"more than {rows[-1].evaluations}"
    print(f"by determinant: {fewest} evaluations for the sampler's own density within {ENOUGH} nat")


def main() -> None:
    """Fit, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--problem", choices=sorted(PROBLEMS), default="hidden-barrier")
    parser.add_argument("--training-steps", type=int)
    parser.add_argument("--states", type=int, default=500, help="exact states of each held-out condition")
    parser.add_argument("--draws", type=int, default=2000, help="draws of each held-out condition")
    given = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    problem = PROBLEMS[given.problem]()
    settings = replace(ScoreSettings(), training_steps=given.training_steps)
    pairs = problem.pairs(problem.pair_count, np.random.default_rng(PAIRS_SEED))
    fitted = fit(problem, settings, pairs, seed=0, fresh=False)
    print(f"{problem.name}, D = {problem.dimension}: {fitted.seconds:.0f} s of training", flush=True)
    states = represented(problem, fitted.generator, given.states)
    exact = reference(fitted.generator, problem, states)
    rows = []
    print_heading()
    for steps in STEPS:
        rows.append(row(problem, fitted.generator, steps, states, exact, given.draws))
        print_row(rows[-1])
    print_verdict(rows)


if __name__ == "__main__":
    main()
