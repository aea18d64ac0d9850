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
from micromacro.coupling.rounds import ADAPT_CHUNKS, LONGEST_CYCLE, Schedule
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
MOST_INDEPENDENT = 0.99
"""Of frames, the share that is believed: what lies between frames that seem independent is not to be seen."""


def round_schedule(case: Case, steps: int, batch: int, *, moves: bool) -> Schedule:
    """How a round of so many steps of each of `batch` walkers spends them.

    `moves`: whether generator moves cross hidden barriers, as nothing else does; longer rounds then have more of them,
    not rarer ones, as far as memory holds their frames.
    """
    longest = plan.cycle_steps(case, round_steps(case)) if moves else LONGEST_CYCLE
    return plan.schedule(case, steps, batch, longest_cycle=longest)


@dataclass(frozen=True)
class RoundSize:
    """The next round: the window of each of its columns `(S,)`, steps of each walker, chunks of steps to tune by."""

    columns: Int[np.ndarray, "S"]
    steps: int
    adapt_chunks: int = ADAPT_CHUNKS


@dataclass(frozen=True)
class Affordable:
    """What a round may cost: `overhead` of each walker besides its steps, and `left` force evaluations, if limited.

    `moves`: whether generator moves cross hidden barriers, as in `round_schedule`.
    """

    overhead: int
    left: int | None
    moves: bool = False

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
    information = _sum_of_windows(windows, [segment.information for segment in segments])
    done = _sum_of_windows(windows, [segment.work for segment in segments])
    spent = spending(case.coarse, windows, walkers, information, now.chain_variance)
    options = []
    for copies in COPIES if allocation_of(case) == ADAPTIVE else (1,):
        columns = copies * windows.count
        most = _longest(case, float(np.mean(done)) / walkers, affordable.left is not None) // copies
        limit = affordable.steps(rounds_left * columns * walkers)
        most = most if limit is None else min(most, limit)
        most = min(most, _longest_with_moves(case, columns * walkers)) if affordable.moves else most
        if most >= plan.FEWEST_STEPS:
            lengths = [
                _length(case, steps, segments[-1], columns, walkers, affordable) for steps in _steps_to_try(case, most)
            ]
            options.append(_best_length(spent, columns, lengths, float(np.sum(done)), case.target.error))
    if not options:
        return None
    wanted = case.target.error
    if not np.isfinite(now.error) or (wanted is not None and now.error <= wanted):
        # nothing is known of where the error comes from, or checks fail that only longer chains can mend
        return RoundSize(np.arange(windows.count), options[0].most.steps, adapt_chunks)
    best = min(options, key=lambda option: option.rank)
    return RoundSize(columns_of(best.copies), best.length.steps, adapt_chunks)


def _longest(case: Case, mean: float, limited: bool) -> int:
    """The most steps of a round in each window on average, where each has had `mean` so far."""
    if case.target.error is None:
        return case.bias.steps
    longest = max(round(GROWTH * mean), round_steps(case))
    if limited:
        return longest
    return min(longest, round(MOST_WORK * case.couple.rounds * case.bias.steps - mean))


def _longest_with_moves(case: Case, batch: int) -> int:
    """Steps of the longest round with moves as frequent as in the first, whose frames memory can hold."""
    cycles = max(plan.cycles_for(case), plan.most_frames(case) // batch)
    return max(plan.FEWEST_STEPS, cycles * plan.cycle_steps(case, round_steps(case)))


def _sum_of_windows(windows: Windows, parts: list[np.ndarray]) -> Float[np.ndarray, "K"]:
    """Over all rounds, of each window; those that were added later have nothing before."""
    total = np.zeros(windows.count)
    for part in parts:
        total[: len(part)] += part
    return total


@dataclass(frozen=True)
class _Length:
    """A length that a round may have: its steps, its force evaluations, and what each column of it counts for."""

    steps: int
    cost: float
    added: float


def _steps_to_try(case: Case, most: int) -> list[int]:
    """From the shortest on where a target decides; else the longest."""
    lengths = np.unique(np.geomspace(min(plan.FEWEST_STEPS, most), most, LENGTHS).astype(int))
    return [int(steps) for steps in (lengths if case.target.error is not None else lengths[-1:])]


def _length(case: Case, steps: int, last: Segment, columns: int, walkers: int, affordable: Affordable) -> _Length:
    r"""What a round of so many steps costs and counts for, if its frames are correlated as those of the last round.

    Correlations that decay exponentially leave the share $\tanh(\Delta / 2\tau)$ of frames Δ steps apart.
    """
    schedule = round_schedule(case, steps, columns * walkers, moves=affordable.moves)
    worth = float(schedule.interval)
    if last.independence is not None:
        apart = np.arctanh(min(last.independence, MOST_INDEPENDENT)) * schedule.interval / last.interval
        worth = float(np.tanh(apart))
    cost = float(columns * walkers * (steps + affordable.overhead))
    return _Length(steps, cost, schedule.cycles * schedule.frames * worth * walkers)


@dataclass(frozen=True)
class _Option:
    """One way to spend a round: copies of each window, its length, and whether the target is in reach.

    `worth`: squared error after it times all that the run has cost then, smallest where work is used best; `most`: the
    longest that it may be.
    """

    copies: Int[np.ndarray, "K"]
    length: _Length
    reaches: bool
    worth: float
    most: _Length

    @property
    def rank(self) -> tuple[bool, float]:
        """The best option has the smallest: of those that reach the target by cost, of others by worth."""
        return (not self.reaches, self.length.cost if self.reaches else self.worth)


def _best_length(spent: Spending, columns: int, lengths: list[_Length], done: float, wanted: float | None) -> _Option:
    """The shortest round of so many columns that should reach what is wanted; where none should, the one worth most.

    `done`: what the rounds so far have cost.
    """
    options = []
    for length in lengths:
        copies = share_copies(spent, columns, length.added)
        error = spent.squared_error(copies * length.added)
        reaches = wanted is not None and error <= (MARGIN * wanted) ** 2
        options.append(_Option(copies, length, reaches, error * (done + length.cost), lengths[-1]))
    return min(options, key=lambda option: option.rank)
