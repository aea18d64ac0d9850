"""Short unbiased trajectories of a molecule: the D that they see, beside that of umbrella windows."""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import numpy as np
import xarray as xr

from micromacro import stages
from micromacro.closures.langevin_bursts import AGREE, TOLERANCE, BurstDiffusion, burst_diffusion, burst_paths_of
from micromacro.closures.smooth import smooth_closure
from micromacro.closures.table import ClosureTable
from micromacro.coupling.adding import nearby_states
from micromacro.errors import InputError
from micromacro.molecular_closure import SERIES, coarse_series, diffusion_of
from micromacro.pipeline import Sampled
from micromacro.sampling.seeding import no_windows

STAGE = "trajectories"
HIGHEST = 6.0
"""In kT: F of where trajectories begin."""
LENGTH = 3.0
"""In cutoffs of the series in windows: a plateau must show behind what relaxes until there."""
FEWEST, MOST = 64, 512
FEWEST_FRAMES = 50
MOST_NUMBERS = 20_000_000
"""That are in memory at once."""


@dataclass(frozen=True)
class ShortTrajectories:
    """D of short trajectories over that of the windows, against lag, and how far they may be apart.

    **Arguments:**

    - `diffusion`: the ratio, and its plateau if there is one.
    - `allowed`: the difference of the ratio at the plateau from 1 that the errors of both explain.
    """

    diffusion: BurstDiffusion
    allowed: float

    def as_dict(self) -> dict:
        """For JSON."""
        found = self.diffusion
        known = found.plateau is not None
        return {
            "lags": found.lags.tolist(),
            "ratio": found.ratio.tolist(),
            "stderr": found.stderr.tolist(),
            "plateau": found.plateau,
            "plateau_ratio": found.plateau_ratio if known else None,
            "plateau_stderr": found.plateau_stderr if known else None,
            "allowed": self.allowed,
            "reason": found.reason,
        }


def short_trajectories(run: stages.Run, sampled: Sampled, closed: ClosureTable) -> ShortTrajectories:
    """Trajectories from states all along ξ, by the dynamics of the molecule, held against the closure of the windows.

    They cost at most a quarter of `[close] bursts` steps, and what the budget has left.

    **Raises:** `InputError` where there is no closure to compare with, or too few steps are left.
    """
    if not run.store.has(run.stage_name(SERIES)) or not closed.finite.any():
        raise InputError("the closure", "be known, from series of ξ in windows", "none")
    series = run.store.read(run.stage_name(SERIES))
    record = _stage(run, sampled, closed, series)
    coarse, begin = run.case.coarse, record["start"].to_numpy()
    every = np.arange(len(begin))
    paths = burst_paths_of(coarse, begin, record["trajectories"].to_numpy(), float(record["interval"]), every)
    found = burst_diffusion(paths, smooth_closure(closed, coarse))
    cell = sampled.estimate.surface.grid.cell(begin)
    cell = cell[cell >= 0]
    diagonal = [np.diagonal(part[cell], axis1=1, axis2=2) for part in (closed.diffusion_stderr, closed.diffusion)]
    relative = float(np.sqrt(np.nanmean((diagonal[0] / diagonal[1]) ** 2)))
    return ShortTrajectories(
        found, 2 * TOLERANCE + AGREE * float(np.hypot(np.nan_to_num(found.plateau_stderr), relative))
    )


def _stage(run: stages.Run, sampled: Sampled, closed: ClosureTable, series: xr.Dataset) -> xr.Dataset:
    case, surface = run.case, sampled.estimate.surface
    step = case.system.time_step
    interval = max(1, round(float(series["interval"]) / step))
    count, frames = _size(run, interval, float(np.median(diffusion_of(run, series).cutoff)) / step)

    def compute(advance: Callable) -> xr.Dataset:
        rng = np.random.default_rng([case.seed, 720])
        low = np.flatnonzero(closed.finite & (np.nan_to_num(surface.free_energy, nan=np.inf) < HIGHEST))
        if not len(low):
            raise InputError("the closure", f"be known where F is below {HIGHEST:g} kT", "nowhere")
        centers = surface.grid.points[rng.choice(low, count)]
        positions = nearby_states(sampled.estimate, case.coarse, centers, 1, rng)[:, 0]
        parts = []
        for number, group in enumerate(np.array_split(positions, _groups(count, frames, case.system.dimension))):
            key = jax.random.fold_in(run.key(720), number)
            begun, moved = coarse_series(run, no_windows(case.coarse, 1), group[None], key, (frames, interval))
            parts.append((begun[0], moved[:, 0]))
            advance(len(group) * frames * interval)
        start, moved = zip(*parts, strict=True)
        units = {"units": "of the coarse variable"}
        return xr.Dataset(
            {
                "start": (("trajectory", "component"), np.concatenate(start), units),
                "trajectories": (("frame", "trajectory", "component"), np.concatenate(moved, axis=1), units),
                "interval": ((), interval * step, {"units": "ps"}),
            }
        )

    return run.stage(STAGE, count * frames * interval, "steps", compute)


def _size(run: stages.Run, interval: int, cutoff: float) -> tuple[int, int]:
    """Trajectories and frames of each; `cutoff` in steps."""
    case = run.case
    most = case.close.bursts // 4
    if case.budget is not None:
        most = min(most, case.budget - run.engine.evaluations)
    least = FEWEST * (FEWEST_FRAMES * interval + 1)
    if most < least:
        requirement = f"be at least {4 * least}, and the budget leave {least}, for short trajectories"
        raise InputError("[close] bursts", requirement, case.close.bursts)
    frames = int(np.clip(LENGTH * cutoff / interval, FEWEST_FRAMES, (most // FEWEST - 1) // interval))
    return min(MOST, most // (frames * interval + 1)), frames


def _groups(count: int, frames: int, dimension: int) -> int:
    """In how many parts trajectories are simulated: a dozen for their progress, more where memory asks for it."""
    return int(min(count, max(12, -(-count * frames * dimension // MOST_NUMBERS))))
