"""The macroscopic level of the micro–macro chain: an approximate density of the blurred coarse variable."""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key
from scipy.ndimage import gaussian_filter1d

from micromacro.coordinates.coarse import CoarseVariable
from micromacro.coordinates.space import Space
from micromacro.estimates.surface import FreeEnergySurface
from micromacro.sampling.table import Table, fill_nearest, fit_table

SMALLEST_STEP, LARGEST_STEP = 0.01, 0.5


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["free_energy", "blur", "lower", "upper"],
    meta_fields=["space"],
)
@dataclass(frozen=True)
class MacroDensity:
    r"""A density $\hat\mu(z) \propto e^{-\hat F(z)}$ within a box, a chain that keeps it, and the blur between ξ and z.

    **Arguments:**

    - `free_energy`: F̂ in kT; however wrong, it only decides how often moves are accepted.
    - `blur`: s, the standard deviation of z about ξ, `(d,)`.
    - `lower`, `upper`: beyond these `(d,)` the density is zero; infinite where z is periodic.
    - `space`: where z lives.
    """

    free_energy: Table
    blur: Float[Array, "d"]
    lower: Float[Array, "d"]
    upper: Float[Array, "d"]
    space: Space

    def log_density(self, z: Float[Array, "d"]) -> Float[Array, ""]:
        """The logarithm of the density: minus F̂, or minus infinity outside the box."""
        inside = jnp.all((z >= self.lower) & (z <= self.upper))
        return jnp.where(inside, -self.free_energy(z), -jnp.inf)

    def log_blur(self, z: Float[Array, "d"], coarse: Float[Array, "d"]) -> Float[Array, ""]:
        """The logarithm of the density of z about ξ, up to a constant that depends on neither."""
        return -0.5 * jnp.sum((self.space.difference(z, coarse) / self.blur) ** 2)

    def refresh(self, coarse: Float[Array, "d"], key: Key[Array, ""]) -> Float[Array, "d"]:
        """A draw of z given ξ with exactly the density of `log_blur`.

        Where z is periodic that is the normal law cut half a period away on either side: `log_blur` goes by the
        shortest way round, as windows do, and the constant that the cut brings is the same for every ξ.
        """
        half = self.space.period / (2 * self.blur)
        noise = jax.random.truncated_normal(key, -half, half, self.blur.shape, self.blur.dtype)
        return self.space.wrap(coarse + self.blur * noise)

    def chain(
        self, z: Float[Array, "d"], steps: int, key: Key[Array, ""]
    ) -> tuple[Float[Array, "d"], Float[Array, ""]]:
        """Random-walk Metropolis steps that keep the density, and the share that was accepted; no force evaluations.

        The size of each step is drawn evenly in its logarithm between `SMALLEST_STEP` and `LARGEST_STEP` of the range:
        small ones are accepted in a narrow well, large ones cross barriers.
        """
        size_key, noise_key, uniform_key = jax.random.split(key, 3)
        size = jnp.exp(jax.random.uniform(size_key, (steps, 1), z.dtype, np.log(SMALLEST_STEP), np.log(LARGEST_STEP)))
        change = size * self.space.range * jax.random.normal(noise_key, (steps, *z.shape), z.dtype)
        log_uniform = jnp.log(jax.random.uniform(uniform_key, (steps,), z.dtype))

        def step(carry: tuple[Array, Array], numbers: tuple[Array, Array]):
            z, log_density = carry
            proposal = self.space.wrap(z + numbers[0])
            log_proposed = self.log_density(proposal)
            accepted = numbers[1] < log_proposed - log_density
            return (jnp.where(accepted, proposal, z), jnp.where(accepted, log_proposed, log_density)), accepted

        (z, _), accepted = jax.lax.scan(step, (z, self.log_density(z)), (change, log_uniform))
        return z, jnp.mean(accepted)


def blurred_density(coarse: CoarseVariable, surface: FreeEnergySurface, blur: Float[np.ndarray, "d"]) -> MacroDensity:
    r"""The density of $z = \xi + s\eta$ by a free energy of ξ: $e^{-\hat F(z)} = \int e^{-F(x)} N(z; x, s^2) dx$.

    **Arguments:**

    - `surface`: F of ξ in kT, on a grid that may reach beyond the range; the density ends where the grid does. Unknown
      cells take the value of the nearest known one.
    """
    grid = surface.grid
    values = fill_nearest(surface.free_energy.reshape(grid.shape), grid.periodic)
    density = np.exp(values.min() - values)
    for axis, (width, periodic) in enumerate(zip(blur / grid.spacing, grid.periodic, strict=True)):
        density = gaussian_filter1d(density, width, axis=axis, mode="wrap" if periodic else "nearest")
    table = fit_table(-np.log(np.maximum(density, 1e-300)), grid.origin, grid.spacing, grid.periodic)
    periodic = np.asarray(grid.periodic)
    lower = np.where(periodic, -np.inf, grid.origin - 0.5 * grid.spacing)
    upper = np.where(periodic, np.inf, grid.origin + (np.asarray(grid.shape) - 0.5) * grid.spacing)
    return MacroDensity(table, jnp.asarray(blur, float), jnp.asarray(lower), jnp.asarray(upper), coarse.space)
