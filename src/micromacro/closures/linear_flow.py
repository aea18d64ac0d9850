r"""Linear stochastic equations over one lag, and the algebra of small matrices that transition densities need.

Matrices here are as small as the coarse variable, and there is one for each of thousands of pairs. Products and factors
are written out entry by entry, so that under `vmap` each entry is one long array: that compiles to vector arithmetic,
twenty times faster than batches of small matrices.
"""

import math
from collections.abc import Sequence

import jax.numpy as jnp
from jaxtyping import Array, Float

HALVINGS = 4
"""The lag is halved so often before the series is summed, and doubled back."""
TERMS = 7
"""Of the series; with `HALVINGS` a relative error of about 1e-6 at a slope times lag of 4."""
SMALL = 1e-2

Entries = Sequence[Sequence[Array]]


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
    size, time = len(slope), lag / 2**HALVINGS
    rates = [[time * entry for entry in row] for row in _entries(slope)]
    unit = [[jnp.full((), float(a == b), slope.dtype) for b in range(size)] for a in range(size)]
    # both series without the factor `time`, which comes in at the end
    power = integral = unit
    part = covariance = _entries(noise)
    for order in range(2, TERMS + 1):
        power = _scaled(_product(rates, power), 1 / order)
        integral = _sum(integral, power)
        turned = _product(rates, part)
        part = _scaled(_sum(turned, _transposed(turned)), 1 / order)
        covariance = _sum(covariance, part)
    growth = _sum(unit, _product(rates, integral))
    for doubling in range(HALVINGS):
        covariance = _sum(covariance, _product(_product(growth, covariance), _transposed(growth)))
        integral = _sum(integral, _product(growth, integral))
        growth = _product(growth, growth) if doubling < HALVINGS - 1 else growth
    return time * _matrix(integral), time * _matrix(covariance)


def product(first: Float[Array, "a b"], second: Float[Array, "b c"]) -> Float[Array, "a c"]:
    """The product of two small matrices."""
    return _matrix(_product(_entries(first), _entries(second)))


def applied(matrix: Float[Array, "a b"], value: Float[Array, "b"]) -> Float[Array, "a"]:
    """A small matrix times a vector."""
    return jnp.stack([sum(row[k] * value[k] for k in range(len(value))) for row in _entries(matrix)])


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
    return _matrix(entries)


def solve_lower(factor: Float[Array, "d d"], value: Float[Array, "d"]) -> Float[Array, "d"]:
    """The x of L x = `value` for a small lower triangular L."""
    found: list[Array] = []
    for row in range(len(value)):
        rest = value[row] - sum(factor[row, k] * found[k] for k in range(row))
        found.append(rest / factor[row, row])
    return jnp.stack(found)


def _relative_growth(exponent: Float[Array, "1 1"]) -> Float[Array, "1 1"]:
    """(e^x - 1) / x, one at zero, with derivatives that are finite there."""
    small = jnp.abs(exponent) < SMALL
    safe = jnp.where(small, 1.0, exponent)
    series = sum(exponent**k / math.factorial(k + 1) for k in range(7))
    return jnp.where(small, series, jnp.expm1(safe) / safe)


def _entries(matrix: Float[Array, "a b"]) -> Entries:
    return [[matrix[a, b] for b in range(matrix.shape[1])] for a in range(matrix.shape[0])]


def _matrix(entries: Entries) -> Float[Array, "a b"]:
    return jnp.stack([jnp.stack(row) for row in entries])


def _product(first: Entries, second: Entries) -> Entries:
    columns = range(len(second[0]))
    return [
        [sum((row[k] * second[k][b] for k in range(1, len(row))), row[0] * second[0][b]) for b in columns]
        for row in first
    ]


def _sum(first: Entries, second: Entries) -> Entries:
    return [[a + b for a, b in zip(*rows, strict=True)] for rows in zip(first, second, strict=True)]


def _scaled(entries: Entries, factor: float) -> Entries:
    return [[factor * entry for entry in row] for row in entries]


def _transposed(entries: Entries) -> Entries:
    return list(zip(*entries, strict=True))
