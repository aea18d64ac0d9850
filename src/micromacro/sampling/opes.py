"""On-the-fly probability enhanced sampling: many walkers that share one adaptive bias along the coarse variable."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from micromacro.cases.case import ExploreSettings
from micromacro.coordinates.coarse import CoarseVariable
from micromacro.errors import InputError
from micromacro.sampling.engine import Engine, Tuning
from micromacro.sampling.opes_bias import OpesBias
from micromacro.sampling.seeding import Exploration, no_windows
from micromacro.sampling.table import Table
from micromacro.sampling.tuning import ACCEPTANCE, CHUNK_STEPS, FRAMES, check_finite

MOST_STEP_CHANGE = 0.5
SETTLING = 20
FEWEST_CHUNKS = 10
GROWING_SHARE = 0.2


@dataclass(frozen=True)
class OpesRun:
    """What walkers under a shared adaptive bias visited.

    **Arguments:**

    - `position`, `coarse`, `log_density`: of every saved frame and walker; the density is that of the system alone.
    - `bias`: in kT, of each frame when it was saved, `(frames, walkers)`; that of the walls beyond the range included.
    - `weight`: of each frame in the ensemble without the bias, `(frames, walkers)`; they sum to one. Zero for the first
      fifth of the frames, while the bias still grows, and for frames beyond the range of ξ, where walls are.
    - `filled`: the bias at the end, in kT, on the grid of `OpesBias`, `(n1, ..., nd)`.
    - `change`: the rms change of the bias over the visited cells after each chunk, in kT, `(chunks,)`.
    - `step_size`: of the local sampler at the end.
    """

    position: Float[np.ndarray, "frames walkers D"]
    coarse: Float[np.ndarray, "frames walkers d"]
    log_density: Float[np.ndarray, "frames walkers"]
    bias: Float[np.ndarray, "frames walkers"]
    weight: Float[np.ndarray, "frames walkers"]
    filled: Float[np.ndarray, "..."]
    change: Float[np.ndarray, "chunks"]
    step_size: float

    @property
    def effective_sample_size(self) -> float:
        """Kish's number of weighted frames; their correlation in time is not in it."""
        return float(1 / np.sum(self.weight**2)) if self.weight.any() else 0.0


def opes(
    engine: Engine,
    coarse: CoarseVariable,
    exploration: Exploration,
    settings: ExploreSettings,
    key: Key[Array, ""],
    on_chunk: Callable[[int], None] = lambda _: None,
) -> OpesRun:
    """Advance walkers from every starting point under a bias that fills what they visit, up to `settings.barrier`.

    The bias is renewed after every chunk of `FRAMES` frames from the frames of all walkers, see `OpesBias`; steps
    that do not fill a chunk are left out.

    **Returns:** all frames, and the bias of each; the cost is `opes_cost`.

    **Raises:** `InputError` for a barrier of 1 kT or less, fewer than `FEWEST_CHUNKS` chunks of steps, no walker for
    some starting point; `PhysicsError` where the energy or force of a walker is not finite.

    Source: Invernizzi & Parrinello, J. Phys. Chem. Lett. 11, 2731 (2020).
    """
    chunk_steps = FRAMES * engine.frame_steps
    _check(settings, exploration, chunk_steps)
    bias = OpesBias.empty(coarse, exploration.spread, settings.barrier)
    windows = replace(no_windows(coarse, 1), flattening=bias.flattening)
    position = _first_positions(exploration, settings.walkers)
    tuning = Tuning(jnp.full(1, exploration.step_size), jnp.asarray(exploration.scale)[None])
    parts, change = [], []
    for chunk in range(settings.steps // chunk_steps):
        state = engine.start(windows, position)
        chunk_key = jax.random.fold_in(key, chunk)
        state, saved = engine.advance(windows, tuning, state, chunk_key, FRAMES, engine.frame_steps)
        check_finite(state, windows, (chunk + 1) * chunk_steps)
        z = np.asarray(saved.coarse)[:, 0]
        at_frames = -np.asarray(_evaluate(windows.flattening, saved.coarse))[:, 0]
        parts.append((np.asarray(saved.position)[:, 0], z, np.asarray(saved.log_density)[:, 0], at_frames))
        renewed = bias.updated(z.reshape(-1, coarse.dimension), at_frames.ravel())
        change.append(renewed.change_from(bias))
        bias, position = renewed, state.position
        windows = replace(windows, flattening=bias.flattening)
        # the steps settle, so that late frames are of one sampler
        gain = 3 / (1 + chunk / SETTLING)
        step = np.clip(gain * (np.asarray(saved.acceptance) - ACCEPTANCE), -3 * MOST_STEP_CHANGE, MOST_STEP_CHANGE)
        tuning = tuning._replace(step_size=tuning.step_size * np.exp(step))
        on_chunk(chunk_steps * settings.walkers)
    position, z, log_density, at_frames = (np.concatenate(part) for part in zip(*parts, strict=True))
    weight = frame_weights(coarse, z, at_frames)
    step_size = float(tuning.step_size[0])
    return OpesRun(position, z, log_density, at_frames, weight, bias.values, np.asarray(change), step_size)


def frame_weights(
    coarse: CoarseVariable, z: Float[np.ndarray, "frames walkers d"], bias: Float[np.ndarray, "frames walkers"]
) -> Float[np.ndarray, "frames walkers"]:
    r"""Weights $e^V$ by the bias of the time, normalised; zero while the bias grew and beyond the range of ξ.

    The final bias, and the biases of all chunks as one ensemble, give weights too; none is best everywhere.
    """
    bounded = ~np.asarray(coarse.periodic)
    inside = np.all(((z >= coarse.lower) & (z <= coarse.upper)) | ~bounded, axis=-1)
    inside[: int(GROWING_SHARE * len(z))] = False
    if not inside.any():
        return np.zeros(bias.shape)
    weight = np.exp(np.where(inside, bias - bias[inside].max(), -np.inf))
    return weight / weight.sum()


def opes_cost(settings: ExploreSettings) -> int:
    """Force evaluations of `opes`: one for each step, and one more in each chunk for the renewed bias."""
    return settings.walkers * (settings.steps // CHUNK_STEPS) * (CHUNK_STEPS + 1)


def _check(settings: ExploreSettings, exploration: Exploration, chunk_steps: int) -> None:
    starts = exploration.position.shape[1]
    if not settings.barrier > 1:
        raise InputError("explore.barrier", "be greater than 1 kT for opes", settings.barrier)
    if settings.steps < FEWEST_CHUNKS * chunk_steps:
        raise InputError("explore.steps", f"be at least {FEWEST_CHUNKS * chunk_steps} for opes", settings.steps)
    if settings.walkers < starts:
        raise InputError("explore.walkers", f"be at least the number of starting points, {starts}", settings.walkers)


def _first_positions(exploration: Exploration, walkers: int) -> Float[Array, "1 walkers D"]:
    """Last and earlier states of the unbiased runs, from every starting point in equal shares."""
    frames, starts, explorers = exploration.position.shape[:3]
    index = np.arange(walkers)
    which = index // starts
    frame = frames - 1 - which // explorers % frames
    return jnp.asarray(exploration.position[frame, index % starts, which % explorers])[None]


@jax.jit
def _evaluate(table: Table, z: Float[Array, "frames one walkers d"]) -> Float[Array, "frames one walkers"]:
    return jax.vmap(jax.vmap(jax.vmap(table)))(z)
