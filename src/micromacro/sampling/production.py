"""Counted runs in umbrella windows, by local moves alone or with replica exchange."""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import numpy as np
from jaxtyping import Array, Float, Key

from micromacro.sampling.engine import Engine, Tuning
from micromacro.sampling.mala import Walker
from micromacro.sampling.tuning import check_finite
from micromacro.sampling.windows import Windows


@dataclass(frozen=True)
class Frames:
    """Saved frames of all walkers of all windows.

    `position` `(frames, windows, walkers, D)`, `coarse` `(frames, windows, walkers, d)`, `log_density` of the system
    alone `(frames, windows, walkers)`; `acceptance` of local moves per window.
    """

    position: Float[np.ndarray, "frames windows walkers D"]
    coarse: Float[np.ndarray, "frames windows walkers d"]
    log_density: Float[np.ndarray, "frames windows walkers"]
    acceptance: Float[np.ndarray, "windows"]


def join_frames(parts: list[Frames]) -> Frames:
    """Frames of consecutive chunks as one."""
    return Frames(
        np.concatenate([part.position for part in parts]),
        np.concatenate([part.coarse for part in parts]),
        np.concatenate([part.log_density for part in parts]),
        np.mean([part.acceptance for part in parts], axis=0),
    )


def run_chunks(
    engine: Engine,
    windows: Windows,
    walkers: Walker,
    tuning: Tuning,
    key: Key[Array, ""],
    *,
    chunks: int,
    frames: int,
    interval: int,
    exchange: bool = False,
    on_steps: Callable[[int], None] = lambda _: None,
) -> tuple[Walker, Frames]:
    """Advance in `chunks` chunks of `frames * interval` steps; with `exchange`, swap neighbours after each.

    `on_steps` is called with the steps of a walker just done.

    **Raises:** `PhysicsError` where the energy or force of a walker is not finite.
    """
    parts = []
    for chunk in range(chunks):
        chunk_key, swap_key = jax.random.split(jax.random.fold_in(key, chunk))
        walkers, saved = engine.advance(windows, tuning, walkers, chunk_key, frames, interval)
        check_finite(walkers, windows, (chunk + 1) * frames * interval)
        parts.append(Frames(*(np.asarray(part) for part in saved)))
        if exchange:
            walkers, _ = engine.exchange(windows, walkers, swap_key, even=chunk % 2 == 0)
        on_steps(frames * interval)
    return walkers, join_frames(parts)
