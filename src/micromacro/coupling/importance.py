"""The generator alone: draws weighted by the physics, without any dynamics."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key

from micromacro.coupling.estimate import Segment
from micromacro.coupling.moves import log_volume, to_hidden
from micromacro.errors import PhysicsError
from micromacro.sampling.engine import Engine
from micromacro.sampling.production import Frames
from micromacro.sampling.proposal import ConditionalProposal
from micromacro.sampling.windows import Windows


def weighted_draws(
    engine: Engine, generator: ConditionalProposal, windows: Windows, draws: int, walkers: int, key: Key[Array, ""]
) -> tuple[Segment, np.ndarray]:
    """`draws` × `walkers` draws at every window with weights π_z(q) / p(q|z); one force evaluation each.

    **Returns:** a segment whose weights sum, in each window, to the effective number of draws, and the log weights
    `(draws, windows, walkers)`.

    **Raises:** `PhysicsError` where no draw at a window has any weight.
    """
    safe = jnp.asarray(engine.system.initial[0])

    @eqx.filter_jit
    def batch(generator, centers, keys):
        def one(center, key):
            draw = generator.weighted_sample(center, key)
            state, reachable = to_hidden(engine.system, draw.state.astype(float))
            log_prob = draw.log_prob + log_volume(engine.system, state)
            usable = draw.valid & reachable & jnp.isfinite(log_prob)
            return jnp.where(usable, state, safe), jnp.where(usable, log_prob, jnp.inf)

        return jax.vmap(jax.vmap(one, in_axes=(None, 0)))(centers, keys)

    parts = []
    for draw in range(draws):
        keys = jax.random.split(jax.random.fold_in(key, draw), (windows.count, walkers))
        asked = {"centers": windows.centers, "keys": jax.random.key_data(keys)}
        found = engine.once("draw", asked, lambda keys=keys: batch(generator, windows.centers, keys))
        state, log_prob = (jnp.asarray(array) for array in found)
        there = engine.start(windows, state)
        log_weight = np.asarray(there.log_target - log_prob)
        log_weight = np.where(np.isfinite(log_weight), log_weight, -np.inf)
        parts.append([np.asarray(state), np.asarray(there.coarse), np.asarray(there.log_density), log_weight])
    position, coarse, log_density, log_weight = (np.stack(part) for part in zip(*parts, strict=True))
    top = log_weight.max(axis=(0, 2), keepdims=True)
    if not np.all(np.isfinite(top)):
        window = int(np.argmin(np.isfinite(top[0, :, 0])))
        center = np.round(np.asarray(windows.centers[window]), 4).tolist()
        raise PhysicsError(
            "no draw of the generator has any weight",
            where=f"window {window}, z = {center}",
            remedy="Train longer ([generator] training_steps), or use the coupled method.",
        )
    weight = np.exp(log_weight - top)
    # a window counts for as many samples as its weights are worth
    weight = weight * weight.sum(axis=(0, 2), keepdims=True) / np.sum(weight**2, axis=(0, 2), keepdims=True)
    log_density = np.where(np.isfinite(log_weight), log_density, 0.0)
    position = np.where(np.isfinite(log_weight)[..., None], position, 0.0)
    coarse = np.where(np.isfinite(log_weight)[..., None], coarse, np.asarray(windows.centers)[:, None, :])
    frames = Frames(position, coarse, log_density, np.ones(windows.count))
    return Segment(windows, frames, np.zeros(windows.count, int), weight=weight), log_weight
