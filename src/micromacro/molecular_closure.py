"""The closure of a molecule: D from the autocorrelation of ξ in umbrella windows, b from D and F."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

from micromacro import plan, stages
from micromacro.closures.langevin_closure import fit_diffusion, langevin_closure
from micromacro.closures.langevin_plan import plan_series
from micromacro.closures.table import ClosureTable
from micromacro.closures.umbrella_diffusion import FEWEST_FRAMES, UmbrellaDiffusion, umbrella_diffusion
from micromacro.coupling.adding import nearby_states
from micromacro.coupling.estimate import free_energy_table
from micromacro.errors import InputError
from micromacro.pipeline import Sampled
from micromacro.sampling.windows import Windows

SERIES = "diffusion"
SHARE = 0.75
PILOT_SHARE = 0.1
LEAST_TIME = 200.0
"""In ps, of all walkers of a window: shorter series do not show how slowly friction relaxes."""
FEWEST_WINDOWS, MOST_WALKERS = 12, 4
PILOT_INTERVAL = 5
LEAST_SERIES = 16
"""Series of each window that its diffusion is judged by; those of few walkers are cut into so many parts."""


def closure_of_molecule(run: stages.Run, sampled: Sampled) -> ClosureTable | str:
    """Drift and diffusion on the grid of results, without observables; or why they are not known."""
    if not run.store.has(run.stage_name("explore")):
        return "the frames are given data, and no series of ξ was simulated"
    try:
        record = series_stage(run, sampled)
        fit = fit_diffusion(run.case.coarse, diffusion_of(run, record))
    except InputError as error:
        return str(error)
    return langevin_closure(sampled.estimate.surface, fit)


def diffusion_of(run: stages.Run, record: xr.Dataset) -> UmbrellaDiffusion:
    """D in each window from the series that were stored."""
    series, centers = record["series"].to_numpy(), record["centers"].to_numpy()
    return umbrella_diffusion(series, centers, run.case.coarse, float(record["interval"]))


def series_stage(run: stages.Run, sampled: Sampled) -> xr.Dataset:
    """Continuous series of ξ in flattened windows, by the dynamics of the molecule.

    A pilot in every fourth window says how fine they must be. They cost at most three quarters of `[close] bursts`
    steps, and of what the budget has left; the rest is for short trajectories without a bias (`short_trajectories`).

    **Raises:** `InputError` where too few steps are left.
    """
    case = run.case
    left = case.close.bursts if case.budget is None else case.budget - run.engine.evaluations
    most = int(SHARE * min(case.close.bursts, left))
    windows, positions = _longer(run, most * case.system.time_step, *_windows(run, sampled))
    least = windows.count * positions.shape[1] * (_fewest(positions) * PILOT_INTERVAL + 1) * 2
    if most < least:
        requirement = f"be at least {int(np.ceil(least / SHARE))}, and the budget leave as much, for series of ξ"
        raise InputError("[close] bursts", requirement, min(case.close.bursts, left))

    def compute(advance: Callable) -> xr.Dataset:
        frames, interval = _planned(run, windows, positions, most, advance)
        every = np.arange(windows.count)
        series = _series(run, windows, positions, every, (frames, interval), 701, advance)
        return xr.Dataset(
            {
                "series": (("frame", "window", "walker", "component"), series, {"units": "of the coarse variable"}),
                "centers": (("window", "component"), np.asarray(windows.centers), {"units": "of the coarse variable"}),
                "interval": ((), interval * case.system.time_step, {"units": "ps"}),
            }
        )

    return run.stage(SERIES, most, "steps", compute)


def _planned(run: stages.Run, windows: Windows, positions: np.ndarray, most: int, advance: Callable) -> tuple[int, int]:
    """Frames and interval of the series, from a pilot, so that all together cost `most` steps."""
    count, walkers = positions.shape[:2]
    step, fewest, some = run.case.system.time_step, _fewest(positions), np.arange(0, windows.count, 4)
    frames = max(fewest, int(PILOT_SHARE * most / (count * walkers * PILOT_INTERVAL)))
    pilot = _series(run, windows, positions, some, (frames, PILOT_INTERVAL), 700, advance)
    found = umbrella_diffusion(pilot, np.asarray(windows.centers)[some], run.case.coarse, PILOT_INTERVAL * step)
    affordable = (most - len(some) * walkers * (frames * PILOT_INTERVAL + 1)) // count - walkers
    time = frames * PILOT_INTERVAL * step * walkers
    planned = plan_series(found, time, step, walkers, most_steps=affordable)
    interval = min(planned.interval, max(1, affordable // (walkers * fewest)))
    return max(fewest, planned.steps // (walkers * interval)), interval


def _fewest(positions: np.ndarray) -> int:
    """Frames of each walker that D can be estimated from."""
    return FEWEST_FRAMES * -(-LEAST_SERIES // positions.shape[1])


def _longer(
    run: stages.Run, time: float, windows: Windows, positions: Float[np.ndarray, "windows walkers D"]
) -> tuple[Windows, Float[np.ndarray, "some fewer D"]]:
    """Fewer windows and walkers, so that each series is long: friction at low frequency shows in nothing else."""
    count = int(np.clip(time / LEAST_TIME, min(FEWEST_WINDOWS, windows.count), windows.count))
    chosen = np.unique(np.linspace(0, windows.count - 1, count).round().astype(int))
    fewer = Windows(windows.centers[chosen], windows.stiffness, windows.flattening)
    return fewer, positions[chosen, : max(MOST_WALKERS, len(run.case.system.initial))]


def _windows(run: stages.Run, sampled: Sampled) -> tuple[Windows, Float[np.ndarray, "windows walkers D"]]:
    """Those of the last round with the states that they ended in; of a run without any, some along ξ."""
    if np.any(np.asarray(sampled.last.windows.stiffness) > 0) and sampled.last.weight is None:
        return sampled.last.windows, sampled.last.frames.position[-1]
    exploration = stages.stored_exploration(run)
    sizes = plan.plan_windows(run.case, exploration.spread)
    table = free_energy_table(sampled.estimate.wide, smoothing=1.0)
    windows = stages.flattened(stages.first_windows(run, sizes), table)
    rng = np.random.default_rng([run.case.seed, 700])
    centers = np.asarray(windows.centers)
    return windows, nearby_states(sampled.estimate, run.case.coarse, centers, sizes.walkers, rng)


def _series(
    run: stages.Run,
    windows: Windows,
    positions: np.ndarray,
    which: np.ndarray,
    size: tuple[int, int],
    number: int,
    advance: Callable,
) -> Float[np.ndarray, "frames windows walkers d"]:
    """ξ of every walker of some windows, a few windows at a time so that the work done shows.

    `size`: frames, and steps between them.
    """
    parts = []
    for group in np.array_split(which, max(1, len(which) // 4)):
        chosen = Windows(windows.centers[group], windows.stiffness, windows.flattening)
        key = jax.random.fold_in(run.key(number), int(group[0]))
        parts.append(coarse_series(run, chosen, positions[group], key, size)[1])
        advance(len(group) * positions.shape[1] * size[0] * size[1])
    return np.concatenate(parts, axis=1)


def coarse_series(
    run: stages.Run,
    windows: Windows,
    positions: Float[np.ndarray, "windows walkers D"],
    key: Array,
    size: tuple[int, int],
) -> tuple[Float[np.ndarray, "windows walkers d"], Float[np.ndarray, "frames windows walkers d"]]:
    """ξ of each walker at its start and in the frames of one call of the engine; `size`: frames, steps between them."""
    # moves of a molecule are not adjusted: nothing is tuned
    tuning = stages.Tuning(jnp.ones(windows.count), jnp.ones((windows.count, 1, 1)))
    walkers = run.engine.start(windows, jnp.asarray(positions))
    _, chunk = run.engine.advance(windows, tuning, walkers, key, *size)
    return np.asarray(walkers.coarse), np.asarray(chunk.coarse)
