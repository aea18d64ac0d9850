"""Samplers of a denoiser with a fixed number of steps: deterministic, with its exact density, and stochastic."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from micromacro.generators.base import Base, wrap_angles
from micromacro.generators.denoiser import Denoiser
from micromacro.generators.diffusion import Chain, ChainModel
from micromacro.generators.schedules import noise_and_scale

# a step raises the noise level by no more than this share of it: Karras et al., NeurIPS 2022, algorithm 2
MOST_CHURN = float(np.sqrt(2) - 1)


class HeunModel(ChainModel):
    """The probability flow in a fixed number of Heun steps, with the exact density of what they draw.

    **Arguments:**

    - `steps`: each costs two evaluations of the network.
    """

    denoiser: Denoiser
    steps: int = eqx.field(static=True)

    def chain(self, z: Float[Array, "d"]) -> Chain:
        """The steps given z."""
        times = self.denoiser.schedule.times(self.steps)
        return Chain(self.denoiser.slope(z), times, self.denoiser.base, _extent(self.denoiser, times[:-1]))


def _extent(denoiser: Denoiser, times: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
    noise, scale = noise_and_scale(denoiser.schedule, times)
    return (scale * (1 + noise)).astype(np.float32)


class StochasticModel(eqx.Module):
    r"""Heun steps between which noise is added and taken out again, which washes out errors of earlier steps.

    It has no density. Source: T. Karras et al., NeurIPS 2022, algorithm 2, in unscaled states at the noise levels of
    any schedule; the last step leads to no noise at all.

    **Arguments:**

    - `steps`: each costs two evaluations of the network.
    - `churn`: S_churn, how much noise is added over all steps.
    """

    denoiser: Denoiser
    steps: int = eqx.field(static=True)
    churn: float = eqx.field(static=True)

    def draw(self, z: Float[Array, "d"], key: Key[Array, ""]) -> Float[Array, "Y"]:
        """One represented state given z."""
        features, layout = self.denoiser.condition(z), self.denoiser.layout
        first_key, step_key = jax.random.split(key)
        added = min(self.churn / self.steps, MOST_CHURN)
        levels = jnp.asarray(noise_and_scale(self.denoiser.schedule, self.denoiser.schedule.times(self.steps))[0])

        def expected(y: Array, noise: Array) -> Array:
            return self.denoiser.expected_noise(y, features, noise)

        def step(y: Array, inputs: tuple):
            now, then, key = inputs
            raised = (1 + np.float32(added)) * now
            y = y + jnp.sqrt(raised**2 - now**2) * jax.random.normal(key, y.shape, y.dtype)
            first = expected(y, raised)
            second = expected(y + (then - raised) * first, then)
            return y + (then - raised) / 2 * (first + second), None

        latent = Base(layout, float(np.hypot(self.denoiser.schedule.largest, 1))).draw(first_key)
        y, _ = jax.lax.scan(step, latent, (levels[:-1], levels[1:], jax.random.split(step_key, self.steps)))
        return wrap_angles(y - levels[-1] * expected(y, levels[-1]), layout)
