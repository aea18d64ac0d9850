"""Systems whose density is unknown: their own dynamics, and averages over the long run."""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float, Key

from micromacro import plan, records, stages
from micromacro.cases.case import Case
from micromacro.coordinates.coarse import CoarseVariable
from micromacro.coupling.checks import LARGEST_RHAT
from micromacro.coupling.estimate import Segment, conditional_inefficiency, estimate
from micromacro.coupling.rounds import Round
from micromacro.errors import PhysicsError
from micromacro.estimates.correlation import split_rhat
from micromacro.molecules.system import of_equations
from micromacro.pipeline import Sampled, closure_reserve, default_blur
from micromacro.sampling.production import Frames
from micromacro.sampling.seeding import no_windows, start_labels

FEWEST_FRAMES, MOST_FRAMES = 50, 500
MOST_STATES = 200_000
LARGEST_CUT = 0.25
LEFT_SHARE = 0.5
MOST_DEVIATIONS = 4.0


@dataclass(frozen=True)
class Size:
    """A long run in pieces: `walkers`, `steps` of each piece, and at most so many `pieces`."""

    walkers: int
    steps: int
    pieces: int


def long_run_size(case: Case, spent: int = 0) -> Size:
    """As many walkers as windows would have, and pieces of `[bias] steps`, within what is left of the budget."""
    walkers = max((case.bias.walkers or 64) * (case.bias.windows or 16), len(case.system.initial))
    steps, pieces = case.bias.steps, case.couple.rounds + 1
    if case.budget is None:
        return Size(walkers, steps, pieces)
    plan.Budget(case.budget).require(spent + 2 * walkers * plan.FEWEST_STEPS, "this number of walkers")
    affordable = (case.budget - spent - closure_reserve(case)) // walkers
    steps = int(min(steps, affordable))
    return Size(walkers, steps, int(min(pieces, affordable // steps)))


def sample_long_run(run: stages.Run, *, learn: bool) -> Sampled:
    """The system's own dynamics from the starting points: for longer while it settles, by more walkers where it leaves.

    A ξ that drifts out of its range will not come back: what is left of the budget then goes into new walkers from the
    starting points. One that stays is followed until its two last quarters agree and the walkers have mixed.
    """
    case, size = run.case, long_run_size(run.case, run.engine.evaluations)
    frames = int(np.clip(MOST_STATES // (size.walkers * size.pieces), FEWEST_FRAMES, MOST_FRAMES))
    every = max(1, size.steps // frames)
    total = size.walkers * size.steps * size.pieces

    def compute(advance: Callable) -> xr.Dataset:
        return _record(run, _simulate(run, size, every, advance))

    windows, result = records.read_round(run.stage("long_run", total, "walker-steps", compute))
    count, walkers = result.frames.log_density.shape[0], result.frames.log_density.shape[2]
    half = Segment(windows, result.frames, np.array([count // 2]))
    later = result.frames.coarse[count // 2 :, 0]
    stationary = settled(case.coarse, later) and not left_range(case.coarse, later[-1])
    segment = half if stationary else _after_relaxation(run, windows, result.frames)
    found = estimate(case.coarse, [segment], 0)
    blur = default_blur(run)
    generator = stages.learn_stage(run, 1, [segment], blur, corrected=False) if learn else None
    return Sampled(
        [segment],
        found,
        start_labels(len(case.system.initial), walkers),
        blur,
        np.eye(case.system.dimension),
        generator,
        local=segment,
        stationary=stationary,
        frame_time=every * case.system.time_step,
    )


def _after_relaxation(run: stages.Run, windows, frames: Frames) -> Segment:
    cut = int(LARGEST_CUT * len(frames.position))
    trial = Segment(windows, frames, np.array([cut]))
    relaxation = conditional_inefficiency(run.case.system.observe, run.case.coarse, trial)
    return Segment(windows, frames, np.array([min(cut, int(np.ceil(3 * relaxation)))]))


def _simulate(run: stages.Run, size: Size, every: int, advance: Callable) -> Float[np.ndarray, "frames walkers D"]:
    """All saved frames; walkers of later ensembles stand after those of earlier ones."""
    begun = run.case.system.initial[start_labels(len(run.case.system.initial), size.walkers)]
    pieces: list[np.ndarray] = []
    state, left = begun, False
    while len(pieces) < size.pieces and not left:
        state, saved = _piece(run, state, size, every, jax.random.fold_in(run.key(3), len(pieces)), advance)
        pieces.append(saved)
        coarse = _coarse_values(run, np.concatenate(pieces))
        left = left_range(run.case.coarse, coarse[-1])
        later = coarse[len(coarse) // 2 :]
        if len(pieces) > 1 and settled(run.case.coarse, later) and mixed(run.case.coarse, later):
            break
    ensembles = [np.concatenate(pieces)]
    while left and (len(ensembles) + 1) * len(pieces) <= size.pieces:
        state, again = begun, []
        for number in range(len(pieces)):
            key = jax.random.fold_in(run.key(4 + len(ensembles)), number)
            state, saved = _piece(run, state, size, every, key, advance)
            again.append(saved)
        ensembles.append(np.concatenate(again))
    return np.concatenate(ensembles, axis=1)


def _piece(
    run: stages.Run, state: np.ndarray, size: Size, every: int, key: Key[Array, ""], advance: Callable
) -> tuple[np.ndarray, np.ndarray]:
    system = of_equations(run.case.system)
    found = run.dynamics(state, system.time_step, size.steps, key, save_every=every)
    run.engine.evaluations += size.walkers * size.steps
    advance(size.walkers * size.steps)
    broken = ~np.all(np.isfinite(found.saved), axis=2)
    if broken.any():
        frame, walker = (int(i) for i in np.argwhere(broken)[0])
        raise PhysicsError(
            "the state of a walker is no longer finite",
            where=f"long run, walker {walker}, before step {(frame + 1) * every}",
            remedy="Lower [system] time_step, or check drift and diffusion.",
        )
    return np.asarray(found.final), np.asarray(found.saved)


def _coarse_values(run: stages.Run, saved: Float[np.ndarray, "frames walkers D"]) -> Float[np.ndarray, "f w d"]:
    flat = jnp.asarray(saved.reshape(-1, saved.shape[-1]))
    return np.asarray(jax.jit(jax.vmap(run.engine.coarse_of))(flat)).reshape(*saved.shape[:2], -1)


def left_range(coarse: CoarseVariable, values: Float[np.ndarray, "walkers d"]) -> bool:
    """Whether most walkers are outside the range of a bounded component."""
    outside = ((values < coarse.lower) | (values > coarse.upper)) & ~np.asarray(coarse.periodic)
    return bool(outside.any(axis=1).mean() > LEFT_SHARE)


def settled(coarse: CoarseVariable, values: Float[np.ndarray, "frames walkers d"]) -> bool:
    """Whether the walkers as a whole stand still: their law in the first and second half of the frames is the same.

    Judged by the means and squares of ξ, walker by walker, within `MOST_DEVIATIONS` standard errors. Walkers that stay
    in different places pass here; that is what the mixing check is for.
    """
    phase = 2 * np.pi * (values - coarse.lower) / coarse.range
    half = len(values) // 2
    for axis, periodic in enumerate(coarse.periodic):
        column = phase[..., axis]
        for feature in (np.cos(column), np.sin(column)) if periodic else (column, np.square(column)):
            moved = feature[half:].mean(axis=0) - feature[:half].mean(axis=0)
            if abs(moved.mean()) > MOST_DEVIATIONS * moved.std() / np.sqrt(len(moved)):
                return False
    return True


def mixed(coarse: CoarseVariable, values: Float[np.ndarray, "frames walkers d"]) -> bool:
    """Whether every walker has visited what the others have."""
    phase = 2 * np.pi * (values - coarse.lower) / coarse.range
    columns = []
    for axis, periodic in enumerate(coarse.periodic):
        columns += [np.cos(phase[..., axis]), np.sin(phase[..., axis])] if periodic else [values[..., axis]]
    return all(split_rhat(column) <= LARGEST_RHAT for column in columns)


def _record(run: stages.Run, saved: Float[np.ndarray, "frames walkers D"]) -> xr.Dataset:
    position = np.asarray(run.space.wrap(saved))[:, None]
    coarse = _coarse_values(run, saved)[:, None]
    frames = Frames(position, coarse, np.zeros(position.shape[:3]), np.ones(1))
    dimension = run.case.system.dimension
    tuning = stages.Tuning(jnp.ones(1), jnp.eye(dimension)[None])
    result = Round(frames, position[-1], tuning, None, None, None)
    return records.round_record(no_windows(run.case.coarse, 1), result)
