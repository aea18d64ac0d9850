r"""States at a coarse value, by double diffusion maps: latent points of the data nearby, moved to it, and lifted.

A deterministic alternative to the conditional generators, given latent points. What it cannot do: it has no density,
so that its draws cannot be Metropolised; it makes no latent point that the data did not have, but for the move to z, so
that draws repeat themselves, and hidden wells are filled as they were in the data; it tells nothing beyond the data.
"""

from collections.abc import Callable
from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key

from micromacro.diffusion_maps.lifting import DoubleDiffusionMaps
from micromacro.errors import InputError

NEWTON_STEPS = 8
SMALL = 1e-12  # of a Gram matrix: where z does not change with the latent coordinates, nothing moves


@dataclass(frozen=True)
class ConditionalSettings:
    """How states at a coarse value are found.

    **Arguments:**

    - `neighbours`: data that the kernel in z reaches: more blur the condition, fewer repeat themselves more.
    - `tolerance`: within which z must be reached, relative to its deviation in the data.
    """

    neighbours: int = 200
    tolerance: float = 1e-6


@dataclass(frozen=True, eq=False)
class Lifted:
    """States at a coarse value.

    **Arguments:**

    - `state`: `(n, Y)`; `latent`: of each, `(n, m)`; `row`: of the data that it came from, `(n,)`.
    - `reached`: whether its z is the one asked for `(n,)`; the others are where the data had them.
    - `supported`: whether the latent point lies among the data, and z within the range of theirs `(n,)`.
    """

    state: Float[np.ndarray, "n Y"]
    latent: Float[np.ndarray, "n m"]
    row: np.ndarray
    reached: Bool[np.ndarray, "n"]
    supported: Bool[np.ndarray, "n"]


def lift_conditional(
    double: DoubleDiffusionMaps,
    coarse: Callable[[Float[Array, "Y"]], Float[Array, "d"]],
    z_of_points: Float[np.ndarray, "n d"],
    z: Float[np.ndarray, "_"],
    n: int,
    key: Key[Array, ""],
    settings: ConditionalSettings = ConditionalSettings(),
) -> Lifted:
    r"""So many states at z: latent points of the data, $\propto w_i (1 - |z_i - z|^2 / h^2)^2$, moved to z and lifted.

    h is the distance to the last of the neighbours. The move is Newton's on $\xi(L(\psi)) = z$, L the lift, by the
    shortest way, $\psi \gets \psi + J^T (J J^T)^{-1} (z - \xi(L(\psi)))$, and is taken back where it does not arrive or
    leaves the data. Where the data are spread unevenly over z, or the law changes fast with it, the kernel blurs it.

    **Arguments:**

    - `coarse`: ξ, differentiable; not wrapped: give a periodic one as its cosine and sine.
    - `z_of_points`: of the states that the maps were fitted to, in their order.
    - `z`: one coarse value.

    **Raises:** `InputError` where the numbers of z, or of its components, do not match.
    """
    if len(z_of_points) != len(double.latent):
        raise InputError("z_of_points", f"be {len(double.latent)} values, one a state", len(z_of_points))
    if z.shape != z_of_points.shape[1:]:
        raise InputError("z", f"be {z_of_points.shape[1]} numbers, as those of the points", len(z))
    scale = z_of_points.std(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    rows, share = _near(z_of_points / scale, z / scale, np.asarray(double.weight), settings.neighbours)
    start = double.latent[rows]
    tolerance = jnp.asarray(settings.tolerance * scale)
    inside = np.all((z >= z_of_points.min(axis=0)) & (z <= z_of_points.max(axis=0)))
    # of many latent coordinates the support is loose: beyond the range of z, nothing is to be reached
    tolerance = tolerance if inside else -tolerance
    state, latent, reached, among = _move_and_lift(double, coarse, start, jnp.asarray(z), tolerance)
    supported = np.asarray(among) & inside
    drawn = _draw(share, n, key)
    kept = (np.asarray(each)[drawn] for each in (state, latent, rows, reached, supported))
    return Lifted(*kept)


def _near(values: np.ndarray, z: np.ndarray, weight: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The nearest data, and the share of each."""
    distance = np.linalg.norm(values - z, axis=1)
    rows = np.argsort(distance, kind="stable")[:count]
    reach = distance[rows[-1]]
    share = weight[rows] * (1 - (distance[rows] / reach) ** 2) ** 2 if reach > 0 else weight[rows]
    if not share.sum() > 0:
        raise InputError("weight", "be positive for some of the data near z", "none")
    return rows, share / share.sum()


def _draw(share: np.ndarray, n: int, key: Array) -> np.ndarray:
    """Stratified draws: each as often as its share says, but for rounding; in random order."""
    position = (np.arange(n) + float(jax.random.uniform(key))) / n
    drawn = np.minimum(np.searchsorted(np.cumsum(share), position, side="right"), len(share) - 1)
    return np.asarray(jax.random.permutation(jax.random.fold_in(key, 1), drawn))


@eqx.filter_jit
def _move_and_lift(
    double: DoubleDiffusionMaps, coarse: Callable, start: Array, z: Array, tolerance: Array
) -> tuple[Array, Array, Array, Array]:
    def at(latent: Array) -> Array:
        return coarse(double.lift(latent))

    def step(latent: Array, _: None) -> tuple[Array, None]:
        jacobian = jax.jacrev(at)(latent)
        gram = jacobian @ jacobian.T
        gram = gram + (SMALL * jnp.trace(gram) + jnp.finfo(gram.dtype).tiny) * jnp.eye(len(gram))
        return latent + jacobian.T @ jnp.linalg.solve(gram, z - at(latent)), None

    def move(latent: Array) -> tuple[Array, Array, Array, Array]:
        moved = jax.lax.scan(step, latent, None, NEWTON_STEPS)[0]
        arrived = jnp.all(jnp.abs(at(moved) - z) <= tolerance) & double.support(moved)
        latent = jnp.where(arrived, moved, latent)
        return double.lift(latent), latent, arrived, double.support(latent)

    return jax.vmap(move)(start)
