"""How a run finds its first states: short unbiased runs, and an adaptive bias along ξ where the case asks for it."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import xarray as xr
from jaxtyping import Float

from micromacro import plan, records, stages
from micromacro.cases.case import Case
from micromacro.coupling.estimate import Segment
from micromacro.estimates.discovered import Discovered, discover
from micromacro.estimates.reweighting import reweighted_free_energy
from micromacro.sampling import seeding
from micromacro.sampling.engine import JaxEngine
from micromacro.sampling.opes import OpesRun, opes
from micromacro.sampling.production import Frames
from micromacro.sampling.seeding import Exploration, Seeds, joined_explorations, no_windows, start_labels

ADAPTIVE = "opes"
MOST_SEEDS = 4000


@dataclass(frozen=True)
class Explored:
    """What a run begins with.

    **Arguments:**

    - `exploration`: short unbiased runs from every starting point, those found included.
    - `seeds`: states by their wells, from which walkers are put into windows; `None` without an adaptive bias.
    - `segments`: frames that teach a generator p(q | ξ) besides those of windows.
    - `found`: the run under an adaptive bias itself.
    - `cost`: force evaluations besides those of the short runs from the starting points.
    """

    exploration: Exploration
    seeds: Seeds | None = None
    segments: tuple[Segment, ...] = ()
    found: OpesRun | None = None
    cost: int = 0


def explore(run: stages.Run, budget: plan.Budget, *, seeded: bool = False) -> tuple[stages.Run, Explored]:
    """Explore as the case says.

    **Returns:** the run, whose case has the wells that were found among its starting points; and what was explored.

    **Raises:** `BudgetError` where the budget is too small for an adaptive bias and for what follows.
    """
    spent = run.engine.evaluations
    exploration = stages.explore_stage(run)
    if run.case.explore.kind != ADAPTIVE:
        return run, Explored(exploration)
    before = run.engine.evaluations
    sizes = plan.plan_windows(run.case, exploration.spread)
    needed = spent + plan.least_cost(run.case, sizes, seeded=seeded)
    planned = plan.plan_opes(run.case, budget, needed)
    found, wells = opes_stage(run, exploration, planned)
    segment = opes_segment(run, found)
    new = wells.initial[len(run.case.system.initial) :]
    if len(new):
        exploration = joined_explorations(exploration, _wells_stage(run, new))
        run = replace(run, case=extended_case(run.case, wells))
    return run, Explored(exploration, wells.seeds, (segment,), found, run.engine.evaluations - before)


def extended_case(case: Case, wells: Discovered) -> Case:
    """The case with the wells that were found among its starting points, after the user's own."""
    return replace(case, system=replace(case.system, initial=wells.initial))


def opes_stage(run: stages.Run, exploration: Exploration, planned: plan.OpesPlan) -> tuple[OpesRun, Discovered]:
    """Walkers under a shared adaptive bias along ξ, and the wells among what they visited."""
    case, settings = run.case, planned.settings

    def compute(advance: Callable) -> xr.Dataset:
        found = opes(run.engine, case.coarse, exploration, settings, run.key(4), advance)
        surface = reweighted_free_energy(case.coarse, found.coarse, found.weight)
        frames, initial = found.position.reshape(-1, case.system.dimension), case.system.initial
        z = found.coarse.reshape(-1, case.coarse.dimension)
        rng = np.random.default_rng([case.seed, 4])
        if isinstance(run.engine, JaxEngine):
            wells = discover(
                run.engine, case.coarse, initial, frames, z, exploration.scale, rng, most_new=planned.new_wells
            )
        else:
            wells = known_wells(initial, found, rng)
        return records.opes_record(found, surface, wells)

    return records.read_opes(run.stage(ADAPTIVE, settings.walkers * settings.steps, "walker-steps", compute))


def known_wells(initial: Float[np.ndarray, "n D"], found: OpesRun, rng: np.random.Generator) -> Discovered:
    """The starting points alone, and seeds that are named by where their walkers began: molecules are not searched."""
    frames, walkers = found.log_density.shape
    label = np.broadcast_to(start_labels(len(initial), walkers), (frames, walkers)).reshape(-1)
    chosen = rng.permutation(frames * walkers)[:MOST_SEEDS]
    position, coarse = (part.reshape(frames * walkers, -1)[chosen] for part in (found.position, found.coarse))
    return Discovered(initial, Seeds(position, coarse, label[chosen]))


def opes_segment(run: stages.Run, found: OpesRun) -> Segment:
    """The frames as those of one window: a bias along ξ alone leaves p(q | ξ) as it is."""
    position, coarse, log_density = found.position[:, None], found.coarse[:, None], found.log_density[:, None]
    frames = stages.canonical_frames(run, Frames(position, coarse, log_density, np.ones(1)))
    return Segment(no_windows(run.case.coarse, 1), frames, np.zeros(1, int))


def _wells_stage(run: stages.Run, new: np.ndarray) -> Exploration:
    """Short unbiased runs from the wells that were found."""

    def compute(advance: Callable) -> xr.Dataset:
        before = run.engine.evaluations
        found = seeding.explore(run.engine, run.case.coarse, new, plan.explorers(run.case), run.key(5))
        advance(run.engine.evaluations - before)
        return records.exploration_record(found)

    total = plan.exploration(run.case, len(new))
    return records.read_exploration(run.stage("explore_wells", total, "walker-steps", compute))
