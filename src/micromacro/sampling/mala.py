"""The Metropolis-adjusted Langevin algorithm for one walker."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


class Walker(NamedTuple):
    """One walker: where it is, its coarse value, and the target there.

    `position` `(D,)`; `coarse` `(d,)`; `log_density` is of the system alone, `log_target` includes the bias;
    `gradient` is that of `log_target`, `(D,)`.
    """

    position: Float[Array, "... D"]
    coarse: Float[Array, "... d"]
    log_density: Float[Array, "..."]
    log_target: Float[Array, "..."]
    gradient: Float[Array, "... D"]


def mala_step(
    evaluate: Callable[[Array], Walker],
    walker: Walker,
    step_size: Float[Array, ""],
    scale: Float[Array, "D D"] | Float[Array, "D"],
    noise: Float[Array, "D"],
    log_uniform: Float[Array, ""],
) -> tuple[Walker, Bool[Array, ""]]:
    r"""One preconditioned step, $x' = x + \frac{h}{2} L L^T \nabla \log\pi + \sqrt{h} L n$, accepted or rejected.

    With $g = L^T \nabla\log\pi$ the noise of the reverse step is $-(n + \frac{\sqrt h}{2}(g + g'))$, so that the ratio
    of the proposal densities needs no solve. A proposal with a target that is not finite is rejected.

    **Arguments:**

    - `evaluate`: position to walker; one force evaluation.
    - `step_size`: h; `scale`: L, a square root of the preconditioner, or its diagonal where it has nothing else.
    - `noise`: standard normal `(D,)`; `log_uniform`: logarithm of a uniform number.

    **Returns:** the walker, and whether the proposal was accepted.

    Source: Roberts & Tweedie, Bernoulli 2, 341 (1996).
    """
    root = jnp.sqrt(step_size)
    force = _times(scale.T, walker.gradient)
    proposal = evaluate(walker.position + _times(scale, step_size / 2 * force + root * noise))
    reverse = noise + root / 2 * (force + _times(scale.T, proposal.gradient))
    log_ratio = proposal.log_target - walker.log_target + 0.5 * (noise @ noise - reverse @ reverse)
    usable = jnp.isfinite(log_ratio) & jnp.all(jnp.isfinite(proposal.gradient))
    accepted = usable & (log_uniform < log_ratio)
    return jax.tree.map(lambda new, old: jnp.where(accepted, new, old), proposal, walker), accepted


def _times(scale: Array, vector: Float[Array, "D"]) -> Float[Array, "D"]:
    return scale * vector if scale.ndim == 1 else scale @ vector
