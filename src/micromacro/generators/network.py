"""The network of scores and velocities: residual blocks that see the condition and the time everywhere."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

TIME_FEATURES = 16


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
    """(`inputs` features of a state, features of z, a time) to `(outputs,)`, close to zero when new.

    The time is any function of the noise level that varies by about one: the frequencies of its features are standard
    normal. Source: Tancik et al., NeurIPS 2020.
    """

    frequencies: Float[Array, "time"]
    embed: eqx.nn.Linear
    enter: eqx.nn.Linear
    blocks: list[Block]
    leave: eqx.nn.Linear

    def __init__(self, inputs: int, outputs: int, features: int, width: int, depth: int, key: Key[Array, ""]):
        keys = jax.random.split(key, depth + 4)
        self.frequencies = jax.random.normal(keys[0], (TIME_FEATURES,), jnp.float32)
        self.embed = eqx.nn.Linear(features + 2 * TIME_FEATURES, width, dtype=jnp.float32, key=keys[1])
        self.enter = eqx.nn.Linear(inputs + features, width, dtype=jnp.float32, key=keys[2])
        self.blocks = [Block(width, key) for key in keys[4:]]
        leave = eqx.nn.Linear(width, outputs, dtype=jnp.float32, key=keys[3])
        self.leave = jax.tree.map(lambda leaf: 0.01 * leaf, leave)

    def __call__(
        self, state: Float[Array, "inputs"], features: Float[Array, "features"], time: Float[Array, ""]
    ) -> Float[Array, "outputs"]:
        """The output for one sample."""
        phase = 2 * np.float32(np.pi) * self.frequencies * time
        embedding = jax.nn.silu(self.embed(jnp.concatenate([features, jnp.cos(phase), jnp.sin(phase)])))
        hidden = self.enter(jnp.concatenate([state, features]))
        for block in self.blocks:
            hidden = block(hidden, embedding)
        return self.leave(jax.nn.silu(hidden))


def width_by_dimension(dimension: int) -> int:
    """A width that is enough: 64 up to three dimensions, growing to 192."""
    return 64 if dimension <= 3 else 96 if dimension <= 12 else 128 if dimension <= 32 else 192
