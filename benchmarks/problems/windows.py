"""Windows of the built-in systems: the laws of a state in a window of the coarse variable, at their exact densities."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.problems.problem import Fibres, Problem, blurred, normal_log_density
from micromacro.systems import half_moon, hidden_barrier, muller_brown
from micromacro.systems.fibre import Fibre, unit_volume
from micromacro.systems.quadrature import Rule, gauss_legendre

NODES = 1001  # of the grid that y is drawn on; 12 cells to the narrowest deviation: its variance is right to 6e-4
CHUNK = 2048  # values of x at once, to bound the memory
BATH_PAIRS = 60_000
BARRIER_HELD_OUT = (-1.3, -0.5, 0.25, 1.1)


def hidden_barrier_problem() -> Problem:
    """The hidden barrier, q = (x, y): two wells of y whose proportions turn with z."""
    bounds = hidden_barrier.LOWER, hidden_barrier.UPPER
    return blurred("hidden-barrier", _barrier_fibres(), bounds, BARRIER_HELD_OUT, dimension=2)


def bath_problem(dimension: int) -> Problem:
    """The hidden barrier with curved Gaussian baths, q = (x, y, b_1, ...) of `dimension` coordinates."""
    plane, count = _barrier_fibres(), dimension - 2
    deviations = hidden_barrier.bath_deviations(count)
    means = jax.jit(jax.vmap(lambda q: hidden_barrier.bath_means(q[0], q[1], count)))

    def draw(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        base = plane.draw(x, rng)
        return np.hstack([base, np.asarray(means(base)) + deviations * rng.standard_normal((len(x), count))])

    def log_density(q: np.ndarray) -> np.ndarray:
        baths = normal_log_density(q[:, 2:], np.asarray(means(q[:, :2])), deviations)
        return plane.log_density(q[:, :2]) + baths.sum(axis=1)

    return blurred(
        f"hidden-barrier-bath-{dimension}",
        Fibres(_first, draw, log_density),
        (hidden_barrier.LOWER, hidden_barrier.UPPER),
        BARRIER_HELD_OUT,
        dimension=dimension,
        pair_count=BATH_PAIRS,
    )


def muller_brown_problem() -> Problem:
    """The Müller-Brown surface at kT = 15, conditioned on x."""
    lowest, highest = -1.8, 3.2  # at this kT and within this range of x, all but 1e-7 of y
    fibres = plane_fibres(
        lambda state: -muller_brown.muller_brown_potential(state) / 15.0,
        np.linspace(lowest, highest, NODES),
        gauss_legendre((lowest, highest), panels=8),
    )
    return blurred("muller-brown", fibres, muller_brown.RANGES["x"], (-0.9, -0.3, 0.2, 0.7), dimension=2)


def half_moon_problem() -> Problem:
    """The half-moon, q = (u, v): a bow of radius z. The map from (x, y) to (u, v) changes areas by x."""
    deviation = np.sqrt(half_moon.VARIANCE)
    observe, hidden = (jax.jit(jax.vmap(function)) for function in (half_moon.observe, half_moon.hidden))

    def draw(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        y = 1 + deviation * rng.standard_normal(len(x))
        return np.asarray(observe(np.column_stack([x, y])))

    def log_density(q: np.ndarray) -> np.ndarray:
        x, y = np.asarray(hidden(q)).T
        return normal_log_density(y, 1.0, deviation) - np.log(x)

    fibres = Fibres(lambda q: np.hypot(q[:, 0], q[:, 1]), draw, log_density)
    return blurred("half-moon", fibres, (half_moon.LOWER, half_moon.UPPER), (1.3, 2.1, 2.8, 3.7), dimension=2)


def plane_fibres(log_density: Callable, grid: np.ndarray, rule: Rule) -> Fibres:
    """The law of y given x in a potential of the plane.

    **Arguments:**

    - `log_density`: state `(2,)` to `()`, unnormalised, written with `jax.numpy`.
    - `grid`: uniform nodes of y `(m,)` between which the inverse of its cumulative distribution is interpolated.
    - `rule`: quadrature over y for the normalisation.
    """
    log_marginal = Fibre(log_density, hidden_barrier.embed_second, unit_volume, rule).log_marginal()
    values = jax.jit(jax.vmap(log_density))
    invert = jax.jit(jax.vmap(lambda x, uniform: _invert_line(log_density, jnp.asarray(grid), x, uniform)))

    def draw(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        uniform = rng.random(len(x))
        parts = [invert(x[i : i + CHUNK], uniform[i : i + CHUNK]) for i in range(0, len(x), CHUNK)]
        return np.column_stack([x, np.concatenate(parts)])

    def conditional(q: np.ndarray) -> np.ndarray:
        return np.asarray(values(q)) - log_marginal(q[:, :1])

    return Fibres(_first, draw, conditional)


def _barrier_fibres() -> Fibres:
    return plane_fibres(
        lambda state: -hidden_barrier.hidden_barrier_potential(state),
        np.linspace(hidden_barrier.HIDDEN[0], hidden_barrier.HIDDEN[-1], NODES),
        gauss_legendre(hidden_barrier.HIDDEN),
    )


def _first(q: np.ndarray) -> np.ndarray:
    return q[:, 0]


def _invert_line(log_density: Callable, grid: jax.Array, x: jax.Array, uniform: jax.Array) -> jax.Array:
    """The y below which a share `uniform` of the density given x lies."""
    logs = jax.vmap(lambda y: log_density(jnp.stack([x, y])))(grid)
    density = jnp.exp(logs - logs.max())
    cumulative = jnp.concatenate([jnp.zeros(1), jnp.cumsum(density[1:] + density[:-1])])
    return jnp.interp(uniform * cumulative[-1], cumulative, grid)
