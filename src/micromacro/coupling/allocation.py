r"""Where the next work goes: copies of windows, by what more frames of each would take off the variance asked for.

The variance of an estimate from independent windows is $\sum_k \sigma_k^2 / N_k$ for work $N_k$; for a fixed total it
is smallest where $N_k \propto \sigma_k$ (Neyman, J. R. Stat. Soc. 97, 558, 1934). The $\sigma_k^2$ follow from the
influence of every chain on the estimate, so that correlation in time is in them.
"""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from micromacro.coordinates.coarse import CoarseVariable
from micromacro.sampling.engine import Tuning
from micromacro.sampling.windows import Windows

MOST_COPIES = 32
NEIGHBOURS_WORTH = 8.0


@dataclass(frozen=True)
class Spending:
    r"""What the frames of each window count for, and what they leave to the variance of the estimate.

    **Arguments:**

    - `work`: independent frames or, in proportion to them, walker-steps, `(K,)`.
    - `variance`: $\sigma_k^2$, so that window k adds `variance / work` to the squared standard error, `(K,)`.
    """

    work: Float[np.ndarray, "K"]
    variance: Float[np.ndarray, "K"]

    def squared_error(self, added: Float[np.ndarray, "K"]) -> float:
        """The squared standard error after `added` work in each window, `(K,)`."""
        total = np.maximum(self.work + added, 1e-300)
        return float(np.sum(self.variance / total))


def spending(
    coarse: CoarseVariable,
    windows: Windows,
    walkers: int,
    work: Float[np.ndarray, "K"],
    per_chain: Float[np.ndarray, "C"],
) -> Spending:
    """The spending so far, from what each chain adds to the squared standard error.

    A variance from few chains is steadied by those of the windows around: theirs count as `NEIGHBOURS_WORTH` chains,
    its own as the walkers less one. A window without frames takes theirs alone.

    **Arguments:**

    - `per_chain`: chain `k * walkers + i` is walker i of window k, `(C,)`.
    """
    whole = np.zeros(windows.count * walkers)
    whole[: len(per_chain)] = per_chain
    own = whole.reshape(windows.count, walkers).sum(axis=1) * work
    centers = np.asarray(windows.centers)
    delta = np.asarray(coarse.difference(centers[:, None], centers[None]))
    near = np.exp(-0.25 * np.sum(np.asarray(windows.stiffness) * delta**2, axis=-1)) * (work > 0)
    around = near @ own / np.maximum(near.sum(axis=1), 1e-300)
    chains = np.where(work > 0, walkers - 1.0, 0.0)
    steadied = (chains * own + NEIGHBOURS_WORTH * around) / (chains + NEIGHBOURS_WORTH)
    known = work > 0
    found = np.sum(steadied[known] / work[known])
    return Spending(work, steadied * (whole.sum() / found if found > 0 else 1.0))


def share_copies(spent: Spending, total: int, added: float) -> Int[np.ndarray, "K"]:
    """How many copies of each window the next round holds, `(K,)`: one at least, `MOST_COPIES` at most.

    Copies are given one at a time, each to the window where it takes most off the variance; as that is convex, no other
    way to share them leaves less.

    **Arguments:**

    - `total`: copies in all, as many as windows at least.
    - `added`: work of one copy.
    """
    copies = np.ones(len(spent.work), int)
    for _ in range(total - len(copies)):
        reached = spent.work + copies * added
        gain = spent.variance * added / (reached * (reached + added))
        # of windows that would gain nothing, or all alike, the one that has least
        gain = np.where(copies < MOST_COPIES, gain, -1.0)
        best = np.flatnonzero(gain == gain.max())
        copies[best[np.argmin(reached[best])]] += 1
    return copies


def columns_of(copies: Int[np.ndarray, "K"]) -> Int[np.ndarray, "S"]:
    """The window of each column of a round, `(S,)`, copies of a window side by side."""
    return np.repeat(np.arange(len(copies)), copies)


def first_columns(columns: Int[np.ndarray, "S"]) -> Int[np.ndarray, "K"]:
    """The first column of each window, `(K,)`."""
    return np.unique(columns, return_index=True)[1]


def origins(before: Int[np.ndarray, "R"], columns: Int[np.ndarray, "S"]) -> Int[np.ndarray, "S"]:
    """From which column of the round before each column goes on, `(S,)`: copies take those of their window in turn."""
    found = np.empty(len(columns), int)
    for window in np.unique(columns):
        here, there = np.flatnonzero(columns == window), np.flatnonzero(before == window)
        found[here] = there[np.arange(len(here)) % len(there)]
    return found


@dataclass(frozen=True)
class Walkers:
    """Where the walkers of a round stand, to go on from.

    **Arguments:**

    - `position`: of every column, `(columns, walkers, D)`; `window`: which window each column is of, `(columns,)`.
    - `tuning`: of every window; `start` `(labelled, walkers)`: the starting points they came from, of all windows but
      the last added ones.
    """

    position: Float[np.ndarray, "columns walkers D"]
    window: Int[np.ndarray, "columns"]
    tuning: Tuning
    start: Int[np.ndarray, "labelled walkers"]

    @property
    def count(self) -> int:
        """Walkers of each column."""
        return self.position.shape[1]

    def with_added(self, states: Float[np.ndarray, "m walkers D"], like: list[int]) -> "Walkers":
        """With those of m windows more, each tuned like one that is known."""
        known = self.tuning.step_size.shape[0]
        index = jnp.array([*range(known), *like])
        position = np.concatenate([self.position, states])
        window = np.concatenate([self.window, known + np.arange(len(states))])
        return Walkers(position, window, Tuning(self.tuning.step_size[index], self.tuning.scale[index]), self.start)

    def placed(self, columns: Int[np.ndarray, "S"]) -> "Walkers":
        """In the columns of the next round, with the tuning and the starting points of each column."""
        tuning = Tuning(self.tuning.step_size[columns], self.tuning.scale[columns])
        labels = self.start[columns[columns < len(self.start)]]
        return Walkers(self.position[origins(self.window, columns)], columns, tuning, labels)
