"""Umbrella windows: where they stand, how stiff they are, and what they add to the energy."""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from micromacro.coordinates.coarse import CoarseVariable
from micromacro.sampling.table import Table


@partial(jax.tree_util.register_dataclass, data_fields=["centers", "stiffness", "flattening"], meta_fields=[])
@dataclass(frozen=True)
class Windows:
    r"""Harmonic windows on top of one flattening bias, all in units of kT.

    Window k adds $\frac12 \sum_a \kappa_a (z_a - c_{ka})^2 - \hat F(z)$, differences wrapped where z is periodic.

    **Arguments:**

    - `centers`: `(windows, d)`.
    - `stiffness`: κ, `(d,)`, shared by all windows: one blur for the conditional generator; zero for no window at all.
    - `flattening`: an estimate of the free energy in kT, subtracted so that ξ is spread evenly about the centre.
    """

    centers: Float[Array, "windows d"]
    stiffness: Float[Array, "d"]
    flattening: Table

    @property
    def count(self) -> int:
        """The number of windows."""
        return self.centers.shape[0]

    def columns(self, index: Int[np.ndarray, "columns"]) -> "Windows":
        """Windows by their places, each as often as it is named."""
        return Windows(self.centers[index], self.stiffness, self.flattening)

    def same_as(self, other: "Windows") -> bool:
        """Whether the other ones are one and the same bias."""
        leaves = zip(jax.tree.leaves(self), jax.tree.leaves(other), strict=True)
        return all(np.array_equal(a, b) for a, b in leaves)

    @property
    def width(self) -> Float[np.ndarray, "d"]:
        """The blur s = κ^(-1/2), `(d,)`."""
        return 1 / np.sqrt(np.asarray(self.stiffness))


def window_energy(
    coarse: CoarseVariable, center: Float[Array, "d"], stiffness: Float[Array, "d"], flattening: Table, z: Array
) -> Float[Array, ""]:
    """What one window adds to V/kT at the coarse value `z` `(d,)`."""
    return 0.5 * jnp.sum(stiffness * coarse.difference(z, center) ** 2) - flattening(z)


@partial(jax.tree_util.register_dataclass, data_fields=["states"], meta_fields=["coarse"])
@dataclass(frozen=True)
class PooledBias:
    """The biases of several sets of windows, one after the other, as a function of coarse values.

    **Arguments:**

    - `states`: sets of windows, such as those of several rounds.
    """

    states: tuple[Windows, ...]
    coarse: CoarseVariable

    @property
    def count(self) -> int:
        """The number of windows in all."""
        return sum(windows.count for windows in self.states)

    def __call__(self, z: Float[Array, "n d"]) -> Float[Array, "n K"]:
        """The bias of every window at every coarse value, in kT."""
        return _pooled_biases(self, z)


@jax.jit
def _pooled_biases(pooled: PooledBias, z: Array) -> Array:
    def one(windows: Windows, value: Array) -> Array:
        delta = pooled.coarse.difference(value, windows.centers)
        return 0.5 * jnp.sum(windows.stiffness * delta**2, axis=-1) - windows.flattening(value)

    return jnp.concatenate([jax.vmap(partial(one, windows))(z) for windows in pooled.states], axis=1)


def grid_centers(coarse: CoarseVariable, per_dimension: int) -> Float[np.ndarray, "windows d"]:
    """Centres on a uniform grid over the range; the ends are included where it is bounded."""
    axes = [
        np.linspace(low, high, per_dimension, endpoint=not periodic)
        for low, high, periodic in zip(coarse.lower, coarse.upper, coarse.periodic, strict=True)
    ]
    return np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, coarse.dimension)


def window_spacing(coarse: CoarseVariable, per_dimension: int) -> Float[np.ndarray, "d"]:
    """Distance between neighbouring centres of `grid_centers`, `(d,)`."""
    intervals = np.where(coarse.periodic, per_dimension, max(per_dimension - 1, 1))
    return coarse.range / intervals
