"""A plain network without normalisation, which would couple the members of a batch."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

SLOPE = 0.2


def leaky(value: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """The leaky rectifier."""
    return jax.nn.leaky_relu(value, SLOPE)


class Perceptron(eqx.Module):
    """`depth` hidden layers of `width` leaky rectifiers between `inputs` and `outputs` numbers, in single precision.

    `activation` takes the rectifiers' place where given.

    New weights keep the size of the signal. Source: He, Zhang, Ren & Sun, ICCV 2015, eq. 15.
    """

    layers: list[eqx.nn.Linear]
    activation: Callable = eqx.field(static=True)

    def __init__(
        self, inputs: int, outputs: int, width: int, depth: int, key: Key[Array, ""], activation: Callable = leaky
    ):
        self.activation = activation
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
            value = self.activation(layer(value))
        return self.layers[-1](value)
