"""The JAX engine: every walker of every window advanced in one compiled batch."""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from micromacro.coordinates.coarse import CoarseVariable
from micromacro.sampling.exchange import exchanges
from micromacro.sampling.mala import Walker, mala_step
from micromacro.sampling.windows import Windows, window_energy
from micromacro.systems.model import System


class Tuning(NamedTuple):
    """What the local sampler adapted in each window: step size `(windows,)` and scale `(windows, S, S)`.

    S is the dimension of the state, and 1 where moves are not adjusted.
    """

    step_size: Float[Array, "windows"]
    scale: Float[Array, "windows S S"]


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

    `evaluations` counts one for each walker and step and each energy of a batch; it is what a budget is about.
    """

    system: System
    coarse: CoarseVariable
    evaluations: int = 0

    def __post_init__(self):
        self._start = jax.jit(self._start_batch)
        self._advance = jax.jit(self._advance_batch, static_argnames=("frames", "interval"))
        self._log_density = jax.jit(jax.vmap(self.system.log_density))
        self._swap = jax.jit(self._swap_neighbours, static_argnames="even")

    @property
    def platform(self) -> None:
        """No choice: that of JAX."""
        return

    def of(self, system: System, coarse: CoarseVariable) -> "JaxEngine":
        """The engine of another system or coarse variable; what this one has cost goes on."""
        return replace(self, system=system, coarse=coarse)

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
        return self.coarse(self.system.observe(position))

    def start(self, windows: Windows, positions: Float[Array, "windows walkers D"]) -> Walker:
        """Walkers at given positions, evaluated under their windows; one evaluation each."""
        self.evaluations += positions.shape[0] * positions.shape[1]
        return self._start(windows, positions)

    def advance(
        self, windows: Windows, tuning: Tuning, walkers: Walker, key: Key[Array, ""], frames: int, interval: int
    ) -> tuple[Walker, Chunk]:
        """Advance by `frames * interval` steps of MALA and save every `interval`-th."""
        self.evaluations += frames * interval * int(np.prod(walkers.log_target.shape))
        return self._advance(windows, tuning, walkers, key, frames=frames, interval=interval)

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

    def evaluate(self, center: Array, windows: Windows, position: Float[Array, "D"]) -> Walker:
        """One walker at `position` under the window at `center`."""

        def log_target(x: Array) -> tuple[Array, tuple[Array, Array]]:
            z = self.coarse_of(x)
            log_density = self.system.log_density(x).astype(x.dtype)
            bias = window_energy(self.coarse, center, windows.stiffness, windows.flattening, z)
            return log_density - bias, (z, log_density)

        (value, (z, log_density)), gradient = jax.value_and_grad(log_target, has_aux=True)(position)
        return Walker(position, z, log_density, value, gradient)

    def _start_batch(self, windows: Windows, positions: Array) -> Walker:
        def per_window(center: Array, batch: Array) -> Walker:
            return jax.vmap(partial(self.evaluate, center, windows))(batch)

        return jax.vmap(per_window)(windows.centers, positions)

    def _advance_batch(
        self, windows: Windows, tuning: Tuning, walkers: Walker, key: Array, *, frames: int, interval: int
    ) -> tuple[Walker, Chunk]:
        def per_walker(center, step_size, scale, walker, noise, log_uniform):
            return mala_step(partial(self.evaluate, center, windows), walker, step_size, scale, noise, log_uniform)

        per_window = jax.vmap(per_walker, in_axes=(None, None, None, 0, 0, 0))
        batched = jax.vmap(per_window)

        def step(walkers: Walker, step_key: Array):
            noise_key, uniform_key = jax.random.split(step_key)
            noise = jax.random.normal(noise_key, walkers.position.shape, jnp.float32).astype(walkers.position.dtype)
            log_uniform = jnp.log(jax.random.uniform(uniform_key, walkers.log_target.shape))
            return batched(windows.centers, tuning.step_size, tuning.scale, walkers, noise, log_uniform)

        def frame(walkers: Walker, frame_key: Array):
            walkers, accepted = jax.lax.scan(step, walkers, jax.random.split(frame_key, interval))
            saved = (walkers.position, walkers.coarse, walkers.log_density, jnp.mean(accepted, axis=(0, 2)))
            return walkers, saved

        walkers, saved = jax.lax.scan(frame, walkers, jax.random.split(key, frames))
        position, coarse, log_density, acceptance = saved
        return walkers, Chunk(position, coarse, log_density, jnp.mean(acceptance, axis=0))

    def _swap_neighbours(self, windows: Windows, walkers: Walker, key: Array, *, even: bool) -> tuple[Walker, Array]:
        partner, accepted = exchanges(self.coarse, windows, walkers.coarse, key, even=even)
        position = jnp.where(accepted[..., None], walkers.position[partner], walkers.position)
        return self._start_batch(windows, position), jnp.mean(accepted, axis=1)
