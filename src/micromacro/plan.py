"""What a run will do: sizes derived from the data where the case leaves them out, and steps that fit the budget."""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from micromacro.cases.case import Case, ExploreSettings
from micromacro.coupling.rounds import ADAPT_CHUNKS, LONGEST_CYCLE, MOST_FRAMES, SEED_MOVES, Schedule, schedule_for
from micromacro.coupling.seeding import RELAXATION_CHUNKS
from micromacro.errors import BudgetError
from micromacro.estimates.discovered import MOST_WELLS, discovery_cost
from micromacro.molecules.system import MolecularSystem
from micromacro.sampling.opes import FEWEST_CHUNKS
from micromacro.sampling.seeding import exploration_cost, pull_cost
from micromacro.sampling.tuning import CHUNK_STEPS, FRAMES
from micromacro.sampling.windows import window_spacing
from micromacro.systems.model import FRAME_STEPS

EXPLORERS = 32
MOLECULE_EXPLORERS = 8
MOLECULE_FRAMES = 200
MOST_NUMBERS = 100_000_000
BURN_IN_CHUNKS = 12
FEWEST_STEPS = 100
MOST_CLOSURE_STATES = 100_000
OPES_SHARE = 0.2
WELLS_SHARE = 0.05
WINDOW_LIMITS = {1: (16, 48), 2: (10, 14)}


@dataclass(frozen=True)
class WindowPlan:
    """Windows per coarse dimension, their stiffness in kT per squared unit of z `(d,)`, and walkers in each."""

    per_dimension: int
    stiffness: Float[np.ndarray, "d"]
    walkers: int


def plan_windows(case: Case, spread: Float[np.ndarray, "d"]) -> WindowPlan:
    """Number and stiffness of the windows.

    Left out, the blur of a window is three quarters of the thermal spread of ξ in the narrowest known well, and
    neighbours stand √2 blurs apart, which keeps the pooled density of ξ even.
    """
    coarse, bias = case.coarse, case.bias
    if bias.windows is not None:
        count = bias.windows
    elif bias.stiffness is not None:
        count = int(np.ceil(np.max(coarse.range) / np.sqrt(2 / bias.stiffness))) + 1
    else:
        fewest, most = WINDOW_LIMITS.get(coarse.dimension, (5, 7))
        wanted = np.max(coarse.range / (np.sqrt(2) * 0.75 * np.maximum(spread, 1e-12)))
        count = int(np.clip(np.ceil(wanted) + 1, fewest, most))
    spacing = window_spacing(coarse, count)
    stiffness = 2 / spacing**2 if bias.stiffness is None else np.full(coarse.dimension, bias.stiffness)
    walkers = bias.walkers or {1: 64, 2: 16}.get(coarse.dimension, 8)
    return WindowPlan(count, stiffness, max(walkers, len(case.system.initial)))


def explorers(case: Case) -> int:
    """Walkers of the short unbiased runs from each starting point: fewer where each step is dear."""
    return MOLECULE_EXPLORERS if isinstance(case.system, MolecularSystem) else EXPLORERS


def chunk_steps(case: Case) -> int:
    """Steps of the chunks by which chains are tuned."""
    return FRAMES * case.system.frame_steps


def exploration(case: Case, starts: int | None = None) -> int:
    """Force evaluations of the short unbiased runs from `starts` points, all of the case where left out."""
    count = len(case.system.initial) if starts is None else starts
    return exploration_cost(count, explorers(case), case.system.frame_steps)


def most_frames(case: Case) -> int:
    """States that a round may save: fewer of a system so large that they would not fit into memory."""
    return min(MOST_FRAMES, MOST_NUMBERS // case.system.dimension)


def cycles_for(case: Case) -> int:
    """Generator moves per walker and round: fewer where each is dear beside the local steps."""
    dimension = case.system.dimension
    if isinstance(case.system, MolecularSystem):
        return case.couple.cycles or 100
    return case.couple.cycles or (40 if dimension <= 5 else 30 if dimension <= 30 else 10)


def cycle_steps(case: Case, steps: int) -> int:
    """Local steps between two generator moves in a round of so many steps with the moves that the case has."""
    shortest = FRAME_STEPS if isinstance(case.system, MolecularSystem) else 1
    return int(np.clip(steps // cycles_for(case), shortest, LONGEST_CYCLE))


def schedule(
    case: Case, steps: int, batch: int, cycles: int | None = None, longest_cycle: int = LONGEST_CYCLE
) -> Schedule:
    """How a round of `steps` local steps is spent.

    Each frame of a molecule costs as much as two steps: they are as far apart as leaves 200 of them, within limits.
    `longest_cycle`: steps from which on a cycle becomes more of them, as far as memory holds their frames.
    """
    interval = 1
    if isinstance(case.system, MolecularSystem):
        interval = int(np.clip(steps // MOLECULE_FRAMES, FRAME_STEPS, case.system.frame_steps))
    return schedule_for(steps, cycles or cycles_for(case), batch, most_frames(case), interval, longest_cycle)


@dataclass(frozen=True)
class Budget:
    """The ceiling of force evaluations, and how to stay below it; `share` of it where something else has the rest."""

    ceiling: int | None
    share: float = 1.0

    @property
    def part(self) -> int | None:
        """Force evaluations that may be spent."""
        return None if self.ceiling is None else int(self.share * self.ceiling)

    def steps(self, wanted: int, spent: int, reserve: int, batch: int, overhead: int, rounds_left: int) -> int:
        """Local steps per walker of the next round: `wanted`, or an equal share of what is left.

        **Arguments:**

        - `spent`: force evaluations so far; `reserve`: what later stages need at least.
        - `batch`: walkers over all windows; `overhead`: evaluations per walker that a round needs besides its steps.
        """
        if self.part is None:
            return wanted
        affordable = (self.part - spent - reserve) // (max(rounds_left, 1) * batch) - overhead
        return int(min(wanted, affordable))

    def require(self, needed: int, what: str) -> None:
        """Raise `BudgetError` where the ceiling cannot hold `needed` evaluations."""
        if self.part is not None and needed > self.part:
            total = int(np.ceil(needed / self.share))
            raise BudgetError(
                f"budget must be at least {total} force evaluations for {what}; got {self.ceiling}. "
                "Raise --budget, or lower [bias] windows or walkers."
            )


def round_overhead(
    cycles: int,
    *,
    coupled: bool,
    seeded: bool = False,
    chunk: int = CHUNK_STEPS,
    repair: int = 0,
    adapt_chunks: int = ADAPT_CHUNKS,
) -> int:
    """Force evaluations per walker and round besides the local steps; `seeded` by a generator without a density.

    `chunk`: steps of the `adapt_chunks` by which chains are tuned; `repair`: evaluations that make a raw draw fit for
    dynamics.
    """
    if seeded:
        return 2 + repair + RELAXATION_CHUNKS * chunk
    return 1 + adapt_chunks * chunk + (SEED_MOVES + cycles if coupled else 0)


def least_cost(case: Case, plan: WindowPlan, *, seeded: bool = False) -> int:
    """Force evaluations of the shortest run that could give an answer: every stage, one short round."""
    windows = plan.per_dimension**case.coarse.dimension
    batch = windows * plan.walkers
    overhead = round_overhead(cycles_for(case), coupled=True, seeded=seeded, chunk=chunk_steps(case))
    rounds = 2 * FEWEST_STEPS + 1 + BURN_IN_CHUNKS * chunk_steps(case) + overhead
    return exploration(case) + pull_cost(windows, plan.walkers, case.system.frame_steps) + batch * rounds + 1000


@dataclass(frozen=True)
class OpesPlan:
    """The settings of an adaptive bias with steps that the budget can hold, and how many wells it may add."""

    settings: ExploreSettings
    new_wells: int


def plan_opes(case: Case, budget: Budget, needed: int) -> OpesPlan:
    """Steps and new wells of an adaptive bias: at most a fifth of the budget, a twentieth for runs from new wells.

    **Arguments:**

    - `needed`: force evaluations that the rest of the run needs at least.

    **Raises:** `BudgetError` where too few steps are left for a bias to form.
    """
    settings, starts = case.explore, len(case.system.initial)
    settings = replace(settings, walkers=max(settings.walkers, starts))
    most = max(0, MOST_WELLS - starts)
    if budget.part is None:
        return OpesPlan(settings, most)
    each, chunk = exploration(case, 1), chunk_steps(case)
    new_wells = int(min(most, max(1, int(WELLS_SHARE * budget.part / each))))
    fixed = discovery_cost(starts) + new_wells * each
    affordable = min(int(OPES_SHARE * budget.part), budget.part - needed) - fixed
    chunks = affordable // (settings.walkers * (chunk + 1))
    if chunks < FEWEST_CHUNKS:
        least = fixed + FEWEST_CHUNKS * settings.walkers * (chunk + 1)
        total = int(np.ceil(max(least / OPES_SHARE, least + needed) / budget.share))
        raise BudgetError(
            f'budget must be at least {total} force evaluations for [explore] kind = "opes"; got {budget.ceiling}. '
            'Raise --budget, lower [explore] walkers, or use [explore] kind = "unbiased".'
        )
    return OpesPlan(replace(settings, steps=int(min(settings.steps, chunks * chunk))), new_wells)
