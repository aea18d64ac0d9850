r"""A small network in place of a function that is dear to evaluate, such as an extension that sums over many points.

It is fitted to values and gradients of the function, $|f - g|^2 + \lambda |\nabla f - \nabla g|^2$, each relative to
its own spread, since it is the gradient that moves walkers. Source: Czarnecki, Osindero, Jaderberg, Świrszcz and
Pascanu, Sobolev training for neural networks, NeurIPS 2017.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Key

from micromacro.errors import InputError
from micromacro.generators.perceptron import Perceptron

AT_ONCE = 128  # points at which the function is differentiated at a time, to bound the memory
FEWEST = 20


@dataclass(frozen=True)
class SurrogateSettings:
    """How a surrogate is made and trained.

    **Arguments:**

    - `width`, `depth`: of the hidden layers, which are smooth (SiLU).
    - `steps`, `batch_size`, `learning_rate`: of Adam; the rate falls to nothing along a cosine.
    - `gradient_weight`: λ.
    - `copies`: of every point, each moved by a normal step of `jitter` deviations of every coordinate, so that the
      surroundings are learned too.
    - `held_out`: share of the points kept for the errors, with all their copies.
    """

    width: int = 64
    depth: int = 2
    steps: int = 4000
    batch_size: int = 256
    learning_rate: float = 3e-3
    gradient_weight: float = 1.0
    copies: int = 3
    jitter: float = 0.1
    held_out: float = 0.1


class SmoothNetwork(eqx.Module):
    """Hidden layers of SiLU units: `(F,)` to `(d,)`.

    **Arguments:**

    - `weights`, `biases`: of the layers, `(outputs, inputs)` and `(outputs,)`.
    """

    weights: tuple[Float[Array, "_ _"], ...]
    biases: tuple[Float[Array, "_"], ...]

    @classmethod
    def of(cls, trained: Perceptron) -> "SmoothNetwork":
        """A trained network in double precision."""
        weights = tuple(layer.weight.astype(float) for layer in trained.layers)
        return cls(weights, tuple(_bias(layer).astype(float) for layer in trained.layers))

    def __call__(self, value: Float[Array, "F"]) -> Float[Array, "d"]:
        """The outputs for one point."""
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            value = jax.nn.silu(weight @ value + bias)
        return self.weights[-1] @ value + self.biases[-1]


class Surrogate(eqx.Module):
    """A smooth network between standardised inputs and outputs, in double precision.

    Beyond the points it was fitted to, and their jitter, it answers without knowing.

    **Arguments:**

    - `centre`, `scale`: of the inputs `(F,)`; `output_centre`, `output_scale`: of the outputs `(d,)`.
    - `error`: rms of its error on held-out points, relative to the deviation of each output `(d,)`.
    - `gradient_error`: rms of the error of its gradient there, relative to the rms of the gradient `(d,)`, both in
      deviations of the inputs.
    """

    network: SmoothNetwork
    centre: Float[Array, "F"]
    scale: Float[Array, "F"]
    output_centre: Float[Array, "d"]
    output_scale: Float[Array, "d"]
    error: Float[Array, "d"]
    gradient_error: Float[Array, "d"]

    def __call__(self, features: Float[Array, "F"]) -> Float[Array, "d"]:
        """The outputs at one point."""
        return self.output_centre + self.output_scale * self.network((features - self.centre) / self.scale)


def fit_surrogate(
    function: Callable[[Float[Array, "F"]], Float[Array, "d"]],
    points: Float[np.ndarray, "n F"],
    settings: SurrogateSettings,
    key: Key[Array, ""],
) -> Surrogate:
    """The surrogate of a function near points, and its errors on those of them that were held out.

    **Raises:** `InputError` for fewer than twenty points, or a function that is not finite on them.
    """
    if len(points) < FEWEST:
        raise InputError("points", f"be {FEWEST} or more", len(points))
    for_rows, for_jitter, for_network, for_training = jax.random.split(key, 4)
    order = np.asarray(jax.random.permutation(for_rows, len(points)))
    count = max(1, round(settings.held_out * len(points)))
    centre, scale = points.mean(axis=0), _spread(points.std(axis=0))
    moved = jnp.tile(jnp.asarray(points[order[count:]]), (settings.copies + 1, 1))
    steps = jax.random.normal(for_jitter, moved.shape).at[: len(points) - count].set(0.0)
    known = _evaluate(function, moved + settings.jitter * scale * steps)
    tests = _evaluate(function, jnp.asarray(points[order[:count]]))
    if not all(np.isfinite(part).all() for part in (*known, *tests)):
        raise InputError("function", "be finite, with its gradient, at the points and around them", "some that is not")
    output_centre, output_scale = known.value.mean(axis=0), _spread(np.asarray(known.value.std(axis=0)))
    to_unit = _Standard(jnp.asarray(centre), jnp.asarray(scale), output_centre, jnp.asarray(output_scale))
    network = Perceptron(
        points.shape[1], known.value.shape[1], settings.width, settings.depth, for_network, jax.nn.silu
    )
    trained = SmoothNetwork.of(_train(network, to_unit.of(known), settings, for_training))
    return Surrogate(trained, *to_unit, *_errors(trained, to_unit.of(tests)))


def _bias(layer: eqx.nn.Linear) -> Array:
    assert layer.bias is not None
    return layer.bias


class _Known(NamedTuple):
    """Points `(n, F)`, a function there `(n, d)`, its gradient `(n, d, F)`."""

    point: Array
    value: Array
    gradient: Array


class _Standard(NamedTuple):
    centre: Array
    scale: Array
    output_centre: Array
    output_scale: Array

    def of(self, known: _Known) -> _Known:
        """The same in deviations of inputs and outputs."""
        point = (known.point - self.centre) / self.scale
        value = (known.value - self.output_centre) / self.output_scale
        return _Known(point, value, known.gradient * self.scale / self.output_scale[:, None])


def _spread(deviation: np.ndarray) -> np.ndarray:
    return np.where(deviation > 0, deviation, 1.0)


@eqx.filter_jit
def _evaluate(function: Callable, points: Array) -> _Known:
    def one(point: Array) -> tuple[Array, Array]:
        return function(point), jax.jacrev(function)(point)

    return _Known(points, *jax.lax.map(one, points, batch_size=AT_ONCE))


@eqx.filter_jit
def _train(network: Perceptron, known: _Known, settings: SurrogateSettings, key: Array) -> Perceptron:
    # single precision: an error of 1e-6 is far below what the network can reach
    known = jax.tree.map(lambda part: part.astype(jnp.float32), known)
    size = jnp.mean(known.gradient**2, axis=(0, 2)) * known.gradient.shape[2]
    balance = settings.gradient_weight / jnp.where(size > 0, size, 1.0)
    optimiser = optax.adam(optax.cosine_decay_schedule(settings.learning_rate, settings.steps))
    arrays, rest = eqx.partition(network, eqx.is_array)

    def loss(arrays: Perceptron, batch: _Known) -> Array:
        value, gradient = _both(eqx.combine(arrays, rest), batch.point)
        off = jnp.sum((gradient - batch.gradient) ** 2, axis=2) * balance
        return jnp.mean((value - batch.value) ** 2 + off)

    def step(carry: tuple, key: Array) -> tuple[tuple, None]:
        arrays, state = carry
        rows = jax.random.randint(key, (settings.batch_size,), 0, len(known.point))
        slope = jax.grad(loss)(arrays, jax.tree.map(lambda part: part[rows], known))
        updates, state = optimiser.update(slope, state)
        return (optax.apply_updates(arrays, updates), state), None

    start = arrays, optimiser.init(arrays)
    return eqx.combine(jax.lax.scan(step, start, jax.random.split(key, settings.steps))[0][0], rest)


def _both(network: Callable, points: Array) -> tuple[Array, Array]:
    return jax.vmap(lambda point: (network(point), jax.jacrev(network)(point)))(points)


@eqx.filter_jit
def _errors(network: SmoothNetwork, tests: _Known) -> tuple[Array, Array]:
    value, gradient = _both(network, tests.point)
    size = jnp.mean(jnp.sum(tests.gradient**2, axis=2), axis=0)
    off = jnp.mean(jnp.sum((gradient - tests.gradient) ** 2, axis=2), axis=0)
    return jnp.sqrt(jnp.mean((value - tests.value) ** 2, axis=0)), jnp.sqrt(off / jnp.where(size > 0, size, 1.0))
