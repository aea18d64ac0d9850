"""Analytic proposals, windows with known averages, and how far a sample is from them."""

from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from micromacro.coordinates.coarse import CoarseVariable
from micromacro.sampling.engine import JaxEngine
from micromacro.sampling.proposal import Draw
from micromacro.sampling.table import fit_table, padded_grid
from micromacro.sampling.windows import Windows
from micromacro.systems.half_moon import VARIANCE, double_well, half_moon_confined
from micromacro.systems.hidden_barrier import hidden_barrier, hidden_barrier_potential


class Wells(eqx.Module):
    """A mixture of two Gaussians, x about z and y about ±1, with proportions and widths of one's choice."""

    upper: float = 0.8
    width: tuple[float, float] = (0.3, 0.35)
    shift: float = 0.0

    def sample(self, z, key):
        keys = jax.random.split(key)
        sign = jnp.where(jax.random.uniform(keys[0]) < self.upper, 1.0, -1.0)
        noise = jnp.array(self.width) * jax.random.normal(keys[1], (2,))
        return jnp.stack([z[0] + self.shift, sign]) + noise

    def log_prob(self, q, z):
        width = jnp.array(self.width)
        offset = (q - jnp.stack([z[0] + self.shift, 1.0])) / width, (q - jnp.stack([z[0] + self.shift, -1.0])) / width
        logs = [-0.5 * jnp.sum(one**2) for one in offset]
        total = jnp.logaddexp(logs[0] + jnp.log(self.upper), logs[1] + jnp.log(1 - self.upper))
        return total - jnp.log(2 * jnp.pi * jnp.prod(width)), jnp.asarray(True)

    def sample_and_log_prob(self, z, key):
        state = self.sample(z, key)
        return Draw(state, *self.log_prob(state, z))

    def weighted_sample(self, z, key):
        return self.sample_and_log_prob(z, key)


class Partial(Wells):
    """The same, but the density is known only where y > -1: draws elsewhere are not valid, states have none."""

    def log_prob(self, q, z):
        log_prob, _ = super().log_prob(q, z)
        return log_prob, q[1] > -1  # the flag counts, not the number


class Crescent(eqx.Module):
    """Draws (u, v) with radius about z and phase about the half-moon's, as a density of (u, v)."""

    width: tuple[float, float] = (0.5, 0.3)

    def sample(self, z, key):
        noise = jnp.array(self.width) * jax.random.normal(key, (2,))
        radius, phase = z[0] * jnp.exp(noise[0] / 2), z[0] * jnp.exp(noise[0] / 2) + noise[1]
        return radius * jnp.stack([jnp.cos(phase), jnp.sin(phase)])

    def log_prob(self, q, z):
        radius = jnp.hypot(q[0], q[1])
        offset = jnp.arctan2(q[1], q[0]) - radius
        offset = offset - 2 * jnp.pi * jnp.round(offset / (2 * jnp.pi))
        noise = jnp.stack([2 * jnp.log(radius / z[0]), offset])
        normal = -0.5 * jnp.sum((noise / jnp.array(self.width)) ** 2) - jnp.log(2 * jnp.pi * np.prod(self.width))
        return normal + jnp.log(2 / radius) - jnp.log(radius), jnp.asarray(True)

    def sample_and_log_prob(self, z, key):
        state = self.sample(z, key)
        return Draw(state, *self.log_prob(state, z))

    def weighted_sample(self, z, key):
        return self.sample_and_log_prob(z, key)


class Lying(eqx.Module):
    """Draws from `true`, says the density is that of `said`; `now` gives that of the state where a walker stands."""

    true: eqx.Module
    said: eqx.Module
    now: Any = None

    def sample(self, z, key):
        return self.true.sample(z, key)

    def log_prob(self, q, z):
        return (jnp.zeros(()), jnp.asarray(True)) if self.now == "nothing" else self.said.log_prob(q, z)

    def sample_and_log_prob(self, z, key):
        state = self.true.sample(z, key)
        return Draw(state, *self.said.log_prob(state, z))

    def weighted_sample(self, z, key):
        return self.sample_and_log_prob(z, key)


@dataclass(frozen=True)
class Problem:
    """Windows of a two-dimensional system, and exact averages in them by quadrature.

    `grid` `(n, 2)` of simulated states; `share` `(windows, n)` their probability; `free_energy` `(windows,)` of the
    windows, absolute; `functions`: names to functions of states `(..., 2)`.
    """

    engine: JaxEngine
    coarse: CoarseVariable
    windows: Windows
    grid: np.ndarray
    share: np.ndarray
    free_energy: np.ndarray
    functions: dict

    def exact(self):
        """Averages `(windows, functions)`."""
        return np.stack([self.share @ function(self.grid) for function in self.functions.values()], axis=1)

    def start(self, walkers, rng):
        """Exact draws from every window `(windows, walkers, 2)`."""
        spacing = np.array([np.diff(np.unique(axis))[0] for axis in self.grid.T])
        states = [self.grid[rng.choice(len(self.grid), walkers, p=share)] for share in self.share]
        return jnp.asarray(np.stack(states) + spacing * (rng.random((len(states), walkers, 2)) - 0.5))

    def deviations(self, frames):
        """How many standard errors the averages of independent walkers are from the truth, `(windows, functions)`.

        `frames` `(frames, windows, walkers, 2)`: averaged over the frames of a walker first.
        """
        values = [function(np.asarray(frames)).mean(axis=0) for function in self.functions.values()]
        means = np.stack([value.mean(axis=1) for value in values], axis=1)
        errors = np.stack([value.std(axis=1) for value in values], axis=1) / np.sqrt(frames.shape[2])
        return np.abs(means - self.exact()) / errors


def _problem(reference, centers, stiffness, slope, axes, log_density, functions):
    coarse = CoarseVariable(reference.coarse, np.array(reference.lower), np.array(reference.upper), reference.periodic)
    origin, spacing, shape = padded_grid(coarse, 60)
    table = fit_table(slope * (origin + spacing * np.arange(shape[0])), origin, spacing, coarse.periodic)
    windows = Windows(jnp.array(centers)[:, None], jnp.array([stiffness]), table)
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 2)
    energy = 0.5 * stiffness * (grid[:, 0] - np.array(centers)[:, None]) ** 2 - slope * grid[:, 0]
    weight = np.exp(log_density(grid) - energy)
    total = weight.sum(axis=1, keepdims=True)
    area = (axes[0][1] - axes[0][0]) * (axes[1][1] - axes[1][0])
    engine = JaxEngine(reference.system, coarse)
    return Problem(engine, coarse, windows, grid, weight / total, -np.log(total[:, 0] * area), functions)


@pytest.fixture(scope="session")
def barrier():
    """Windows of the hidden barrier, with a slope for a flattening bias."""
    functions = {
        "upper": lambda q: (q[..., 1] > 0) * 1.0,
        "x": lambda q: q[..., 0],
        "width": lambda q: (np.abs(q[..., 1]) - 1) ** 2,
        "product": lambda q: q[..., 0] * q[..., 1],
    }
    axes = np.linspace(-2.2, 2.2, 441), np.linspace(-1.9, 1.9, 381)
    potential = jax.jit(jax.vmap(hidden_barrier_potential))
    centers = (-0.9, 0.0, 0.7)
    return _problem(
        hidden_barrier(), centers, 1 / 0.25**2, 0.6, axes, lambda q: -np.asarray(potential(jnp.asarray(q))), functions
    )


@pytest.fixture(scope="session")
def moon():
    """Wide windows of the confined half-moon, of which (u, v) is observed: its volume differs much within a window."""
    functions = {"x": lambda q: q[..., 0], "x²": lambda q: q[..., 0] ** 2, "y": lambda q: q[..., 1]}
    functions["spread"] = lambda q: (q[..., 1] - 1) ** 2
    spread = 7 * np.sqrt(VARIANCE)
    axes = np.linspace(0.4, 5.0, 461), np.linspace(1 - spread, 1 + spread, 181)

    def log_density(q):
        return -np.asarray(double_well(jnp.asarray(q[:, 0]))) - (q[:, 1] - 1) ** 2 / (2 * VARIANCE)

    return _problem(half_moon_confined(), (1.7, 3.2), 1 / 0.5**2, 0.0, axes, log_density, functions)


@dataclass(frozen=True)
class Proposals:
    wells: type = Wells
    partial: type = Partial
    crescent: type = Crescent
    lying: type = Lying


@pytest.fixture(scope="session")
def proposals():
    return Proposals()
