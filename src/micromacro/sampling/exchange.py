"""Replica exchange between neighbouring windows: which walkers change places."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from micromacro.coordinates.coarse import CoarseVariable
from micromacro.sampling.windows import Windows, window_energy


def window_energies(
    coarse: CoarseVariable, windows: Windows, values: Float[Array, "windows walkers d"]
) -> Float[Array, "windows walkers"]:
    """What each window adds to V/kT at the coarse values of its walkers."""

    def energy(center: Array, z: Array) -> Array:
        return window_energy(coarse, center, windows.stiffness, windows.flattening, z)

    return jax.vmap(jax.vmap(energy, in_axes=(None, 0)))(windows.centers, values)


def exchanges(
    coarse: CoarseVariable,
    windows: Windows,
    values: Float[Array, "windows walkers d"],
    key: Key[Array, ""],
    *,
    even: bool,
) -> tuple[Int[np.ndarray, "windows"], Bool[Array, "windows walkers"]]:
    """The partner of each window, of 2i and 2i+1 (`even`) or 2i+1 and 2i+2, and which walkers change places with it."""
    count = windows.count
    first = np.arange(0 if even else 1, count - 1, 2)
    partner = np.arange(count)
    partner[first], partner[first + 1] = first + 1, first
    own, crossed = (window_energies(coarse, windows, z) for z in (values, values[partner]))
    log_ratio = own + own[partner] - crossed - crossed[partner]
    uniform = jax.random.uniform(key, values.shape[:2])
    log_uniform = jnp.log(jnp.where((np.arange(count) < partner)[:, None], uniform, uniform[partner]))
    return partner, (log_uniform < log_ratio) & (partner != np.arange(count))[:, None]
