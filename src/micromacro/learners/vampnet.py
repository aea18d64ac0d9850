r"""Slow coordinates by a network: the state-free reversible VAMP net, after which coordinates are ordered.

A network χ of the features is trained for the largest VAMP-2 score of reversible dynamics, the sum of the squared
eigenvalues of $C_0^{-1} C_\tau$ with both covariances of χ taken over pairs of frames and their reverses. Its
eigenvectors then turn χ into the slowest coordinates, uncorrelated and of unit variance.

Sources: Mardt, Pasquali, Wu & Noé, Nat. Commun. 9, 5 (2018); Chen, Sidky & Ferguson, J. Chem. Phys. 150, 214114 (2019).
"""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.scipy.linalg
import numpy as np
import optax
from jaxtyping import Array, Float, Key
from scipy.linalg import eigh

from micromacro.errors import InputError, PhysicsError
from micromacro.learners.finishing import finish
from micromacro.learners.learner import Diagnostics, Learned, TimeSeries, TrainingData
from micromacro.learners.linear import feature_scale, implied_time_scales

HELD_OUT = 0.2
RIDGE = 1e-6
CHUNK = 100
SPARE = 2
MOST_HELD = 20_000


class SlowNetwork(eqx.Module):
    """Features, standardised, through hidden layers of hyperbolic tangents: `(F,)` to `(m,)`.

    **Arguments:**

    - `offset`, `scale`: of the features, `(F,)`.
    - `weights`, `biases`: of the layers, `(outputs, inputs)` and `(outputs,)`.
    """

    offset: Float[Array, "F"]
    scale: Float[Array, "F"]
    weights: tuple[Float[Array, "_ _"], ...]
    biases: tuple[Float[Array, "_"], ...]

    def __call__(self, features: Float[Array, "F"]) -> Float[Array, "m"]:
        """The outputs for one point."""
        value = (features - self.offset) / self.scale
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            value = jnp.tanh(weight @ value + bias)
        return self.weights[-1] @ value + self.biases[-1]


class Pairs(NamedTuple):
    """Frames a lag apart, `(n, F)` each, with weights `(n,)`."""

    first: Array
    second: Array
    weight: Array


@dataclass(frozen=True)
class VampNetLearner:
    """Settings of slow coordinates by a network.

    **Arguments:**

    - `components`: how many coordinates.
    - `lag`: in units of time; `None` for a tenth of a trajectory, ten frames at most.
    - `width`, `depth`: of the hidden layers.
    - `training_steps`, `batch_size`, `learning_rate`: of Adam, with half a cosine.
    """

    kind: ClassVar[str] = "vampnet"
    needs_series: ClassVar[bool] = True
    takes_weights: ClassVar[bool] = True

    components: int = 1
    lag: float | None = None
    width: int = 32
    depth: int = 2
    training_steps: int = 1500
    batch_size: int = 1000
    learning_rate: float = 3e-3

    def __post_init__(self):
        for name in ("components", "width", "depth", "training_steps", "batch_size", "learning_rate"):
            if not getattr(self, name) > 0:
                raise InputError(name, "be positive", getattr(self, name))

    def fit(self, data: TrainingData, key: Key[Array, ""]) -> Learned:
        """The slowest coordinates that a network finds, by the arc length.

        The last fifth of every trajectory is held out: weights are those of its best score, and the eigenvalues and
        time scales of the diagnostics are measured on it, so that what was learned by heart does not count.

        **Raises:** `InputError` without trajectories or for a lag that is too long; `PhysicsError` where training
        fails.
        """
        series = data.trajectories(self.kind)
        frames = series.frames_of(self.lag)
        train, held = _split(series, frames)
        rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
        network = self.train(self.untrained(series, key), train, held, key)
        learned = _slowest(network, train, self.components)
        found = _autocorrelations(learned, held)
        time_scales = implied_time_scales(found, frames * series.interval)
        diagnostics = Diagnostics(found, time_scales, np.arange(self.components), len(train.weight))
        return finish(learned, data, diagnostics, rng)

    def untrained(self, series: TimeSeries, key: Key[Array, ""]) -> SlowNetwork:
        """A new network for features like those of a series, with some outputs to spare."""
        inputs = series.features.shape[2]
        plain = eqx.nn.MLP(inputs, self.components + SPARE, self.width, self.depth, key=key)
        return SlowNetwork(
            offset=jnp.asarray(series.features.mean(axis=(0, 1))),
            scale=jnp.asarray(feature_scale(series.features)),
            weights=tuple(layer.weight for layer in plain.layers),
            biases=tuple(jnp.zeros(layer.weight.shape[0]) for layer in plain.layers),
        )

    def train(self, network: SlowNetwork, train: Pairs, held: Pairs, key: Key[Array, ""]) -> SlowNetwork:
        """The network of the best score on pairs held out."""
        schedule = optax.cosine_decay_schedule(self.learning_rate, self.training_steps)
        optimiser = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(schedule))
        learns = eqx.tree_at(lambda one: (one.offset, one.scale), jax.tree.map(lambda _: True, network), (False, False))
        parameters, fixed = eqx.partition(network, learns)
        carry = (parameters, optimiser.init(parameters))
        size = min(self.batch_size, len(train.weight))

        def loss(learned: Any, batch: Pairs) -> Float[Array, ""]:
            return -score(eqx.combine(learned, fixed), batch)

        @jax.jit
        def chunk(carry, key):
            def step(carry, key):
                rows = jax.random.randint(key, (size,), 0, len(train.weight))
                batch = Pairs(*(part[rows] for part in train))
                slope = jax.grad(loss)(carry[0], batch)
                change, state = optimiser.update(slope, carry[1], carry[0])
                return (optax.apply_updates(carry[0], change), state), None

            carry, _ = jax.lax.scan(step, carry, jax.random.split(key, CHUNK))
            return carry, -loss(carry[0], held)

        best, most = parameters, -np.inf
        for own in jax.random.split(key, max(1, self.training_steps // CHUNK)):
            carry, found = chunk(carry, own)
            if not np.isfinite(found):
                remedy = "Lower learning_rate, or look for features that do not vary."
                raise PhysicsError("The VAMP score is not finite", where="training of a vampnet", remedy=remedy)
            if float(found) > most:
                best, most = carry[0], float(found)
        return eqx.combine(best, fixed)


def score(network: SlowNetwork, pairs: Pairs) -> Float[Array, ""]:
    """The reversible VAMP-2 score of a network's outputs, the constant left out: at most the number of outputs."""
    _, instant, lagged = _moments(network, pairs)
    root = jnp.linalg.cholesky(instant + RIDGE * jnp.trace(instant) / len(instant) * jnp.eye(len(instant)))
    half = jax.scipy.linalg.solve_triangular(root, lagged, lower=True)
    whitened = jax.scipy.linalg.solve_triangular(root, half.T, lower=True)
    return jnp.sum(whitened**2)


def _moments(network: SlowNetwork, pairs: Pairs) -> tuple[Array, Array, Array]:
    """Mean, instantaneous and lagged covariance of the outputs over pairs and their reverses."""
    first, second = jax.vmap(network)(pairs.first), jax.vmap(network)(pairs.second)
    weight = (pairs.weight / jnp.sum(pairs.weight))[:, None]
    mean = jnp.sum(weight * (first + second), axis=0) / 2
    first, second = first - mean, second - mean
    instant = ((weight * first).T @ first + (weight * second).T @ second) / 2
    lagged = (weight * first).T @ second
    return mean, instant, (lagged + lagged.T) / 2


def _slowest(network: SlowNetwork, pairs: Pairs, components: int) -> SlowNetwork:
    """The same network with a last layer that gives the slowest uncorrelated coordinates, of unit variance."""
    mean, instant, lagged = (np.asarray(part) for part in jax.jit(_moments)(network, pairs))
    ridge = RIDGE * np.trace(instant) / len(instant) * np.eye(len(instant))
    vectors = eigh(lagged, instant + ridge)[1][:, ::-1][:, :components]
    weight = jnp.asarray(vectors.T) @ network.weights[-1]
    bias = jnp.asarray(vectors.T) @ (network.biases[-1] - mean)
    weights, biases = (*network.weights[:-1], weight), (*network.biases[:-1], bias)
    return SlowNetwork(network.offset, network.scale, weights, biases)


def _autocorrelations(network: SlowNetwork, pairs: Pairs) -> Float[np.ndarray, "d"]:
    """Of each output over the lag."""
    _, instant, lagged = jax.jit(_moments)(network, pairs)
    return np.asarray(jnp.diag(lagged) / jnp.diag(instant))


def _split(series: TimeSeries, frames: int) -> tuple[Pairs, Pairs]:
    """Pairs to learn from and, of the last part of every trajectory, pairs held out."""
    weight = np.ones(series.features.shape[:2]) if series.weight is None else series.weight
    starts = len(series.features) - frames
    cut = max(1, int((1 - HELD_OUT) * starts))
    # no frame may stand on both sides
    held = np.arange(min(cut + frames, starts - 1), starts)
    held = held[:: max(1, len(held) * series.features.shape[1] // MOST_HELD)]
    return _pairs(series.features, weight, np.arange(cut), frames), _pairs(series.features, weight, held, frames)


def _pairs(features: np.ndarray, weight: np.ndarray, starts: np.ndarray, frames: int) -> Pairs:
    flat = [part.reshape(-1, features.shape[2]) for part in (features[starts], features[starts + frames])]
    own = weight[starts].reshape(-1)
    kept = own > 0
    return Pairs(*(jnp.asarray(part[kept]) for part in (*flat, own)))
