r"""Euler and Maruyama's scheme for many walkers, the library's way to simulate the dynamics itself.

$q_{n+1} = q_n + b(q_n) \Delta t + \sigma(q_n) \sqrt{\Delta t} Z_n$ in the Itô sense, of weak order one; source: Kloeden
and Platen, "Numerical solution of stochastic differential equations", Springer 1992, sections 10.2 and 14.1.

What makes it fast: walkers are the last axis and each component of the state is an array of its own, so that a step
compiles to a few kernels that are vectorised over walkers; random numbers are computed where they are used; and walkers
are cut into blocks that stay in the first cache, one thread per core.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int, Key, UInt

from micromacro.errors import InputError
from micromacro.sampling.normals import Words, cartesian, polar, words

BLOCK = 384
"""Walkers in a block at most: from about 450 on, XLA cuts each kernel of a step between threads, at twice the cost."""

LANES = 16
"""Blocks are multiples of this, the width of a vector register in single precision."""

LEAST_WORK = 4_000_000
"""Components of states times steps of one task, unless there are too few blocks for two."""
LEG = 20_000
"""Steps after which work may be broken off."""


class Trajectories(NamedTuple):
    """What a simulation returns.

    **Arguments:**

    - `final`: states at the end `(walkers, D)`.
    - `saved`: states every `save_every` steps `(frames, walkers, D)`, the first after `save_every` steps.
    """

    final: Float[np.ndarray, "walkers D"]
    saved: Float[np.ndarray, "frames walkers D"]


@runtime_checkable
class Dynamics(Protocol):
    """Simulates the dynamics of one system, as `simulate` does, wherever."""

    def __call__(
        self, states: np.ndarray, time_step: float, steps: int, key: Key[Array, ""], *, save_every: int | None = None
    ) -> Trajectories:
        """Trajectories from states `(walkers, D)`."""
        ...


def dynamics_of(system: Any) -> Dynamics:
    """The dynamics of a system, simulated by this process."""
    return partial(simulate, system.drift, system.diffusion)


def step(
    drift: Callable[..., Array],
    diffusion: Callable[[Array], Array],
    state: Float[Array, "D"],
    noise: Float[Array, "D"],
    arguments: tuple,
    time_step: Float[Array, ""],
) -> Float[Array, "D"]:
    r"""One step of one walker, $q + b(q) \Delta t + \sigma(q) \sqrt{\Delta t} Z$, in the precision of its state."""
    push = drift(state, *arguments).astype(state.dtype)
    spread = diffusion(state).astype(state.dtype)
    kick = jnp.sum(spread * noise[None, :], axis=1) if spread.ndim == 2 else spread * noise
    return state + time_step * push + jnp.sqrt(time_step) * kick


def simulate(
    drift: Callable[..., Array],
    diffusion: Callable[[Array], Array],
    states: np.ndarray | Array,
    time_step: float,
    steps: int,
    key: Key[Array, ""],
    *,
    save_every: int | None = None,
    arguments: tuple[Any, ...] = (),
) -> Trajectories:
    r"""Simulate $dq = b(q) dt + \sigma(q) dW$ for a batch of walkers.

    The walkers' noises are independent, and a function of the key, the number of the walker and the step alone: not of
    the threads, nor of `save_every`. States that are no longer finite are returned as they are.

    **Arguments:**

    - `drift`: state `(D,)` and its share of `arguments` to `(D,)`, written with `jax.numpy`. Pass the same function
        again, not a new one, and it is compiled once.
    - `diffusion`: state `(D,)` to `(D,)`, or to `(D, D)`.
    - `states`: where the walkers start `(walkers, D)`; their precision is that of the simulation.
    - `time_step`: in units of time.
    - `steps`: how many, below 2^32.
    - `key`: fixes the noise.
    - `save_every`: steps between two saved frames; `None` saves none.
    - `arguments`: what else `drift` takes, such as the centre of an umbrella: arrays with one row per walker.

    **Raises:** `InputError` for states that are not real `(walkers, D)`, for arguments of another length, and for
    numbers out of range.

    >>> import jax, jax.numpy as jnp
    >>> well = simulate(lambda q: -q, jnp.ones_like, jnp.zeros((1000, 2)), 0.01, 500, jax.random.key(0))
    >>> well.final.shape, bool(abs(well.final.var() - 0.5) < 0.1)
    ((1000, 2), True)
    """
    simulation = Simulation.of(states, time_step, steps, key, save_every, arguments)
    shared = (drift, diffusion, simulation.key, simulation.time_step)

    def run(number: int, edges: Int[np.ndarray, "edges"] = simulation.edges) -> tuple[np.ndarray, np.ndarray]:
        first, block, extra = simulation.block(number)
        return _advance_block(*shared, first, edges, block, extra)

    run(0, np.zeros_like(simulation.edges))  # compiles, once, before the threads ask for it
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        return simulation.joined(list(threads.map(run, range(simulation.count))))


@dataclass(frozen=True)
class Simulation:
    """A simulation cut into blocks of walkers, which may be advanced anywhere and in any order.

    **Arguments:**

    - `key`: words of the generator; `time_step`: in the precision of the states.
    - `edges`: steps at which states are saved, after the 0 of the start; the last is the end of all.
    - `blocks`: arrays `(size, ...)` of walkers, the last one filled up with its last walker.
    - `walkers`: how many there are.
    """

    key: UInt[np.ndarray, "2 2"]
    time_step: np.ndarray
    edges: Int[np.ndarray, "edges"]
    blocks: list[tuple[np.ndarray, tuple]]
    walkers: int

    @classmethod
    def of(
        cls,
        states: np.ndarray | Array,
        time_step: float,
        steps: int,
        key: Key[Array, ""],
        save_every: int | None = None,
        arguments: tuple[Any, ...] = (),
    ) -> "Simulation":
        """How `simulate` goes about its arguments. **Raises:** `InputError` as that does."""
        _check(states, time_step, steps, save_every)
        _check_arguments(arguments, len(states))
        frames = steps // save_every if save_every else 0
        edges = np.append(np.arange(frames + 1) * (save_every or 0), steps)
        blocks = list(_blocks((np.asarray(states), arguments)))
        return cls(np.asarray(words(key)), np.asarray(time_step, states.dtype), edges, blocks, len(states))

    @property
    def count(self) -> int:
        """Of blocks."""
        return len(self.blocks)

    def block(self, number: int) -> tuple[np.uint32, np.ndarray, tuple]:
        """The number of the first walker of a block, its states, and what else its drift takes."""
        states, extra = self.blocks[number]
        return np.uint32(number * len(states)), states, extra

    def tasks(self) -> list[dict]:
        """Arguments of `advance_blocks`: consecutive blocks in tasks of some size, two at least."""
        states = self.blocks[0][0]
        work = states.size * int(self.edges[-1])
        together = max(1, min(self.count // 2, LEAST_WORK // max(work, 1)))
        return [
            {
                "key": self.key,
                "time_step": float(self.time_step),
                "first": first * len(states),
                "edges": self.edges,
                "blocks": np.stack([block for block, _ in self.blocks[first : first + together]]),
            }
            for first in range(0, self.count, together)
        ]

    def joined(self, answers: Sequence[tuple[np.ndarray, ...]]) -> Trajectories:
        """What `simulate` returns, from the states at the end and those saved of all blocks in their order."""
        finals, saves = zip(*answers, strict=True)
        return Trajectories(np.concatenate(finals)[: self.walkers], np.concatenate(saves, axis=1)[:-1, : self.walkers])


def advance_blocks(
    drift: Callable[..., Array],
    diffusion: Callable[[Array], Array],
    key: UInt[np.ndarray, "2 2"],
    time_step: float,
    first: int,
    edges: Int[np.ndarray, "edges"],
    blocks: Float[np.ndarray, "blocks walkers D"],
    go_on: Callable[[], None] = lambda: None,
) -> tuple[np.ndarray, np.ndarray]:
    """Consecutive blocks of a `Simulation` one after the other.

    **Arguments:**

    - `first`: number of the first walker.
    - `go_on`: called now and then; what it raises ends the work.

    **Returns:** states at the end `(walkers, D)` and those at every edge but the first `(edges - 1, walkers, D)`.
    """
    refined, wanted = _refined(edges)
    legs = _legs(refined)
    finals, saves = [], []
    for number, states in enumerate(blocks):
        block = states
        start, saved = np.uint32(first + number * len(block)), []
        for leg in legs:
            go_on()
            block, found = _advance_block(
                drift, diffusion, key, np.asarray(time_step, block.dtype), start, leg, block, ()
            )
            saved.append(found)
        finals.append(block)
        saves.append(np.concatenate(saved)[wanted])
    return np.concatenate(finals), np.concatenate(saves, axis=1)


def _refined(edges: Int[np.ndarray, "edges"]) -> tuple[Int[np.ndarray, "more"], Int[np.ndarray, "segments"]]:
    """Edges with others between those that are more than `LEG` steps apart, and which segments end at the old ones."""
    parts = [np.linspace(a, b, -(-(b - a) // LEG) + 1 if b > a else 2).astype(int)[1:] for a, b in pairwise(edges)]
    return np.concatenate([edges[:1], *parts]), np.cumsum([len(part) for part in parts]) - 1


def _legs(edges: Int[np.ndarray, "edges"]) -> list[np.ndarray]:
    """Edges in stretches of equal number that each take about `LEG` steps, the last one filled up with its end."""
    segments = len(edges) - 1
    together = max(1, segments * LEG // max(int(edges[-1]), 1))
    if together >= segments:
        return [edges]
    legs = [edges[first : first + together + 1] for first in range(0, segments, together)]
    missing = together + 1 - len(legs[-1])
    return [*legs[:-1], np.append(legs[-1], np.repeat(edges[-1], missing))]


def _advance_block(
    drift, diffusion, key, time_step, first, edges, states, extra: tuple
) -> tuple[np.ndarray, np.ndarray]:
    final, saved = _advance(drift, diffusion, key, time_step, first, edges, states, extra)
    return np.asarray(final), np.asarray(saved)


def _check(states: Any, time_step: float, steps: int, save_every: int | None) -> None:
    """Refuse what cannot be simulated."""
    if states.ndim != 2 or 0 in states.shape or not jnp.issubdtype(states.dtype, jnp.floating):
        raise InputError("states", "be real numbers of shape (walkers, D)", f"{states.dtype} of shape {states.shape}")
    if not time_step > 0:
        raise InputError("time_step", "be positive", time_step)
    if not 0 <= steps < 2**32:
        raise InputError("steps", "be between 0 and 2^32", steps)
    if save_every is not None and save_every < 1:
        raise InputError("save_every", "be at least 1, or None", save_every)


def _check_arguments(arguments: tuple, walkers: int) -> None:
    """Refuse arguments that are not one row per walker."""
    for leaf in jax.tree.leaves(arguments):
        if np.shape(leaf)[:1] != (walkers,):
            raise InputError("arguments", f"be arrays of {walkers} rows, one per walker", f"shape {np.shape(leaf)}")


def _blocks(batch: Any) -> Iterator[Any]:
    """The batch in equal blocks, an even number of them for two cores; the last is filled with its last walker."""
    walkers = len(jax.tree.leaves(batch)[0])
    number = 2 * -(-walkers // (2 * BLOCK)) if walkers >= 8 * LANES else 1
    size = LANES * -(-walkers // (number * LANES))
    for first in range(0, walkers, size):
        rows = np.minimum(np.arange(first, first + size), walkers - 1)
        yield jax.tree.map(lambda leaf, rows=rows: np.asarray(leaf)[rows], batch)


@partial(
    jax.jit,
    static_argnames=("drift", "diffusion"),
    compiler_options={"xla_cpu_prefer_vector_width": 512},
)
def _advance(
    drift: Callable[..., Array],
    diffusion: Callable[[Array], Array],
    words: Words,
    time_step: Float[Array, ""],
    first: UInt[Array, ""],
    edges: Int[Array, "edges"],
    states: Float[Array, "walkers D"],
    arguments: tuple,
) -> tuple[Float[Array, "walkers D"], Float[Array, "segments walkers D"]]:
    """One block from step `edges[0]` to `edges[-1]`, and its states at every edge but the first."""
    count, dimension = states.shape
    walkers = first + jnp.arange(count, dtype=jnp.uint32)
    arguments = jax.tree.map(lambda leaf: jnp.moveaxis(leaf, 0, -1), arguments)

    def points(index: Array) -> tuple[Array, Array]:
        return polar(words, walkers, index.astype(jnp.uint32), (dimension + 1) // 2, states.dtype)

    def move(state: Array, noise: Array, arguments: tuple) -> Array:
        return step(drift, diffusion, state, noise, arguments, time_step)

    def advance(index: Array, carry: tuple) -> tuple:
        components, coordinates = carry
        noise = cartesian(*coordinates)[:dimension]
        states = jax.vmap(move, in_axes=-1, out_axes=-1)(jnp.stack(components), noise, arguments)
        # The noise of the next step is computed beside this one: XLA then keeps it a kernel of its own.
        return tuple(states), points(index + 1)

    def segment(carry: tuple, ends: tuple) -> tuple:
        start, stop = ends
        carry = lax.fori_loop(start, stop, advance, carry)
        return carry, jnp.stack(carry[0], axis=-1)

    (components, _), saved = lax.scan(segment, (tuple(states.T), points(edges[0])), (edges[:-1], edges[1:]))
    return jnp.stack(components, axis=-1), saved
