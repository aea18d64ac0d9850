"""States relaxed downhill to the minimum whose basin they are in, and whether a barrier lies between two minima."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from micromacro.sampling.engine import JaxEngine
from micromacro.systems.model import System

STEPS = 150
POINTS = 21
FASTER, SLOWER = 1.3, 0.4


def relax(
    engine: JaxEngine, states: Float[np.ndarray, "n D"], scale: Float[np.ndarray, "D D"]
) -> tuple[Float[np.ndarray, "n D"], Float[np.ndarray, "n"]]:
    r"""States uphill on the density, $x \to x + h L L^T \nabla \log\pi$, each with a step h that grows while it gains.

    Steps are small at first and a step that loses is not taken, so that a state stays in its basin.

    **Arguments:**

    - `scale`: L, `(D, D)`, a square root of the covariance within a well.

    **Returns:** the relaxed states and the logarithm of their density; the cost is `STEPS + 1` evaluations each.
    """
    engine.evaluations += len(states) * (STEPS + 1)
    relaxed, log_density = _relax(engine.system, jnp.asarray(states), jnp.asarray(scale))
    return np.asarray(relaxed), np.asarray(log_density)


@partial(jax.jit, static_argnums=0)
def _relax(system: System, states: Array, scale: Array) -> tuple[Array, Array]:
    evaluate = jax.vmap(jax.value_and_grad(system.log_density))

    def step(carry: tuple, _: None) -> tuple[tuple, None]:
        state, value, gradient, length = carry
        trial = state + length[:, None] * (gradient @ scale @ scale.T)
        new_value, new_gradient = evaluate(trial)
        better = (new_value > value) & jnp.all(jnp.isfinite(new_gradient), axis=1)
        state, gradient = (
            jnp.where(better[:, None], new, old) for new, old in ((trial, state), (new_gradient, gradient))
        )
        length = length * jnp.where(better, FASTER, SLOWER)
        return (state, jnp.where(better, new_value, value), gradient, length), None

    begin = (states, *evaluate(states), jnp.full(len(states), 0.1))
    (state, value, _, _), _ = jax.lax.scan(step, begin, None, length=STEPS)
    return state, value


def straight_barriers(
    engine: JaxEngine, begin: Float[np.ndarray, "n D"], way: Float[np.ndarray, "n D"]
) -> Float[np.ndarray, "n"]:
    """How far the density falls on the straight way from `begin` by `way`, in kT below the lower end, `(n,)`.

    The lowest way may be curved and is never higher. The cost is `POINTS` evaluations each.
    """
    along = np.linspace(0, 1, POINTS)[:, None, None]
    points = begin + along * way
    values = np.asarray(engine.log_density(jnp.asarray(points.reshape(-1, begin.shape[1])))).reshape(POINTS, -1)
    return np.minimum(values[0], values[-1]) - values.min(axis=0)
