"""Which coordinates of the state are periodic, found by trying."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from micromacro.coordinates.coarse import CoarseVariable
from micromacro.coordinates.space import Space
from micromacro.systems.model import OverdampedSystem, System

TRIALS = 16
# a shift that no period of interest is a multiple of
FRACTION = 0.3819660113


def find_state_space(system: System, coarse: CoarseVariable) -> Space:
    """Where observed states live: on a circle where the physics and ξ repeat over a period, on the line elsewhere.

    Tried are 2π and the periods of the coarse variables, at the starting points and at random points about them. A
    coordinate that nothing depends on is not taken for periodic. One that is runs on over many periods in a long
    simulation, which a generator must not see.
    """
    rng = np.random.default_rng(0)
    spread = np.ptp(system.initial, axis=0).max() + 1.0
    states = system.initial[rng.integers(len(system.initial), size=TRIALS)]
    states = jnp.asarray(states + 0.1 * spread * rng.normal(size=states.shape))
    size = jax.vmap(system.observe)(states).shape[1]
    lower, upper = np.full(size, -np.inf), np.full(size, np.inf)
    if size == system.dimension:
        for coordinate in range(size):
            for low, period in _candidates(coarse):
                shift = np.zeros(size)
                shift[coordinate] = period
                if _repeats(system, coarse, states, shift) and not _repeats(system, coarse, states, FRACTION * shift):
                    lower[coordinate], upper[coordinate] = low, low + period
                    break
    return Space.of(lower, upper, np.isfinite(lower))


def _candidates(coarse: CoarseVariable) -> list[tuple[float, float]]:
    """Where a period may begin, and how long it may be."""
    found = [
        (low, high - low) for low, high, wraps in zip(coarse.lower, coarse.upper, coarse.periodic, strict=True) if wraps
    ]
    return [*found, (-np.pi, 2 * np.pi)]


def _repeats(
    system: System, coarse: CoarseVariable, states: Float[Array, "n D"], shift: Float[np.ndarray, "D"]
) -> bool:
    observed, moved = jax.vmap(system.observe)(states), jax.vmap(system.observe)(states + shift)
    if not np.allclose(moved - observed, shift, atol=1e-9):
        return False
    if not np.allclose(coarse.difference(jax.vmap(coarse)(moved), jax.vmap(coarse)(observed)), 0, atol=1e-8):
        return False
    physics = [jax.vmap(system.drift), jax.vmap(system.diffusion)]
    physics += [jax.vmap(system.log_density)] if isinstance(system, OverdampedSystem) or system.has_density else []
    return all(np.allclose(f(states), f(states + shift), rtol=1e-8, atol=1e-8, equal_nan=True) for f in physics)
