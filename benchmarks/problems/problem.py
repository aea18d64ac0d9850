"""What a problem is: a conditional law with exact draws and density, and the data that a generator may see of it."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from micromacro.coordinates.space import Space

GAP = 0.01  # of the range of each condition: training pairs stay so far from the held-out ones
WINDOW = 1 / 48  # width of a blurred condition over its range, about that of a window of the built-in runs


@dataclass(frozen=True, eq=False)
class Problem:
    """A law of states q given conditions z.

    **Arguments:**

    - `name`: as on the command line.
    - `state`, `condition`: the spaces of q, of `Y` coordinates, and of z, of `d`.
    - `pair_count`: training pairs that a generator is given.
    - `held_out`: `(m, d)`, the conditions on which it is judged.
    - `gap`: `(d,)`; no training pair is as close to a held-out condition in every coordinate.
    - `joint`: `(n, rng)` to `q (n, Y)`, `z (n, d)`: draws of both.
    - `truth`: `(z (d,), n, rng)` to `(n, Y)`: exact draws of q given z.
    - `log_density`: `(q (n, Y), z (d,))` to `(n,)`: the normalised log-density of q given z, in nats.
    """

    name: str
    state: Space
    condition: Space
    pair_count: int
    held_out: Float[np.ndarray, "m d"]
    gap: Float[np.ndarray, "d"]
    joint: Callable
    truth: Callable
    log_density: Callable

    @property
    def dimension(self) -> int:
        """The number of coordinates of a state, `Y`."""
        return self.state.dimension

    def pairs(self, n: int, rng: np.random.Generator) -> tuple[Float[np.ndarray, "n Y"], Float[np.ndarray, "n d"]]:
        """Training pairs `q (n, Y)`, `z (n, d)`, none of them near a held-out condition."""
        kept = []
        while sum(len(z) for _, z in kept) < n:
            q, z = self.joint(n // 2 + 100, rng)
            far = self.far(z)
            kept.append((q[far], z[far]))
        q, z = (np.concatenate(parts)[:n] for parts in zip(*kept, strict=True))
        return q, z

    def far(self, z: Float[np.ndarray, "n d"]) -> np.ndarray:
        """Which conditions are outside the gap around every held-out one, `(n,)` booleans."""
        distance = np.abs(np.asarray(self.condition.difference(z[:, None], self.held_out)))
        return np.any(distance >= self.gap, axis=2).all(axis=1)


@dataclass(frozen=True)
class Fibres:
    """A law of states given the exact value x of one function of them.

    **Arguments:**

    - `coordinate`: `q (n, Y)` to x, `(n,)`.
    - `draw`: `(x (n,), rng)` to `(n, Y)`: one exact draw for each value.
    - `log_density`: `q (n, Y)` to `(n,)`: the log-density of q where x has density one everywhere.
    """

    coordinate: Callable
    draw: Callable
    log_density: Callable


def blurred(
    name: str,
    fibres: Fibres,
    bounds: tuple[float, float],
    held_out: tuple[float, ...],
    *,
    dimension: int,
    pair_count: int = 30_000,
) -> Problem:
    r"""The problem of a window of a run: $x \sim N(z, s^2)$, z uniform within `bounds`, the rest exact given x.

    s is `WINDOW` times the range. Without it the states would fill a line only, and a density would mean nothing.
    """
    lower, upper = bounds
    width = WINDOW * (upper - lower)

    def joint(n: int, rng: np.random.Generator):
        z = rng.uniform(lower, upper, (n, 1))
        return fibres.draw(z[:, 0] + width * rng.standard_normal(n), rng), z

    def truth(z, n: int, rng: np.random.Generator) -> np.ndarray:
        return fibres.draw(z[0] + width * rng.standard_normal(n), rng)

    def log_density(q: np.ndarray, z) -> np.ndarray:
        return normal_log_density(fibres.coordinate(q), z[0], width) + fibres.log_density(q)

    return Problem(
        name=name,
        state=Space.unbounded(dimension),
        condition=Space((lower,), (upper,), (False,)),
        pair_count=pair_count,
        held_out=np.asarray(held_out)[:, None],
        gap=np.array([GAP * (upper - lower)]),
        joint=joint,
        truth=truth,
        log_density=log_density,
    )


def normal_log_density(x: np.ndarray, mean, deviation) -> np.ndarray:
    """The log-density of a normal distribution, element by element."""
    return -0.5 * ((x - mean) / deviation) ** 2 - np.log(deviation) - 0.5 * np.log(2 * np.pi)
