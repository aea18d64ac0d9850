"""The denoiser: a network that predicts the noise in a state, its score, its probability flow, and how it learns."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from micromacro.generators.base import Base
from micromacro.generators.circle import score_size, wrapped_score
from micromacro.generators.condition import Condition, state_feature_count, state_features
from micromacro.generators.descent import stratified_quantiles
from micromacro.generators.network import Network
from micromacro.generators.representation import Layout
from micromacro.generators.schedules import NoiseSchedule, noise_and_scale
from micromacro.generators.training import Pairs


class Denoiser(eqx.Module):
    r"""What a state with noise of level σ says about the noise in it, given z.

    States at noise σ are unscaled here, $y = x_0 + \sigma \epsilon$; a schedule's scale s(t) enters in `slope` alone.

    **Arguments:**

    - `layout`: real numbers, of unit variance, then angles.
    """

    condition: Condition
    network: Network
    layout: Layout = eqx.field(static=True)
    schedule: NoiseSchedule = eqx.field(static=True)

    def __init__(
        self, condition: Condition, layout: Layout, schedule: NoiseSchedule, width: int, depth: int, key: Key[Array, ""]
    ):
        self.condition, self.layout, self.schedule = condition, layout, schedule
        inputs = state_feature_count(layout)
        self.network = Network(inputs, layout.dimension, condition.size, width, depth, key)

    @property
    def base(self) -> Base:
        """The law of states at the first time: data of unit variance with the largest noise, uniform angles."""
        noise, scale = noise_and_scale(self.schedule, self.schedule.times(1)[:1])
        return Base(self.layout, float(scale[0] * np.hypot(noise[0], 1)))

    def output(self, y: Float[Array, "Y"], features: Float[Array, "features"], noise: Array) -> Float[Array, "Y"]:
        """The network on inputs of unit size. Source: Karras et al., NeurIPS 2022, table 1, with unit data."""
        scaled = y / self.layout.of_reals(jnp.sqrt(noise**2 + 1), 1.0)
        return self.network(state_features(scaled, self.layout), features, jnp.log(noise) / 4)

    def expected_noise(
        self, y: Float[Array, "Y"], features: Float[Array, "features"], noise: Array
    ) -> Float[Array, "Y"]:
        r"""$\hat\epsilon = E[\epsilon | y]$, which is -σ times the score.

        Of real numbers by eq. 7 of Karras et al., solved for the noise, so that nothing cancels where that is small;
        of angles -σ g(σ) times the output, with g the size of a wrapped normal law's score.
        """
        output, reals = self.output(y, features, noise), self.layout.reals
        total = noise**2 + 1
        straight = noise / total * y[:reals] - output[:reals] / jnp.sqrt(total)
        if not self.layout.circles:
            return straight
        return jnp.concatenate([straight, -noise * score_size(noise) * output[reals:]])

    def score(self, y: Float[Array, "Y"], z: Float[Array, "d"], noise: Float[Array, ""]) -> Float[Array, "Y"]:
        r"""$\nabla_y \log p(y; \sigma | z)$."""
        return -self.expected_noise(y, self.condition(z), noise) / noise

    def slope(self, z: Float[Array, "d"]) -> Callable[[Float[Array, "Y"], Float[Array, ""]], Float[Array, "Y"]]:
        r"""The probability flow $dx/dt = (\dot s / s) x + s \dot\sigma \hat\epsilon(x / s, \sigma)$ given z.

        Angles have s = 1. Source: Karras et al., NeurIPS 2022, eq. 4.
        """
        features = self.condition(z)

        def slope(x: Array, t: Array) -> Array:
            noise, noise_rate = jax.value_and_grad(self.schedule.noise)(t)
            scale, scale_rate = jax.value_and_grad(self.schedule.scale)(t)
            size, rate = self.layout.of_reals(scale, 1.0), self.layout.of_reals(scale_rate / scale, 0.0)
            return size * noise_rate * self.expected_noise(x / size, features, noise) + rate * x

        return slope


def denoising_loss(denoiser: Denoiser, pairs: Pairs, key: Key[Array, ""]) -> Float[Array, ""]:
    """The mean squared error of the output, its noise levels stratified over the batch.

    What the output should be is of unit size at every noise level: for real numbers the residual of eq. 8 of Karras et
    al., NeurIPS 2022; for angles the score of a wrapped normal law over its size.
    """
    level_key, noise_key = jax.random.split(key)
    batch, reals = len(pairs.state), denoiser.layout.reals
    level = denoiser.schedule.training_noise(stratified_quantiles(batch, level_key))
    normal = jax.random.normal(noise_key, pairs.state.shape, jnp.float32)

    def one(clean, z, noise, normal):
        noisy = clean + noise * normal
        total = noise**2 + 1
        residual = (noise * clean[:reals] - normal[:reals]) / jnp.sqrt(total)
        push = wrapped_score(noise * normal[reals:], noise) / score_size(noise)
        output = denoiser.output(noisy, denoiser.condition(z), noise)
        return jnp.sum((output - jnp.concatenate([residual, push])) ** 2)

    return jnp.mean(jax.vmap(one)(pairs.state, pairs.z, level, normal))
