"""Quadrature that the exact answers share: nodes, weights, averages under a log weight, draws on a line."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True)
class Rule:
    """Nodes `(m, k)` and positive weights `(m,)` of a quadrature rule over `k` coordinates."""

    nodes: Float[np.ndarray, "m k"]
    weights: Float[np.ndarray, "m"]


def gauss_legendre(breakpoints: Sequence[float], panels: int = 4, order: int = 24) -> Rule:
    """Composite Gauss-Legendre rule in one coordinate.

    Every interval between `breakpoints` is cut into `panels` of `order` nodes each; put a breakpoint wherever the
    integrand jumps. A panel integrates polynomials of degree `2 order - 1` exactly, so an integrand smooth on the scale
    of a panel is integrated to rounding error. The defaults hold 1e-10 for a Gaussian factor whose standard
    deviation is 1/50 of the interval.

    ```python
    >>> rule = gauss_legendre([0.0, 1.0])
    >>> round(float(rule.nodes[:, 0] ** 2 @ rule.weights), 12)
    0.333333333333

    ```
    """
    edges = np.concatenate(
        [np.linspace(low, high, panels, endpoint=False) for low, high in pairwise(breakpoints)]
        + [np.asarray(breakpoints[-1:], float)]
    )
    unit, weights = np.polynomial.legendre.leggauss(order)
    half = np.diff(edges)[:, None] / 2
    middle = (edges[:-1] + edges[1:])[:, None] / 2
    return Rule((middle + half * unit).reshape(-1, 1), (half * weights).reshape(-1))


def product(first: Rule, second: Rule) -> Rule:
    """The tensor product: nodes `(m1 m2, k1 + k2)`, those of `second` running fastest."""
    left = np.repeat(first.nodes, len(second.nodes), axis=0)
    right = np.tile(second.nodes, (len(first.nodes), 1))
    return Rule(np.hstack([left, right]), np.outer(first.weights, second.weights).reshape(-1))


def log_integral(log_integrand: Float[np.ndarray, "n m"], weights: Float[np.ndarray, "m"]) -> Float[np.ndarray, "n"]:
    r"""$\log \sum_j w_j e^{g_{ij}}$ without overflow, `(n,)`."""
    highest = log_integrand.max(axis=1, keepdims=True)
    return highest[:, 0] + np.log(np.exp(log_integrand - highest) @ weights)


def average(
    values: Float[np.ndarray, "n m *shape"],
    log_integrand: Float[np.ndarray, "n m"],
    weights: Float[np.ndarray, "m"],
) -> Float[np.ndarray, "n *shape"]:
    r"""$\sum_j w_j e^{g_{ij}} a_{ij} / \sum_j w_j e^{g_{ij}}$, `(n, *shape)`."""
    share = np.exp(log_integrand - log_integral(log_integrand, weights)[:, None]) * weights
    return np.einsum("nm,nm...->n...", share, values)


def sample_line(
    log_density: Float[np.ndarray, "m"], grid: Float[np.ndarray, "m"], count: int, rng: np.random.Generator
) -> Float[np.ndarray, "count"]:
    """Draws from a density given on a uniform grid, by inverting its cumulative trapezoid sum.

    The density is taken constant within a cell: the error of any smooth average is of second order in the spacing.
    """
    density = np.exp(log_density - log_density.max())
    cumulative = np.concatenate([[0.0], np.cumsum(density[1:] + density[:-1])])
    return np.interp(rng.random(count) * cumulative[-1], cumulative, grid)


def plane_sampler(log_density: Callable, grid: Float[np.ndarray, "m 2"], shape: tuple[int, int]) -> Callable:
    """`(count, rng)` to `(count, 2)`: draws from a density on a plane, constant within the cells of a fine grid.

    **Arguments:**

    - `log_density`: points `(m, 2)` to `(m,)`.
    - `grid`: centres of the cells of a uniform grid `shape`, in C order.
    """
    values = np.asarray(log_density(grid))
    weight = np.exp(values - values.max())
    cumulative = np.cumsum(weight / weight.sum())
    points = grid.reshape(*shape, 2)
    spacing = points[1, 1] - points[0, 0]

    def sample(count: int, rng: np.random.Generator) -> Float[np.ndarray, "count 2"]:
        cell = np.searchsorted(cumulative, rng.random(count)).clip(0, len(grid) - 1)
        return grid[cell] + spacing * (rng.random((count, 2)) - 0.5)

    return sample
