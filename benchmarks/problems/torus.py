r"""A density on the torus, given an angle: two correlated modes that wander around it, in opposite directions.

The weights are $\tfrac12 \pm 0.3 \cos z$; each mode is a sine model of two angles,
$\propto \exp(\kappa_1 \cos s + \kappa_2 \cos t + \lambda \sin s \sin t)$ with $s = \phi - \mu(z)$,
$t = \psi - \nu(z)$. Source: H. Singh, V. Hnizdo, E. Demchuk, Biometrika 89, 719 (2002).

Given t, s follows a von Mises law and is drawn exactly; t is drawn from its marginal,
$\propto e^{\kappa_2 \cos t} I_0(\sqrt{\kappa_1^2 + \lambda^2 \sin^2 t})$, by inverting its cumulative sum on 8,192
cells, which is right to 1e-6 in every moment.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.special import ive, logsumexp

from benchmarks.problems.problem import GAP, Problem
from micromacro.coordinates.space import Space
from micromacro.systems.quadrature import sample_line

CELLS = 8192
HELD_OUT = (-3.1, -1.2, 0.4, 2.2)  # the first where z wraps; at each a mode lies across a cut of the state


@dataclass(frozen=True)
class Mode:
    """One sine model: concentrations, correlation, and how its centre turns with z."""

    first: float
    second: float
    correlation: float
    turns: tuple[int, int]
    offset: tuple[float, float]

    def centre(self, z: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n 2"]:
        """μ and ν, not wrapped."""
        return np.outer(z, self.turns) + self.offset

    def log_marginal(self, t: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
        """The logarithm of the integral over s, unnormalised."""
        total = np.hypot(self.first, self.correlation * np.sin(t))
        return self.second * np.cos(t) + np.log(2 * np.pi * ive(0, total)) + total

    def log_normaliser(self) -> float:
        """The logarithm of the integral; equal cells integrate a smooth periodic function to rounding error."""
        return float(logsumexp(self.log_marginal(_grid()[:-1])) + np.log(2 * np.pi / CELLS))

    def draw(self, n: int, rng: np.random.Generator) -> Float[np.ndarray, "n 2"]:
        """Draws of (s, t)."""
        t = sample_line(self.log_marginal(_grid()), _grid(), n, rng)
        pull = self.correlation * np.sin(t)
        s = np.arctan2(pull, self.first) + rng.vonmises(0.0, np.hypot(self.first, pull))
        return np.column_stack([s, t])

    def log_density(self, s: np.ndarray, t: np.ndarray) -> np.ndarray:
        """The normalised log-density of (s, t)."""
        bend = self.correlation * np.sin(s) * np.sin(t)
        return self.first * np.cos(s) + self.second * np.cos(t) + bend - self.log_normaliser()


MODES = (
    Mode(12.0, 8.0, 7.0, turns=(1, 1), offset=(0.0, np.pi)),
    Mode(6.0, 20.0, -9.0, turns=(-1, 2), offset=(np.pi, 0.5)),
)


def torus_problem() -> Problem:
    """Two angles given a third, z uniform on the circle."""
    return Problem(
        name="torus",
        state=Space((-np.pi, -np.pi), (np.pi, np.pi), (True, True)),
        condition=Space((-np.pi,), (np.pi,), (True,)),
        pair_count=30_000,
        held_out=np.asarray(HELD_OUT)[:, None],
        gap=np.array([GAP * 2 * np.pi]),
        joint=_joint,
        truth=lambda z, n, rng: _draw(np.full(n, z[0]), rng),
        log_density=_log_density,
    )


def weight(z):
    """The share of the first mode."""
    return 0.5 + 0.3 * np.cos(z)


def _joint(n: int, rng: np.random.Generator):
    z = rng.uniform(-np.pi, np.pi, n)
    return _draw(z, rng), z[:, None]


def _draw(z: Float[np.ndarray, "n"], rng: np.random.Generator) -> Float[np.ndarray, "n 2"]:
    first = rng.random(len(z)) < weight(z)
    one, other = (mode.centre(z) + mode.draw(len(z), rng) for mode in MODES)
    return _wrap(np.where(first[:, None], one, other))


def _log_density(q: Float[np.ndarray, "n 2"], z) -> Float[np.ndarray, "n"]:
    shares = np.log([weight(z[0]), 1 - weight(z[0])])
    parts = []
    for share, mode in zip(shares, MODES, strict=True):
        s, t = (q - mode.centre(np.asarray(z))).T
        parts.append(share + mode.log_density(s, t))
    return np.logaddexp(*parts)


def _wrap(angle: np.ndarray) -> np.ndarray:
    """Into [-π, π)."""
    return np.mod(angle + np.pi, 2 * np.pi) - np.pi


def _grid() -> np.ndarray:
    return np.linspace(-np.pi, np.pi, CELLS + 1)
