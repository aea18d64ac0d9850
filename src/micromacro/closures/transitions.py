"""Mean times of transition between two sets, counted in long trajectories."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from micromacro.closures.full_model import ratio_of_means, require_walkers
from micromacro.closures.long_trajectories import FullTrajectories
from micromacro.estimates.surface import Grid

FEW = 10
"""With fewer transitions the scatter between walkers says too little: they are taken to be as rare as Poisson's."""


@dataclass(frozen=True)
class CountedTransitions:
    """Mean times from entering one set until entering the other.

    **Arguments:**

    - `forward`, `backward`: from the first to the second and back; infinite where none was seen.
    - `forward_stderr`, `backward_stderr`: their standard errors; infinite where none was seen.
    - `events`: how many transitions were seen, forward and backward.
    """

    forward: float
    forward_stderr: float
    backward: float
    backward_stderr: float
    events: tuple[int, int]


def counted_transitions(
    trajectories: FullTrajectories, grid: Grid, first: Bool[np.ndarray, "n"], second: Bool[np.ndarray, "n"]
) -> CountedTransitions:
    """The time for which a set was the last that a walker visited, over the transitions from it to the other.

    Trajectories that end before a transition count with the time they waited: the estimate of maximum likelihood for
    exponential waiting times, and right for any stationary process. `first` and `second` are cores of states, sets of
    cells `(n,)` apart from each other: crossings of the barrier that turn back are no transitions (Schütte et al., J.
    Chem. Phys. 134, 204105, 2011). Visits between two frames go unnoticed: compare with `observed_transition_times`.
    """
    require_walkers(trajectories)
    frames, walkers, d = trajectories.z.shape
    cell = grid.cell(trajectories.z.reshape(-1, d)).reshape(frames, walkers)
    visited = np.where(cell < 0, -1, np.where(first[cell], 0, np.where(second[cell], 1, -1)))
    label = last_visited(visited)
    before, after = label[:-1], label[1:]
    times = [waiting_time(before, after, state, trajectories.interval) for state in (0, 1)]
    (forward, forward_stderr, ahead), (backward, backward_stderr, back) = times
    return CountedTransitions(forward, forward_stderr, backward, backward_stderr, (ahead, back))


def last_visited(visited: np.ndarray) -> np.ndarray:
    """The last set visited up to each frame; -1 before the first visit."""
    number = np.arange(len(visited))[:, None]
    latest = np.maximum.accumulate(np.where(visited >= 0, number, -1), axis=0)
    label = np.take_along_axis(visited, np.maximum(latest, 0), axis=0)
    return np.where(latest >= 0, label, -1)


def waiting_time(before: np.ndarray, after: np.ndarray, state: int, interval: float) -> tuple[float, float, int]:
    """Mean waiting time in a state, its standard error and the number of transitions out of it."""
    waited: Float[np.ndarray, "walkers 1"] = interval * (before == state).sum(axis=0, keepdims=True).T.astype(float)
    left: Float[np.ndarray, "walkers 1"] = ((before == state) & (after == 1 - state)).sum(axis=0, keepdims=True).T * 1.0
    events = int(left.sum())
    if events == 0:
        return np.inf, np.inf, 0
    mean, stderr = (float(column[0]) for column in ratio_of_means(waited, left))
    return mean, max(stderr, mean / np.sqrt(events)) if events < FEW else stderr, events
