"""Normal random numbers by counter: each is a pure function of a key, a walker and a step.

Nothing is carried from step to step and nothing depends on how walkers are grouped, so that XLA fuses the numbers into
the kernel that uses them and any block of walkers may run on any thread.
"""

from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, UInt

Words: TypeAlias = UInt[Array, "2 2"]

_ROTATIONS = (13, 15, 26, 6, 17, 29, 16, 24)
_ROUNDS = 20
_PARITY = 0x1BD11BDA

# Cephes sinf.c, cosf.c, sin.c and cos.c (S. L. Moshier), highest power first: sin t = t + t^3 p(t^2) and
# cos t = 1 - t^2 / 2 + t^4 p(t^2) on [-pi/4, pi/4].
_SINE = {
    4: (-1.9515295891e-4, 8.3321608736e-3, -1.6666654611e-1),
    8: (
        1.58962301576546568060e-10,
        -2.50507477628578072866e-8,
        2.75573136213857245213e-6,
        -1.98412698295895385996e-4,
        8.33333333332211858878e-3,
        -1.66666666666666307295e-1,
    ),
}
_COSINE = {
    4: (2.443315711809948e-5, -1.388731625493765e-3, 4.166664568298827e-2),
    8: (
        -1.13585365213876817300e-11,
        2.08757008419747316778e-9,
        -2.75573141792967388112e-7,
        2.48015872888517045348e-5,
        -1.38888888888730564116e-3,
        4.16666666666665929218e-2,
    ),
}


def words(key: Key[Array, ""]) -> Words:
    """The generator's own two keys, `(2, 2)`, drawn from a JAX key of any kind."""
    return jax.random.bits(key, (2, 2), jnp.uint32)


def threefry(
    key: UInt[Array, "2"], first: UInt[Array, "..."], second: UInt[Array, "..."]
) -> tuple[UInt[Array, "..."], UInt[Array, "..."]]:
    """Threefry-2x32-20 of the counter `(first, second)`: two words of 32 random bits.

    The generator behind `jax.random`, written as plain arithmetic so that XLA fuses it. Source: Salmon, Moraes, Dror
    and Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC '11, doi:10.1145/2063384.2063405.
    """
    schedule = (key[0], key[1], key[0] ^ key[1] ^ jnp.uint32(_PARITY))
    first, second = first + schedule[0], second + schedule[1]
    for index in range(_ROUNDS):
        rotation = _ROTATIONS[index % 8]
        first = first + second
        second = ((second << jnp.uint32(rotation)) | (second >> jnp.uint32(32 - rotation))) ^ first
        if index % 4 == 3:
            injection = index // 4 + 1
            first = first + schedule[injection % 3]
            second = second + schedule[(injection + 1) % 3] + jnp.uint32(injection)
    return first, second


def polar(
    words: Words, walkers: UInt[Array, "n"], step: UInt[Array, ""], pairs: int, dtype: np.dtype
) -> tuple[Float[Array, "pairs n"], UInt[Array, "pairs n"]]:
    r"""Polar coordinates of `pairs` points normal in the plane: signed radius and random bits for the angle.

    The dear half of the numbers, each array cheap to compute without the other; `cartesian` does the rest.

    **Arguments:**

    - `words`: from `words(key)`.
    - `walkers`: `(n,)`, the number of each walker in its batch; below 2^32 / pairs.
    - `step`: the number of the step, below 2^32.
    - `dtype`: `float32` or `float64`.

    The radius is $\pm\sqrt{-2 \ln u}$ for $u$ in (0, 1]: it ends at 6.8 and 9.5 standard deviations. Source: Box and
    Muller, "A note on the generation of random normal deviates", Ann. Math. Stat. 29 (1958) 610.
    """
    first = walkers[None, :] * jnp.uint32(pairs) + jnp.arange(pairs, dtype=jnp.uint32)[:, None]
    for_radius, angle = _bits(words, first, jnp.full_like(first, step), dtype)
    width = 8 * dtype.itemsize
    uniform = for_radius.astype(dtype) * dtype.type(2.0**-width) + dtype.type(2.0 ** (-width - 1))
    radius = jnp.sqrt(dtype.type(-2) * jnp.log(uniform))
    turned = angle >> angle.dtype.type(width - 1) != 0
    return jnp.where(turned, -radius, radius), angle


def cartesian(radius: Float[Array, "pairs n"], angle: UInt[Array, "pairs n"]) -> Float[Array, "numbers n"]:
    """Independent standard normals, twice as many as pairs: `(2 pairs, n)`.

    Of the bits for the angle, the highest is in the sign of the radius and turns the point about the origin, the next
    swaps sine and cosine, and the others place it in [-pi/4, pi/4): the whole circle without a range reduction.
    """
    word = angle.dtype.type
    swapped = (angle >> word(8 * angle.dtype.itemsize - 2)) & word(1) != 0
    sine, cosine = _sine_cosine(angle << word(2), radius.dtype)
    return jnp.concatenate([radius * jnp.where(swapped, sine, cosine), radius * jnp.where(swapped, cosine, sine)])


def _bits(words: Words, first: Array, second: Array, dtype: np.dtype) -> tuple[Array, Array]:
    """Two unsigned integers as wide as `dtype` for each counter."""
    if dtype.itemsize == 4:
        return threefry(words[0], first, second)
    return _join(*threefry(words[0], first, second)), _join(*threefry(words[1], first, second))


def _join(high: Array, low: Array) -> Array:
    """64 bits out of twice 32."""
    return (high.astype(jnp.uint64) << jnp.uint64(32)) | low.astype(jnp.uint64)


def _sine_cosine(bits: Array, dtype: np.dtype) -> tuple[Array, Array]:
    r"""Sine and cosine of $2 \pi b / 2^{w+2}$ for the signed integer $b$ of $w$ bits."""
    width = 8 * dtype.itemsize
    signed = bits.astype(jnp.dtype(f"int{width}"))
    angle = signed.astype(dtype) * dtype.type(jnp.pi / 2 * 2.0**-width)
    square = angle * angle
    sine = angle + angle * square * _polynomial(_SINE[dtype.itemsize], square, dtype)
    cosine = 1 - square / 2 + square * square * _polynomial(_COSINE[dtype.itemsize], square, dtype)
    return sine, cosine


def _polynomial(coefficients: tuple[float, ...], argument: Array, dtype: np.dtype) -> Array:
    """Horner's rule, highest power first."""
    result = jnp.full_like(argument, coefficients[0])
    for coefficient in coefficients[1:]:
        result = result * argument + dtype.type(coefficient)
    return result
