"""What local samplers adapt in each window."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

MANY_DIMENSIONS = 64
"""From here on a scale that is diagonal is applied as such: below, to compile for it too would cost more."""


class Tuning(NamedTuple):
    """What the local sampler adapted in each window: step size `(windows,)` and scale `(windows, S, S)`.

    Scales that are diagonal may be given as such, `(windows, S)`. S is the dimension of the state, and 1 where moves
    are not adjusted.
    """

    step_size: Float[Array, "windows"]
    scale: Float[Array, "windows S S"] | Float[Array, "windows S"]

    def cheapest(self) -> "Tuning":
        """With diagonals `(windows, S)` for scales that have nothing else, where a product with all is dear."""
        scale = np.asarray(self.scale)
        diagonal = np.diagonal(scale, axis1=1, axis2=2)
        if scale.shape[-1] < MANY_DIMENSIONS or np.count_nonzero(scale) > np.count_nonzero(diagonal):
            return self
        return self._replace(scale=jnp.asarray(diagonal))
