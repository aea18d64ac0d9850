r"""The factor √det Z that rigid bonds leave in the density of positions.

Dynamics with constraints s_i(x) = |x_a - x_b| samples exp(-V/kT) times the surface measure of the mass metric. In
coordinates (u, s) of volume element J du ds that measure is J √det Z du, with $Z_{ij} = ∇s_i · M^{-1} ∇s_j$.

Source: Fixman, Proc. Natl. Acad. Sci. USA 71, 3050 (1974); Ciccotti, Lelièvre, Vanden-Eijnden, Commun. Pure Appl.
Math. 61, 371 (2008).
"""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from micromacro.molecules.z_matrix import fragments


@dataclass(frozen=True, eq=False)
class ConstraintMetric:
    """Z falls into blocks of constraints that share atoms, all padded to the size of the largest.

    **Arguments:**

    - `pairs`: the two atoms of each constraint.
    - `blocks`: indices of constraints, as many in each block as in the largest; padded by `len(pairs)`.
    - `couplings`: what products of unit vectors are multiplied by, in 1/atomic units; the identity where padded.
    """

    pairs: Int[np.ndarray, "c 2"]
    blocks: Int[np.ndarray, "blocks size"]
    couplings: Float[np.ndarray, "blocks size size"]

    def log_root_determinant(self, positions: Float[Array, "n 3"]) -> Float[Array, ""]:
        """½ log det Z at positions in nm."""
        if not len(self.pairs):
            return jnp.zeros(())
        across = positions[self.pairs[:, 0]] - positions[self.pairs[:, 1]]
        unit = across / jnp.linalg.norm(across, axis=1, keepdims=True)
        unit = jnp.concatenate([unit, np.array([[1.0, 0.0, 0.0]])])[self.blocks]
        factor = jnp.linalg.cholesky(self.couplings * jnp.einsum("bik,bjk->bij", unit, unit))
        return jnp.sum(jnp.log(jnp.diagonal(factor, axis1=1, axis2=2)))


def constraint_metric(pairs: Int[np.ndarray, "c 2"], masses: Float[np.ndarray, "n"]) -> ConstraintMetric:
    """The metric of constraints on the distances of pairs of atoms with masses in atomic units."""
    sets = [set(part) for part in fragments(pairs, len(masses)) if len(part) > 1]
    groups = [[index for index, pair in enumerate(pairs.tolist()) if pair[0] in atoms] for atoms in sets]
    size = max(map(len, groups), default=0)
    blocks = np.array([group + [len(pairs)] * (size - len(group)) for group in groups], int).reshape(len(groups), size)
    incidence = np.zeros((len(pairs) + 1, len(masses)))
    incidence[np.arange(len(pairs)), pairs[:, 0]], incidence[np.arange(len(pairs)), pairs[:, 1]] = 1.0, -1.0
    chosen = incidence[blocks]
    padded = (blocks == len(pairs))[:, :, None] * np.eye(size)
    return ConstraintMetric(pairs, blocks, chosen / masses @ np.swapaxes(chosen, 1, 2) + padded)
