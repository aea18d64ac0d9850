"""Widths of kernels by rules of thumb."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from micromacro.coordinates.space import Space
from micromacro.generators.representation import Layout


def rules_of_thumb(
    state: Float[np.ndarray, "n Y"], z: Float[np.ndarray, "n d"], layout: Layout, space: Space
) -> tuple[Float[Array, ""], Float[Array, "d"]]:
    r"""Bandwidths that are best for a normal law: $n^{-1/(D+4)}$ times the spread.

    Sources: B. Silverman, Density Estimation, 1986, eq. 4.14; D. Scott, Multivariate Density Estimation, 1992.
    """
    dimension = state.shape[1] + z.shape[1]
    scott = len(state) ** (-1 / (dimension + 4)) * (4 / (dimension + 2)) ** (1 / (dimension + 4))
    angles = state[:, layout.reals :]
    spread = np.concatenate([state[:, : layout.reals].std(axis=0), circular_spread(angles)])
    period = np.where(space.periodic, space.range, 2 * np.pi)
    of_z = np.where(space.periodic, circular_spread(2 * np.pi * z / period) * period / (2 * np.pi), z.std(axis=0))
    # conditions that are all the same give every centre the same share at any width
    of_z = np.where(of_z > 0, of_z, 1.0)
    return jnp.asarray(scott * np.mean(spread), jnp.float32), jnp.asarray(scott * of_z, jnp.float32)


def circular_spread(angle: Float[np.ndarray, "n k"]) -> Float[np.ndarray, "k"]:
    """The deviation of angles from their mean direction, that of a uniform law at most."""
    centre = np.angle(np.mean(np.exp(1j * angle), axis=0))
    return np.sqrt(np.mean(np.angle(np.exp(1j * (angle - centre))) ** 2, axis=0))
