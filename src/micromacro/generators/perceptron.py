"""A plain network for adversarial training: no normalisation, which would couple the members of a batch."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

SLOPE = 0.2


class Perceptron(eqx.Module):
    """`depth` hidden layers of `width` leaky rectifiers between `inputs` and `outputs` numbers, in single precision.

    New weights keep the size of the signal. Source: He, Zhang, Ren & Sun, ICCV 2015, eq. 15.
    """

    layers: list[eqx.nn.Linear]

    def __init__(self, inputs: int, outputs: int, width: int, depth: int, key: Key[Array, ""]):
        sizes = [inputs, *[width] * depth, outputs]
        keys = jax.random.split(key, len(sizes) - 1)
        pairs = zip(sizes[:-1], sizes[1:], keys, strict=True)
        layers = [eqx.nn.Linear(size, after, dtype=jnp.float32, key=one) for size, after, one in pairs]
        # uniform within 1/√n would let the signal fade from layer to layer, and learning begin slowly
        gains = [np.float32(np.sqrt(6 / (1 + SLOPE**2)))] * depth + [np.float32(np.sqrt(3))]
        self.layers = [
            eqx.tree_at(lambda one: one.weight, layer, gain * layer.weight)
            for layer, gain in zip(layers, gains, strict=True)
        ]

    def __call__(self, value: Float[Array, "inputs"]) -> Float[Array, "outputs"]:
        """The output for one sample."""
        for layer in self.layers[:-1]:
            value = jax.nn.leaky_relu(layer(value), SLOPE)
        return self.layers[-1](value)
