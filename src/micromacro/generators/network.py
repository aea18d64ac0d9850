"""The denoising network: residual blocks that see the condition and the noise level everywhere."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from micromacro.coordinates.coarse import CoarseVariable

HARMONICS = 3
NOISE_FEATURES = 16


class Condition(eqx.Module):
    """Features of a coarse value: harmonics where it is periodic, itself and half-range harmonics where bounded."""

    lower: Float[Array, "d"]
    range: Float[Array, "d"]
    periodic: tuple[bool, ...] = eqx.field(static=True)

    @classmethod
    def of(cls, coarse: CoarseVariable) -> "Condition":
        """The features for one coarse variable."""
        return cls(jnp.asarray(coarse.lower, jnp.float32), jnp.asarray(coarse.range, jnp.float32), coarse.periodic)

    @property
    def size(self) -> int:
        """The number of features."""
        return sum(2 * HARMONICS + (0 if periodic else 1) for periodic in self.periodic)

    def __call__(self, z: Float[Array, "d"]) -> Float[Array, "features"]:
        """The features of one coarse value."""
        unit = (z - self.lower) / self.range
        parts = []
        for axis, periodic in enumerate(self.periodic):
            phase = unit[axis] * jnp.arange(1, HARMONICS + 1) * np.float32(2 * np.pi if periodic else np.pi)
            parts += [jnp.cos(phase), jnp.sin(phase)]
            parts += [] if periodic else [2 * unit[axis : axis + 1] - 1]
        return jnp.concatenate(parts)


class Block(eqx.Module):
    """One residual block, scaled and shifted by the embedding."""

    modulation: eqx.nn.Linear
    first: eqx.nn.Linear
    second: eqx.nn.Linear

    def __init__(self, width: int, key: Key[Array, ""]):
        keys = jax.random.split(key, 3)
        self.modulation = eqx.nn.Linear(width, 2 * width, dtype=jnp.float32, key=keys[0])
        self.first = eqx.nn.Linear(width, width, dtype=jnp.float32, key=keys[1])
        self.second = eqx.nn.Linear(width, width, dtype=jnp.float32, key=keys[2])

    def __call__(self, hidden: Float[Array, "width"], embedding: Float[Array, "width"]) -> Float[Array, "width"]:
        """The block's output for one sample."""
        scale, shift = jnp.split(self.modulation(embedding), 2)
        inner = jax.nn.silu(self.first(hidden) * (1 + scale) + shift)
        return hidden + self.second(inner)


class Network(eqx.Module):
    """(state `(Y,)`, features of z, ln σ / 4) to `(Y,)`, close to zero when new."""

    frequencies: Float[Array, "noise"]
    embed: eqx.nn.Linear
    enter: eqx.nn.Linear
    blocks: list[Block]
    leave: eqx.nn.Linear

    def __init__(self, dimension: int, features: int, width: int, depth: int, key: Key[Array, ""]):
        keys = jax.random.split(key, depth + 4)
        self.frequencies = jax.random.normal(keys[0], (NOISE_FEATURES,), jnp.float32)
        self.embed = eqx.nn.Linear(features + 2 * NOISE_FEATURES, width, dtype=jnp.float32, key=keys[1])
        self.enter = eqx.nn.Linear(dimension + features, width, dtype=jnp.float32, key=keys[2])
        self.blocks = [Block(width, key) for key in keys[4:]]
        leave = eqx.nn.Linear(width, dimension, dtype=jnp.float32, key=keys[3])
        self.leave = jax.tree.map(lambda leaf: 0.01 * leaf, leave)

    def __call__(self, state: Array, features: Array, noise: Float[Array, ""]) -> Float[Array, "Y"]:
        """The output for one sample."""
        phase = 2 * np.float32(np.pi) * self.frequencies * noise
        embedding = jax.nn.silu(self.embed(jnp.concatenate([features, jnp.cos(phase), jnp.sin(phase)])))
        hidden = self.enter(jnp.concatenate([state, features]))
        for block in self.blocks:
            hidden = block(hidden, embedding)
        return self.leave(jax.nn.silu(hidden))
