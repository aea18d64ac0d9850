"""The methods of a run: how samples and one estimate come about. Each returns the same `Sampled`."""

from dataclasses import dataclass, replace

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from micromacro import exploring, plan, records, stages
from micromacro.cases.case import Case
from micromacro.coupling import checks
from micromacro.coupling.adding import missing_windows, nearby_states, with_windows
from micromacro.coupling.allocation import Walkers, first_columns
from micromacro.coupling.estimate import (
    Estimate,
    Segment,
    equilibrated,
    estimate,
    frame_inefficiency,
    free_energy_table,
    newest,
)
from micromacro.coupling.importance import weighted_draws
from micromacro.coupling.joining import joined
from micromacro.coupling.learning import AnyGenerator
from micromacro.coupling.rounds import ADAPT_CHUNKS, Round, Schedule
from micromacro.molecules.system import MolecularSystem
from micromacro.round_sizes import (
    ADAPTIVE,
    MOST_WORK,
    UNEVEN_FROM,
    Affordable,
    RoundSize,
    allocation_of,
    first_size,
    keeps_windows,
    most_rounds,
    next_size,
    round_schedule,
    round_steps,
)
from micromacro.sampling.engine import Tuning
from micromacro.sampling.proposal import ConditionalProposal
from micromacro.sampling.seeding import start_labels
from micromacro.sampling.windows import Windows
from micromacro.target import UNKNOWN, Reached, reached, verdict

REFLATTEN = 1.0
RETRAIN_BELOW = 0.85
HIGH = 8.0
UNBIASED_FRAMES = 100
GENERATOR_DRAWS = 20


@dataclass(frozen=True)
class Sampled:
    """What a method found.

    **Arguments:**

    - `segments`: what counts, in order; `estimate`: all of it pooled.
    - `start`: which starting point each walker of a window came from.
    - `blur`: of the windows `(d,)`; `scale`: of the local sampler, `(S, S)` as in `Tuning`.
    - `generator`: the last trained, where there is one; `log_weight`: of its draws in the last round.
    - `rounds`: number, acceptance, change of F in kT, windows, of each round.
    - `local`: the run by local moves alone, by which hidden relaxation is judged.
    - `trained`: the coupled run that taught a chain its F and generator, which are judged in its windows.
    - `chain`: shares accepted at each level of a micro–macro chain, its cycles and walkers.
    - `frame_time`: between saved frames, in units of time, of a run of the system's own dynamics.
    - `judged`: what the checks look at, where that is not the last segment: rounds under the last bias joined.
    - `target`: what was wanted and reached, where rounds had a size of their own.
    - `stationary`: `False` where ξ was still drifting, so that there is no free energy.
    """

    segments: list[Segment]
    estimate: Estimate
    start: Int[np.ndarray, "walkers"]
    blur: Float[np.ndarray, "d"]
    scale: Float[np.ndarray, "S S"]
    generator: AnyGenerator | None = None
    log_weight: Float[np.ndarray, "draws windows"] | None = None
    rounds: tuple[dict, ...] = ()
    local: Segment | None = None
    trained: "Sampled | None" = None
    chain: dict | None = None
    stationary: bool = True
    frame_time: float = 0.0
    judged: Segment | None = None
    target: dict | None = None

    @property
    def last(self) -> Segment:
        """The segment of the last round, or of all rounds in its windows where they go on from each other."""
        return self.segments[-1] if self.judged is None else self.judged

    @property
    def last_states(self) -> slice:
        """Where the windows of the last round stand among the states of the estimate."""
        total = len(self.estimate.mbar.counts)
        counts = [windows.count for windows in self.estimate.bias.states]
        number = len(counts) - 1
        for index, windows in enumerate(self.estimate.bias.states):
            if windows.same_as(self.last.windows):
                number = index
        begin = sum(counts[:number])
        return slice(begin, min(begin + counts[number], total))


def sample_windows(run: stages.Run, *, coupled: bool, share: float = 1.0) -> Sampled:
    """Umbrella windows from every starting point, then rounds: coupled to a generator, or by local moves alone.

    `share`: of the budget that this may cost.
    """
    budget = plan.Budget(run.case.budget, share)
    seeded = coupled and not stages.family_of(run.case).has_density
    before = run.engine.evaluations
    run, explored = exploring.explore(run, budget, seeded=seeded)
    case, coarse, exploration = run.case, run.case.coarse, explored.exploration
    sizes = plan.plan_windows(case, exploration.spread)
    windows = stages.first_windows(run, sizes)
    budget.require(before + plan.least_cost(case, sizes, seeded=seeded) + explored.cost, "these windows and walkers")
    # the first pass needs only to find the shape of F: half a round, and no more than its share of a budget
    first = budget.steps(
        round_steps(case) // 2, _after_pull(run, sizes), 0, *_batch(case, windows, sizes), case.couple.rounds + 1
    )
    schedule = plan.schedule(case, max(first, plan.FEWEST_STEPS), windows.count * sizes.walkers)
    windows, result = stages.bias_stage(run, windows, sizes.walkers, exploration, schedule, explored.seeds)
    padding = stages.flattening_padding(run, windows)
    local = equilibrated(case.system.observe, windows, result.frames, exchanged=case.bias.exchange)
    current = estimate(coarse, [local], padding)
    start = start_labels(len(case.system.initial), sizes.walkers)
    rounds = _Rounds(run, budget, closure_reserve(case, share), coupled=coupled, seeded=seeded)
    walkers, segments, history, judged = _standing(result, start), [], [], local
    generator: AnyGenerator | None = None
    flattened_by: np.ndarray | None = None
    ended, now = "the rounds that a run may have are over", rounds.error(current)
    for number in range(1, most_rounds(case) + 1):
        before = windows
        if not keeps_windows(case, number):
            windows, flattened_by = _reflatten(windows, current, flattened_by)
            windows, walkers = _add_windows(run, windows, walkers, current, judged, budget.part)
        size = rounds.size(number, windows, walkers.count, segments, now, goes_on=windows is before)
        if size is None:
            ended = rounds.limit
            break
        if coupled and _needs_training(history, case):
            data = newest(segments, plan.most_frames(case)) or [local, *explored.segments]
            generator = stages.learn_stage(run, number, data, windows.width, generator)
        schedule = rounds.schedule(size, walkers.count)
        windows, result = _run_round(run, number, generator, windows, walkers, size, schedule)
        segments.append(_segment(run, windows, result, exchanged=case.bias.exchange and not coupled, size=size))
        walkers = _standing(result, start)
        judged = joined(case.system.observe, segments) if case.target.sizes_rounds else segments[-1]
        previous, current = current, estimate(coarse, segments, padding, current)
        change, now = surface_change(previous, current), rounds.error(current)
        history.append(_round_row(number, result, change, windows) | rounds.row(result, now))
        if number > 1 and rounds.enough(change, now) and not _unsettled(run, judged, current, start):
            ended = ""
            break
    if not segments:
        segments = [local]
    log_weight = judged.log_weight
    weights = None if log_weight is None else np.moveaxis(log_weight, 1, 2).reshape(-1, log_weight.shape[1])
    scale = np.asarray(walkers.tuning.scale)[windows.count // 2]
    found = Sampled(segments, current, start, windows.width, scale, generator, weights, tuple(history), local)
    if not case.target.sizes_rounds:
        return found
    row = verdict(case.target, now, _unsettled(run, judged, current, start), ended)
    return replace(found, judged=judged, target=row | {"allocation": allocation_of(case)})


@dataclass(frozen=True)
class _Rounds:
    """What decides on the rounds of a run: the case, the budget, and what they cost besides their steps."""

    run: stages.Run
    budget: plan.Budget
    reserve: int
    coupled: bool
    seeded: bool

    @property
    def limit(self) -> str:
        """What ends a run that no further round fits into."""
        if self.budget.part is not None:
            return f"the budget of {self.run.case.budget} force evaluations holds no further round"
        return f"a run without a budget ends after {MOST_WORK} times the steps and rounds of its case"

    def size(
        self, number: int, windows: Windows, walkers: int, segments: list[Segment], now: Reached, *, goes_on: bool
    ) -> RoundSize | None:
        """The next round; `None` where there is to be none. `goes_on`: whether in the windows of the round before."""
        case = self.run.case
        left = case.couple.rounds + 1 - number
        if not case.target.sizes_rounds:
            return self._usual(windows.count, walkers, left)
        chunks = 0 if goes_on and number > 1 and not self.seeded else ADAPT_CHUNKS
        affordable = Affordable(self._overhead(chunks), self._left, moves=self._moves)
        shared = left if case.target.error is None else 1
        if number == 1:
            return first_size(case, windows, walkers, affordable, rounds_left=shared)
        return next_size(case, windows, walkers, segments, now, affordable, chunks, rounds_left=shared)

    def schedule(self, size: RoundSize, walkers: int) -> Schedule:
        """How the next round spends its steps."""
        case, batch = self.run.case, len(size.columns) * walkers
        return round_schedule(case, size.steps, batch, moves=self._moves and case.target.sizes_rounds)

    def error(self, current: Estimate) -> Reached:
        """What is reached by now, where rounds have a size of their own."""
        return reached(self.run.case, current) if self.run.case.target.sizes_rounds else UNKNOWN

    def enough(self, change: float, now: Reached) -> bool:
        """Whether the result is good enough for the run to end, as far as errors say."""
        target = self.run.case.target
        if target.error is None:
            return change < self.run.case.couple.tolerance
        return now.error <= target.error

    def row(self, result: Round, now: Reached) -> dict:
        """What the list of rounds says besides, where rounds have a size of their own."""
        if not self.run.case.target.sizes_rounds:
            return {}
        frames, columns, _ = result.frames.log_density.shape
        copies = np.bincount(np.arange(columns) if result.window is None else result.window)
        error = now.error if np.isfinite(now.error) else None
        return {"stderr": error, "steps": frames * result.interval, "copies": copies.tolist()}

    @property
    def _moves(self) -> bool:
        """Whether walkers are moved by a generator within rounds."""
        return self.coupled and not self.seeded

    @property
    def _left(self) -> int | None:
        part = self.budget.part
        return None if part is None else part - self.run.engine.evaluations - self.reserve

    def _overhead(self, adapt_chunks: int = ADAPT_CHUNKS) -> int:
        case = self.run.case
        return plan.round_overhead(
            plan.cycles_for(case),
            coupled=self.coupled,
            seeded=self.seeded,
            chunk=plan.chunk_steps(case),
            repair=self.run.engine.repair_cost,
            adapt_chunks=adapt_chunks,
        )

    def _usual(self, windows: int, walkers: int, left: int) -> RoundSize | None:
        """As long as the case says, or as an equal share of the budget among the rounds that are left."""
        spent, batch = self.run.engine.evaluations, windows * walkers
        for rounds_left in (left, 1):
            steps = self.budget.steps(
                self.run.case.bias.steps, spent, self.reserve, batch, self._overhead(), rounds_left
            )
            if steps >= plan.FEWEST_STEPS:
                return RoundSize(np.arange(windows), steps)
        return None


def _standing(result: Round, start: np.ndarray) -> Walkers:
    """The walkers at the end of a round, with the tuning and starting points of each window."""
    columns = np.arange(len(result.last)) if result.window is None else result.window
    first = first_columns(columns)
    labels = np.broadcast_to(start, result.last.shape[:2]) if result.start is None else result.start
    tuning = Tuning(result.tuning.step_size[first], result.tuning.scale[first])
    return Walkers(result.last, columns, tuning, labels[first])


def _run_round(
    run: stages.Run,
    number: int,
    generator: AnyGenerator | None,
    windows: Windows,
    walkers: Walkers,
    size: RoundSize,
    schedule: Schedule,
) -> tuple[Windows, Round]:
    """The round of that size, and its windows without their copies."""
    placed = walkers.placed(size.columns)
    uneven = len(size.columns) > windows.count
    held = windows.columns(size.columns) if uneven else windows
    stored, result = stages.round_stage(
        run,
        number,
        generator,
        held,
        placed.position,
        placed.start,
        placed.tuning,
        schedule,
        size.adapt_chunks,
        size.columns if uneven else None,
    )
    return (stored if result.window is None else stored.columns(first_columns(result.window))), result


def _needs_training(history: list[dict], case: Case) -> bool:
    """Before the first round, after one whose moves were refused often, and always where there are no moves.

    No longer where work is uneven: some windows have few new frames then.
    """
    if len(history) >= (UNEVEN_FROM if allocation_of(case) == ADAPTIVE else case.couple.rounds):
        return False
    if not history or history[-1]["acceptance"] is None:
        return True
    return history[-1]["acceptance"] < RETRAIN_BELOW


def _segment(run: stages.Run, windows: Windows, result: Round, *, exchanged: bool, size: RoundSize) -> Segment:
    segment = equilibrated(run.case.system.observe, windows, result.frames, exchanged=exchanged)
    if run.case.target.sizes_rounds:
        # chains that go on in the same windows have equilibrated; another cut would only throw frames away
        first = np.zeros_like(segment.first) if size.adapt_chunks == 0 else segment.first
        segment = replace(segment, first=first, window=result.window, interval=result.interval)
        segment = replace(segment, independence=1 / frame_inefficiency(run.case.system.observe, segment))
    moves = {"log_weight": result.log_weight, "log_weight_before": result.log_weight_before}
    return replace(segment, start=result.start, **moves)


def _batch(case: Case, windows: Windows, sizes: plan.WindowPlan) -> tuple[int, int]:
    return windows.count * sizes.walkers, 1 + plan.BURN_IN_CHUNKS * plan.chunk_steps(case)


def _after_pull(run: stages.Run, sizes: plan.WindowPlan) -> int:
    windows = sizes.per_dimension**run.case.coarse.dimension
    return run.engine.evaluations + plan.pull_cost(windows, sizes.walkers, run.case.system.frame_steps)


def closure_reserve(case: Case, share: float = 1.0) -> int:
    """Force evaluations that are kept for the closure, of a budget of which `share` may be spent before."""
    budget = plan.Budget(case.budget, share).part
    if budget is None:
        return 0
    if isinstance(case.system, MolecularSystem):
        return min(case.close.bursts, budget // 5)
    return min(plan.MOST_CLOSURE_STATES, budget // 50)


def reduction_reserve(case: Case) -> int:
    """Force evaluations that a method which could spend everything leaves to bursts and to the full model."""
    wanted = case.close.bursts + case.close.full_model
    return 0 if case.budget is None else min(wanted, case.budget // 5)


def _round_row(number: int, result: Round, change: float, windows: Windows) -> dict:
    acceptance = None if result.jump is None else float(np.mean(result.jump))
    return {"round": number, "acceptance": acceptance, "change_kT": change, "windows": windows.count}


def surface_change(first: Estimate, second: Estimate) -> float:
    """The rms change of F in kT over the cells that both know below 8 kT, each minus its mean there."""
    a, b = first.surface.free_energy, second.surface.free_energy
    known = np.isfinite(a) & np.isfinite(b) & (np.nan_to_num(b, nan=np.inf) < HIGH)
    return float(np.std((a - b)[known])) if known.any() else float("inf")


def _reflatten(windows: Windows, current: Estimate, by: np.ndarray | None) -> tuple[Windows, np.ndarray]:
    # the same bias in two rounds makes their windows one state of MBAR; renewed only where it helps
    values = current.wide.free_energy
    if by is not None:
        known = np.isfinite(values) & np.isfinite(by)
        difference = (values - by)[known]
        if known.sum() == np.isfinite(values).sum() and np.std(difference) < REFLATTEN / 2:
            return windows, by
    return stages.flattened(windows, free_energy_table(current.wide, smoothing=1.0)), values


def _add_windows(
    run: stages.Run, windows: Windows, walkers: Walkers, current: Estimate, segment: Segment, ceiling: int | None
) -> tuple[Windows, Walkers]:
    coarse = run.case.coarse
    states = slice(len(current.mbar.counts) - segment.windows.count, len(current.mbar.counts))
    centers = missing_windows(coarse, segment.windows, current.mbar.overlap[states, states])
    batch = windows.count * walkers.count
    affordable = ceiling is None or (ceiling - run.engine.evaluations) > 4 * batch * plan.FEWEST_STEPS
    if len(centers) == 0 or len(centers) > windows.count or not affordable:
        return windows, walkers
    rng = np.random.default_rng([run.case.seed, windows.count])
    added = nearby_states(current, coarse, centers, walkers.count, rng)
    nearest = [int(np.argmin(np.sum((np.asarray(windows.centers) - c) ** 2, axis=1))) for c in centers]
    return with_windows(windows, centers), walkers.with_added(added, nearest)


def _unsettled(run: stages.Run, segment: Segment, current: Estimate, start: np.ndarray) -> list[str]:
    """Which of the checks that judge convergence fail."""
    observe = run.case.system.observe
    total = len(current.mbar.counts)
    found = {
        "mixing": checks.mixing(observe, segment, start),
        "overlap": checks.overlap(current.mbar, slice(total - segment.windows.count, total)),
        "effective_sample_size": checks.effective_sample_size(observe, segment),
    }
    return [name for name, check in found.items() if check.passed is False]


def sample_unbiased(run: stages.Run) -> Sampled:
    """Long runs from the starting points without any bias, at the cost that windows would have had."""
    case = run.case
    exploration = stages.explore_stage(run)
    sizes = plan.plan_windows(case, exploration.spread)
    walkers = sizes.walkers * sizes.per_dimension**case.coarse.dimension
    wanted = case.bias.steps * (case.couple.rounds + 1)
    overhead = plan.round_overhead(0, coupled=False, chunk=plan.chunk_steps(case))
    reserve = closure_reserve(case)
    steps = plan.Budget(case.budget).steps(wanted, run.engine.evaluations, reserve, walkers, overhead, 1)
    plan.Budget(case.budget).require(
        run.engine.evaluations + reserve + walkers * (overhead + plan.FEWEST_STEPS), "these walkers"
    )
    schedule = plan.schedule(case, steps, walkers, UNBIASED_FRAMES)
    windows, result = stages.unbiased_stage(run, exploration, walkers, schedule)
    segment = equilibrated(case.system.observe, windows, result.frames)
    found = estimate(case.coarse, [segment], 0)
    start = start_labels(len(case.system.initial), walkers)
    scale = np.asarray(result.tuning.scale)[0]
    return Sampled([segment], found, start, default_blur(run), scale, local=segment)


def default_blur(run: stages.Run) -> np.ndarray:
    """The blur for a generator where no windows set one: two per cent of the range."""
    return 0.02 * run.case.coarse.range


def sample_generator(run: stages.Run) -> Sampled:
    """The generator alone: trained on umbrella data, F from its weights."""
    single = replace(run.case, couple=replace(run.case.couple, rounds=1))
    umbrella = stages.Run(single, run.store, run.progress, run.engine, run.costs)
    found = sample_windows(umbrella, coupled=False)
    generator = stages.learn_stage(run, 1, [found.last], found.blur)
    assert isinstance(generator, ConditionalProposal)
    walkers = found.start.size
    batch = found.last.windows.count * walkers
    affordable = None if run.case.budget is None else (run.case.budget - run.engine.evaluations) // batch - 2
    draws = GENERATOR_DRAWS if affordable is None else int(min(GENERATOR_DRAWS, affordable))
    plan.Budget(run.case.budget).require(run.engine.evaluations + 3 * batch, "draws of the generator")

    def compute(advance):
        segment, log_weight = weighted_draws(run.engine, generator, found.last.windows, draws, walkers, run.key(300))
        advance(log_weight.size)
        record = records.round_record(segment.windows, _as_round(segment, log_weight))
        record["weight"] = (records.DRAWS, segment.weight)
        return record

    record = run.stage("weigh", draws * batch, "draws", compute)
    windows, result = records.read_round(record)
    segment = Segment(windows, result.frames, np.zeros(windows.count, int), weight=record["weight"].to_numpy())
    weighted = estimate(run.case.coarse, [segment], stages.flattening_padding(run, windows))
    assert result.log_weight is not None
    weights = np.moveaxis(result.log_weight, 1, 2).reshape(-1, windows.count)
    return replace(found, segments=[segment], estimate=weighted, generator=generator, log_weight=weights)


def _as_round(segment: Segment, log_weight: np.ndarray) -> Round:
    count = segment.windows.count
    tuning = stages.Tuning(jnp.ones(count), jnp.ones((count, 1, 1)))
    return Round(segment.frames, segment.frames.position[-1], tuning, np.ones(segment.windows.count), log_weight, None)
