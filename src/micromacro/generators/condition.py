"""What networks see of a condition and of a represented state."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from micromacro.coordinates.space import Space
from micromacro.generators.representation import Layout

HARMONICS = 3


class Condition(eqx.Module):
    """Features of a condition: harmonics where it is periodic, itself and half-range harmonics where bounded.

    >>> import jax.numpy as jnp
    >>> Condition(Space((-1.0,), (1.0,), (False,)))(jnp.array([0.5])).shape
    (7,)
    """

    space: Space = eqx.field(static=True)

    @property
    def size(self) -> int:
        """The number of features."""
        return sum(2 * HARMONICS + (0 if periodic else 1) for periodic in self.space.periodic)

    def __call__(self, z: Float[Array, "d"]) -> Float[Array, "features"]:
        """The features of one condition."""
        lower, extent = (np.asarray(part, np.float32) for part in (self.space.lower, self.space.range))
        unit = (z.astype(jnp.float32) - lower) / extent
        parts = []
        for axis, periodic in enumerate(self.space.periodic):
            phase = unit[axis] * jnp.arange(1, HARMONICS + 1) * np.float32(2 * np.pi if periodic else np.pi)
            parts += [jnp.cos(phase), jnp.sin(phase)]
            parts += [] if periodic else [2 * unit[axis : axis + 1] - 1]
        return jnp.concatenate(parts)


def state_features(state: Float[Array, "Y"], layout: Layout, harmonics: int = HARMONICS) -> Float[Array, "features"]:
    """Real numbers as they are, angles as their harmonics: `reals + 2 harmonics circles` numbers."""
    phase = state[layout.reals :, None] * jnp.arange(1, harmonics + 1, dtype=state.dtype)
    return jnp.concatenate([state[: layout.reals], jnp.cos(phase).ravel(), jnp.sin(phase).ravel()])


def state_feature_count(layout: Layout, harmonics: int = HARMONICS) -> int:
    """The number of features that `state_features` gives."""
    return layout.reals + 2 * harmonics * layout.circles
