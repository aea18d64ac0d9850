"""Which platform of OpenMM simulates a molecule fastest, found by trying."""

import os
import time

import numpy as np
import openmm

from micromacro.errors import PhysicsError
from micromacro.molecules.system import MolecularSystem

SECONDS = 0.15
STILL = 1e-9
"""A time step in ps so short that nothing moves: starting structures need not be relaxed yet."""
HOPELESS = 20
"""A platform whose first step takes so many times as long as a step of the best one is not tried further."""
PROCESSORS = ("CPU", "Reference")
PROPERTIES = {
    "CPU": {"Threads": "1", "DeterministicForces": "true"},
    "CUDA": {"Precision": "mixed", "DeterministicForces": "true"},
    "HIP": {"Precision": "mixed", "DeterministicForces": "true"},
    "OpenCL": {"Precision": "mixed"},
}

_measured: dict[tuple, dict[str, float]] = {}


def use_one_thread() -> None:
    """Let particle-mesh Ewald on the CPU use one thread: it looks in the environment alone, whenever it starts.

    With its number of threads its rounding changes, and then results would differ between workers and this process.
    A number that the user has set stays, and reaches the workers too.
    """
    os.environ.setdefault("OPENMM_CPU_THREADS", "1")


def measured_platform(system: MolecularSystem, workers: int = 1) -> str:
    """The platform on which all worker processes together make most steps.

    Processors are shared by one process a core, each with one thread; an accelerator belongs to one process.

    **Raises:** `PhysicsError` where no platform evaluates the first starting structure.
    """
    speeds = measured_speeds(system)
    if not speeds:
        raise PhysicsError(
            "no platform of OpenMM evaluates the first starting structure",
            where=f"{system.atoms} atoms, platforms {_available()}",
            remedy="Check that its positions are finite and that the force field describes every atom.",
        )
    return max(speeds, key=lambda name: speeds[name] * (workers if name in PROCESSORS else 1))


def measured_speeds(system: MolecularSystem) -> dict[str, float]:
    """Steps per second of one process on each platform, measured once for each system."""
    use_one_thread()
    key = system.forces, system.initial[:1].tobytes()
    if key not in _measured:
        speeds: dict[str, float] = {}
        for name in _available():
            try:
                speeds[name] = _speed(system, name, max(speeds.values(), default=0.0))
            except openmm.OpenMMException:
                continue
        _measured[key] = speeds
    return dict(_measured[key])


def _available() -> list[str]:
    names = [openmm.Platform.getPlatform(i).getName() for i in range(openmm.Platform.getNumPlatforms())]
    # Reference last: on large systems one step of it takes seconds
    return sorted(names, key=lambda name: name == "Reference")


def _speed(system: MolecularSystem, name: str, best: float) -> float:
    integrator = openmm.LangevinMiddleIntegrator(system.temperature, system.friction, STILL)
    platform = openmm.Platform.getPlatformByName(name)
    molecule = openmm.XmlSerializer.deserialize(system.forces)
    context = openmm.Context(molecule, integrator, platform, PROPERTIES.get(name, {}))
    context.setPositions(np.asarray(system.initial[0], float).reshape(-1, 3))
    integrator.step(1)
    steps = 1
    while True:
        began = time.perf_counter()
        integrator.step(steps)
        context.getState(positions=True)  # an accelerator works on while `step` has returned
        seconds = time.perf_counter() - began
        if seconds > SECONDS or steps / seconds < best / HOPELESS:
            return steps / seconds
        steps *= 2
