"""How long and how fine the series of umbrella windows should be for their diffusion, from those of a pilot."""

from dataclasses import dataclass

import numpy as np

from micromacro.closures.umbrella_diffusion import UmbrellaDiffusion
from micromacro.errors import InputError

LENGTH = 20.0
"""Of the series of one walker, in cutoffs of the pilot: twice that suffices for the longest lags to be quiet."""
GROWTH = 4.0
"""A pilot that had not converged was too short by at least so much."""
SHARE = 0.9
"""Of the windows that the interval and the length must suit."""
FINENESS = 0.5
"""Interval between frames over the longest that would do."""


@dataclass(frozen=True)
class SeriesPlan:
    """A call of `engine.advance` for each window.

    **Arguments:**

    - `frames` of each walker, `interval` steps apart.
    - `walkers`: in each window.
    - `relative_stderr`: of D in one window, expected.
    - `reason`: what decided the length.
    """

    frames: int
    interval: int
    walkers: int
    relative_stderr: float
    reason: str

    @property
    def steps(self) -> int:
        """Steps of all walkers of one window."""
        return self.frames * self.interval * self.walkers


def plan_series(
    pilot: UmbrellaDiffusion,
    pilot_time: float,
    time_step: float,
    walkers: int,
    *,
    relative_stderr: float = 0.1,
    most_steps: int | None = None,
) -> SeriesPlan:
    """Series that give D in a window to `relative_stderr`, where `most_steps` for all walkers of a window allow it.

    The variance of D falls as one over the time simulated. Beyond that each series must be long against the cutoff, and
    frames as close as the spectrum of z asks. The fit over the windows is more accurate than each of them.

    **Arguments:**

    - `pilot_time`: simulated in each window by the pilot, all its walkers together.
    - `time_step`: of the dynamics, in the same unit.

    **Raises:** `InputError` where the pilot gave no D at all.
    """
    errors = pilot.relative_stderr[np.isfinite(pilot.relative_stderr)]
    if len(errors) == 0:
        raise InputError("the pilot", "give a diffusion in some window", pilot.reasons[0], remedy="Make it longer.")
    finest = np.quantile(pilot.longest_interval, 1 - SHARE)
    interval = max(1, int(FINENESS * finest / time_step))
    typical = float(np.sqrt(np.mean(errors**2)))
    by_error = pilot_time * (typical / relative_stderr) ** 2
    by_length = walkers * LENGTH * float(np.quantile(pilot.cutoff, SHARE))
    time, reason = max((by_error, "the standard error asked for"), (by_length, "the longest relaxation in the windows"))
    if np.mean(pilot.converged) < SHARE and time < GROWTH * pilot_time:
        time, reason = GROWTH * pilot_time, "windows that had not converged in the pilot"
    steps = time / time_step
    if most_steps is not None and steps > most_steps:
        steps, reason = most_steps, "the steps that may be spent"
    frames = max(1, int(steps / (walkers * interval)))
    expected = typical * np.sqrt(pilot_time / (frames * interval * walkers * time_step))
    return SeriesPlan(frames, interval, walkers, float(expected), reason)
