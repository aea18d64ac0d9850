"""Beyond the projection: closures from bursts and from snapshots, and long simulations of the full model to judge by.

Each stage has a premise: hidden coordinates that relax by themselves at fixed ξ, a ξ that is stationary, force
evaluations enough. Where it does not hold there is a reason instead of a result, and nothing is spent.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property

import numpy as np
import xarray as xr
from jaxtyping import Float

from micromacro import reduction_records as records
from micromacro import stages
from micromacro.closures.agreement import Agreement, compare
from micromacro.closures.bursts import BurstClosure, BurstSettings, burst_closure
from micromacro.closures.effective import EffectiveSettings, fit_effective_dynamics
from micromacro.closures.files import BURSTS, LEARNED, PROJECTED
from micromacro.closures.long_trajectories import FullTrajectories, simulate_full
from micromacro.closures.reduced import ReducedDynamics
from micromacro.closures.snapshots import snapshot_pairs
from micromacro.closures.spectrum import slowest_modes
from micromacro.closures.table import ClosureTable
from micromacro.coupling import checks
from micromacro.errors import InputError, MicromacroError
from micromacro.pipeline import Sampled

NO_GAP = "hidden coordinates do not relax at fixed ξ by their own dynamics: no gap between time scales"
MOST_COMPONENTS = 3
PILOT_SHARE = 4
FEWEST_WALKERS, MOST_WALKERS = 32, 512
MOST_FRAMES = 4000
SLOW_TIMES, FEWEST_SLOW_TIMES = 20.0, 4.0
FRAMES_PER_SLOW_TIME, FRAMES_PER_FAST_TIME = 40, 4
LAG_OF_PLATEAU = 3.0
MOST_PAIRS = 200_000


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
    - `reasons`: why there is no result, by what is missing: `bursts`, `learned`, `full_model`.
    """

    projected: ClosureTable
    bursts: BurstClosure | None = None
    learned: Learned | None = None
    agreement: dict[str, Agreement] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)

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
        }


def _agreement_row(one: Agreement) -> dict:
    ratios = {name: asdict(ratio) for name, ratio in one.ratios.items()}
    figures = {name: value for name, value in vars(one).items() if name not in ("ratios", "passed", "verdict")}
    finite = {name: float(value) if np.isfinite(value) else None for name, value in figures.items()}
    return {"ratios": ratios, **finite, "passed": one.passed, "verdict": one.verdict}


def reduce_stages(run: stages.Run, sampled: Sampled, projected: ClosureTable) -> Reduction:
    """Bursts, long simulations of the full model, the equation learned from them, and the comparison."""
    found = _bursts_stage(run, sampled)
    result = Reduction(projected)
    if isinstance(found, str):
        return replace(result, reasons=dict.fromkeys(("bursts", "learned", "full_model"), found))
    result = replace(result, bursts=found)
    if found.table is None:
        return replace(result, reasons=dict.fromkeys(("bursts", "learned", "full_model"), found.reason))
    trajectories = _full_model_stage(run, sampled, projected, found)
    if isinstance(trajectories, str):
        return replace(result, reasons=result.reasons | dict.fromkeys(("learned", "full_model"), trajectories))
    learned = _learned_stage(run, trajectories, found, projected)
    if isinstance(learned, str):
        result = replace(result, reasons=result.reasons | {"learned": learned})
    else:
        result = replace(result, learned=learned)
    return replace(result, agreement=_agreement(run, result, trajectories))


def relaxes(run: stages.Run, sampled: Sampled) -> bool:
    """Whether hidden coordinates mix at fixed ξ by local moves alone, as far as that was judged."""
    judged = sampled.trained or sampled
    if judged.local is None or not run.case.system.has_density:
        return True
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
    if not relaxes(run, sampled):
        return NO_GAP
    evaluations = _left(run, case.close.bursts, 3)
    defaults = BurstSettings()
    pilot_steps = evaluations // (PILOT_SHARE * defaults.pilot_bursts)
    settings = replace(defaults, evaluations=evaluations, pilot_steps=min(defaults.pilot_steps, pilot_steps))
    if pilot_steps < 2:
        return f"too few force evaluations are left for bursts: {evaluations}"
    weight = stationary_weights(sampled) if sampled.stationary else None

    def compute(advance: Callable) -> xr.Dataset:
        closed = burst_closure(
            case.system,
            case.coarse,
            found.surface.grid,
            found.position,
            found.flat_weight,
            found.pool.cluster,
            run.key(600),
            settings=settings,
            stationary_weights=weight,
            advance=advance,
        )
        run.engine.evaluations += closed.evaluations
        return records.bursts_record(closed, found.surface.grid.points)

    try:
        return records.read_bursts(run.stage("bursts", evaluations, "walker-steps", compute))
    except InputError as error:
        if error.parameter != "evaluations":
            raise
        return f"too few force evaluations for bursts: {error}"


def stationary_weights(sampled: Sampled) -> Float[np.ndarray, "n"]:
    """Weights of the pooled states in the unbiased ensemble, of mean one."""
    found = sampled.estimate
    log_weight = np.log(np.maximum(found.pool.weight, 1e-300)) - found.mbar.log_denominator
    weight = np.exp(log_weight - log_weight.max())
    return weight / weight.mean()


@dataclass(frozen=True)
class _Simulation:
    """How long the full model is simulated: `walkers`, `time` of each, `interval` between frames."""

    walkers: int
    time: float
    interval: float


def _full_model_stage(
    run: stages.Run, sampled: Sampled, projected: ClosureTable, bursts: BurstClosure
) -> FullTrajectories | str:
    case = run.case
    if case.close.full_model == 0:
        return "[close] full_model is 0"
    if not sampled.stationary:
        return "ξ has no stationary law to compare in: it was still drifting at the end of the run"
    if case.coarse.dimension > 2:
        return "the reduced dynamics is compared for one or two coarse variables"
    planned = _plan(run, projected, bursts.healing_time or 0.0)
    if isinstance(planned, str):
        return planned
    rng = np.random.default_rng([case.seed, 600])
    weight = stationary_weights(sampled)
    starts = sampled.estimate.position[rng.choice(len(weight), planned.walkers, p=weight / weight.sum())]

    def compute(advance: Callable) -> xr.Dataset:
        found = simulate_full(
            case.system,
            case.coarse,
            starts,
            time=planned.time,
            interval=planned.interval,
            key=run.key(601),
            advance=advance,
        )
        run.engine.evaluations += found.force_evaluations
        return records.trajectories_record(found)

    total = planned.walkers * planned.time / case.system.time_step
    return records.read_trajectories(run.stage("full_model", total, "walker-steps", compute))


def _plan(run: stages.Run, projected: ClosureTable, fast: float) -> _Simulation | str:
    """Walkers that each last twenty slow times, frames that resolve the fast one, within the force evaluations."""
    case, step = run.case, run.case.system.time_step
    evaluations = _left(run, case.close.full_model, 1)
    try:
        slow = float(slowest_modes(ReducedDynamics.from_table(projected, case.coarse), 1).time_scales[0])
    except MicromacroError as error:
        return str(error)
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
    run: stages.Run, trajectories: FullTrajectories, bursts: BurstClosure, projected: ClosureTable
) -> Learned | str:
    case = run.case
    assert bursts.plateau is not None
    # what went on before the plateau biases by its share of the lag; longer lags blur what b does within them
    lag = trajectories.interval * max(1, round(LAG_OF_PLATEAU * bursts.plateau[0] / trajectories.interval))
    pairs = snapshot_pairs(case.coarse, trajectories.z, trajectories.interval, lag, trajectories.force_evaluations)
    pairs = pairs.select(np.arange(0, len(pairs.start), max(1, -(-len(pairs.start) // MOST_PAIRS))))
    settings = EffectiveSettings()

    def compute(advance: Callable) -> xr.Dataset:
        found = fit_effective_dynamics(case.coarse, pairs, settings, run.key(602), advance)
        table = found.table(_grid(run, projected))
        record = xr.Dataset({"z": (("cell", "component"), table.z)}).assign(records.table_variables(table))
        check = found.residual_check
        record.attrs = {"passed": int(check.passed), "reason": check.reason}
        return record

    try:
        record = run.stage("effective_equation", settings.all_steps(case.coarse.dimension), "training steps", compute)
    except InputError as error:
        return f"the snapshots are too few to learn from: {error}"
    if not record.attrs["passed"]:
        return f"the equation learned at lag {lag:.3g} does not predict unseen snapshots: {record.attrs['reason']}"
    table = records.read_table(record)
    assert table is not None
    return Learned(table, lag, str(record.attrs["reason"]))


def _grid(run: stages.Run, projected: ClosureTable):
    return ReducedDynamics.from_table(projected, run.case.coarse).grid


def _agreement(run: stages.Run, found: Reduction, trajectories: FullTrajectories) -> dict[str, Agreement]:
    return {
        route: compare(table, run.case.coarse, trajectories, seed=run.case.seed)
        for route, table in found.tables.items()
        if table.finite.any()
    }
