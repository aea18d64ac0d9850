"""Where flows begin: normal real numbers and uniform angles."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from micromacro.generators.representation import Layout


@dataclass(frozen=True)
class Base:
    """The law of latents: reals independent and normal with one deviation, angles uniform on their circles.

    >>> import jax
    >>> base = Base(Layout(reals=1, circles=2), deviation=3.0)
    >>> base.draw(jax.random.key(0)).shape
    (3,)
    """

    layout: Layout
    deviation: float

    def draw(self, key: Key[Array, ""]) -> Float[Array, "Y"]:
        """One latent, in single precision."""
        normal, uniform = jax.random.split(key)
        reals = np.float32(self.deviation) * jax.random.normal(normal, (self.layout.reals,), jnp.float32)
        angles = jax.random.uniform(uniform, (self.layout.circles,), jnp.float32, -np.pi, np.pi)
        return jnp.concatenate([reals, angles])

    def log_prob(self, latent: Float[Array, "Y"]) -> Float[Array, ""]:
        """The log-density of a latent, angles counted in radians."""
        constant = 0.5 * np.log(2 * np.pi) + np.log(self.deviation)
        constant = self.layout.reals * constant + self.layout.circles * np.log(2 * np.pi)
        scaled = latent[: self.layout.reals] / np.asarray(self.deviation, latent.dtype)
        return -0.5 * jnp.sum(scaled**2) - np.asarray(constant, latent.dtype)


def wrap_angles(state: Float[Array, "Y"], layout: Layout) -> Float[Array, "Y"]:
    """The same state with its angles in [-π, π)."""
    turn = np.asarray(2 * np.pi, state.dtype)
    angles = state[layout.reals :]
    return jnp.concatenate([state[: layout.reals], angles - turn * jnp.floor(angles / turn + 0.5)])
