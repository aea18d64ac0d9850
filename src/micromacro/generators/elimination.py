"""Small dense systems solved for one sample at a time, to be batched with vmap.

LAPACK's batched kernels are slow on many small matrices, and with as few threads as two jaxlib 0.10 can wait for ever
when they run inside a compiled loop; elimination in plain JAX is vectorised over the batch instead.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

UNROLLED = 4


class Solution(NamedTuple):
    """`solution` of A x = b `(D,)`, the sign of det A, and log |det A|."""

    solution: Float[Array, "... D"]
    sign: Float[Array, "..."]
    log_determinant: Float[Array, "..."]


def solve_with_determinant(matrix: Float[Array, "D D"], right: Float[Array, "D"]) -> Solution:
    """Gauss–Jordan elimination with partial pivoting; a singular matrix gives values that are not finite."""
    size = right.size
    rows = jnp.arange(size)

    def eliminate(k: Array, carry: tuple) -> tuple:
        augmented, sign, log_determinant = carry
        column = jnp.abs(augmented[:, k])
        pivot = jnp.argmax(jnp.where(rows >= k, column, -1.0))
        top, chosen = augmented[k], augmented[pivot]
        swapped = jnp.where((rows == pivot)[:, None], top, augmented)
        scaled = chosen / chosen[k]
        reduced = swapped - swapped[:, k][:, None] * scaled
        augmented = jnp.where((rows == k)[:, None], scaled, reduced)
        flip = jnp.where(pivot == k, 1.0, -1.0).astype(sign.dtype)
        return augmented, sign * flip * jnp.sign(chosen[k]), log_determinant + jnp.log(jnp.abs(chosen[k]))

    augmented = jnp.concatenate([matrix, right[:, None]], axis=1)
    one = jnp.ones((), right.dtype)
    start = (augmented, one, jnp.zeros_like(one))
    augmented, sign, log_determinant = jax.lax.fori_loop(0, size, eliminate, start, unroll=size <= UNROLLED)
    return Solution(augmented[:, -1], sign, log_determinant)
