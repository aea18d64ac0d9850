"""Adaptation of the local sampler while chains burn in; frozen before anything is counted."""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key
from scipy.linalg import eigh

from micromacro.errors import PhysicsError
from micromacro.sampling.engine import Engine, Tuning
from micromacro.sampling.mala import Walker
from micromacro.sampling.windows import Windows
from micromacro.systems.model import FRAME_STEPS

ACCEPTANCE = 0.6
LEAST_TRUST = 0.5
"""Share of the covariance of one window in its scale below which windows share their correlations."""
WORTH = 4.0
"""Times that correlations stretch the density more than chance does, above which their factor is worth its cost."""
FRAMES = 5
CHUNK_STEPS = FRAMES * FRAME_STEPS


@dataclass(frozen=True)
class Tuned:
    """Walkers after burn-in and the tuning that suits them."""

    walkers: Walker
    tuning: Tuning


def first_tuning(windows: int, dimension: int) -> Tuning:
    """A cautious start: unit scale and small steps."""
    scale = jnp.broadcast_to(jnp.eye(dimension), (windows, dimension, dimension))
    return Tuning(jnp.full(windows, 1e-2), scale)


def adapt(
    engine: Engine,
    windows: Windows,
    walkers: Walker,
    tuning: Tuning,
    key: Key[Array, ""],
    chunks: int,
    *,
    rescale: bool,
    on_steps: Callable[[int], None] = lambda _: None,
) -> Tuned:
    """Burn in for `chunks` chunks of `FRAMES` frames, steering the acceptance of every window to `ACCEPTANCE`.

    With `rescale` the scale of each window becomes the square root of the covariance *within* its walkers, halfway
    through: within, because walkers in different hidden wells say nothing about the size of a local move. Where
    moves are not adjusted there is nothing to steer. `on_steps` is called with the steps of a walker just done.

    **Raises:** `PhysicsError` where the energy or the gradient of a walker is not finite.
    """
    frames: list[Float[np.ndarray, "frames windows walkers D"]] = []
    for chunk in range(chunks):
        chunk_key = jax.random.fold_in(key, chunk)
        walkers, saved = engine.advance(windows, tuning, walkers, chunk_key, FRAMES, engine.frame_steps)
        check_finite(walkers, windows, (chunk + 1) * FRAMES * engine.frame_steps)
        # far from the goal the step may change by e a chunk; near it by little
        factor = jnp.exp(jnp.clip(3 * (saved.acceptance - ACCEPTANCE), -1.5, 1.0))
        tuning = tuning._replace(step_size=tuning.step_size * factor)
        frames.append(np.asarray(saved.position))
        on_steps(FRAMES * engine.frame_steps)
        if rescale and engine.adjusted and chunk == chunks // 2:
            kept = np.concatenate(frames[len(frames) // 2 :])
            tuning = Tuning(jnp.full_like(tuning.step_size, _natural_step(kept.shape[-1])), within_scale(kept))
    return Tuned(walkers, tuning)


def _natural_step(dimension: int) -> float:
    # the optimal scaling of MALA for a standard normal: Roberts & Rosenthal, J. R. Stat. Soc. B 60, 255 (1998)
    return 1.65**2 / dimension ** (1 / 3)


def within_scale(frames: Float[np.ndarray, "frames windows walkers D"]) -> Float[Array, "windows D D"]:
    """Square roots `(windows, D, D)` of the covariances within walkers; shrunk to their diagonal: frames are few.

    Where those of a window are far too few, all windows share their correlations; where there are none, the diagonal is
    all, which costs less to apply.
    """
    count, _, walkers, dimension = frames.shape
    centred, freedom = frames - frames.mean(axis=0), walkers * max(count - 1, 1)
    trust = _trust(walkers * count, dimension)
    if trust < LEAST_TRUST:
        diagonal = np.sum(centred**2, axis=(0, 2)) / freedom
        deviation = np.sqrt(diagonal + _floor(diagonal))
        return jnp.asarray(deviation[:, :, None] * _shared_factor(centred / deviation[:, None]))
    covariance = np.einsum("fkwi,fkwj->kij", centred, centred) / freedom
    diagonal = np.einsum("kii->ki", covariance)
    shrunk = trust * covariance + (1 - trust) * diagonal[:, :, None] * np.eye(dimension)
    return jnp.asarray(np.linalg.cholesky(shrunk + _floor(diagonal)[:, :, None] * np.eye(dimension)))


def _trust(states: int, dimension: int) -> float:
    """The share of a covariance from so many states that is believed; the rest is its diagonal's."""
    return states / (states + 5 * dimension)


def _shared_factor(standard: Float[np.ndarray, "frames windows walkers D"]) -> Float[np.ndarray, "D D"]:
    """The Cholesky factor of the correlations over all windows; the identity where they are little more than chance.

    Chance is what the same chains give when each coordinate is taken from another of them: that holds however few and
    correlated in time the frames are. Source: Horn's parallel analysis, Psychometrika 30, 179 (1965).
    """
    count, dimension = len(standard), standard.shape[-1]
    chains = standard.reshape(count, -1, dimension)
    order = np.argsort(np.random.default_rng(0).random(chains.shape[1:]), axis=0)
    found, chance = (_correlation(part) for part in (chains, np.take_along_axis(chains, order[None], axis=1)))
    if all(of(found) <= WORTH * of(chance) for of in (_stretch_of_pairs, _stretch_of_modes)):
        return np.eye(dimension)
    trust = _trust(count * chains.shape[1], dimension)
    return np.linalg.cholesky(trust * found + (1 - trust) * np.eye(dimension))


def _correlation(chains: Float[np.ndarray, "frames chains D"]) -> Float[np.ndarray, "D D"]:
    rows = chains.reshape(-1, chains.shape[-1])
    return rows.T @ rows / (chains.shape[1] * max(len(chains) - 1, 1))


def _stretch_of_pairs(correlation: Float[np.ndarray, "D D"]) -> float:
    """The longest over the shortest variance of the two coordinates that are correlated most."""
    largest = min(float(np.abs(correlation - np.diag(np.diag(correlation))).max()), 1 - 1e-9)
    return (1 + largest) / (1 - largest)


def _stretch_of_modes(correlation: Float[np.ndarray, "D D"]) -> float:
    """The variance of the softest mode over that of a coordinate."""
    size = len(correlation)
    return float(eigh(correlation, eigvals_only=True, subset_by_index=(size - 1, size - 1))[0])


def _floor(variance: Float[np.ndarray, "windows D"]) -> Float[np.ndarray, "windows 1"]:
    """What keeps coordinates that never moved usable."""
    return 1e-12 * variance.max(axis=1, keepdims=True) + 1e-30


def check_finite(walkers: Walker, windows: Windows, step: int) -> None:
    """Raise where a walker's energy is not finite, naming the window and the step."""
    broken = ~np.isfinite(np.asarray(walkers.log_target)) | ~np.all(np.isfinite(walkers.gradient), axis=-1)
    if broken.any():
        window, walker = (int(i) for i in np.argwhere(broken)[0])
        position = np.array2string(np.asarray(walkers.position[window, walker]), precision=4, threshold=8)
        raise PhysicsError(
            f"the energy or force of walker {walker} is not finite at q = {position}",
            where=f"window {window}, z = {np.round(np.asarray(windows.centers[window]), 4).tolist()}, step {step}",
            remedy="Check the potential there: it must be finite with a finite gradient wherever a walker can go.",
        )
