"""Wells found by an exploration: new starting points, also where wells are apart at the same coarse value."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.sparse.csgraph import connected_components

from micromacro.coordinates.coarse import CoarseVariable
from micromacro.coordinates.periodicity import find_state_space
from micromacro.coordinates.space import Space
from micromacro.estimates.relaxation import POINTS, STEPS, relax, straight_barriers
from micromacro.estimates.surface import coarse_grid
from micromacro.sampling.engine import JaxEngine
from micromacro.sampling.seeding import Seeds

SEEDS = 400
CANDIDATES = 5000
MOST_MINIMA = 24
MOST_WELLS = 8
PERSISTENCE = 1.0
SAME_PLACE = 0.3
SAME_OBSERVED = 0.01
SAME_DENSITY = 0.05


@dataclass(frozen=True)
class Discovered:
    """The wells that are known after an exploration.

    **Arguments:**

    - `initial`: one state in each, `(n, D)`: the user's starting points first, as given, then minima of what was found.
    - `seeds`: states that were visited, with the well that each belongs to.
    """

    initial: Float[np.ndarray, "n D"]
    seeds: Seeds


def discover(
    engine: JaxEngine,
    coarse: CoarseVariable,
    initial: Float[np.ndarray, "n D"],
    frames: Float[np.ndarray, "m D"],
    coarse_values: Float[np.ndarray, "m d"],
    scale: Float[np.ndarray, "D D"],
    rng: np.random.Generator,
    most_new: int = MOST_WELLS,
) -> Discovered:
    """Relax states spread over what was visited, and keep minima with a barrier about them.

    States are drawn evenly in ξ and as far apart as can be, since what is rare is what is looked for. They and the
    starting points are relaxed; minima with no more than 1 kT on the straight way between them are one well, and so are
    those that a period, or the observation, cannot tell apart. At most `MOST_WELLS` in all are kept, those to which
    most states belong; the cost is at most `discovery_cost`.

    **Arguments:**

    - `frames`, `coarse_values`: what was visited.
    - `scale`: square root of the covariance within a well.
    - `most_new`: of the wells that may be added.
    """
    chosen = _spread_out(coarse, frames, coarse_values, scale, rng)
    states = np.concatenate([initial, frames[chosen]])
    relaxed, log_density = relax(engine, states, scale)
    well = _wells(engine, _minima(engine, coarse, states, relaxed, log_density, scale), len(initial))
    known = well[: len(initial)].tolist()
    new = [one for one in np.argsort(-np.bincount(well + 1)[1:], kind="stable").tolist() if one not in known]
    new = new[: max(0, min(most_new, MOST_WELLS - len(initial)))]
    lowest = [int(np.argmax(np.where(well == one, log_density, -np.inf))) for one in new]
    wells = [*known, *new]
    labels = np.array([wells.index(one) if one in wells else -1 for one in well[len(initial) :]], int)
    keep = labels >= 0
    seeds = Seeds(frames[chosen][keep], coarse_values[chosen][keep], labels[keep])
    return Discovered(np.concatenate([initial, relaxed[lowest].reshape(-1, initial.shape[1])]), seeds)


def discovery_cost(starts: int) -> int:
    """Force evaluations of `discover` at most."""
    minima = MOST_MINIMA + starts
    return (SEEDS + starts) * (STEPS + 1) + minima * (minima - 1) // 2 * POINTS


def _spread_out(coarse, frames, coarse_values, scale, rng: np.random.Generator) -> Int[np.ndarray, "chosen"]:
    """Half of the seeds evenly in ξ at random, half as far from each other as can be."""
    cell = coarse_grid(coarse).cell(coarse_values)
    inside = np.flatnonzero(cell >= 0)
    if len(inside) <= SEEDS:
        return inside
    share = 1 / np.bincount(cell[inside])[cell[inside]]
    candidates = rng.choice(inside, min(CANDIDATES, len(inside)), replace=False, p=share / share.sum())
    white = np.linalg.solve(scale, frames[candidates].T).T
    chosen = list(range(SEEDS // 2))
    nearest = np.min([np.sum((white - white[one]) ** 2, axis=1) for one in chosen], axis=0)
    while len(chosen) < SEEDS:
        chosen.append(int(np.argmax(nearest)))
        nearest = np.minimum(nearest, np.sum((white - white[chosen[-1]]) ** 2, axis=1))
    return candidates[chosen]


@dataclass(frozen=True)
class _Minima:
    """Relaxed states `(n, D)`, what is observed of them `(n, Y)`, their log density `(n,)`, and where they live.

    `spread` `(Y,)`: of what was observed before they were relaxed; `scale` `(D, D)`: that of a well.
    """

    states: Float[np.ndarray, "n D"]
    observed: Float[np.ndarray, "n Y"]
    log_density: Float[np.ndarray, "n"]
    space: Space
    spread: Float[np.ndarray, "Y"]
    scale: Float[np.ndarray, "D D"]

    def way(self, begin: int, ends: list[int]) -> Float[np.ndarray, "k D"]:
        """From one state to others, the shortest way round where a coordinate is periodic."""
        return np.asarray(self.space.difference(self.states[ends], self.states[begin]))

    def same_as(self, one: int) -> Bool[np.ndarray, "n"]:
        """Which states are at the minimum where this one is, or look like it and are as probable."""
        way = self.way(one, list(range(len(self.states))))
        near = np.sum(np.linalg.solve(self.scale, way.T) ** 2, axis=0) < SAME_PLACE**2
        alike = np.all(np.abs(self.observed - self.observed[one]) < SAME_OBSERVED * self.spread, axis=1)
        return near | (alike & (np.abs(self.log_density - self.log_density[one]) < SAME_DENSITY))


def _minima(engine: JaxEngine, coarse: CoarseVariable, states, relaxed, log_density, scale) -> _Minima:
    visited, observed = (np.asarray(jax.vmap(engine.system.observe)(jnp.asarray(part))) for part in (states, relaxed))
    space = find_state_space(engine.system, coarse)
    # periods are known of observed coordinates, and are those of the state only where both are the same
    space = space if observed.shape == relaxed.shape else Space.unbounded(relaxed.shape[1])
    return _Minima(relaxed, observed, log_density, space, np.maximum(visited.std(axis=0), 1e-12), scale)


def _wells(engine: JaxEngine, minima: _Minima, starts: int) -> Int[np.ndarray, "n"]:
    """The well of each relaxed state, numbered from zero; -1 where minima are too many to look at."""
    number, leaders = np.full(len(minima.states), -1), []
    for one in np.argsort(-minima.log_density, kind="stable").tolist():
        if number[one] < 0:
            number[minima.same_as(one) & (number < 0)] = len(leaders)
            number[one] = len(leaders)
            leaders.append(one)
    frequent = np.argsort(-np.bincount(number), kind="stable")[:MOST_MINIMA]
    kept = np.union1d(frequent, number[:starts])
    leaders = [leaders[one] for one in kept.tolist()]
    first, second = np.triu_indices(len(kept), 1)
    joined = np.eye(len(kept), dtype=bool)
    if len(first):
        way = np.concatenate([minima.way(one, leaders[i + 1 :]) for i, one in enumerate(leaders[:-1])])
        begin = minima.states[np.asarray(leaders)[first]]
        joined[first, second] = straight_barriers(engine, begin, way) < PERSISTENCE
    component = connected_components(joined, directed=False)[1]
    well = np.full(number.max() + 1, -1)
    well[kept] = component
    return well[number]
