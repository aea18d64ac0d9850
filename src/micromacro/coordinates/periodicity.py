"""Which coordinates of the state are themselves periodic coarse variables."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from micromacro.coordinates.coarse import CoarseVariable
from micromacro.systems.model import OverdampedSystem, System


@dataclass(frozen=True)
class StatePeriods:
    """Periodic coordinates of the observed state.

    `attached` `(Y, d)`: one where coordinate i is coarse variable a up to whole periods; `period` `(Y,)`, infinite
    elsewhere; `lower` `(Y,)`: where the period begins.
    """

    attached: Float[np.ndarray, "Y d"]
    period: Float[np.ndarray, "Y"]
    lower: Float[np.ndarray, "Y"]

    def canonical(self, states: Float[np.ndarray, "... Y"]) -> Float[np.ndarray, "... Y"]:
        """The same states with periodic coordinates brought into the range of their coarse variable."""
        finite = np.isfinite(self.period)
        if not finite.any():
            return states
        safe = np.where(finite, self.period, 1.0)
        return np.where(finite, self.lower + np.mod(states - self.lower, safe), states)


def find_state_periods(system: System, coarse: CoarseVariable) -> StatePeriods:
    """Find coordinates that a periodic coarse variable reads off directly and that the physics repeats over its period.

    A coordinate counts when ∂ξ_a/∂q_i is one and all else zero, and the physics is unchanged by a period, at the
    starting points and at random points about them. Such a coordinate runs on over many periods in a long simulation;
    a generator must see it relative to z, wrapped.
    """
    rng = np.random.default_rng(0)
    spread = np.ptp(system.initial, axis=0).max() + 1.0
    states = system.initial[rng.integers(len(system.initial), size=16)]
    states = jnp.asarray(states + 0.1 * spread * rng.normal(size=states.shape))
    observed = jax.vmap(system.observe)(states)
    size = observed.shape[1]
    attached, period, lower = np.zeros((size, coarse.dimension)), np.full(size, np.inf), np.zeros(size)
    jacobian = np.asarray(jax.vmap(jax.jacfwd(coarse))(observed))
    for component, periodic in enumerate(coarse.periodic):
        coordinate = int(np.argmax(np.abs(jacobian[0, component])))
        unit = np.zeros(size)
        unit[coordinate] = 1.0
        reads_off = np.allclose(jacobian[:, component], unit, atol=1e-8)
        if periodic and size == system.dimension and reads_off:
            shift = coarse.range[component] * unit
            if _repeats(system, states, shift):
                attached[coordinate, component] = 1.0
                period[coordinate], lower[coordinate] = coarse.range[component], coarse.lower[component]
    return StatePeriods(attached, period, lower)


def _repeats(system: System, states, shift) -> bool:
    if not np.allclose(jax.vmap(system.observe)(states + shift) - jax.vmap(system.observe)(states), shift, atol=1e-9):
        return False
    physics = [jax.vmap(system.drift), jax.vmap(system.diffusion)]
    physics += [jax.vmap(system.log_density)] if isinstance(system, OverdampedSystem) or system.has_density else []
    return all(np.allclose(f(states), f(states + shift), rtol=1e-8, atol=1e-8, equal_nan=True) for f in physics)
