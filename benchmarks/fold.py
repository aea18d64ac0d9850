"""A coarse branch followed through its folds on the time stepper: `python -m benchmarks.fold`.

A slow variable in a cubic force that a fast noise shakes, at ε = 0.01: the averaged equation's folds are known, at
λ = ∓0.3849; without averaging they would be at ∓0.5705. Fails unless both folds are found within 2 per cent.
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from micromacro.coordinates.coarse import CoarseVariable
from micromacro.equation_free.continuation import Branch, ContinuationSettings, continue_branch
from micromacro.equation_free.healing import with_measured_healing
from micromacro.equation_free.lifting import lift_conditional
from micromacro.equation_free.restriction import mean_of
from micromacro.equation_free.time_stepper import CoarseTimeStepper, StepperSettings
from micromacro.systems.noisy_fold import VARIANCE, branch, fold, noisy_fold

EPSILON, HORIZON, LONGEST_HEALING = 0.01, 0.3, 0.3
START, PARAMETER, BOUND = 1.2, 0.5, 0.6
REQUIRED = 0.02
STABILITY = {1: "stable", -1: "unstable", 0: "open"}


def stepper(replicas: int, seed: int) -> CoarseTimeStepper:
    """Lifted with y one standard deviation off, as a generator may be: the healing that this needs is measured."""
    reference = noisy_fold(EPSILON)
    system = reference.system
    assert reference.exact.sample_conditional is not None, "known of this system"
    exact = lift_conditional(reference.exact.sample_conditional, system)
    coarse = CoarseVariable(reference.coarse, np.array(reference.lower), np.array(reference.upper), reference.periodic)

    def lift(z, count, key):
        return exact(z, count, key) + np.array([0.0, VARIANCE**0.5])

    settings = StepperSettings(0.0, HORIZON, replicas, seed=seed)
    bursts = CoarseTimeStepper(system, lift, mean_of(system, coarse), settings)
    healed, healing = with_measured_healing(bursts, np.array([START]), LONGEST_HEALING, parameters=(PARAMETER,))
    print(f"healing takes {healing.time / EPSILON:.1f} ε ({healing.force_evaluations:.2e} force evaluations)")
    return healed


def print_branch(found: Branch) -> None:
    """The points, and how far the parameter is from the exact branch at the same z."""
    print(f"{'arclength':>10}{'z':>10}{'stderr':>9}{'parameter':>11}{'stderr':>9}{'exact':>9}  stability")
    for number, s in enumerate(found.arclength):
        z, parameter = float(found.z[number, 0]), float(found.parameter[number])
        print(
            f"{s:10.3f}{z:10.4f}{found.z_stderr[number, 0]:9.4f}{parameter:11.4f}"
            f"{found.parameter_stderr[number]:9.4f}{branch(np.array([z]))[0]:9.4f}"
            f"  {STABILITY[int(found.stable[number])]}"
        )
    print(f"{found.force_evaluations:.2e} force evaluations")


def print_folds(found: Branch) -> float:
    """Both folds beside the exact ones; the largest relative error of the parameter."""
    z, parameter = fold()
    errors = []
    for number, one in enumerate(found.folds):
        sign = 1 if number == 0 else -1
        value, stderr = float(one.parameter.value[0]), float(one.parameter.stderr[0])
        errors.append(abs(value / (sign * parameter) - 1))
        print(
            f"fold at {value:+.4f} ± {stderr:.4f}, exact {sign * parameter:+.4f}: {100 * errors[-1]:.2f} % off;"
            f" z {one.z.value[0]:+.4f} ± {one.z.stderr[0]:.4f}, exact {sign * z:+.4f}"
        )
    return max(errors) if len(errors) == 2 else float("inf")


def draw(found: Branch, file: Path) -> None:
    """The branch on the exact bifurcation diagram."""
    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    z = np.linspace(-1.3, 1.3, 200)
    axes.plot(branch(z), z, color="grey", label="averaged equation")
    for value, name in STABILITY.items():
        rows = found.stable == value
        if rows.any():
            axes.errorbar(
                found.parameter[rows], found.z[rows, 0], found.z_stderr[rows, 0], fmt="o", markersize=4, label=name
            )
    for one in found.folds:
        axes.errorbar(one.parameter.value, one.z.value, one.z.stderr, one.parameter.stderr, fmt="*", color="black")
    axes.set(xlabel="λ", ylabel="x")
    axes.legend()
    figure.savefig(file)
    plt.close(figure)


def main() -> None:
    """Follow the branch, print it, draw it, and fail where a fold is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replicas", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--figure", type=Path, help="where to draw it")
    given = parser.parse_args()
    settings = ContinuationSettings(step=0.1, points=60, lower=-BOUND, upper=BOUND)
    bursts = stepper(given.replicas, given.seed)
    found = continue_branch(bursts, np.array([START]), PARAMETER, direction=-1, settings=settings)
    print_branch(found)
    worst = print_folds(found)
    if given.figure:
        draw(found, given.figure)
    if worst > REQUIRED:
        raise SystemExit(f"\na fold is not within {100 * REQUIRED:g} per cent: {100 * worst:.2f}")
    print(f"\nboth folds within {100 * worst:.2f} per cent (required: {100 * REQUIRED:g})")


if __name__ == "__main__":
    main()
