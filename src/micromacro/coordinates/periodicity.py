"""Which coordinates of the state are periodic, found by trying."""

from functools import lru_cache, partial

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


@lru_cache(maxsize=16)
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
        look = jax.jit(jax.vmap(partial(_seen, system, coarse)))
        here = look(states)
        for coordinate in range(size):
            for low, period in _candidates(coarse):
                shift = np.zeros(size)
                shift[coordinate] = period
                if _repeats(coarse, here, look(states + shift), shift) and not _repeats(
                    coarse, here, look(states + FRACTION * shift), FRACTION * shift
                ):
                    lower[coordinate], upper[coordinate] = low, low + period
                    break
    return Space.of(lower, upper, np.isfinite(lower))


def _candidates(coarse: CoarseVariable) -> list[tuple[float, float]]:
    """Where a period may begin, and how long it may be."""
    found = [
        (low, high - low) for low, high, wraps in zip(coarse.lower, coarse.upper, coarse.periodic, strict=True) if wraps
    ]
    return [*found, (-np.pi, 2 * np.pi)]


def _seen(system: System, coarse: CoarseVariable, state: Float[Array, "D"]) -> tuple[Array, ...]:
    """What is observed of a state, its coarse value, and the physics there."""
    observed = system.observe(state)
    known = isinstance(system, OverdampedSystem) or system.has_density
    density = (system.log_density(state),) if known else ()
    return observed, coarse(observed), system.drift(state), system.diffusion(state), *density


def _repeats(
    coarse: CoarseVariable, here: tuple[Array, ...], there: tuple[Array, ...], shift: Float[np.ndarray, "D"]
) -> bool:
    """Whether states moved by a shift are seen to be moved by it, and nothing else changes."""
    if not np.allclose(there[0] - here[0], shift, atol=1e-9):
        return False
    if not np.allclose(coarse.difference(there[1], here[1]), 0, atol=1e-8):
        return False
    return all(
        np.allclose(one, other, rtol=1e-8, atol=1e-8, equal_nan=True)
        for one, other in zip(here[2:], there[2:], strict=True)
    )
