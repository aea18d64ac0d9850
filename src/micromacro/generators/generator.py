"""A fitted conditional generator: a model of represented states behind the representation."""

from typing import Any, Protocol, runtime_checkable

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from micromacro.coordinates.space import Space
from micromacro.generators.representation import Representation
from micromacro.sampling.proposal import Draw

ROUND_TRIP = 1e-3


@runtime_checkable
class Model(Protocol):
    """What a family learns: draws of represented states given z; all of one sample, in single precision."""

    def draw(self, z: Float[Array, "d"], key: Key[Array, ""]) -> Float[Array, "Y"]:
        """One represented state given z."""
        ...


@runtime_checkable
class DensityModel(Model, Protocol):
    """A model with a density of represented states, angles counted in radians."""

    def log_prob(self, x: Float[Array, "Y"], z: Float[Array, "d"]) -> tuple[Float[Array, ""], Bool[Array, ""]]:
        """The log-density of `draw` at a state, and whether it is one that `draw` can make."""
        ...

    def draw_with_density(self, z: Float[Array, "d"], key: Key[Array, ""]) -> Draw:
        """A draw with its `log_prob`: valid where that leads back to what made the draw."""
        ...

    def weighted_draw(self, z: Float[Array, "d"], key: Key[Array, ""]) -> Draw:
        """A draw with its density along the way that made it: no way back is needed."""
        ...


class Fitted(eqx.Module):
    """What all fitted generators share.

    **Arguments:**

    - `settings`: what it was fitted with, of any family.
    """

    representation: eqx.AbstractVar[Representation]
    model: eqx.AbstractVar[Any]
    settings: eqx.AbstractVar[object]

    @property
    def state(self) -> Space:
        """Where its states live."""
        return self.representation.state

    @property
    def condition(self) -> Space:
        """Where its conditions live."""
        return self.representation.affine.condition

    def sample(self, z: Float[Array, "d"], key: Key[Array, ""]) -> Float[Array, "Y"]:
        """One draw of q given z."""
        z = z.astype(jnp.float32)
        return self.representation.decode(self.model.draw(z, key), z)


class Generator(Fitted):
    """A fitted conditional generator without a density: it can seed, but no Metropolis move can correct it."""

    representation: Representation
    model: Model
    settings: object = eqx.field(static=True)


class DensityGenerator(Fitted):
    """A fitted conditional generator with a density: a `ConditionalProposal`, which Metropolis moves make exact."""

    representation: Representation
    model: DensityModel
    settings: object = eqx.field(static=True)

    def log_prob(self, q: Float[Array, "Y"], z: Float[Array, "d"]) -> tuple[Float[Array, ""], Bool[Array, ""]]:
        """The log-density of q given z; minus infinity and `False` at states that the sampler cannot make."""
        z = z.astype(jnp.float32)
        represented = self.representation.encode(q, z)
        inside = jnp.all(jnp.isfinite(represented.state)) & jnp.isfinite(represented.log_determinant)
        # outside the bounds the model must not see infinite numbers
        safe = jnp.where(inside, represented.state, 0.0)
        log_prob, known = self.model.log_prob(safe, z)
        known = known & inside
        return jnp.where(known, log_prob + represented.log_determinant, -jnp.inf), known

    def sample_and_log_prob(self, z: Float[Array, "d"], key: Key[Array, ""]) -> Draw:
        """One draw with its density, for Metropolis moves; not valid where `log_prob` would not lead back to it."""
        z = z.astype(jnp.float32)
        return self._decoded(self.model.draw_with_density(z, key), z)

    def weighted_sample(self, z: Float[Array, "d"], key: Key[Array, ""]) -> Draw:
        """One draw with the density along the way that led to it: for importance weights, which need no inverse."""
        z = z.astype(jnp.float32)
        return self._decoded(self.model.weighted_draw(z, key), z)

    def _decoded(self, draw: Draw, z: Array) -> Draw:
        state = self.representation.decode(draw.state, z)
        again = self.representation.encode(state, z)
        # a draw beyond a bound's last digit, or beyond half a turn of an opened circle, has another representation
        reals = self.representation.layout.reals
        same = jnp.all(jnp.abs(again.state - draw.state)[:reals] <= ROUND_TRIP * (1 + jnp.abs(draw.state[:reals])))
        log_prob = draw.log_prob + again.log_determinant
        valid = draw.valid & same & jnp.isfinite(log_prob)
        return Draw(state, jnp.where(valid, log_prob, -jnp.inf), valid)
