"""What raw draws of the generator of a run on a molecule are worth: energies, chirality, clashes, weights.

python -m benchmarks.molecular_draws OUT [--draws 10000]

Draws at coarse values along the range are held against states that the physics corrected at the same values.
"""

import argparse
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from micromacro.cases.archive import restore_case
from micromacro.molecules.system import MolecularSystem
from micromacro.run import Result
from micromacro.sampling.openmm_engine import OpenMMEngine

VALUES, EXACT = 10, 100
CLASH = 100.0
"""In kT above the median of corrected states."""
HIGHEST = 6.0
"""In kT: F of the values that are asked."""


def chosen_values(result: Result) -> np.ndarray:
    """Coarse values `(m, d)` spread over the cells where F is low."""
    surface = result.free_energy
    low = np.flatnonzero(np.nan_to_num(surface.free_energy, nan=np.inf) < HIGHEST)
    return surface.grid.points[low[np.linspace(0, len(low) - 1, VALUES).astype(int)]]


def right_handed(system: MolecularSystem, positions: np.ndarray) -> np.ndarray:
    """Whether each structure `(n, atoms, 3)` has the chirality of the molecule at every centre."""
    space = system.internal.space
    bounded = np.isfinite(space.lower) & np.isfinite(space.upper) & ~np.asarray(space.periodic)
    observed = np.asarray(jax.jit(jax.vmap(system.observe))(jnp.asarray(positions.reshape(len(positions), -1))))
    inside = (observed > np.asarray(space.lower)) & (observed < np.asarray(space.upper))
    return np.all(inside[:, bounded], axis=1)


def main() -> None:
    """Print the figures of one run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--draws", type=int, default=10_000)
    asked = parser.parse_args()
    result = Result.load(asked.out, restore_case(asked.out / "case"))
    system = result.case.system
    assert isinstance(system, MolecularSystem), "a run on a molecule is needed"
    engine, values = OpenMMEngine(system, result.case.coarse), chosen_values(result)

    def energies(positions: np.ndarray) -> np.ndarray:
        return -np.asarray(engine.log_density(jnp.asarray(positions.reshape(len(positions), -1))))

    raw = result.lift(values, asked.draws // len(values), exact=False).q
    exact = energies(result.lift(values, EXACT).q).reshape(len(values), -1)
    drawn = energies(raw).reshape(len(values), -1)
    difference = np.median(drawn, axis=1) - np.median(exact, axis=1)
    clashes = ~(drawn < np.median(exact, axis=1)[:, None] + CLASH)
    print(f"{asked.out}: {raw.shape[0]} raw draws at {len(values)} values of ξ with F below {HIGHEST:g} kT")
    print(
        f"  median energy above that of corrected states: mean {difference.mean():.2f}, worst {difference.max():.2f} kT"
    )
    print(f"  right chirality: {right_handed(system, raw).sum()} of {len(raw)}")
    print(f"  not finite: {np.sum(~np.isfinite(raw).all(axis=(1, 2)))}")
    print(f"  more than {CLASH:g} kT above the median of corrected states: {clashes.mean():.2%}")
    quality = json.loads((asked.out / "summary.json").read_text(encoding="utf-8"))["generator_quality"] or {}
    for name in ("effective_fraction", "acceptance", "classifier_accuracy"):
        print(f"  {name}: {quality.get(name)}")


if __name__ == "__main__":
    main()
