r"""Diffusion coordinates of points that were not in the map, by Nyström's formula, differentiable."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from micromacro.diffusion_maps.diffusion_map import DiffusionMap


class NystromExtension(eqx.Module):
    r"""$\psi_k(x) = \lambda_k^{-1} \sum_j P(x, j) \psi_{kj}$ with the walk's own probabilities from x to the n points.

    **Arguments:**

    - `points`: of the map `(n, F)`; `metric`: of each, `(n, F, F)`, or `None`.
    - `bandwidth`: ε; `log_normalisation`: of the columns `(n,)`.
    - `values`: $\psi_{kj} / \lambda_k$, `(n, k)`.
    """

    points: Float[Array, "n F"]
    metric: Float[Array, "n F F"] | None
    bandwidth: float
    log_normalisation: Float[Array, "n"]
    values: Float[Array, "n k"]

    def __call__(self, features: Float[Array, "F"]) -> Float[Array, "k"]:
        """The diffusion coordinates of one point."""
        delta = features - self.points
        moved = delta if self.metric is None else jnp.einsum("nij,nj->ni", self.metric, delta)
        squares = jnp.sum(delta * moved, axis=1)
        return jax.nn.softmax(self.log_normalisation - squares / (4 * self.bandwidth)) @ self.values


def nystrom_extension(found: DiffusionMap, components: int) -> NystromExtension:
    """The extension of the first components of a diffusion map."""
    return NystromExtension(
        points=jnp.asarray(found.points),
        metric=None if found.kernel.metric is None else jnp.asarray(found.kernel.metric),
        bandwidth=found.kernel.bandwidth,
        log_normalisation=jnp.asarray(found.log_normalisation),
        values=jnp.asarray(found.eigenvectors[:, :components] / found.eigenvalues[:components]),
    )
