"""Windows added where neighbours hardly overlap."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from micromacro.coordinates.coarse import CoarseVariable
from micromacro.coupling.checks import spanning_links
from micromacro.coupling.estimate import Estimate
from micromacro.sampling.windows import Windows

WEAK_OVERLAP = 0.06


def missing_windows(coarse: CoarseVariable, windows: Windows, overlap: Float[np.ndarray, "K K"]) -> np.ndarray:
    """Centres `(m, d)` halfway between windows whose overlap, on the maximum spanning tree, is below `WEAK_OVERLAP`."""
    weak = [(first, second) for value, first, second in spanning_links(overlap) if value < WEAK_OVERLAP]
    centers = np.asarray(windows.centers)
    halves = [np.asarray(coarse.wrap(centers[j] + coarse.difference(centers[i], centers[j]) / 2)) for i, j in weak]
    return np.array(halves).reshape(-1, coarse.dimension)


def nearby_states(
    estimate: Estimate,
    coarse: CoarseVariable,
    centers: Float[np.ndarray, "m d"],
    walkers: int,
    rng: np.random.Generator,
) -> Float[np.ndarray, "m walkers D"]:
    """Pooled states nearest to each centre in ξ: where the walkers of a new window begin."""
    states = []
    for center in centers:
        delta = np.asarray(coarse.difference(estimate.pool.coarse, center)) / coarse.range
        count = min(4 * walkers, len(delta))
        nearest = np.argpartition(np.sum(delta**2, axis=1), count - 1)[:count]
        states.append(estimate.position[rng.choice(nearest, walkers, replace=len(nearest) < walkers)])
    return np.stack(states)


def with_windows(windows: Windows, centers: Float[np.ndarray, "m d"]) -> Windows:
    """The same windows and, after them, those at `centers`."""
    joined = jnp.concatenate([windows.centers, jnp.asarray(centers)])
    return Windows(joined, windows.stiffness, windows.flattening)
