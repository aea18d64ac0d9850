r"""States at a coarse value, by double diffusion maps: latent points of the data nearby, moved to it, and lifted.

A deterministic alternative to the conditional generators, given latent points. What it cannot do: it has no density,
so that its draws cannot be Metropolised; it makes no latent point that the data did not have, but for the move to z, so
that draws repeat themselves, and hidden wells are filled as they were in the data; it tells nothing beyond the data.
"""

from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key

from micromacro.diffusion_maps.harmonics import GeometricHarmonics, HarmonicsSettings, fit_harmonics
from micromacro.diffusion_maps.lifting import DoubleDiffusionMaps
from micromacro.errors import InputError

NEWTON_STEPS = 8
SMALL = 1e-12  # of a Gram matrix: where z does not change with the latent coordinates, nothing moves


@dataclass(frozen=True)
class ConditionalSettings:
    """How states at a coarse value are found.

    **Arguments:**

    - `neighbours`: data on either side that the kernel in z spans, about; more blur the condition, fewer repeat.
    - `tolerance`: within which z is reached, relative to its deviation in the data.
    - `harmonics`: of z as a function of the latent coordinates.
    """

    neighbours: int = 200
    tolerance: float = 1e-3
    harmonics: HarmonicsSettings = HarmonicsSettings()


class ConditionalLifting(eqx.Module):
    """What is needed to lift at any coarse value.

    **Arguments:**

    - `coarse`: latent coordinates to z; its `error` is near one where z is no function of them, and a move to z then
      means nothing.
    - `z`: of the data `(n, d)`; `scale`: its deviations `(d,)`.
    - `neighbours`, `tolerance`: as in the settings.
    """

    double: DoubleDiffusionMaps
    coarse: GeometricHarmonics
    z: Float[Array, "n d"]
    scale: Float[Array, "d"]
    neighbours: int = eqx.field(static=True)
    tolerance: float = eqx.field(static=True)


@dataclass(frozen=True, eq=False)
class Lifted:
    """States at a coarse value.

    **Arguments:**

    - `state`: `(n, Y)`; `latent`: of each, `(n, m)`.
    - `reached`: whether its z, by the harmonics, is the one asked for `(n,)`; others stay where the data had them.
    - `supported`: whether the latent point lies among the data, and z within the range of theirs `(n,)`.
    """

    state: Float[np.ndarray, "n Y"]
    latent: Float[np.ndarray, "n m"]
    reached: Bool[np.ndarray, "n"]
    supported: Bool[np.ndarray, "n"]


def fit_conditional_lifting(
    double: DoubleDiffusionMaps,
    z_of_points: Float[np.ndarray, "n d"],
    settings: ConditionalSettings = ConditionalSettings(),
) -> ConditionalLifting:
    """The lifting conditioned on z, given z of the states that the maps were fitted to, in their order.

    z is not wrapped: give a periodic one by its cosine and sine.

    **Raises:** `InputError` for a number of z that is not that of the states, a z that is constant.
    """
    if len(z_of_points) != len(double.latent):
        raise InputError("z_of_points", f"be {len(double.latent)} values, one a state", len(z_of_points))
    scale = z_of_points.std(axis=0)
    if not (scale > 0).all():
        raise InputError("z_of_points", "vary in every component", f"deviations {scale}")
    return ConditionalLifting(
        double=double,
        coarse=fit_harmonics(np.asarray(double.latent), z_of_points, settings.harmonics),
        z=jnp.asarray(z_of_points),
        scale=jnp.asarray(scale),
        neighbours=settings.neighbours,
        tolerance=settings.tolerance,
    )


def lift_conditional(lifting: ConditionalLifting, z: Float[np.ndarray, "d"], n: int, key: Key[Array, ""]) -> Lifted:
    r"""So many states at z: latent points of data, $\propto w_i \exp(-|z_i - z|^2 / 2 h^2)$, moved to z and lifted.

    h is the distance within which the settings' number of neighbours lies. The move is Newton's on
    $\zeta(\psi) = z$ by the shortest way, $\psi \gets \psi + J^T (J J^T)^{-1} (z - \zeta(\psi))$, and is taken back
    where it does not arrive or leaves the data.

    **Arguments:**

    - `z`: one coarse value.

    **Raises:** `InputError` for a z of another dimension.
    """
    if z.shape != lifting.scale.shape:
        raise InputError("z", f"be {len(lifting.scale)} numbers", z.shape)
    state, latent, reached, supported = _lifted(lifting, jnp.asarray(z), n, key)
    return Lifted(np.asarray(state), np.asarray(latent), np.asarray(reached), np.asarray(supported))


@eqx.filter_jit
def _lifted(lifting: ConditionalLifting, z: Array, n: int, key: Array) -> tuple[Array, Array, Array, Array]:
    start = lifting.double.latent[_rows(lifting, z, n, key)]
    moved, reached = jax.vmap(lambda latent: _move(lifting, latent, z))(start)
    latent = jnp.where(reached[:, None], moved, start)
    inside = jnp.all((z >= lifting.z.min(axis=0)) & (z <= lifting.z.max(axis=0)))
    supported = jax.vmap(lifting.double.support)(latent) & inside
    return jax.vmap(lifting.double.lift)(latent), latent, reached, supported


def _rows(lifting: ConditionalLifting, z: Array, n: int, key: Array) -> Array:
    """Rows of the data near z, by stratified draws: each as often as its weight says, but for rounding."""
    squares = jnp.sum(((lifting.z - z) / lifting.scale) ** 2, axis=1)
    order = min(2 * lifting.neighbours, len(squares)) - 1
    logs = jnp.log(lifting.double.weight) - squares / (2 * jnp.sort(squares)[order] / 4)
    cumulative = jnp.cumsum(jax.nn.softmax(logs))
    position = (jnp.arange(n) + jax.random.uniform(key, (n,))) / n
    rows = jnp.searchsorted(cumulative, position * cumulative[-1], side="right")
    return jax.random.permutation(jax.random.fold_in(key, 1), jnp.minimum(rows, len(squares) - 1))


def _move(lifting: ConditionalLifting, start: Array, z: Array) -> tuple[Array, Array]:
    """The latent point at z next to another, and whether there is one."""
    coarse = lifting.coarse

    def step(latent, _):
        jacobian = jax.jacfwd(coarse)(latent)
        gram = jacobian @ jacobian.T
        gram = gram + SMALL * jnp.trace(gram) * jnp.eye(len(gram)) + jnp.finfo(gram.dtype).tiny * jnp.eye(len(gram))
        return latent + jacobian.T @ jnp.linalg.solve(gram, z - coarse(latent)), None

    latent = jax.lax.scan(step, start, None, NEWTON_STEPS)[0]
    close = jnp.all(jnp.abs(coarse(latent) - z) <= lifting.tolerance * lifting.scale)
    return latent, close & jnp.isfinite(latent).all() & lifting.double.support(latent)
