r"""Linear stochastic equations over one lag, and the algebra of small matrices that transition densities need.

Matrices here are as small as the coarse variable, and there is one for each of many pairs: products and factors are
written out element by element, which compiles to arithmetic over the batch instead of a library call for each pair.
"""

import math

import jax.numpy as jnp
from jaxtyping import Array, Float

HALVINGS = 3
"""The lag is halved so often before the series is summed, and doubled back."""
TERMS = 12
"""Of the series; with `HALVINGS` rounding error for a slope times lag up to 8, relative error 1e-5 at 20."""
SMALL = 1e-4


def linear_flow(
    slope: Float[Array, "d d"], noise: Float[Array, "d d"], lag: float | Float[Array, ""]
) -> tuple[Float[Array, "d d"], Float[Array, "d d"]]:
    r"""What $dz = (c + J z) dt + dW$ with $dW dW^T = Q dt$ does in one lag h.

    **Returns:** $\int_0^h e^{Js} ds$ `(d, d)`, in time units, which times c + J z is the mean displacement; and the
    covariance $\int_0^h e^{Js} Q e^{J^T s} ds$ `(d, d)`.

    In one dimension in closed form, else by the series of both integrals over $h / 2^k$ and k doublings,
    $C(2t) = C(t) + e^{Jt} C(t) e^{J^T t}$: the squarings of the exponential of Van Loan's block matrix without its
    blocks. Source: C. F. Van Loan, IEEE Trans. Automat. Contr. 23, 395 (1978).
    """
    if slope.shape == (1, 1):
        exponent = slope * lag
        return lag * _relative_growth(exponent), lag * noise * _relative_growth(2 * exponent)
    time = lag / 2**HALVINGS
    power = integral = time * jnp.eye(len(slope), dtype=slope.dtype)
    part = covariance = time * noise
    for order in range(2, TERMS + 1):
        power = product(slope, power) * (time / order)
        integral = integral + power
        turned = product(slope, part)
        part = (turned + turned.T) * (time / order)
        covariance = covariance + part
    for _ in range(HALVINGS):
        growth = jnp.eye(len(slope), dtype=slope.dtype) + product(slope, integral)
        covariance = covariance + product(product(growth, covariance), growth.T)
        integral = integral + product(growth, integral)
    return integral, covariance


def product(first: Float[Array, "a b"], second: Float[Array, "b c"]) -> Float[Array, "a c"]:
    """The product of two small matrices."""
    return jnp.sum(first[:, :, None] * second[None], axis=1)


def lower_factor(matrix: Float[Array, "d d"]) -> Float[Array, "d d"]:
    """The lower Cholesky factor of a small positive definite matrix."""
    size = len(matrix)
    entries = [[jnp.zeros((), matrix.dtype)] * size for _ in range(size)]
    for column in range(size):
        rest = matrix[column, column] - sum(entries[column][k] ** 2 for k in range(column))
        entries[column][column] = jnp.sqrt(rest)
        for row in range(column + 1, size):
            rest = matrix[row, column] - sum(entries[row][k] * entries[column][k] for k in range(column))
            entries[row][column] = rest / entries[column][column]
    return jnp.stack([jnp.stack(row) for row in entries])


def solve_lower(factor: Float[Array, "d d"], value: Float[Array, "d"]) -> Float[Array, "d"]:
    """X of L x = `value` for a small lower triangular L."""
    found: list[Array] = []
    for row in range(len(value)):
        rest = value[row] - sum(factor[row, k] * found[k] for k in range(row))
        found.append(rest / factor[row, row])
    return jnp.stack(found)


def _relative_growth(exponent: Float[Array, "1 1"]) -> Float[Array, "1 1"]:
    """(e^x - 1) / x, one at zero, with derivatives that are finite there."""
    small = jnp.abs(exponent) < SMALL
    safe = jnp.where(small, 1.0, exponent)
    series = sum(exponent**k / math.factorial(k + 1) for k in range(4))
    return jnp.where(small, series, jnp.expm1(safe) / safe)
