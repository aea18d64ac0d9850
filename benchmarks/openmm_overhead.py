"""Overhead of the OpenMM engine over a bare loop of steps, and its scaling: `python -m benchmarks.openmm_overhead`.

The bare loop is `integrator.step` of the same System with the same bias, integrator and platform, in the same process,
from the same state of the first walker of each window, once for each window.
Alanine dipeptide, 24 windows over φ with a flattening. In each repeat all run in turn, so whatever else the machine
does falls on all of them. The overhead is that of processor time, which others on the machine disturb least; wall times
are of the best repeat.
"""

import argparse
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import openmm

import micromacro.molecules
from micromacro.coordinates.coarse import CoarseVariable
from micromacro.coordinates.geometry import Torsion
from micromacro.molecules.building import MoleculeSettings, build_molecular_system
from micromacro.molecules.forces import ForceSettings
from micromacro.sampling.openmm_bias import native_bias, parameter_names, parameter_values
from micromacro.sampling.openmm_engine import OpenMMEngine
from micromacro.sampling.openmm_platform import PROPERTIES, measured_speeds
from micromacro.sampling.table import fit_table, padded_grid
from micromacro.sampling.tuning import first_tuning
from micromacro.sampling.windows import Windows, grid_centers

WINDOWS, STIFFNESS = 24, 60.0
PHI = (4, 6, 8, 14)
DATA = Path(micromacro.molecules.__file__).parent / "data"
REQUIRED_OVERHEAD = 0.1


def main() -> None:
    """Measure and print."""
    options = _options()
    forcefield = ("amber96.xml",)
    forces = ForceSettings(forcefield=forcefield, implicit_solvent=options.solvent)
    molecule = MoleculeSettings((DATA / "alanine_dipeptide_c7eq.pdb",), forces)
    system = build_molecular_system(molecule, (PHI,))
    coarse = CoarseVariable(lambda u: u[:1], np.array([-np.pi]), np.array([np.pi]), (True,), (Torsion(PHI),))
    print("steps/s of one process:", {name: round(speed) for name, speed in measured_speeds(system).items()})
    windows = _windows(coarse)
    engines = {count: OpenMMEngine(system, coarse, workers=count) for count in (1, options.workers)}
    bare = _bare(system, coarse, windows, engines[1])
    for interval in options.interval:
        frames = max(options.steps // interval, 1)
        total = WINDOWS * options.walkers * frames * interval
        _measure(engines, windows, bare, options, frames, interval, total)
    for engine in engines.values():
        engine.close()


def _measure(engines, windows, bare, options, frames, interval, total) -> None:
    """One line for one interval between saved frames."""
    walkers = {count: _started(engine, windows, options.walkers) for count, engine in engines.items()}
    times: dict[str, list[tuple[float, float]]] = {}
    for repeat in range(options.repeats + 1):
        runs = {"bare": lambda: bare(total // WINDOWS)}
        for count, engine in engines.items():
            key = jax.random.key(repeat)
            runs[f"{count}"] = lambda engine=engine, count=count, key=key: jax.block_until_ready(
                engine.advance(windows, first_tuning(1, 1), walkers[count], key, frames, interval)
            )
        for name, run in runs.items():
            wall, used = time.perf_counter(), time.process_time()
            run()
            if repeat:  # the first compiles and starts processes
                times.setdefault(name, []).append((time.perf_counter() - wall, time.process_time() - used))
    best = {name: np.min(measured, axis=0) for name, measured in times.items()}
    overhead = best["1"][1] / best["bare"][1] - 1
    line = f"{interval:5d} steps a frame: overhead {100 * overhead:5.1f} % of processor time"
    line += f" (required {100 * REQUIRED_OVERHEAD:.0f} %)"
    for name, (wall, _) in best.items():
        line += f"; {'bare loop' if name == 'bare' else f'{name} worker(s)'} {total / wall:,.0f} steps/s"
    print(line)


def _windows(coarse: CoarseVariable) -> Windows:
    origin, spacing, shape = padded_grid(coarse, 60)
    grid = origin[0] + spacing[0] * np.arange(shape[0])
    table = fit_table(3 * np.cos(grid) + np.sin(2 * grid), origin, spacing, coarse.periodic)
    return Windows(jnp.asarray(grid_centers(coarse, WINDOWS)), jnp.array([STIFFNESS]), table)


def _started(engine: OpenMMEngine, windows: Windows, walkers: int):
    positions = np.broadcast_to(engine.system.initial[0], (windows.count, walkers, engine.system.dimension))
    state = engine.start(windows, jnp.asarray(positions))
    return engine.advance(windows, first_tuning(1, 1), state, jax.random.key(99), 1, 200)[0]


def _bare(system, coarse, windows, engine):
    """The loop that is the measure: a function of the number of steps in each window."""
    platform, states = engine.platform, np.asarray(_started(engine, windows, 1).position)
    forces = openmm.XmlSerializer.deserialize(system.forces)
    forces.addForce(native_bias(coarse, system.kT, system.atoms, windows.flattening))
    integrator = openmm.LangevinMiddleIntegrator(system.temperature, system.friction, system.time_step)
    where = openmm.Platform.getPlatformByName(platform)
    context = openmm.Context(forces, integrator, where, PROPERTIES.get(platform, {}))
    names = parameter_names(coarse.dimension, windows.flattening)
    parameters = parameter_values(windows, windows.flattening)

    def loop(steps: int) -> None:
        for state, values in zip(states, parameters, strict=True):
            for name, value in zip(names, values, strict=True):
                context.setParameter(name, value)
            context.setPositions(state.reshape(-1, 3))
            context.setVelocitiesToTemperature(system.temperature, 1)
            integrator.step(steps)

    return loop


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1000, help="of each walker")
    parser.add_argument("--walkers", type=int, default=4, help="of each window")
    parser.add_argument("--interval", type=int, nargs="+", default=[10, 50, 100, 500])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--solvent", help="such as OBC2; vacuum where left out")
    return parser.parse_args()


if __name__ == "__main__":
    main()
