"""Chains of the micro–macro sampler, advanced together in one compiled batch."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from micromacro.coupling.macro import MacroDensity
from micromacro.coupling.micro_macro import (
    ChainState,
    CycleInfo,
    LocalTuning,
    MicroMacroSettings,
    cycle,
    evaluate_unbiased,
)
from micromacro.sampling.engine import JaxEngine
from micromacro.sampling.production import Frames
from micromacro.sampling.proposal import ConditionalProposal


@dataclass(frozen=True)
class MicroMacroChains:
    """What chains brought.

    `frames` with one window, which is none; `coarse` `(frames, walkers, d)`, z of each; `last`, states to go on from;
    `macro`, `micro`, `local`: shares accepted at each level; `evaluations` of force, those of the start included.
    """

    frames: Frames
    coarse: Float[np.ndarray, "frames walkers d"]
    last: ChainState
    macro: float
    micro: float
    local: float
    evaluations: int


@dataclass
class MicroMacro:
    """The sampler of one engine: compiled once for each shape, and used again for other generators of the same kind."""

    engine: JaxEngine
    settings: MicroMacroSettings

    def __post_init__(self):
        self._start = jax.jit(self._start_batch)
        self._advance = eqx.filter_jit(self._advance_batch)

    def sample(
        self,
        generator: ConditionalProposal,
        macro: MacroDensity,
        tuning: LocalTuning,
        positions: Float[Array, "walkers D"],
        key: Key[Array, ""],
        *,
        frames: int,
        every: int = 1,
        chunks: int = 1,
        advance: Callable[[int], None] = lambda _: None,
    ) -> MicroMacroChains:
        """Chains of `chunks * frames * every` cycles from given positions; nothing is cut.

        **Arguments:**

        - `positions`: `(walkers, D)`; from all known wells, so that mixing can be judged.
        - `frames`: saved in each chunk; `every`: cycles between them.
        - `advance`: told the walker-cycles just done, chunk by chunk.
        """
        before, walkers = self.engine.evaluations, len(positions)
        start_key, run_key = jax.random.split(key)
        self.engine.evaluations += walkers
        state, parts = self._start(macro, positions, start_key), []
        for chunk in range(chunks):
            keys = jax.random.split(jax.random.fold_in(run_key, chunk), (frames, every))
            state, saved = self._chunk(generator, macro, tuning, state, keys)
            self.engine.evaluations += frames * every * walkers * self.settings.cost
            parts.append(saved)
            advance(frames * every * walkers)
        saved, info = jax.tree.map(lambda *each: np.concatenate(each), *parts)
        shares = (float(np.mean(share)) for share in info)
        return MicroMacroChains(
            _frames(saved, info), np.asarray(saved.coarse), state, *shares, evaluations=self.engine.evaluations - before
        )

    def _chunk(self, generator, macro, tuning, state: ChainState, keys: Key[Array, "..."]):
        """A chunk of cycles, from the journal where it is kept."""
        shares = CycleInfo(*(jnp.zeros(()) for _ in CycleInfo._fields))
        structure = jax.tree.structure((state, (state, shares)))
        asked = {"state": state, "tuning": tuning, "keys": jax.random.key_data(keys)}
        found = self.engine.once(
            "cycles", asked, lambda: jax.tree.leaves(self._advance(generator, macro, tuning, state, keys))
        )
        return jax.tree.unflatten(structure, [jnp.asarray(array) for array in found])

    def _start_batch(self, macro: MacroDensity, positions: Array, key: Array) -> ChainState:
        walkers = jax.vmap(partial(evaluate_unbiased, self.engine))(positions)
        return ChainState(walkers, jax.vmap(macro.refresh)(walkers.coarse, jax.random.split(key, len(positions))))

    def _advance_batch(self, generator, macro, tuning, state, keys):
        """States after each `every` cycles `(frames, walkers, ...)`, and the mean shares accepted until then."""
        one = partial(cycle, self.engine, generator, macro, tuning, self.settings)

        def step(state: ChainState, key: Array):
            state, info = jax.vmap(one)(state, jax.random.split(key, state.coarse.shape[0]))
            return state, jax.tree.map(jnp.mean, info)

        def frame(state: ChainState, keys: Array):
            state, info = jax.lax.scan(step, state, keys)
            return state, (state, jax.tree.map(jnp.mean, info))

        return jax.lax.scan(frame, state, keys)


def _frames(state: ChainState, info: CycleInfo) -> Frames:
    position, coarse, log_density = (np.asarray(part)[:, None] for part in state.walker[:3])
    return Frames(position, coarse, log_density, np.atleast_1d(np.mean(info.local)))
