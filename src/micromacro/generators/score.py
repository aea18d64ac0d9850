"""The conditional score-based generator, with the exact density of its discrete sampler."""

from collections.abc import Callable
from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key

from micromacro.coordinates.coarse import CoarseVariable
from micromacro.generators.diffusion import generate, generate_with_density, invert, noise_levels
from micromacro.generators.network import Condition, Network
from micromacro.generators.representation import ConditionalAffine, fit_affine
from micromacro.generators.training import TrainingSettings, train
from micromacro.sampling.proposal import Draw

LARGEST_NOISE = 20.0
SMALLEST_NOISE = 0.01
LOG_NOISE_MEAN = -1.2
LOG_NOISE_WIDTH = 1.5
ROUND_TRIP = 1e-3


class ScoreGenerator(eqx.Module):
    """A fitted conditional generator p(q | z): the probability flow of a denoiser, over a conditional affine map."""

    affine: ConditionalAffine
    condition: Condition
    network: Network
    sampler_steps: int = eqx.field(static=True)

    def sample(self, z: Float[Array, "d"], key: Key[Array, ""]) -> Float[Array, "Y"]:
        """One draw given z."""
        return self._draw(z.astype(jnp.float32), key)[0]

    def log_prob(self, q: Float[Array, "Y"], z: Float[Array, "d"]) -> tuple[Float[Array, ""], Bool[Array, ""]]:
        """The log-density of the sampler at a state, minus infinity and `False` where it could not be inverted."""
        encoded, change = self._encode(q, z.astype(jnp.float32))
        return encoded.log_prob + change, encoded.solved

    def sample_and_log_prob(self, z: Float[Array, "d"], key: Key[Array, ""]) -> Draw:
        """One draw with its density; not valid where the round trip back to its latent failed."""
        z = z.astype(jnp.float32)
        state, latent = self._draw(z, key)
        encoded, change = self._encode(state, z)
        returned = jnp.max(jnp.abs(encoded.latent - latent)) <= ROUND_TRIP * LARGEST_NOISE
        return Draw(state, encoded.log_prob + change, encoded.solved & returned)

    def weighted_sample(self, z: Float[Array, "d"], key: Key[Array, ""]) -> Draw:
        """One draw with the density along the way that led to it: for importance weights, which need no inverse."""
        z = z.astype(jnp.float32)
        made = generate_with_density(self._slope(z), self._latent(key), self._levels())
        state = self.affine.decode(made.state, z)
        _, change = self.affine.encode(state, z)
        return Draw(state, made.log_prob + change, made.injective)

    def _slope(self, z: Array) -> Callable:
        features = self.condition(z)

        def slope(x: Array, noise: Array) -> Array:
            return (x - denoise(self.network, x, features, noise)) / noise

        return slope

    def _levels(self) -> Float[np.ndarray, "n"]:
        return noise_levels(self.sampler_steps, LARGEST_NOISE, SMALLEST_NOISE)

    def _latent(self, key: Array) -> Float[Array, "Y"]:
        scale = np.sqrt(self._levels()[0] ** 2 + 1)
        return jax.random.normal(key, self.affine.period.shape, jnp.float32) * scale

    def _draw(self, z: Array, key: Array) -> tuple[Array, Array]:
        latent = self._latent(key)
        return self.affine.decode(generate(self._slope(z), latent, self._levels()), z), latent

    def _encode(self, q: Array, z: Array):
        residual, change = self.affine.encode(q, z)
        return invert(self._slope(z), residual, self._levels()), change


def denoise(network: Network, x: Float[Array, "Y"], features: Array, noise: Float[Array, ""]) -> Float[Array, "Y"]:
    """The denoised state. Source: Karras et al., NeurIPS 2022, eq. 7 and table 1, with unit data."""
    total = noise**2 + 1
    output = network(x / jnp.sqrt(total), features, jnp.log(noise) / 4)
    return x / total + noise / jnp.sqrt(total) * output


def denoising_loss(
    model: tuple[Condition, Network], residual: Float[Array, "batch Y"], z: Float[Array, "batch d"], key: Key[Array, ""]
) -> Float[Array, ""]:
    """The weighted denoising loss, its noise levels stratified over the batch. Source: Karras et al. 2022, eq. 8."""
    condition, network = model
    level_key, order_key, noise_key = jax.random.split(key, 3)
    batch = len(residual)
    quantile = (jnp.arange(batch) + jax.random.uniform(level_key, (batch,), jnp.float32)) / batch
    quantile = jnp.clip(quantile, 1e-5, 1 - 1e-5)[jax.random.permutation(order_key, batch)]
    level = jnp.exp(LOG_NOISE_MEAN + LOG_NOISE_WIDTH * jax.scipy.special.ndtri(quantile))
    noise = jax.random.normal(noise_key, residual.shape, jnp.float32)

    def one(x0, z, sigma, eps):
        total = sigma**2 + 1
        x = x0 + sigma * eps
        target = (x0 - x / total) * jnp.sqrt(total) / sigma
        output = network(x / jnp.sqrt(total), condition(z), jnp.log(sigma) / 4)
        return jnp.sum((output - target) ** 2)

    return jnp.mean(jax.vmap(one)(residual, z, level, noise))


@dataclass(frozen=True)
class ScoreSettings:
    """How the score-based generator is built and trained; sizes are derived from the dimension where left out."""

    width: int | None = None
    depth: int = 2
    training_steps: int | None = None
    batch_size: int = 512
    learning_rate: float = 3e-3
    sampler_steps: int = 12

    def fit(
        self,
        q: Float[np.ndarray, "n Y"],
        z: Float[np.ndarray, "n d"],
        weight: Float[np.ndarray, "n"],
        coarse: CoarseVariable,
        key: Key[Array, ""],
        *,
        attached: Float[np.ndarray, "Y d"] | None = None,
        period: Float[np.ndarray, "Y"] | None = None,
        previous: ScoreGenerator | None = None,
        on_chunk: Callable[[int], None] = lambda _: None,
    ) -> ScoreGenerator:
        """A generator of q given z from weighted pairs.

        **Arguments:**

        - `attached`, `period`: which coordinates are periodic coarse variables (see `ConditionalAffine`).
        - `previous`: a generator to go on from, with a third of the steps.
        - `on_chunk`: called with the number of training steps just done.
        """
        dimension = q.shape[1]
        attached = np.zeros((dimension, coarse.dimension)) if attached is None else attached
        period = np.full(dimension, np.inf) if period is None else period
        fit_key, train_key = jax.random.split(key)
        rng = np.random.default_rng(np.asarray(jax.random.key_data(fit_key), np.uint32))
        affine, condition, network = self._start(q, z, weight, coarse, attached, period, previous, fit_key, rng)
        residual = jax.jit(jax.vmap(lambda a, b: affine.encode(a, b)[0]))(jnp.asarray(q), _single(z))
        training = TrainingSettings(self.steps_for(previous), self.batch_size, self.learning_rate)
        pairs = np.asarray(residual), np.asarray(z, np.float32)
        trained, _ = train((condition, network), denoising_loss, pairs, weight, training, train_key, on_chunk)
        return ScoreGenerator(affine, condition, trained[1], self.sampler_steps)

    def skeleton(self, dimension: int, coarse: CoarseVariable) -> ScoreGenerator:
        """An untrained generator of the same structure, to hold the parameters of a stored one."""
        condition = Condition.of(coarse)
        network = Network(dimension, condition.size, self.width_for(dimension), self.depth, jax.random.key(0))
        d, y = coarse.dimension, dimension
        shapes = (0, d), (d,), (0, y), (0, y, d), (0, y, y), (y, d), (y,)
        affine = ConditionalAffine(*(jnp.zeros(shape, jnp.float32) for shape in shapes), coarse=coarse)
        return ScoreGenerator(affine, condition, network, self.sampler_steps)

    def steps_for(self, previous: ScoreGenerator | None) -> int:
        """Training steps: all of them for a new generator, a third to go on from a previous one."""
        steps = self.training_steps or 3000
        return steps if previous is None else max(250, steps // 3)

    def width_for(self, dimension: int) -> int:
        """The width of the network: 64 up to three dimensions, growing to 192."""
        return self.width or (64 if dimension <= 3 else 96 if dimension <= 12 else 128 if dimension <= 32 else 192)

    def _start(self, q, z, weight, coarse, attached, period, previous, key, rng):
        if previous is not None:
            return previous.affine, previous.condition, previous.network
        affine = fit_affine(q, z, weight, coarse, attached, period, rng)
        condition = Condition.of(coarse)
        network = Network(q.shape[1], condition.size, self.width_for(q.shape[1]), self.depth, key)
        return affine, condition, network


def _single(values: np.ndarray) -> Float[Array, "..."]:
    return jnp.asarray(values, jnp.float32)
