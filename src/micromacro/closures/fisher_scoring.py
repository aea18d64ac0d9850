r"""Maximum likelihood for small networks by stochastic Fisher scoring: the `Objective` of learned reduced equations.

One step moves the weights by $\gamma_t (F + \lambda)^{-1} g$, g the mean score (gradient of the log density) of a batch
and $F = E[s s^T]$ the information of one pair, averaged over the last batches. A few hundred steps reach the optimum to
within its statistical error, where Adam leaves undone what only the ends of the range need. A normal prior of unit
deviation about each member's own start holds what the data do not determine, and lets the members differ there.

Source: S. Amari, Neural Comput. 10, 251 (1998); for the prior T. Pearce, F. Leibfried, A. Brintrup, M. Zaki and A.
Neely, "Uncertainty in neural networks: approximately Bayesian ensembling", AISTATS 2020.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jax.scipy.linalg import cho_factor, cho_solve
from jaxtyping import Array, Float, Key

from micromacro.generators.descent import Schedule, average
from micromacro.generators.training import Pairs

DAMPING = 1e-5
"""Least information of a direction, of that of all, that a step believes in: single precision cannot invert less."""
LEAST_DAMPING = 1e-4
MEMORY = 0.97
"""How much of the information a step keeps of earlier batches."""
LARGEST_GAIN = 0.05
"""Of log density by one full step: where more is promised, its quadratic model is not believed."""

LogDensity = Callable[[Any, Float[Array, "d"], Float[Array, "d"]], Float[Array, ""]]


class ScoringState(NamedTuple):
    """The model, its averaged weights, the information and the share of it that is filled, the schedule."""

    model: Any
    averaged: Any
    anchor: Float[Array, "*members weights"]
    information: Float[Array, "*members weights weights"]
    filled: Float[Array, "*members"]
    schedule: Schedule


class FisherScoring(eqx.Module):
    """The `Objective` of a log density: (model, start `(d,)`, displacement `(d,)`) to a scalar.

    **Arguments:**

    - `precision`: of the prior of each weight, about its start, for one pair: one over the number of pairs.
    """

    precision: Float[Array, ""]
    log_density: LogDensity = eqx.field(static=True)
    batches: int = eqx.field(static=True, default=1)
    scatter: float = eqx.field(static=True, default=0.01)

    def start(self, model: Any, steps: int, learning_rate: float) -> ScoringState:
        """Nothing known yet."""
        anchor = ravel_pytree(eqx.filter(model, eqx.is_inexact_array))[0]
        nothing = jnp.zeros((anchor.size, anchor.size), jnp.float32)
        return ScoringState(
            model, model, anchor, nothing, jnp.zeros((), jnp.float32), Schedule.of(steps, learning_rate)
        )

    def improve(
        self,
        carry: ScoringState,
        pairs: Pairs,
        key: Key[Array, ""],  # noqa: ARG002
        rate: Float[Array, ""],
    ) -> tuple[ScoringState, Float[Array, ""]]:
        """One step of scoring."""
        moved, start = (part.reshape(-1, part.shape[-1]) for part in pairs)
        weights, rest = eqx.partition(carry.model, eqx.is_inexact_array)
        flat, unravel = ravel_pytree(weights)

        def score(start, moved):
            return jax.value_and_grad(lambda flat: self.log_density(eqx.combine(unravel(flat), rest), start, moved))(
                flat
            )

        values, scores = jax.vmap(score)(start, moved)
        information = MEMORY * carry.information + (1 - MEMORY) * scores.T @ scores / len(scores)
        filled = MEMORY * carry.filled + (1 - MEMORY)
        gradient = jnp.mean(scores, axis=0) - self.precision * (flat - carry.anchor)
        known = information / filled
        damping = self.precision + jnp.maximum(LEAST_DAMPING, DAMPING * jnp.trace(known))
        step = cho_solve(cho_factor(known + damping * jnp.eye(len(flat), dtype=flat.dtype)), gradient)
        trust = jnp.minimum(1.0, jnp.sqrt(LARGEST_GAIN / jnp.maximum(step @ gradient, 1e-12)))
        model = eqx.combine(unravel(flat + carry.schedule.rate * rate * trust * step), rest)
        averaged = average(carry.averaged, model, carry.schedule.decay)
        return ScoringState(model, averaged, carry.anchor, information, filled, carry.schedule.advanced()), -jnp.mean(
            values
        )

    def result(self, carry: ScoringState) -> Any:
        """The averaged weights."""
        return carry.averaged

    def judge(self, model: Any, pairs: Pairs, key: Key[Array, ""]) -> Float[Array, ""]:  # noqa: ARG002
        """The exponential of the mean negative log density, whose relative changes are changes of the latter."""
        return jnp.exp(
            -jnp.mean(jax.vmap(lambda start, moved: self.log_density(model, start, moved))(pairs.z, pairs.state))
        )
