"""Beyond the projection: closures from bursts and from snapshots, and long simulations of the full model to judge by.

Each stage has a premise: hidden coordinates that relax by themselves at fixed ξ, a ξ that is stationary, force
evaluations enough. Where it does not hold there is a reason instead of a result, and nothing is spent. Of a molecule
there are short trajectories alone, which show themselves whether it holds.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import TypeVar

import numpy as np
import xarray as xr
from jaxtyping import Float

from micromacro import reduction_records as records
from micromacro import stages
from micromacro.closures.agreement import Agreement, compare, not_applicable
from micromacro.closures.bursts import BurstClosure, BurstSettings, burst_closure
from micromacro.closures.effective import EffectiveSettings, fit_effective_dynamics
from micromacro.closures.files import BURSTS, LEARNED, PROJECTED
from micromacro.closures.grid import grid_of_points
from micromacro.closures.kernels import kernel_width
from micromacro.closures.long_trajectories import FullTrajectories, simulate_full
from micromacro.closures.reduced import ReducedDynamics, steepest_slope
from micromacro.closures.snapshots import snapshot_pairs
from micromacro.closures.spectrum import slowest_modes
from micromacro.closures.table import ClosureTable
from micromacro.coupling import checks
from micromacro.errors import InputError, MicromacroError, PhysicsError
from micromacro.molecules.system import MolecularSystem, of_equations
from micromacro.pipeline import Sampled
from micromacro.short_trajectories import ShortTrajectories, short_trajectories

OF_MOLECULES = "b and D of a molecule come from series of ξ in umbrella windows and from F"
NO_GAP = "hidden coordinates do not relax at fixed ξ by their own dynamics: no gap between time scales"
MOST_COMPONENTS = 3
PILOT_SHARE = 4
FEWEST_WALKERS, MOST_WALKERS = 32, 512
MOST_FRAMES = 4000
SLOW_TIMES, FEWEST_SLOW_TIMES = 20.0, 4.0
FRAMES_PER_SLOW_TIME, FRAMES_PER_FAST_TIME = 40, 4
LAG_OF_PLATEAU, LAG_OF_SLOPE = 3.0, 0.3
MOST_PAIRS = 200_000
FEWEST_PILOT_STEPS = 8

STAGES: tuple[str, ...] = ("bursts", "learned", "full_model")

Found = TypeVar("Found")


@dataclass(frozen=True)
class Learned:
    """The closure of an effective equation learned from snapshots.

    **Arguments:**

    - `table`: on the grid, NaN where there were too few snapshots.
    - `lag`: between the two snapshots of a pair, in units of time.
    - `reason`: how well its transition density predicts pairs that training did not see.
    """

    table: ClosureTable
    lag: float
    reason: str


@dataclass(frozen=True)
class Reduction:
    """The closure by every route, and how the reduced dynamics does against the full one.

    **Arguments:**

    - `projected`, `bursts`, `learned`: the closures that there are.
    - `agreement`: of the reduced dynamics with the full model, by the route of its closure.
    - `reasons`: why there is no result, by what is missing: `bursts`, `learned`, `full_model`, `short_trajectories`.
    - `short_trajectories`: of a molecule, their D beside that of the windows.
    - `no_gap`: why time scales are known not to separate, so that there is no reduced dynamics to judge; else `None`.
    """

    projected: ClosureTable
    bursts: BurstClosure | None = None
    learned: Learned | None = None
    agreement: dict[str, Agreement] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    no_gap: str | None = None
    short_trajectories: ShortTrajectories | None = None

    @cached_property
    def tables(self) -> dict[str, ClosureTable]:
        """The closures by route."""
        found = {PROJECTED: self.projected}
        if self.bursts is not None and self.bursts.table is not None:
            found[BURSTS] = self.bursts.table
        if self.learned is not None:
            found[LEARNED] = self.learned.table
        return found

    def as_dict(self) -> dict:
        """For JSON: what is not in the tables."""
        bursts, learned = self.bursts, self.learned
        return {
            "bursts": bursts
            and {
                "healing_time": bursts.healing_time,
                "plateau": bursts.plateau,
                "lags": bursts.lags,
                "bursts": bursts.bursts,
                "force_evaluations": bursts.evaluations,
                "reason": bursts.reason,
            },
            "learned": learned and {"lag": learned.lag, "reason": learned.reason},
            "agreement": {route: _agreement_row(one) for route, one in self.agreement.items()},
            "reasons": self.reasons,
            "short_trajectories": self.short_trajectories and self.short_trajectories.as_dict(),
        }


def _agreement_row(one: Agreement) -> dict:
    ratios = {
        name: {key: float(value) if np.isfinite(value) else None for key, value in asdict(ratio).items()}
        for name, ratio in one.ratios.items()
    }
    figures = {name: value for name, value in vars(one).items() if name not in ("ratios", "passed", "verdict")}
    finite = {name: float(value) if np.isfinite(value) else None for name, value in figures.items()}
    return {"ratios": ratios, **finite, "passed": one.passed, "verdict": one.verdict}


def reduce_stages(run: stages.Run, sampled: Sampled, projected: ClosureTable) -> Reduction:
    """Bursts, long simulations of the full model, the equation learned from them, and the comparison."""
    if isinstance(run.case.system, MolecularSystem):
        return _of_molecule(run, sampled, projected)
    if not relaxes(run, sampled):
        return Reduction(projected, reasons=dict.fromkeys(STAGES, NO_GAP), no_gap=NO_GAP)
    found = _or_reason(lambda: _bursts_stage(run, sampled))
    bursts = None if isinstance(found, str) else found
    reasons = {"bursts": found} if isinstance(found, str) else {}
    if bursts is not None and bursts.table is None:
        reasons = {"bursts": bursts.reason}
    if bursts is not None and bursts.separated is False:
        return Reduction(projected, bursts, reasons=dict.fromkeys(STAGES, bursts.reason), no_gap=bursts.reason)
    trajectories = _or_reason(lambda: _full_model_stage(run, sampled, projected, bursts))
    if isinstance(trajectories, str):
        reasons |= {"full_model": trajectories, "learned": trajectories}
        return Reduction(projected, bursts, reasons=reasons)
    learned = _or_reason(lambda: _learned_stage(run, trajectories, bursts, projected))
    if isinstance(learned, str):
        reasons |= {"learned": learned}
    result = Reduction(projected, bursts, None if isinstance(learned, str) else learned, reasons=reasons)
    return replace(result, agreement=_agreement(run, result, trajectories))


def _of_molecule(run: stages.Run, sampled: Sampled, projected: ClosureTable) -> Reduction:
    """What short trajectories say of D; there are no other routes."""
    no_gap = None if relaxes(run, sampled) else NO_GAP
    found = _or_reason(lambda: short_trajectories(run, sampled, projected))
    reasons = dict.fromkeys(STAGES, no_gap or OF_MOLECULES)
    if isinstance(found, str):
        return Reduction(projected, reasons=reasons | {"short_trajectories": found}, no_gap=no_gap)
    return Reduction(projected, reasons=reasons, no_gap=no_gap, short_trajectories=found)


def _or_reason(stage: Callable[[], Found]) -> Found | str:
    """What a stage found, or why it could not: the results before it stand without it."""
    try:
        return stage()
    except (InputError, PhysicsError) as error:
        return str(error)


def relaxes(run: stages.Run, sampled: Sampled) -> bool:
    """Whether hidden coordinates mix at fixed ξ by local moves alone, as far as that was judged."""
    judged = sampled.trained or sampled
    windowed = judged.local is not None and np.any(np.asarray(judged.local.windows.stiffness) > 0)
    if not windowed or not run.case.system.has_density:
        return True
    assert judged.local is not None
    return checks.mixing(run.case.system.observe, judged.local, judged.start).passed is not False


def _left(run: stages.Run, wanted: int, share: int) -> int:
    """Force evaluations to spend: as wanted, and at most one in `share` of what the budget has left."""
    if run.case.budget is None:
        return wanted
    return int(min(wanted, max(run.case.budget - run.engine.evaluations, 0) // share))


def _bursts_stage(run: stages.Run, sampled: Sampled) -> BurstClosure | str:
    case, found = run.case, sampled.estimate
    if case.close.bursts == 0:
        return "[close] bursts is 0"
    if case.coarse.dimension > MOST_COMPONENTS:
        return f"closures from bursts are meant for at most {MOST_COMPONENTS} coarse variables"
    evaluations = _left(run, case.close.bursts, 3)
    defaults = BurstSettings()
    pilot_steps = evaluations // (PILOT_SHARE * defaults.pilot_bursts)
    settings = replace(defaults, evaluations=evaluations, pilot_steps=min(defaults.pilot_steps, pilot_steps))
    if pilot_steps < FEWEST_PILOT_STEPS:
        return f"too few force evaluations are left for bursts: {evaluations}"
    weight = stationary_weights(sampled) if sampled.stationary else None

    def compute(advance: Callable) -> xr.Dataset:
        closed = burst_closure(
            of_equations(case.system),
            case.coarse,
            found.surface.grid,
            found.position,
            found.flat_weight,
            found.pool.cluster,
            run.key(600),
            settings=settings,
            stationary_weights=weight,
            advance=_spending(run, advance),
            dynamics=run.dynamics,
        )
        return records.bursts_record(closed, found.surface.grid.points)

    return records.read_bursts(run.stage("bursts", evaluations, "force evaluations", compute))


def _spending(run: stages.Run, advance: Callable) -> Callable:
    """Counts force evaluations as they are spent, so that those of a stage that fails count too."""

    def spend(evaluations: int) -> None:
        run.engine.evaluations += evaluations
        advance(evaluations)

    return spend


def stationary_weights(sampled: Sampled) -> Float[np.ndarray, "n"]:
    """Weights of the pooled states in the unbiased ensemble, of mean one."""
    log_weight = sampled.estimate.log_weight
    weight = np.exp(log_weight - log_weight.max())
    return weight / weight.mean()


@dataclass(frozen=True)
class _Simulation:
    """How long the full model is simulated: `walkers`, `time` of each, `interval` between frames."""

    walkers: int
    time: float
    interval: float


def _full_model_stage(
    run: stages.Run, sampled: Sampled, projected: ClosureTable, bursts: BurstClosure | None
) -> FullTrajectories | str:
    case = run.case
    if case.close.full_model == 0:
        return "[close] full_model is 0"
    if not sampled.stationary:
        return "ξ has no stationary law to compare in: it was still drifting at the end of the run"
    if case.coarse.dimension > 2:
        return "the reduced dynamics is compared for one or two coarse variables"
    planned = _plan(run, projected, 0.0 if bursts is None else bursts.healing_time or 0.0)
    if isinstance(planned, str):
        return planned
    rng = np.random.default_rng([case.seed, 600])
    weight = stationary_weights(sampled)
    starts = sampled.estimate.position[rng.choice(len(weight), planned.walkers, p=weight / weight.sum())]

    def compute(advance: Callable) -> xr.Dataset:
        found = simulate_full(
            of_equations(case.system),
            case.coarse,
            starts,
            time=planned.time,
            interval=planned.interval,
            key=run.key(601),
            advance=_spending(run, advance),
            dynamics=run.dynamics,
        )
        return records.trajectories_record(found)

    frames = round(planned.time / planned.interval)
    total = planned.walkers * (planned.time / case.system.time_step + frames)
    return records.read_trajectories(run.stage("full_model", total, "force evaluations", compute))


def _plan(run: stages.Run, projected: ClosureTable, fast: float) -> _Simulation | str:
    """Walkers that each last twenty slow times, frames that resolve the fast one, within the force evaluations."""
    case, step = run.case, run.case.system.time_step
    evaluations = _left(run, case.close.full_model, 1)
    slow = float(np.max(slowest_modes(ReducedDynamics.from_table(projected, case.coarse), 1).time_scales, initial=0.0))
    if not 0 < slow < np.inf:
        return "the projected closure has no slowest time scale that could be resolved"
    resolved = slow / FRAMES_PER_SLOW_TIME
    resolved = min(resolved, fast / FRAMES_PER_FAST_TIME) if fast > 0 else resolved
    steps = max(1, int(resolved / step))
    # a frame costs one evaluation besides its steps
    usable = evaluations * steps // (steps + 1)
    walkers = int(np.clip(usable * step / (SLOW_TIMES * slow), FEWEST_WALKERS, MOST_WALKERS))
    time = usable // walkers * step
    steps = max(steps, int(np.ceil(time / (MOST_FRAMES * step))))
    frames = int(time / (steps * step))
    if frames < 2 or time < FEWEST_SLOW_TIMES * slow:
        return (
            f"{evaluations} force evaluations simulate {walkers} walkers for {time / slow:.2g} of the slowest time "
            f"scale each, and {FEWEST_SLOW_TIMES:g} are needed: raise [close] full_model, or the budget"
        )
    return _Simulation(walkers, frames * steps * step, steps * step)


def _learned_stage(
    run: stages.Run, trajectories: FullTrajectories, bursts: BurstClosure | None, projected: ClosureTable
) -> Learned | str:
    case = run.case
    dynamics = ReducedDynamics.from_table(projected, case.coarse)
    if bursts is None or bursts.plateau is None:
        return "without bursts the lag beyond the fast time is not known"
    # what went on before the plateau biases by its share of the lag; too short a lag tells little of b
    slope = max(steepest_slope(dynamics), 1e-300)
    wanted = max(LAG_OF_PLATEAU * bursts.plateau[0], LAG_OF_SLOPE / slope)
    longest = trajectories.interval * len(trajectories.z) / 8
    lag = trajectories.interval * max(1, round(min(wanted, longest) / trajectories.interval))
    if LAG_OF_PLATEAU * bursts.plateau[0] > longest:
        return f"the full model was not simulated for long enough to learn at lag {lag:.3g}: raise [close] full_model"
    pairs = snapshot_pairs(case.coarse, trajectories.z, trajectories.interval, lag, trajectories.force_evaluations)
    if len(pairs.start) > MOST_PAIRS:
        rng = np.random.default_rng([case.seed, 602])
        pairs = pairs.select(np.sort(rng.choice(len(pairs.start), MOST_PAIRS, replace=False)))
    settings = EffectiveSettings()

    def compute(advance: Callable) -> xr.Dataset:
        found = fit_effective_dynamics(case.coarse, pairs, settings, run.key(602), advance, run.engine.recorder)
        table = found.table(dynamics.grid)
        record = xr.Dataset({"z": (("cell", "component"), table.z)}).assign(records.table_variables(table))
        check = found.residual_check
        record.attrs = {"passed": int(check.passed), "reason": check.reason}
        return record

    steps = settings.all_steps(case.coarse.dimension)
    record = run.stage("effective_equation", steps, "training steps", compute)
    if not record.attrs["passed"]:
        return f"the equation learned at lag {lag:.3g} does not predict unseen snapshots: {record.attrs['reason']}"
    table = records.read_table(record)
    assert table is not None
    return Learned(table, lag, str(record.attrs["reason"]))


def _agreement(run: stages.Run, found: Reduction, trajectories: FullTrajectories) -> dict[str, Agreement]:
    """Of each route's reduced dynamics with the full model; where it cannot be judged, why."""
    result = {}
    for route, table in found.tables.items():
        try:
            width = kernel_width(route, grid_of_points(run.case.coarse, table.z))
            result[route] = compare(table, run.case.coarse, trajectories, half_width=width, seed=run.case.seed)
        except MicromacroError as error:
            result[route] = not_applicable(float("nan"), float("nan"), str(error))
    return result
