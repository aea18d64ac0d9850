"""Inertial and overdamped systems that are known exactly; unit mass and kT = 1."""

from functools import cache, partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np

from micromacro.closures.langevin_closure import fit_diffusion, langevin_closure
from micromacro.closures.table import ClosureTable
from micromacro.closures.umbrella_diffusion import UmbrellaDiffusion, umbrella_diffusion
from micromacro.coordinates.coarse import CoarseVariable
from micromacro.estimates.surface import FreeEnergySurface, coarse_grid

CIRCLE = CoarseVariable(lambda q: q[:1], np.array([-np.pi]), np.array([np.pi]), (True,))
BASINS = ([1.1], [2.1]), ([-2.2], [-1.1])
WINDOWS, NOISE = 24, 0.02
CENTRES = np.linspace(-np.pi, np.pi, WINDOWS, endpoint=False)[:, None]
STIFFNESS = (WINDOWS / (2 * np.pi)) ** 2


def simulate(force, friction, start, *, step, frames, interval, seed):
    """Positions `(frames, *start.shape)` by the BAOAB scheme; `force` and `friction` act on whole arrays."""
    key, velocity_key = jax.random.split(jax.random.key(seed))
    position = jnp.asarray(start, float)
    velocity = jax.random.normal(velocity_key, position.shape)
    state = position, velocity, force(position)
    return np.asarray(_run(force, friction, state, key, step, frames, interval))


@partial(jax.jit, static_argnums=(0, 1, 5, 6))
def _run(force, friction, state, key, step, frames, interval):
    def move(state, key):
        x, v, f = state
        v = v + step / 2 * f
        x = x + step / 2 * v
        kept = jnp.exp(-friction(x) * step)
        v = kept * v + jnp.sqrt(1 - kept**2) * jax.random.normal(key, x.shape)
        x = x + step / 2 * v
        f = force(x)
        return (x, v + step / 2 * f, f), None

    def frame(state, key):
        state, _ = jax.lax.scan(move, state, jax.random.split(key, interval))
        return state, state[0]

    return jax.lax.scan(frame, state, jax.random.split(key, frames))[1]


def linear(rates, covariance, shape, *, interval, frames, seed):
    """Exact samples `(frames, *shape, d)` of dz = -rates z dt + noise with a given stationary covariance."""
    rng = np.random.default_rng(seed)
    values, vectors = np.linalg.eig(rates)
    decay = np.real(vectors @ np.diag(np.exp(-values * interval)) @ np.linalg.inv(vectors))
    noise = np.linalg.cholesky(covariance - decay @ covariance @ decay.T)
    z = rng.standard_normal((*shape, len(rates))) @ np.linalg.cholesky(covariance).T
    saved = []
    for _ in range(frames):
        z = z @ decay.T + rng.standard_normal(z.shape) @ noise.T
        saved.append(z)
    return np.stack(saved)


def free_energy(x):
    return 2 * np.cos(2 * x) + 0.7 * np.cos(x + 0.5)


def slope(x):
    return -4 * np.sin(2 * x) - 0.7 * np.sin(x + 0.5)


def force(x):
    return 4 * jnp.sin(2 * x) + 0.7 * jnp.sin(x + 0.5)


def surface_of(grid, values, noise, seed=0):
    measured = values + noise * np.random.default_rng(seed).standard_normal(len(values))
    return FreeEnergySurface(grid, measured - np.nanmin(measured), np.where(np.isfinite(values), noise, np.nan))


class Rough:
    """A particle on a circle, its friction dependent on where it is: D(z) = (1 + sin(z)/2)/γ."""

    def __init__(self, friction):
        self.friction = friction

    def of(self, x):
        return self.friction / (1 + jnp.sin(x) / 2)

    def diffusion(self, x):
        return (1 + np.sin(x) / 2) / self.friction

    def windows(self, *, step, frames, interval, seed):
        """Estimates in windows on the flattened circle, from their dynamics."""
        rng = np.random.default_rng(seed)
        start = CENTRES + rng.standard_normal((WINDOWS, 16)) / np.sqrt(STIFFNESS)

        def pull(x):
            apart = x - CENTRES
            return -STIFFNESS * (apart - 2 * np.pi * jnp.round(apart / (2 * np.pi)))

        z = simulate(pull, self.of, start, step=step, frames=frames, interval=interval, seed=seed)
        return umbrella_diffusion(np.asarray(CIRCLE.wrap(z[..., None])), CENTRES, CIRCLE, step * interval)

    def exact(self, grid):
        z = grid.points[:, 0]
        drift = -self.diffusion(z) * slope(z) + np.cos(z) / 2 / self.friction
        return ClosureTable(
            grid.points,
            drift[:, None],
            np.full((len(z), 1), 1e-9),
            self.diffusion(z)[:, None, None],
            np.full((len(z), 1, 1), 1e-9),
        )

    def long(self, walkers, *, step, frames, interval, seed):
        start = np.full(walkers, 1.6)
        z = simulate(force, self.of, start, step=step, frames=frames, interval=interval, seed=seed)
        return np.asarray(CIRCLE.wrap(z[..., None]))


@cache
def damped():
    """Friction 10 per unit of time: what windows and a noisy F give."""
    system, grid = Rough(10.0), coarse_grid(CIRCLE)
    windows = system.windows(step=0.03, frames=1200, interval=3, seed=2)
    surface = surface_of(grid, free_energy(grid.points[:, 0]), NOISE)
    fit = fit_diffusion(CIRCLE, windows)
    table = langevin_closure(surface, fit)
    return SimpleNamespace(system=system, grid=grid, windows=windows, surface=surface, fit=fit, table=table)


def windows_of(mean, covariance, elements, stderr, rates=(1.0,), diffusion_at=0.0):
    """Estimates of windows that are what they are said to be."""
    count, d = mean.shape
    known, matrices = np.zeros(count), np.zeros((count, d, d))
    return UmbrellaDiffusion(
        mean=mean,
        covariance=np.broadcast_to(covariance, (count, d, d)),
        diffusion=matrices,
        diffusion_stderr=matrices,
        elements=elements,
        elements_stderr=np.full(elements.shape, stderr),
        relaxation_time=known,
        relaxation_time_stderr=known,
        cutoff=known,
        memory=known,
        ringing_time=known,
        rates=np.asarray(rates),
        diffusion_at=np.zeros((count, len(rates), d, d)) + diffusion_at,
        diffusion_at_stderr=np.zeros((count, len(rates), d, d)),
        aliasing=known,
        longest_interval=known,
        walker_spread=known,
        reasons=("",) * count,
    )


def scores(found, truth, stderr):
    """The mean squared z-score where it is known."""
    return np.nanmean(((found - truth) / stderr) ** 2)
