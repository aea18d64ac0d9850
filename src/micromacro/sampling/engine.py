"""What advances walkers: the protocol of engines, and the engine of systems that are JAX functions."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from micromacro.coordinates.coarse import CoarseVariable
from micromacro.sampling.euler_maruyama import Simulation, Trajectories
from micromacro.sampling.exchange import exchanges
from micromacro.sampling.jax_simulator import JaxSimulator
from micromacro.sampling.mala import Walker
from micromacro.sampling.parts import Part, parts
from micromacro.sampling.pool import Cluster, Journal, Recorder
from micromacro.sampling.threads import Threads, pool_of
from micromacro.sampling.tuned import Tuning as Tuning
from micromacro.sampling.windows import Windows
from micromacro.systems.model import System


class Chunk(NamedTuple):
    """Saved frames `(frames, windows, walkers, ...)` and the acceptance of each window."""

    position: Float[Array, "frames windows walkers D"]
    coarse: Float[Array, "frames windows walkers d"]
    log_density: Float[Array, "frames windows walkers"]
    acceptance: Float[Array, "windows"]


@runtime_checkable
class Engine(Protocol):
    """What advances walkers under a bias and counts what it costs."""

    evaluations: int
    system: Any
    coarse: CoarseVariable

    @property
    def platform(self) -> str | None:
        """Where it computes, by name, if there is a choice."""
        ...

    def of(self, system: Any, coarse: CoarseVariable) -> "Engine":
        """An engine of the same kind for another system or coarse variable; what this one has cost goes on."""
        ...

    def keeping(self, journal: Journal) -> AbstractContextManager[None]:
        """Keep in a journal what walkers did meanwhile, and take from it what they did before."""
        ...

    def once(
        self, name: str, asked: dict, compute: Callable[[], Sequence[np.ndarray | Array]]
    ) -> tuple[np.ndarray, ...]:
        """Arrays computed by other than force evaluations, kept in the journal; `asked` is what they depend on."""
        ...

    def recorder(self, make: Callable[[], Any]) -> Recorder:
        """Who does tasks that are no simulation, such as trainings: the same workers, with the same journal.

        `make` makes what has the methods asked for, with an event `stopped`, where this process does them in threads.
        """
        ...

    def close(self) -> None:
        """End what it started; it starts again when it is needed."""
        ...

    @property
    def adjusted(self) -> bool:
        """Whether local moves are accepted or refused, so that their size is to be tuned."""
        ...

    @property
    def frame_steps(self) -> int:
        """Steps between two frames while chains are tuned, pulled or seeded."""
        ...

    def coarse_of(self, position: Float[Array, "D"]) -> Float[Array, "d"]:
        """ξ of one simulated state."""
        ...

    def start(self, windows: Windows, positions: Float[Array, "windows walkers D"]) -> Walker:
        """Walkers at given positions, evaluated under their windows."""
        ...

    def advance(
        self, windows: Windows, tuning: Tuning, walkers: Walker, key: Key[Array, ""], frames: int, interval: int
    ) -> tuple[Walker, Chunk]:
        """Advance by `frames * interval` steps and save every `interval`-th."""
        ...

    def log_density(self, positions: Float[Array, "n D"]) -> Float[Array, "n"]:
        """Energies of a batch of states."""
        ...

    def exchange(self, windows: Windows, walkers: Walker, key: Key[Array, ""], *, even: bool) -> tuple[Walker, Array]:
        """Replica exchange between windows 2i and 2i+1 (`even`) or 2i+1 and 2i+2."""
        ...

    @property
    def repair_cost(self) -> int:
        """Force evaluations of `repaired` at most, for each state."""
        ...

    def repaired(self, positions: Float[Array, "n D"]) -> Float[Array, "n D"]:
        """Raw draws as states that dynamics can start from; not finite where that fails."""
        ...


@dataclass
class JaxEngine:
    """The engine for a system whose density is a JAX function.

    Walkers are advanced in parts, by threads of this process or by the workers of a cluster; the parts follow from the
    shape of the batch alone, so that results do not depend on who does the work. `evaluations` counts one for each
    walker and step and each energy of a batch; it is what a budget is about.

    **Arguments:**

    - `cluster`: who advances walkers; threads of this process where left out.
    """

    system: System
    coarse: CoarseVariable
    evaluations: int = 0
    cluster: Cluster | None = None

    def __post_init__(self):
        self._simulator = JaxSimulator(self.system, self.coarse)
        make = partial(JaxSimulator, self.system, self.coarse)
        self._recorder = Recorder(Threads(self._simulator) if self.cluster is None else self.cluster.pool(make))
        self._log_density = jax.jit(jax.vmap(self.system.log_density))
        self._swap = jax.jit(self._swap_neighbours, static_argnames="even")

    @property
    def platform(self) -> None:
        """No choice: that of JAX."""
        return

    def of(self, system: System, coarse: CoarseVariable) -> "JaxEngine":
        """The engine of another system or coarse variable; what this one has cost goes on."""
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
        """They are."""
        return True

    @property
    def frame_steps(self) -> int:
        """That of the system."""
        return self.system.frame_steps

    def coarse_of(self, position: Float[Array, "D"]) -> Float[Array, "d"]:
        """ξ of one simulated state."""
        return self._simulator.coarse_of(position)

    def start(self, windows: Windows, positions: Float[Array, "windows walkers D"]) -> Walker:
        """Walkers at given positions, evaluated under their windows; one evaluation each."""
        self.evaluations += positions.shape[0] * positions.shape[1]
        return self._simulator.start(windows, positions)

    def advance(
        self, windows: Windows, tuning: Tuning, walkers: Walker, key: Key[Array, ""], frames: int, interval: int
    ) -> tuple[Walker, Chunk]:
        """Advance by `frames * interval` steps of MALA and save every `interval`-th."""
        shape = walkers.position.shape
        self.evaluations += frames * interval * shape[0] * shape[1]
        accelerated = jax.default_backend() != "cpu"
        cut = parts(shape[0], shape[1], shape[2], frames * interval, accelerated=accelerated)
        tuning = tuning.cheapest()
        tasks = [
            {
                "windows": replace(windows, centers=_cut(windows.centers, part.windows)),
                "tuning": Tuning(*(_cut(array, part.windows) for array in tuning)),
                "walkers": Walker(*(_cut(array, part.windows, part.walkers) for array in walkers)),
                "key": np.asarray(jax.random.key_data(key if len(cut) == 1 else jax.random.fold_in(key, number))),
                "frames": frames,
                "interval": interval,
            }
            for number, part in enumerate(cut)
        ]
        answers = self._recorder.run("advance", tasks, [part.label for part in cut])
        return _joined(shape, cut, answers)

    def trajectories(
        self,
        states: Float[np.ndarray, "walkers D"],
        time_step: float,
        steps: int,
        key: Key[Array, ""],
        *,
        save_every: int | None = None,
    ) -> Trajectories:
        """Walkers by the dynamics itself, as `euler_maruyama.simulate` has them; not counted."""
        simulation = Simulation.of(states, time_step, steps, key, save_every)
        tasks = simulation.tasks()
        labels = [f"walkers from {task['first']} on" for task in tasks]
        return simulation.joined(self._recorder.run("trajectories", tasks, labels))

    def log_density(self, positions: Float[Array, "n D"]) -> Float[Array, "n"]:
        """The logarithm of the density of each state; one evaluation each."""
        self.evaluations += positions.shape[0]
        return self._log_density(positions)

    @property
    def repair_cost(self) -> int:
        """None: adjusted moves go on from anywhere."""
        return 0

    def repaired(self, positions: Float[Array, "n D"]) -> Float[Array, "n D"]:
        """The states themselves."""
        return positions

    def exchange(self, windows: Windows, walkers: Walker, key: Key[Array, ""], *, even: bool) -> tuple[Walker, Array]:
        """Replica exchange between windows 2i and 2i+1 (`even`) or 2i+1 and 2i+2; needs no new evaluation."""
        return self._swap(windows, walkers, key, even=even)

    def close(self) -> None:
        """End what it started."""
        self._recorder.pool.close()

    def _swap_neighbours(self, windows: Windows, walkers: Walker, key: Array, *, even: bool) -> tuple[Walker, Array]:
        partner, accepted = exchanges(self.coarse, windows, walkers.coarse, key, even=even)
        position = jnp.where(accepted[..., None], walkers.position[partner], walkers.position)
        return self._simulator.start(windows, position), jnp.mean(accepted, axis=1)


def _cut(array: Array, *where: slice) -> Array:
    # by NumPy: JAX would compile a program for each slice
    return jnp.asarray(np.asarray(array)[where])


def _joined(shape: tuple[int, ...], cut: list[Part], answers: list[tuple[np.ndarray, ...]]) -> tuple[Walker, Chunk]:
    """Walkers at the end and saved frames of the whole batch from those of its parts."""
    frames, d = answers[0][1].shape[0], answers[0][1].shape[-1]
    batch = shape[:2]
    sizes = [(*batch, shape[2]), (*batch, d), batch]
    saved = [np.empty((frames, *size), answers[0][0].dtype) for size in sizes]
    last = [np.empty(size, answers[0][0].dtype) for size in (*sizes, batch, sizes[0])]
    acceptance = np.zeros(shape[0])
    for part, (*found, accepted, position, coarse, log_density, log_target, gradient) in zip(cut, answers, strict=True):
        for whole, array in zip(saved, found, strict=True):
            whole[:, part.windows, part.walkers] = array
        for whole, array in zip(last, (position, coarse, log_density, log_target, gradient), strict=True):
            whole[part.windows, part.walkers] = array
        acceptance[part.windows] += accepted * position.shape[1] / shape[1]
    walkers = Walker(*(jnp.asarray(array) for array in last))
    position, coarse, log_density = (jnp.asarray(array) for array in saved)
    return walkers, Chunk(position, coarse, log_density, jnp.asarray(acceptance))
