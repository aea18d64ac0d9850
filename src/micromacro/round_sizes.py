"""How long the next round is and which windows it holds, in a run that has a target or spreads its work unevenly.

The first round is a quarter of `[bias] steps` long, in every window alike. Each further one is as long as should
bring the standard error to the target, but at most `GROWTH` times all before it: its length and its windows rest on an
estimate that the next one mends. An uneven round holds up to four times as many columns as there are windows, each
window at least once. So none gets less than a quarter of the mean, whatever its standard error says: a window whose
walkers never crossed a hidden barrier looks quiet.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from micromacro import plan
from micromacro.cases.case import Case
from micromacro.coupling.allocation import Spending, columns_of, share_copies, spending
from micromacro.coupling.estimate import Segment
from micromacro.coupling.rounds import ADAPT_CHUNKS
from micromacro.sampling.windows import Windows
from micromacro.target import Reached

ADAPTIVE, UNIFORM = "adaptive", "uniform"
UNEVEN_FROM = 2
"""The first round that may be uneven."""
COPIES = (1, 2, 4)
"""Columns of an uneven round for each window, of which the best is taken: each costs its start and its burn-in."""
FIRST_PART = 4
MARGIN = 0.95
GROWTH = 2.0
MOST_ROUNDS = 40
MOST_WORK = 10
LENGTHS = 12


@dataclass(frozen=True)
class RoundSize:
    """The next round: the window of each of its columns `(S,)`, steps of each walker, chunks of steps to tune by."""

    columns: Int[np.ndarray, "S"]
    steps: int
    adapt_chunks: int = ADAPT_CHUNKS


@dataclass(frozen=True)
class Affordable:
    """What a round may cost: `overhead` of each walker besides its steps, and `left` force evaluations, if limited."""

    overhead: int
    left: int | None

    def steps(self, walkers: int) -> int | None:
        """The most steps of each of so many walkers; `None` without a limit."""
        return None if self.left is None else self.left // walkers - self.overhead


def round_steps(case: Case) -> int:
    """Steps of the first round, and twice those of the pass before it: shorter where a target decides on the rest."""
    return max(case.bias.steps // FIRST_PART, plan.FEWEST_STEPS) if case.target.error is not None else case.bias.steps


def most_rounds(case: Case) -> int:
    """After how many rounds a run ends at last."""
    return MOST_ROUNDS if case.target.error is not None else case.couple.rounds


def keeps_windows(case: Case, number: int) -> bool:
    """Whether a round goes on in the windows of the one before, whatever F is by now.

    A renewed bias makes new states of all windows, which many rounds would add up; and the overlap that says where
    windows are missing is not to be had from uneven work.
    """
    return case.target.sizes_rounds and number > UNEVEN_FROM


def allocation_of(case: Case) -> str:
    """`adaptive`, work where it lowers the error most, or `uniform`; walkers that change windows belong to none."""
    if case.target.allocation is not None:
        return case.target.allocation
    return ADAPTIVE if case.target.error is not None and not case.bias.exchange else UNIFORM


def first_size(
    case: Case, windows: Windows, walkers: int, affordable: Affordable, *, rounds_left: int
) -> RoundSize | None:
    """The first round, of at most half of what is left, so that another follows; `None` where too little is left."""
    steps, limit = round_steps(case), affordable.steps(max(2, rounds_left) * windows.count * walkers)
    steps = steps if limit is None else min(steps, limit)
    return RoundSize(np.arange(windows.count), steps) if steps >= plan.FEWEST_STEPS else None


def next_size(
    case: Case,
    windows: Windows,
    walkers: int,
    segments: list[Segment],
    now: Reached,
    affordable: Affordable,
    adapt_chunks: int,
    *,
    rounds_left: int = 1,
) -> RoundSize | None:
    """A further round; `None` where the budget, or without one `MOST_WORK` times the usual work, has been spent.

    **Arguments:**

    - `now`: the standard error by now and the share of each chain.
    - `rounds_left`: among which the budget is shared where there is no target.
    """
    spent = spending(case.coarse, windows, walkers, work_of(windows, segments), now.chain_variance)
    options = []
    for copies in COPIES if allocation_of(case) == ADAPTIVE else (1,):
        columns = copies * windows.count
        most = _longest(case, float(np.mean(spent.work)) / walkers, affordable.left is not None) // copies
        limit = affordable.steps(rounds_left * columns * walkers)
        most = most if limit is None else min(most, limit)
        if most >= plan.FEWEST_STEPS:
            options.append(_shortest(spent, columns, most, walkers, affordable.overhead, case.target.error))
    if not options:
        return None
    if not np.isfinite(now.error):
        # nothing is known of where the error comes from: as much work as there may be, everywhere alike
        return RoundSize(np.arange(windows.count), options[0].most, adapt_chunks)
    best = min(options, key=lambda option: option.rank)
    return RoundSize(columns_of(best.copies), best.steps, adapt_chunks)


def _longest(case: Case, mean: float, limited: bool) -> int:
    """The most steps of a round in each window on average, where each has had `mean` so far."""
    if case.target.error is None:
        return case.bias.steps
    longest = max(round(GROWTH * mean), round_steps(case))
    if limited:
        return longest
    return min(longest, round(MOST_WORK * case.couple.rounds * case.bias.steps - mean))


def work_of(windows: Windows, segments: list[Segment]) -> Float[np.ndarray, "K"]:
    """Walker-steps of each window that count, over all rounds; windows that were added later have none before."""
    work = np.zeros(windows.count)
    for segment in segments:
        work[: segment.windows.count] += segment.work
    return work


@dataclass(frozen=True)
class _Option:
    """One way to spend a round: copies of each window and steps, force evaluations, and whether the target is in reach.

    `worth`: squared error after it times all that the run has cost then, smallest where work is used best; `most`: the
    steps that it may have.
    """

    copies: Int[np.ndarray, "K"]
    steps: int
    cost: float
    reaches: bool
    worth: float
    most: int

    @property
    def rank(self) -> tuple[bool, float]:
        """The best option has the smallest: of those that reach the target by cost, of others by worth."""
        return (not self.reaches, self.cost if self.reaches else self.worth)


def _shortest(spent: Spending, columns: int, most: int, walkers: int, overhead: int, wanted: float | None) -> _Option:
    """The shortest round of so many columns that should reach what is wanted, the longest where none should."""
    lengths = np.unique(np.geomspace(min(plan.FEWEST_STEPS, most), most, LENGTHS).astype(int))
    found = None
    for steps in lengths if wanted is not None else lengths[-1:]:
        added = float(steps * walkers)
        copies = share_copies(spent, columns, added)
        error = spent.squared_error(copies * added)
        cost = float(columns * walkers * (steps + overhead))
        reaches = wanted is not None and error <= (MARGIN * wanted) ** 2
        found = _Option(copies, int(steps), cost, reaches, error * (float(np.sum(spent.work)) + cost), most)
        if reaches:
            break
    assert found is not None
    return found
