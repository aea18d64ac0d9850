"""What local samplers adapt in each window."""

from typing import NamedTuple

from jaxtyping import Array, Float


class Tuning(NamedTuple):
    """What the local sampler adapted in each window: step size `(windows,)` and scale `(windows, S, S)`.

    S is the dimension of the state, and 1 where moves are not adjusted.
    """

    step_size: Float[Array, "windows"]
    scale: Float[Array, "windows S S"]
