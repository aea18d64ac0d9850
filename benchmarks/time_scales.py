"""Reduced against full time scales as the fast time vanishes: `python -m benchmarks.time_scales [--quick]`.

For each system and ε: the slowest implied time scale and the mean passage time of the projected closure, from its exact
b and D by finite volumes, over those of long simulations of the full model; both seen at the same interval. Theory has
the ratios approach 1 as ε → 0, with an error of the order of the gap between time scales.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass

import jax
import numpy as np

from micromacro.closures.agreement import Agreement, compare
from micromacro.closures.grid import uniform_grid
from micromacro.closures.long_trajectories import simulate_full
from micromacro.closures.table import ClosureTable
from micromacro.coordinates.coarse import CoarseVariable
from micromacro.systems.multiplicative import multiplicative_closure
from micromacro.systems.reference import Reference
from micromacro.systems.slow_manifold import quadratic_slow_manifold
from micromacro.systems.three_atom import three_atom

WALKERS = 128
CELLS = 180


@dataclass(frozen=True)
class Family:
    """A system with a parameter that goes to zero.

    **Arguments:**

    - `build`: ε to the system.
    - `epsilons`: largest first.
    - `slow`: about its slowest time: trajectories are 80 of it, with `--quick` 10.
    - `range`: of the coarse variable, wide enough to hold all but 1e-3 of the density.
    """

    build: Callable[[float], Reference]
    epsilons: tuple[float, float, float]
    slow: float
    range: tuple[float, float]


FAMILIES = {
    "quadratic slow manifold": Family(quadratic_slow_manifold, (0.16, 0.04, 0.01), 1.0, (-1.1, 1.1)),
    "multiplicative closure": Family(multiplicative_closure, (0.2, 0.06, 0.02), 1.2, (-np.pi, np.pi)),
    "three-atom molecule": Family(three_atom, (9e-3, 3e-3, 1e-3), 0.37, (0.87, 2.27)),
}


def measure(family: Family, epsilon: float, length: float, seed: int) -> tuple[Agreement, int]:
    """The exact projected closure against a simulation of `length` slow times per walker; its force evaluations."""
    reference = family.build(epsilon)
    lower, upper = (np.array([end]) for end in family.range)
    coarse = CoarseVariable(reference.coarse, lower, upper, reference.periodic)
    z = uniform_grid(coarse, (CELLS,)).points
    assert reference.exact.drift is not None
    assert reference.exact.diffusion is not None
    drift, diffusion = np.asarray(reference.exact.drift(z)), np.asarray(reference.exact.diffusion(z))
    table = ClosureTable(z, drift, np.zeros_like(drift), diffusion, np.zeros_like(diffusion))
    initial = reference.system.initial
    starts = initial[np.arange(WALKERS) % len(initial)]
    trajectories = simulate_full(
        reference.system,
        coarse,
        starts,
        time=(length + 6) * family.slow,
        interval=family.slow / 25,
        key=jax.random.key(seed),
    )
    return compare(table, coarse, trajectories.after(6 * family.slow), replicas=2, seed=seed), (
        trajectories.force_evaluations
    )


def main() -> None:
    """Print a table of ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="an eighth of the simulation")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print(f"{'system':<25}{'ε':>7}{'gap':>7}{'time scale':>16}{'forward':>16}{'backward':>16}{'evaluations':>13}")
    for name, family in FAMILIES.items():
        for epsilon in family.epsilons:
            found, evaluations = measure(family, epsilon, 10 if options.quick else 80, options.seed)
            ratios = [f"{ratio.ratio:.3f} ± {ratio.stderr:.3f}" for ratio in found.ratios.values()]
            columns = "".join(f"{cell:>16}" for cell in ratios) or f"  {found.verdict}  "
            print(f"{name:<25}{epsilon:>7g}{found.gap:>7.1f}{columns}{evaluations:>13.2g}", flush=True)


if __name__ == "__main__":
    main()
