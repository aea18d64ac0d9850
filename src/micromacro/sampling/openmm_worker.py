"""Langevin dynamics and energies by OpenMM, in this process or as the program of a worker process.

A worker runs this file as a script, reads pickled pairs (method, arguments) from its standard input and answers on its
standard output. It imports nothing of micromacro, and so not JAX, unless a bias is a JAX function: it is ready
in a fraction of a second. Messages hold builtin types and NumPy arrays only.
"""

import contextlib
import os
import pickle
import signal
import sys
import threading
import time
import traceback
from typing import BinaryIO

import numpy as np
import openmm

CONSTRAINT_TOLERANCE = 1e-6
KILOJOULE_PER_MOLE = openmm.unit.kilojoule_per_mole  # type: ignore[attr-defined]


class Simulator:
    """Contexts of one molecule, one for each kind of bias, each made when it is first used.

    **Arguments:**

    - `platform`, `properties`: by name, as OpenMM has them.
    - `temperature` in K, `friction` in 1/ps, `time_step` in ps.
    """

    def __init__(
        self, *, platform: str, properties: dict[str, str], temperature: float, friction: float, time_step: float
    ):
        self._platform, self._properties = openmm.Platform.getPlatformByName(platform), properties
        self._temperature, self._friction, self._time_step = temperature, friction, time_step
        self._models: dict[str, _Model] = {}
        self._seeding = _Seeding() if platform == "Reference" else None

    def prepare(self, *, kind: str, system: str, names: list[str], group: int, function: bytes | None) -> None:
        """Make a kind of bias known: a serialised System whose last force it is, unless it is a pickled function."""
        model = _Model(openmm.XmlSerializer.deserialize(system), names, group, function)
        model.build(self._temperature, self._friction, self._time_step, self._platform, self._properties)
        self._models[kind] = model

    def set_tables(self, *, kind: str, arrays: list[tuple]) -> None:
        """Replace the tabulated functions of a kind of bias."""
        self._models[kind].set_tables(arrays)

    def advance(
        self,
        *,
        kind: str,
        seed: int,
        velocity_seeds: list[int],
        positions: np.ndarray,
        parameters: np.ndarray,
        frames: int,
        interval: int,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Advance walkers one after the other, each with fresh velocities.

        **Returns:** positions `(frames, walkers, D)` in nm and energies without the bias `(frames, walkers)` in
        kJ/mol, NaN from where a walker failed.
        """
        model = self._models[kind]
        self._restart(model, seed)
        saved = np.full((frames, *positions.shape), np.nan)
        energies = np.full((frames, len(positions)), np.nan)
        for walker, velocity_seed in enumerate(velocity_seeds):
            model.place(positions[walker], parameters[walker])
            try:
                model.start(self._temperature, velocity_seed)
                for frame in range(frames):
                    model.integrator.step(interval)
                    saved[frame, walker], energies[frame, walker] = model.state()
            except openmm.OpenMMException as error:
                _only_not_a_number(error)
                self._restart(model, velocity_seed)
        return saved, energies

    def _restart(self, model: "_Model", seed: int) -> None:
        """Begin a stream of random numbers; a seed is only read when a context is made."""
        if self._seeding is not None:
            self._seeding.start(seed)
        else:
            model.restart(seed)

    def energies(self, *, kind: str, positions: np.ndarray) -> np.ndarray:
        """Energies without the bias in kJ/mol of `(n, D)`; NaN where positions are not finite."""
        model = self._models[kind]
        energies = np.full(len(positions), np.nan)
        for index in np.flatnonzero(np.isfinite(positions).all(axis=1)):
            model.place(positions[index], ())
            with _not_a_number_allowed():
                energies[index] = model.energy()
        return energies

    def minimise(
        self, *, kind: str, positions: np.ndarray, tolerance: float, iterations: int
    ) -> tuple[np.ndarray, int]:
        """Local minima from `(n, D)`, and how many evaluations the minimiser reported, one more for each start."""
        model = self._models[kind]
        found, evaluations = np.full(positions.shape, np.nan), 0
        for index in np.flatnonzero(np.isfinite(positions).all(axis=1)):
            counter = _Counter()
            model.place(positions[index], ())
            with _not_a_number_allowed():
                openmm.LocalEnergyMinimizer.minimize(model.context, tolerance, iterations, counter)  # type: ignore[arg-type]
                found[index] = model.state()[0]
            evaluations += 1 + counter.reports
        return found, evaluations


class _Model:
    """One System with its integrator and context."""

    def __init__(self, system: openmm.System, names: list[str], group: int, function: bytes | None):
        self.system, self.names = system, names
        self.without_bias = sum(1 << number for number in range(32) if number != group)
        self.function = pickle.loads(function) if function else None
        if self.function is not None:
            force = self.function.force()
            force.setForceGroup(group)
            self.system.addForce(force)
        self.constrained = system.getNumConstraints() > 0
        self.virtual = any(system.isVirtualSite(particle) for particle in range(system.getNumParticles()))

    def build(
        self,
        temperature: float,
        friction: float,
        time_step: float,
        platform: openmm.Platform,
        properties: dict[str, str],
    ) -> None:
        self.integrator = openmm.LangevinMiddleIntegrator(temperature, friction, time_step)
        self.integrator.setConstraintTolerance(CONSTRAINT_TOLERANCE)
        self.context = openmm.Context(self.system, self.integrator, platform, properties)

    def restart(self, seed: int) -> None:
        """Make the context again, with another seed."""
        self.integrator.setRandomNumberSeed(seed)
        self.context.reinitialize()

    def set_tables(self, arrays: list[tuple]) -> None:
        if self.function is not None:
            self.function.set_tables(arrays)
            return
        force = self.system.getForce(self.system.getNumForces() - 1)
        for number, parameters in enumerate(arrays):
            force.getTabulatedFunction(number).setFunctionParameters(*parameters)
        force.updateParametersInContext(self.context)

    def place(self, positions: np.ndarray, parameters: np.ndarray | tuple) -> None:
        for name, value in zip(self.names, parameters, strict=False):
            self.context.setParameter(name, float(value))
        self.context.setPositions(positions.reshape(-1, 3))
        if self.virtual:
            self.context.computeVirtualSites()

    def start(self, temperature: float, seed: int) -> None:
        if self.constrained:
            self.context.applyConstraints(CONSTRAINT_TOLERANCE)
        self.context.setVelocitiesToTemperature(temperature, seed)

    def energy(self) -> float:
        state = self.context.getState(energy=True, groups=self.without_bias)
        return state.getPotentialEnergy().value_in_unit(KILOJOULE_PER_MOLE)

    def state(self) -> tuple[np.ndarray, float]:
        state = self.context.getState(positions=True, energy=True, groups=self.without_bias)
        return positions_of(state).reshape(-1), state.getPotentialEnergy().value_in_unit(KILOJOULE_PER_MOLE)


def positions_of(state: openmm.State) -> np.ndarray:
    """Positions `(atoms, 3)` in nm."""
    positions = np.empty((state._getNumParticles(), 3))
    # what the public method calls too, with two steps' worth of Python around it
    state._getVectorAsNumpy(openmm.State.Positions, positions)
    return positions


class _Seeding:
    """On the Reference platform all contexts of a process share one generator: the smallest of them seeds it.

    To make the context of a molecule with its bias again takes a hundred times as long.
    """

    def __init__(self):
        system = openmm.System()
        system.addParticle(1.0)
        self._integrator = openmm.LangevinMiddleIntegrator(300.0, 1.0, 0.001)
        platform = openmm.Platform.getPlatformByName("Reference")
        self._context = openmm.Context(system, self._integrator, platform)

    def start(self, seed: int) -> None:
        self._integrator.setRandomNumberSeed(seed)
        self._context.reinitialize()


class _Counter(openmm.MinimizationReporter):
    """Counts what the minimiser reports: one a step of L-BFGS."""

    reports = 0

    def report(self, *_: object) -> bool:  # type: ignore[override]
        self.reports += 1
        return False


def _only_not_a_number(error: openmm.OpenMMException) -> None:
    if "nan" not in str(error).lower():
        raise error


@contextlib.contextmanager
def _not_a_number_allowed():
    try:
        yield
    except openmm.OpenMMException as error:
        _only_not_a_number(error)


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer requests until they end; the first holds the path to import from and the arguments of `Simulator`."""
    try:
        sys.path[:], settings = pickle.load(requests)
        simulator = Simulator(**settings)
        while True:
            method, arguments = pickle.load(requests)
            try:
                answer = True, getattr(simulator, method)(**arguments)
            except Exception:
                answer = False, traceback.format_exc()
            pickle.dump(answer, answers, pickle.HIGHEST_PROTOCOL)
            answers.flush()
    except (EOFError, BrokenPipeError):
        return


def _end_with(parent: int) -> None:
    """End this process when the one that started it was killed, in the midst of a task too."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    # Ctrl-C reaches the whole group of processes; the parent decides, by closing our input
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints must not mix with the answers
    serve(sys.stdin.buffer, answers)
