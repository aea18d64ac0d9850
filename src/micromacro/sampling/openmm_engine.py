"""The engine of molecules: every walker of every window by OpenMM, in processes that fill the cores."""

import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import openmm
from jaxtyping import Array, Float, Key
from joblib import cpu_count

from micromacro.coordinates.coarse import CoarseVariable
from micromacro.errors import InputError, PhysicsError
from micromacro.molecules.system import MolecularSystem
from micromacro.sampling.engine import Chunk, Tuning
from micromacro.sampling.exchange import exchanges, window_energies
from micromacro.sampling.mala import Walker
from micromacro.sampling.openmm_bias import is_native, native_bias, parameter_names, parameter_values
from micromacro.sampling.openmm_function_bias import FunctionBias, coarse_of_positions
from micromacro.sampling.openmm_platform import PROCESSORS, PROPERTIES, measured_platform, use_one_thread
from micromacro.sampling.openmm_pool import Workers
from micromacro.sampling.openmm_tables import tabulated
from micromacro.sampling.openmm_tasks import advance_tasks, slices
from micromacro.sampling.openmm_worker import Simulator
from micromacro.sampling.pickling import by_value
from micromacro.sampling.pool import Cluster, Journal, Recorder
from micromacro.sampling.table import Table
from micromacro.sampling.threads import pool_of
from micromacro.sampling.windows import Windows

FREE = "free"
LARGEST_RISE = 1e4
"""In kT, of the energy between the frames of one walker: no bias lifts it as far, and what does flies apart."""
REPAIR_ITERATIONS, REPAIR_TOLERANCE = 50, 300.0
"""Of raw draws, until their root-mean-square force in kJ/mol/nm is about that of dynamics at room temperature."""
LARGEST_BATCH = 4096
"""States whose coarse values are computed at once; smaller batches are filled up to a power of two."""


@dataclass
class OpenMMEngine:
    """The engine of a molecule.

    Walkers move by the Langevin dynamics of the system (BAOA), unadjusted, with velocities drawn afresh at each call of
    `advance`; the time step is that of the system. Their order and number decide on all random numbers, the number
    of workers does not. `evaluations` counts one for each step of each walker and each energy of a batch; OpenMM
    evaluates a saved state twice, for its energy and for the next step: one, like a value with its gradient.

    **Arguments:**

    - `workers`: processes, as many as cores by default; 1 is this process.
    - `platform`: of OpenMM, by default the fastest; what was found is kept here.
    - `cluster`: who simulates; so many `workers` of this machine where left out.

    Source: Zhang et al., J. Phys. Chem. A 123, 6056 (2019).
    """

    system: MolecularSystem
    coarse: CoarseVariable
    evaluations: int = 0
    workers: int | None = None
    platform: str | None = None
    cluster: Cluster | None = None
    _kinds: dict[str, Table | None] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self):
        use_one_thread()
        processes = self.workers or cpu_count()
        self.platform = self.platform or measured_platform(self.system, processes)
        self.workers = processes if self.workers or self.platform in PROCESSORS else 1
        settings = {
            "platform": self.platform,
            "properties": PROPERTIES.get(self.platform, {}),
            "temperature": self.system.temperature,
            "friction": self.system.friction,
            "time_step": self.system.time_step,
        }
        pool = (
            Workers(self.workers, settings)
            if self.cluster is None
            else self.cluster.pool(partial(Simulator, **settings))
        )
        self._pool, self._recorder = pool, Recorder(pool)
        self._values = coarse_of_positions(self.system, self.coarse)
        self._batch_values = jax.jit(jax.vmap(self.coarse_of))
        self._biases = jax.jit(partial(window_energies, self.coarse))
        self._exchanges = jax.jit(partial(exchanges, self.coarse), static_argnames="even")
        self._group = _free_group(self.system.forces)

    def of(self, system: MolecularSystem, coarse: CoarseVariable) -> "OpenMMEngine":
        """The engine of another system or coarse variable, on the same platform; what this one has cost goes on."""
        return replace(self, system=system, coarse=coarse)

    def keeping(self, journal: Journal) -> AbstractContextManager[None]:
        """Keep in a journal what walkers did meanwhile, and take from it what they did before."""
        return self._recorder.keeping(journal)

    def once(
        self, name: str, asked: dict, compute: Callable[[], Sequence[np.ndarray | Array]]
    ) -> tuple[np.ndarray, ...]:
        """Arrays computed by other than force evaluations, kept in the journal; `asked` is what they depend on."""
        return self._recorder.once(name, asked, compute)

    def recorder(self, make: Callable[[], Any]) -> Recorder:
        """Who does tasks that are no simulation: threads of this process, or the workers of the cluster."""
        return self._recorder.beside(pool_of(make, self.cluster))

    @property
    def adjusted(self) -> bool:
        """They are not: the time step is that of the system."""
        return False

    @property
    def frame_steps(self) -> int:
        """That of the system."""
        return self.system.frame_steps

    def coarse_of(self, position: Float[Array, "D"]) -> Float[Array, "d"]:
        """ξ of one simulated state."""
        return self._values(position.reshape(-1, 3))

    def coarse_values(self, positions: Float[np.ndarray, "n D"]) -> Float[np.ndarray, "n d"]:
        """ξ of many simulated states."""
        return np.concatenate([np.zeros((0, self.coarse.dimension)), *_in_batches(self._batch_values, positions)])

    def start(self, windows: Windows, positions: Float[Array, "windows walkers D"]) -> Walker:
        """Walkers at given positions, evaluated under their windows; one evaluation each."""
        given = np.asarray(positions, float)
        states = given.reshape(-1, given.shape[-1])
        log_density = self.log_density(jnp.asarray(states)).reshape(given.shape[:2])
        return self._walkers(windows, given, self.coarse_values(states).reshape(*given.shape[:2], -1), log_density)

    def advance(
        self, windows: Windows, tuning: Tuning, walkers: Walker, key: Key[Array, ""], frames: int, interval: int
    ) -> tuple[Walker, Chunk]:
        """Advance by `frames * interval` steps and save every `interval`-th; nothing is tuned, every step accepted.

        A walker whose coordinates cease to be numbers has none from then on, nor a density: `check_finite` tells. One
        that a bias has turned into its mirror image at some centre is back where it was, from that frame on: the steps
        until each frame are refused, which leaves the density among molecules of the right chirality unchanged.

        **Raises:** `PhysicsError` where that befalls more than half of all walkers.
        """
        del tuning
        shape = walkers.position.shape
        positions = np.asarray(walkers.position, float).reshape(-1, shape[-1])
        kind, table = self._prepared(windows)
        parameters = (
            np.repeat(parameter_values(windows, table), shape[1], axis=0)
            if kind != FREE
            else np.zeros((len(positions), 0))
        )
        entropy = np.asarray(jax.random.key_data(key))
        tasks = list(advance_tasks(kind, positions, parameters, entropy, frames, interval))
        answers = self._recorder.run("advance", tasks, _labels(tasks, "velocity_seeds", shape[1]))
        self.evaluations += frames * interval * len(positions)
        saved, energies = (np.concatenate(part, axis=1) for part in zip(*answers, strict=True))
        self._refuse_mirrored(saved, energies, positions, np.asarray(walkers.log_density).reshape(-1))
        coarse = self.coarse_values(saved.reshape(-1, shape[-1])).reshape(frames, *shape[:2], -1)
        saved, log_density = saved.reshape(frames, *shape), -energies.reshape(frames, *shape[:2]) / self.system.kT
        last = self._walkers(windows, saved[-1], coarse[-1], log_density[-1])
        chunk = Chunk(jnp.asarray(saved), jnp.asarray(coarse), jnp.asarray(log_density), jnp.ones(windows.count))
        return last, chunk

    def _refuse_mirrored(
        self,
        saved: Float[np.ndarray, "frames n D"],
        energies: Float[np.ndarray, "frames n"],
        begun: Float[np.ndarray, "n D"],
        log_density: Float[np.ndarray, "n"],
    ) -> None:
        """Put walkers back to where they had begun from the first frame on that is a mirror image.

        Not those that fly apart: on their way through mirror images they must be seen to.
        """
        mirrored = self.system.mirrored(saved.reshape(-1, saved.shape[-1]))
        sound = np.max(energies / self.system.kT + log_density, axis=0) < LARGEST_RISE
        refused = np.logical_or.accumulate(mirrored.reshape(energies.shape), axis=0) & sound
        if refused.any(axis=0).mean() > 0.5:
            raise PhysicsError(
                "more than half of the walkers turned into their mirror images at some centre",
                where=f"{energies.shape[1]} walkers",
                remedy="Lower [system] time_step, or [bias] stiffness.",
            )
        saved[refused] = np.broadcast_to(begun, saved.shape)[refused]
        energies[refused] = np.broadcast_to(-self.system.kT * log_density, energies.shape)[refused]

    def log_density(self, positions: Float[Array, "n D"]) -> Float[Array, "n"]:
        """-V/kT of each state, without a bias; one evaluation each, NaN where it is not a number."""
        states = np.asarray(positions, float)
        self._make_known(FREE, None)
        tasks = [{"kind": FREE, "positions": states[part]} for part in slices(len(states), self.system.atoms, 1)]
        self.evaluations += len(states)
        energies = np.concatenate([np.zeros(0), *self._pool.run("energies", tasks, _labels(tasks, "positions"))])
        return jnp.asarray(-energies / self.system.kT)

    def exchange(self, windows: Windows, walkers: Walker, key: Key[Array, ""], *, even: bool) -> tuple[Walker, Array]:
        """Replica exchange between windows 2i and 2i+1 (`even`) or 2i+1 and 2i+2; needs no new evaluation."""
        partner, accepted = self._exchanges(windows, walkers.coarse, key, even=even)
        swapped = jax.tree.map(
            lambda x: jnp.where(accepted.reshape(*accepted.shape, *(1,) * (x.ndim - 2)), x[partner], x), walkers
        )
        moved = self._walkers(windows, swapped.position, swapped.coarse, swapped.log_density)
        return moved, jnp.mean(accepted, axis=1)

    def minimised(
        self, positions: Float[np.ndarray, "n D"], *, tolerance: float = 10.0, iterations: int = 200
    ) -> Float[np.ndarray, "n D"]:
        """Local minima of the energy, such as for raw draws with clashes; NaN where that fails.

        Every step of L-BFGS that OpenMM reports counts as one evaluation, and the start of each state as one more.

        **Arguments:**

        - `tolerance`: of the root-mean-square force in kJ/mol/nm.
        - `iterations`: at most, for each state.
        """
        states = np.asarray(positions, float)
        self._make_known(FREE, None)
        settings = {"kind": FREE, "tolerance": tolerance, "iterations": iterations}
        tasks = [settings | {"positions": states[part]} for part in slices(len(states), self.system.atoms, iterations)]
        answers = self._pool.run("minimise", tasks, _labels(tasks, "positions"))
        self.evaluations += sum(count for _, count in answers)
        return np.concatenate([np.zeros((0, states.shape[1])), *(found for found, _ in answers)])

    @property
    def repair_cost(self) -> int:
        """Iterations of the minimiser, and the start."""
        return REPAIR_ITERATIONS + 1

    def repaired(self, positions: Float[Array, "n D"]) -> Float[Array, "n D"]:
        """Raw draws with clashes minimised away; NaN where that fails."""
        found = self.minimised(np.asarray(positions), tolerance=REPAIR_TOLERANCE, iterations=REPAIR_ITERATIONS)
        return jnp.asarray(found)

    def close(self) -> None:
        """End the worker processes; they start again when they are needed."""
        self._pool.close()

    def _walkers(self, windows: Windows, positions, coarse, log_density) -> Walker:
        coarse, log_density = jnp.asarray(coarse), jnp.asarray(log_density)
        log_target = log_density - self._biases(windows, coarse)
        return Walker(jnp.asarray(positions), coarse, log_density, log_target, jnp.zeros(positions.shape))

    def _prepared(self, windows: Windows) -> tuple[str, Table | None]:
        """The kind of bias that the windows need, made known to all workers, and its table."""
        table = windows.flattening if np.any(np.asarray(windows.flattening.coefficients)) else None
        if table is None and not np.any(np.asarray(windows.stiffness)):
            self._make_known(FREE, None)
            return FREE, None
        kind = "harmonic" if table is None else f"table {_grid(table)}"
        self._make_known(kind, table if table is not None else windows.flattening)
        return kind, table

    def _make_known(self, kind: str, table: Table | None) -> None:
        if kind not in self._kinds:
            self._pool.everywhere("prepare", self._description(kind, table))
        elif kind not in (FREE, "harmonic") and not _same(self._kinds[kind], table):
            assert table is not None
            native = is_native(self.coarse)
            arrays = [one.parameters for one in tabulated(table)] if native else [(np.asarray(table.coefficients),)]
            self._pool.forget("set_tables", kind)
            self._pool.everywhere("set_tables", {"kind": kind, "arrays": arrays})
        self._kinds[kind] = table

    def _description(self, kind: str, table: Table | None) -> dict:
        """What a worker needs to know of a kind of bias."""
        description = {"kind": kind, "system": self.system.forces, "names": [], "group": self._group, "function": None}
        if kind == FREE:
            return description
        if not is_native(self.coarse):
            assert table is not None
            bias = FunctionBias(self._values, self.coarse, self.system.kT, table)
            return description | {
                "names": parameter_names(self.coarse.dimension, None),
                "function": by_value(bias, "the coarse variable"),
            }
        used = None if kind == "harmonic" else table
        system = openmm.XmlSerializer.deserialize(self.system.forces)
        force = native_bias(self.coarse, self.system.kT, self.system.atoms, used)
        force.setForceGroup(self._group)
        system.addForce(force)
        names = parameter_names(self.coarse.dimension, used)
        return description | {"system": openmm.XmlSerializer.serialize(system), "names": names}


def _labels(tasks: list[dict], of: str, walkers: int = 0) -> list[str]:
    """Which windows of so many `walkers` the tasks are of, or which states where there are none, for messages."""
    edges, what = np.cumsum([0, *(len(task[of]) for task in tasks)]), "windows" if walkers else "states"
    each = walkers or 1
    return [f"{what} {begin // each} to {(end - 1) // each}" for begin, end in pairwise(edges)]


def _in_batches(function: Callable, states: Float[np.ndarray, "n D"]) -> list[np.ndarray]:
    """A batched function of many states, in parts of few sizes, each of which is compiled once."""
    parts = []
    for first in range(0, len(states), LARGEST_BATCH):
        part = states[first : first + LARGEST_BATCH]
        missing = (1 << (len(part) - 1).bit_length()) - len(part)
        filled = np.concatenate([part, np.repeat(part[-1:], missing, axis=0)])
        parts.append(np.asarray(function(filled))[: len(part)])
    return parts


def _grid(table: Table) -> str:
    return f"{table.coefficients.shape} {np.asarray(table.origin).tolist()} {np.asarray(table.spacing).tolist()}"


def _same(first: Table | None, second: Table | None) -> bool:
    return first is not None and second is not None and np.array_equal(first.coefficients, second.coefficients)


def _free_group(forces: str) -> int:
    """A force group that no force of the system is in; refuses a system that changes its temperature or volume."""
    used = set()
    for element in ElementTree.fromstring(forces).iter("Force"):
        used.add(int(element.get("forceGroup", "0")))
        kind = element.get("type", "")
        if "Barostat" in kind or "Thermostat" in kind:
            remedy = "Make the System without it: temperature is kept by the dynamics, volume constant."
            raise InputError("the System", "hold no barostat or thermostat", kind, remedy=remedy)
    free = [group for group in reversed(range(32)) if group not in used]
    if not free:
        raise InputError("the System", "leave one of its 32 force groups free for the bias", "none free")
    return free[0]
