"""The physics of this case: plain functions of one state, written with jax.numpy so that they can be differentiated.

Both x and y have two wells, but only x is looked at. Along x alone, simulations that start in the lower well of y stay
there: the barrier in y is hidden from the coarse variable. That is what the generator is for.
"""

import jax.numpy as jnp


def potential(q):
    """Energy of the state q = (x, y), in units of kT."""
    x, y = q
    return 4 * (x**2 - 1) ** 2 + 12 * (y**2 - 1) ** 2 + 1.5 * x * y


def coarse(q):
    """The coarse variable: x, as an array of one number."""
    return q[:1]


def upper(q):
    """Whether the state is in the upper well of y; its average is the weight of that well."""
    return jnp.where(q[1] > 0, 1.0, 0.0)
