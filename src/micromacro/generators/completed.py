"""A generator of the coordinates that the condition does not hold, completed by those that it is."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key

from micromacro.coordinates.space import Space
from micromacro.generators.generator import DensityGenerator
from micromacro.sampling.proposal import Draw


class CompletedGenerator(eqx.Module):
    r"""$p(q | z) = N(\xi; z, s^2)\, p(r | \xi)$ where the coarse variable ξ is some of the coordinates of q = (ξ, r).

    In a flattened window ξ is normal about its centre z, which need not be learned: what is, are the other coordinates
    given ξ itself, and not given the centre of a window that is as wide as s. It is a `ConditionalProposal`.

    **Arguments:**

    - `rest`: a generator of r given ξ.
    - `blur`: s `(d,)`.
    - `coordinates`: which coordinate of q each component of ξ is.
    - `state`: where q lives.
    """

    rest: DensityGenerator
    blur: Float[Array, "d"]
    coordinates: tuple[int, ...] = eqx.field(static=True)
    state: Space = eqx.field(static=True)

    @property
    def condition(self) -> Space:
        """Where z lives."""
        return self.rest.condition

    @property
    def settings(self) -> Any:
        """What the rest was fitted with."""
        return self.rest.settings

    @property
    def others(self) -> tuple[int, ...]:
        """The coordinates of r."""
        return other_coordinates(self.state, self.coordinates)

    def sample(self, z: Float[Array, "d"], key: Key[Array, ""]) -> Float[Array, "Y"]:
        """One draw of q given z."""
        own_key, rest_key = jax.random.split(key)
        own = z + self.blur * jax.random.normal(own_key, z.shape)
        return self._whole(own, self.rest.sample(self.condition.wrap(own), rest_key))

    def sample_exactly(self, z: Float[Array, "d"], key: Key[Array, ""]) -> Float[Array, "Y"]:
        """One draw whose ξ is z, and not near it."""
        return self._whole(z, self.rest.sample(z, key))

    def log_prob(self, q: Float[Array, "Y"], z: Float[Array, "d"]) -> tuple[Float[Array, ""], Bool[Array, ""]]:
        """The log-density of q given z; minus infinity and `False` at states that cannot be drawn."""
        own = self.condition.wrap(q[np.array(self.coordinates)])
        log_rest, known = self.rest.log_prob(q[np.array(self.others)], own)
        return jnp.where(known, log_rest + self._log_own(self.condition.difference(own, z)), -jnp.inf), known

    def sample_and_log_prob(self, z: Float[Array, "d"], key: Key[Array, ""]) -> Draw:
        """One draw with its density; not valid where `log_prob` would not lead back to it."""
        return self._drawn(z, key, self.rest.sample_and_log_prob)

    def weighted_sample(self, z: Float[Array, "d"], key: Key[Array, ""]) -> Draw:
        """One draw with the density along the way that led to it."""
        return self._drawn(z, key, self.rest.weighted_sample)

    def _drawn(self, z: Array, key: Array, draw_rest) -> Draw:
        own_key, rest_key = jax.random.split(key)
        step = self.blur * jax.random.normal(own_key, z.shape)
        rest = draw_rest(self.condition.wrap(z + step), rest_key)
        state = self._whole(z + step, rest.state)
        own = state[np.array(self.coordinates)]
        low, high = (np.asarray(end)[list(self.coordinates)] for end in (self.state.lower, self.state.upper))
        # beyond half a turn the same place has another, larger density
        valid = rest.valid & jnp.all(jnp.abs(step) < self.condition.period / 2) & jnp.all((own >= low) & (own <= high))
        return Draw(state, jnp.where(valid, rest.log_prob + self._log_own(step), -jnp.inf), valid)

    def _log_own(self, step: Float[Array, "d"]) -> Float[Array, ""]:
        return jnp.sum(jax.scipy.stats.norm.logpdf(step, scale=self.blur))

    def _whole(self, own: Float[Array, "d"], rest: Float[Array, "R"]) -> Float[Array, "Y"]:
        state = jnp.zeros(self.state.dimension)
        return self.state.wrap(state.at[np.array(self.coordinates)].set(own).at[np.array(self.others)].set(rest))


def other_coordinates(state: Space, coordinates: tuple[int, ...]) -> tuple[int, ...]:
    """The coordinates of a space that are not among some."""
    return tuple(index for index in range(state.dimension) if index not in coordinates)


def restricted(space: Space, coordinates: tuple[int, ...]) -> Space:
    """Some coordinates of a space."""
    return Space.of(*([part[index] for index in coordinates] for part in (space.lower, space.upper, space.periodic)))
