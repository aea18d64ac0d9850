r"""The infinitesimal generator of the micro dynamics applied to the coarse variable.

For $dx = b\,dt + \sigma\,dW$ (Itô) and a function ξ of the hidden state,
$L\xi_a = b\cdot\nabla\xi_a + \frac12 \sigma\sigma^T : \nabla^2\xi_a$; its average given ξ is the projected drift. With
$\frac12 \nabla\xi_a^T \sigma\sigma^T \nabla\xi_b$, whose average is the projected diffusion, it closes the reduced
equation as the time lag goes to zero (Legoll and Lelièvre, Nonlinearity 23, 2131, 2010). For overdamped dynamics
these are $\sum_i m_i(-\partial_i V\,\partial_i\xi_a + kT\,\partial_i^2\xi_a)$ and
$kT\sum_i m_i\,\partial_i\xi_a\,\partial_i\xi_b$.
"""

from collections.abc import Callable
from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from micromacro.coordinates.coarse import CoarseVariable
from micromacro.systems.model import System


def unwrapped(system: System, coarse: CoarseVariable) -> Callable[[Float[Array, "D"]], Float[Array, "d"]]:
    """ξ as a function of the hidden state `(D,)` to `(d,)`, before it is wrapped: its derivatives are the same."""

    def function(state):
        return jnp.reshape(coarse.function(system.observe(state)), (coarse.dimension,))

    return function


def generator_terms(
    system: System, function: Callable[[Float[Array, "D"]], Float[Array, "m"]], state: Float[Array, "D"]
) -> tuple[Float[Array, "m"], Float[Array, "m m"]]:
    r"""$L f$ `(m,)` and $\frac12 \nabla f^T\sigma\sigma^T\nabla f$ `(m, m)` of a vector function f at one state.

    Second derivatives are taken along one column of σ at a time, $\sigma_k\cdot\nabla(\sigma_k\cdot\nabla f)$ at fixed
    $\sigma_k$, so no `(D, D)` Hessian is ever held. Costs one evaluation of the drift (one force evaluation).
    """
    noise = system.diffusion(state)

    def add_column(total, k):
        column = noise[:, k] if noise.ndim == 2 else jnp.zeros_like(state).at[k].set(noise[k])
        first, second = _directional_derivatives(function, state, column)
        return (total[0] + second / 2, total[1] + jnp.outer(first, first) / 2), None

    _, along_drift = jax.jvp(function, (state,), (system.drift(state),))
    start = (along_drift, jnp.zeros((along_drift.shape[0],) * 2, along_drift.dtype))
    (drift_term, diffusion_term), _ = jax.lax.scan(add_column, start, jnp.arange(noise.shape[-1]))
    return drift_term, diffusion_term


def _directional_derivatives(function: Callable, state: Float[Array, "D"], direction: Float[Array, "D"]):
    """The first and second derivative of `function`, `(m,)` each, along one fixed direction."""

    def first(point):
        return jax.jvp(function, (point,), (direction,))[1]

    return jax.jvp(first, (state,), (direction,))


def projected_terms(
    system: System, coarse: CoarseVariable, states: Float[np.ndarray, "n D"], *, chunk: int = 8192
) -> tuple[Float[np.ndarray, "n d"], Float[np.ndarray, "n d d"]]:
    r"""What is averaged given ξ to close the reduced equation: $Lξ$ and $\frac12\nablaξ^T\sigma\sigma^T\nablaξ$.

    **Arguments:**

    - `states`: hidden states `(n, D)`.
    - `chunk`: states computed at once.

    **Returns:** drift terms `(n, d)`, in units of z per time, and diffusion terms `(n, d, d)`, in squared units of z
    per time. Costs n force evaluations, one per state, which the caller counts.
    """
    compiled = _compiled_terms(system, coarse)
    count, chunk = len(states), max(1, min(chunk, len(states)))
    drift = np.empty((count, coarse.dimension))
    diffusion = np.empty((count, coarse.dimension, coarse.dimension))
    for start in range(0, count, chunk):
        part = np.asarray(states[start : start + chunk], float)
        padded = np.concatenate([part, np.repeat(part[-1:], chunk - len(part), axis=0)])
        drift_part, diffusion_part = compiled(padded)
        drift[start : start + chunk] = drift_part[: len(part)]
        diffusion[start : start + chunk] = diffusion_part[: len(part)]
    return drift, diffusion


@lru_cache(maxsize=8)
def _compiled_terms(system: System, coarse: CoarseVariable) -> Callable:
    """The terms of a batch of states: compiled once for a system and its coarse variable."""
    function = unwrapped(system, coarse)
    return jax.jit(jax.vmap(lambda state: generator_terms(system, function, state)))
