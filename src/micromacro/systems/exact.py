"""What is known exactly of a system and its coarse variable, by closed form or quadrature."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class ExactAnswers:
    r"""Exact answers as functions; each is `None` where it is not known.

    All take coarse values `z` as a NumPy array `(n, d)` unless said, and return NumPy arrays.
    Conditional averages are with respect to $\delta(\xi(q) - z) \exp(-V/kT)$ and of the *observed* state `(Y,)`.

    **Arguments:**

    - `known`: one phrase for the list of cases, such as "F, hidden weight, b, D by quadrature".
    - `free_energy`: `(n, d)` to `(n,)` in kT, up to one constant.
    - `hidden_indicator`: observed state `(Y,)` to 0 or 1, written with `jax.numpy`: whether it is in the hidden well.
    - `hidden_weight`: `(n, d)` to `(n,)`, the conditional average of the indicator.
    - `conditional_mean`: `(n, d)` to `(n, Y)`.
    - `conditional_variance`: `(n, d)` to `(n, Y)`.
    - `drift`: `(n, d)` to `(n, d)`, the projected drift b(z).
    - `diffusion`: `(n, d)` to `(n, d, d)`, the projected D(z) of dz = b dt + sqrt(2 D) dW.
    - `homogenised_drift`, `homogenised_diffusion`: b and D of the equation for ξ beyond the fast time, which bursts and
      learned equations see; left out where time scales do not separate.
    - `sample_stationary`: `(count, numpy Generator)` to `(count, Y)`, exact draws from the stationary law.
    - `sample_conditional`: `(z (d,), count, numpy Generator)` to `(count, Y)`, exact draws from p(q | ξ = z).
    """

    known: str
    free_energy: Callable | None = None
    hidden_indicator: Callable | None = None
    hidden_weight: Callable | None = None
    conditional_mean: Callable | None = None
    conditional_variance: Callable | None = None
    drift: Callable | None = None
    diffusion: Callable | None = None
    homogenised_drift: Callable | None = None
    homogenised_diffusion: Callable | None = None
    sample_conditional: Callable | None = None
    sample_stationary: Callable | None = None
