"""Error against cost, coarse projective integration and direct: `python -m benchmarks.projective_integration`.

The stiff slow–fast pair at ε = 10⁻³, whose coarse means are known exactly, from (x, w) = (1, 0) to time 2. Direct
simulation runs an ensemble all the way; projective integration runs bursts of an ensemble of as many replicas with the
same time step, lifted anew at every leap with the fast variable half a standard deviation off, as a raw generator may
be. How long that must heal is measured, and the measurement is part of the cost. The error is the root mean square over
times, both components and seeds: one seed is enough for direct simulation, whose error is that of its time step. Where
noise limits it instead, nothing is gained: a leap of Δ after a burst of τ multiplies the variance by about Δ/τ.

Fails unless, at each time step that both were run with, some projective scheme reaches the error of the direct
simulation with at least ten times fewer force evaluations.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import jax
import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Float

from micromacro.coordinates.coarse import CoarseVariable
from micromacro.equation_free.healing import Healing, with_measured_healing
from micromacro.equation_free.lifting import lift_conditional
from micromacro.equation_free.projective import CoarseTrajectory, Scheme, forward_euler, integrate, midpoint
from micromacro.equation_free.restriction import mean_of
from micromacro.equation_free.time_stepper import CoarseTimeStepper, StepperSettings
from micromacro.sampling.euler_maruyama import simulate
from micromacro.systems.reference import Reference
from micromacro.systems.slow_fast import EPSILON, VARIANCE, coarse_mean, slow_fast

START, TIME, SAVED = np.array([1.0, 0.0]), 2.0, 20
STEPS_OF_EPSILON = (0.2, 0.1, 0.05)
LEAPS = (5, 10, 20)
HORIZON = 2 * EPSILON
OFFSET = 0.5 * VARIANCE**0.5
LONGEST_HEALING, MEASURED_WITH = 0.02, 1000
SCHEMES: dict[str, Scheme] = {"projective Euler": forward_euler, "projective midpoint": midpoint}
REQUIRED_SAVING = 10.0


@dataclass(frozen=True)
class Row:
    """One line of the table: method, time step in units of ε, length of a leap, cost and error."""

    method: str
    time_step: float
    leap: float
    force_evaluations: int
    error: float


def direct(reference: Reference, replicas: int, seed: int) -> CoarseTrajectory:
    """The mean of one ensemble that runs all the way."""
    system, rng = reference.system, np.random.default_rng(seed)
    assert reference.exact.sample_conditional is not None, "known of this system"
    states = reference.exact.sample_conditional(START, replicas, rng)
    steps = round(TIME / system.time_step)
    run = simulate(
        system.drift, system.diffusion, states, system.time_step, steps, jax.random.key(seed), save_every=steps // SAVED
    )
    z = run.saved[:, :, :2]
    path = np.concatenate([START[None], z.mean(axis=1)])
    stderr = np.concatenate([np.zeros((1, 2)), z.std(axis=1) / np.sqrt(replicas)])
    return CoarseTrajectory(np.linspace(0, TIME, SAVED + 1), path, stderr, replicas * steps)


def stepper(reference: Reference, replicas: int) -> tuple[CoarseTimeStepper, Healing]:
    """The coarse time stepper with its healing time measured."""
    system = reference.system
    coarse = CoarseVariable(reference.coarse, np.array(reference.lower), np.array(reference.upper), reference.periodic)
    assert reference.exact.sample_conditional is not None, "known of this system"
    exact = lift_conditional(reference.exact.sample_conditional, system)

    def lift(z, count, key):
        return exact(z, count, key) + np.array([0.0, 0.0, OFFSET])

    settings = StepperSettings(0.0, HORIZON, replicas, antithetic=True)
    bursts = CoarseTimeStepper(system, lift, mean_of(system, coarse), settings)
    return with_measured_healing(bursts, START, LONGEST_HEALING, replicas=MEASURED_WITH)


def error(run: Callable[[int], CoarseTrajectory], seeds: int) -> tuple[float, int]:
    """Root mean square error over times, components and seeds, and the cost of one run."""
    squares, cost = [], 0
    for seed in range(seeds):
        found = run(seed)
        squares.append(np.mean((found.z - coarse_mean(START, found.times))[1:] ** 2))
        cost = found.force_evaluations
    return float(np.sqrt(np.mean(squares))), cost


def rows_of(step: float, replicas: int, seeds: int) -> list[Row]:
    """All runs with one time step."""
    reference = slow_fast(EPSILON)
    reference = replace(reference, system=replace(reference.system, time_step=step * EPSILON))
    figure, cost = error(lambda seed: direct(reference, replicas, seed), 1)
    rows = [Row("direct", step, step * EPSILON, cost, figure)]
    bursts, healing = stepper(reference, replicas)
    spent = healing.force_evaluations
    print(f"time step {step} ε: healing takes {healing.time / EPSILON:.1f} ε ({spent:.1e} evaluations)", flush=True)
    for name, scheme in SCHEMES.items():
        for leaps in LEAPS:

            def run(seed: int, scheme: Scheme = scheme, leaps: int = leaps) -> CoarseTrajectory:
                return integrate(bursts, START, TIME, leaps, scheme=scheme, seed=seed)

            figure, cost = error(run, seeds)
            rows.append(Row(name, step, TIME / leaps, cost + spent, figure))
    return rows


def print_rows(rows: list[Row]) -> float:
    """The lines of one time step; the largest saving at no more than the error of the direct simulation."""
    best = 0.0
    for row in rows:
        saving = rows[0].force_evaluations / row.force_evaluations
        reached = row.error <= rows[0].error
        best = max(best, saving) if reached else best
        print(
            f"{row.method:20}{row.time_step:8.3g}{row.leap:10.3g}{row.force_evaluations:14.2e}{row.error:12.2e}"
            f"{saving:9.1f}{'  reached' if reached else ''}",
            flush=True,
        )
    return best


def draw(rows: list[Row], file: Path) -> None:
    """Error against force evaluations, a line for each method and time step."""
    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    lines: dict[str, list[Float[np.ndarray, "2"]]] = {}
    for row in rows:
        name = row.method if row.method == "direct" else f"{row.method}, step {row.time_step:g} ε"
        lines.setdefault(name, []).append(np.array([row.force_evaluations, row.error]))
    for name, points in lines.items():
        axes.loglog(*np.stack(points, axis=1), marker="o", label=name, color="black" if name == "direct" else None)
    axes.set(xlabel="force evaluations", ylabel="root mean square error")
    axes.legend(fontsize="small")
    figure.savefig(file)
    plt.close(figure)


def main() -> None:
    """Measure, print, draw, and fail where the saving is too small."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replicas", type=int, default=4000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--figure", type=Path, help="where to draw it")
    given = parser.parse_args()
    everything, savings = [], []
    for step in STEPS_OF_EPSILON:
        rows = rows_of(step, given.replicas, given.seeds)
        print(f"{'':20}{'step/ε':>8}{'leap':>10}{'evaluations':>14}{'error':>12}{'saving':>9}")
        savings.append(print_rows(rows))
        everything.extend(rows)
    if given.figure:
        draw(everything, given.figure)
    if min(savings) < REQUIRED_SAVING:
        raise SystemExit(f"\nless than {REQUIRED_SAVING:g} times fewer force evaluations: {min(savings):.1f}")
    print(f"\nthe error of direct simulation with at least {min(savings):.0f} times fewer force evaluations")


if __name__ == "__main__":
    main()
