"""What a coupled sampler asks of a conditional generator."""

from typing import NamedTuple, Protocol, runtime_checkable

from jaxtyping import Array, Bool, Float, Key


class Draw(NamedTuple):
    """A draw with its density.

    `state` `(Y,)`; `log_prob` of it given z; `valid`: the inverse of the sampler led back to the latent that drew it.
    """

    state: Float[Array, "... Y"]
    log_prob: Float[Array, "..."]
    valid: Bool[Array, "..."]


@runtime_checkable
class ConditionalSampler(Protocol):
    """What can draw observed states given z, with or without a density; of one sample, to be batched."""

    def sample(self, z: Float[Array, "d"], key: Key[Array, ""]) -> Float[Array, "Y"]:
        """One draw given z."""
        ...


@runtime_checkable
class ConditionalProposal(Protocol):
    """A conditional density over observed states that can be drawn from and evaluated; of one sample, to be batched."""

    def sample(self, z: Float[Array, "d"], key: Key[Array, ""]) -> Float[Array, "Y"]:
        """One draw given z."""
        ...

    def log_prob(self, q: Float[Array, "Y"], z: Float[Array, "d"]) -> tuple[Float[Array, ""], Bool[Array, ""]]:
        """The log-density at a state, and whether it is one that the sampler can make."""
        ...

    def sample_and_log_prob(self, z: Float[Array, "d"], key: Key[Array, ""]) -> Draw:
        """One draw with its density, for Metropolis moves: valid where `log_prob` leads back to what drew it."""
        ...

    def weighted_sample(self, z: Float[Array, "d"], key: Key[Array, ""]) -> Draw:
        """One draw with its density, for importance weights: no way back from the state to what drew it is needed."""
        ...
