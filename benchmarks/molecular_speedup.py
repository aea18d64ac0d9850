r"""How many force evaluations plain dynamics needs for the error that runs of alanine dipeptide reached.

python -m benchmarks.molecular_speedup OUT [OUT ...] [--steps 20000000]

The error of F(φ) by plain dynamics is that of how often C7ax is visited. Passages between C7ax and C7eq are Poisson
events: with k the rate of leaving C7ax, p the probability of C7ax and T the time simulated, the variance of ΔF/kT is
$2 / (k\,p\,T)$ (a two-state process). k is counted in plain trajectories from C7ax, p and the error to reach come from
the runs: the spread of ΔF over several, or the standard error of one. By the clock, plain dynamics is given the steps
per second that were counted here, and a run all its seconds, training included.
"""

import argparse
import json
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from micromacro.cases.archive import restore_case
from micromacro.molecules.system import MolecularSystem
from micromacro.sampling.engine import Tuning
from micromacro.sampling.openmm_engine import OpenMMEngine
from micromacro.sampling.seeding import no_windows

WALKERS, INTERVAL, CHUNK = 32, 250, 200
CONFORMER = 2
"""C7ax among the starting structures."""


def escapes(engine: OpenMMEngine, system: MolecularSystem, steps: int) -> tuple[int, float]:
    """How many of the walkers from C7ax reached φ < 0, and the time in ps that all spent before."""
    coarse, windows = engine.coarse, no_windows(engine.coarse, 1)
    tuning = Tuning(jnp.ones(1), jnp.eye(system.dimension)[None])
    start = np.broadcast_to(system.initial[CONFORMER], (1, WALKERS, system.dimension))
    state, left, waited = engine.start(windows, jnp.asarray(start)), 0, 0.0
    chunks = max(1, steps // (WALKERS * INTERVAL * CHUNK))
    for chunk in range(chunks):
        state, saved = engine.advance(windows, tuning, state, jax.random.key(chunk), CHUNK, INTERVAL)
        # well beyond the barriers, from either side of the circle
        phi = np.asarray(coarse.wrap(saved.coarse))[:, 0, :, 0]
        gone = (phi < -0.6) | (phi > 2.8)
        first = np.where(gone.any(axis=0), gone.argmax(axis=0), CHUNK)
        left += int(gone.any(axis=0).sum())
        waited += float(first.sum()) * INTERVAL * system.time_step
        again = jnp.where(jnp.asarray(gone.any(axis=0))[None, :, None], jnp.asarray(start), state.position)
        state = engine.start(windows, again)
    return left, waited


def main() -> None:
    """Print the ratio with its standard error."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("outs", type=Path, nargs="+")
    parser.add_argument("--steps", type=int, default=20_000_000)
    asked = parser.parse_args()
    summaries = [json.loads((out / "summary.json").read_text(encoding="utf-8")) for out in asked.outs]
    heights = np.array([one["basins"]["C7ax"]["free_energy_kT"] for one in summaries])
    error, error_share = summaries[0]["basins"]["C7ax"]["stderr_kT"], 0.2
    if len(heights) > 1:
        error, error_share = float(heights.std(ddof=1)), 1 / np.sqrt(2 * (len(heights) - 1))
    case = restore_case(asked.outs[0] / "case")
    system = case.system
    assert isinstance(system, MolecularSystem), "a run on a molecule is needed"
    engine, began = OpenMMEngine(system, case.coarse), time.monotonic()
    left, waited = escapes(engine, system, asked.steps)
    speed = engine.evaluations / (time.monotonic() - began)
    probability = 1 / (1 + np.exp(heights.mean()))
    needed = 2 * waited / (max(left, 1) * error**2 * probability) / system.time_step
    cost, seconds = (float(np.mean([one[key] for one in summaries])) for key in ("force_evaluations", "wall_seconds"))
    share = float(np.sqrt(1 / max(left, 1) + (2 * error_share) ** 2))
    print(f"passages out of C7ax: {left} in {waited / 1000:.1f} ns; F of C7ax {heights.mean():.3f} kT")
    print(f"error to reach: {error:.3f} kT (known to {error_share:.0%}); plain dynamics needs {needed:.3g} steps")
    for what, ratio in (("force evaluations", needed / cost), ("seconds", needed / speed / seconds)):
        print(f"speed-up in {what}: {ratio:,.0f} ± {ratio * share:,.0f}")


if __name__ == "__main__":
    main()
