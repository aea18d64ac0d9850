"""The part of an engine that does the work, wherever it is, for systems that are JAX functions."""

import itertools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, UInt

from micromacro.coordinates.coarse import CoarseVariable
from micromacro.sampling.euler_maruyama import advance_blocks
from micromacro.sampling.mala import Walker, mala_step
from micromacro.sampling.tuned import Tuning
from micromacro.sampling.windows import Windows, window_energy
from micromacro.systems.model import System

MOST_STEPS = 2000
"""Steps that are compiled into one call at most: between calls Ctrl-C is heard, and keys need no more memory."""


class JaxSimulator:
    """Compiled once for each shape and device. Setting `stopped` ends what is under way in other threads.

    Calls go to the devices of this process in turn; one thread for each keeps all of them busy.
    """

    def __init__(self, system: System, coarse: CoarseVariable):
        self.system, self.coarse = system, coarse
        self.stopped = threading.Event()
        self._compiling, self._compiled = threading.Lock(), set()
        self._devices = itertools.cycle(jax.local_devices())
        self.start = jax.jit(self._start)
        self._frames = jax.jit(self._advance_frames, static_argnames="interval")

    def coarse_of(self, position: Float[Array, "D"]) -> Float[Array, "d"]:
        """ξ of one simulated state."""
        return self.coarse(self.system.observe(position))

    def evaluate(self, center: Array, windows: Windows, position: Float[Array, "D"]) -> Walker:
        """One walker at `position` under the window at `center`."""

        def log_target(x: Array) -> tuple[Array, tuple[Array, Array]]:
            z = self.coarse_of(x)
            log_density = self.system.log_density(x).astype(x.dtype)
            bias = window_energy(self.coarse, center, windows.stiffness, windows.flattening, z)
            return log_density - bias, (z, log_density)

        (value, (z, log_density)), gradient = jax.value_and_grad(log_target, has_aux=True)(position)
        return Walker(position, z, log_density, value, gradient)

    def advance(
        self,
        *,
        windows: Windows,
        tuning: Tuning,
        walkers: Walker,
        key: UInt[np.ndarray, "words"],
        frames: int,
        interval: int,
    ) -> tuple[np.ndarray, ...]:
        """Advance by `frames * interval` steps of MALA and save every `interval`-th.

        **Returns:** position, coarse and log density of every frame `(frames, windows, walkers, ...)`, the acceptance
        of each window, and the five arrays of the walkers at the end.
        """
        device = next(self._devices)
        keys = jax.random.split(jax.random.wrap_key_data(jnp.asarray(key)), frames)
        windows, tuning, walkers, keys = jax.device_put((windows, tuning, walkers, keys), device)
        together, lengths = _pieces(frames, interval)
        saved, accepted, frame = [], [], []
        for first in range(0, frames, together):
            for piece, length in enumerate(lengths):
                self._go_on()
                # one piece has the keys of its frames, so that cutting changes nothing where none is needed
                own = keys[first : first + together]
                own = own if len(lengths) == 1 else jax.vmap(partial(jax.random.fold_in, data=piece))(own)
                with self._first_alone("advance", device, walkers.position.shape, tuning.scale.ndim, own.shape, length):
                    walkers, (*frame, acceptance) = self._frames(windows, tuning, walkers, own, interval=length)
                    acceptance = np.asarray(acceptance)
                accepted.append(length * acceptance.sum(axis=0))
            saved.append([np.asarray(array) for array in frame])
        position, coarse, log_density = (np.concatenate(column) for column in zip(*saved, strict=True))
        acceptance = np.sum(accepted, axis=0) / (frames * interval)
        return position, coarse, log_density, acceptance, *(np.asarray(array) for array in walkers)

    def trajectories(
        self,
        *,
        key: UInt[np.ndarray, "2 2"],
        time_step: float,
        first: int,
        edges: np.ndarray,
        blocks: Float[np.ndarray, "blocks walkers D"],
    ) -> tuple[np.ndarray, np.ndarray]:
        """Blocks of walkers by the dynamics itself; see `euler_maruyama.advance_blocks`."""
        system = self.system
        device = next(self._devices)
        with self._first_alone("trajectories", device, blocks.shape[1:], edges.shape), jax.default_device(device):
            return advance_blocks(system.drift, system.diffusion, key, time_step, first, edges, blocks, self._go_on)

    @contextmanager
    def _first_alone(self, *program: object) -> Iterator[None]:
        """Let one thread compile a program and the others wait, or each would compile it for itself."""
        self._compiling.acquire()
        known = program in self._compiled
        if known:
            self._compiling.release()
        try:
            yield
            self._compiled.add(program)
        finally:
            if not known:
                self._compiling.release()

    def _go_on(self) -> None:
        if self.stopped.is_set():
            raise InterruptedError("the work was broken off")

    def _start(self, windows: Windows, positions: Array) -> Walker:
        def per_window(center: Array, batch: Array) -> Walker:
            return jax.vmap(partial(self.evaluate, center, windows))(batch)

        return jax.vmap(per_window)(windows.centers, positions)

    def _advance_frames(
        self, windows: Windows, tuning: Tuning, walkers: Walker, keys: Key[Array, "frames"], *, interval: int
    ) -> tuple[Walker, tuple[Array, Array, Array, Array]]:
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

        return jax.lax.scan(frame, walkers, keys)


def _pieces(frames: int, interval: int) -> tuple[int, list[int]]:
    """Frames of one compiled call, and the steps of its pieces: of two lengths at most, or there is more to compile."""
    if frames * interval <= MOST_STEPS:
        return frames, [interval]
    if interval <= MOST_STEPS:
        most = MOST_STEPS // interval
        return max(number for number in range(1, most + 1) if frames % number == 0), [interval]
    count = -(-interval // MOST_STEPS)
    return 1, [interval // count + (number < interval % count) for number in range(count)]
