"""The stages of a run: each is read from the store where it is finished, and computed and stored where it is not."""

import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float, Key

from micromacro import plan, records
from micromacro.cases.case import Case
from micromacro.coordinates.space import Space
from micromacro.coupling.estimate import Segment
from micromacro.coupling.learning import AnyGenerator, fit_completed, fit_generator
from micromacro.coupling.pairs import blurred_pairs, exact_pairs, padding_cells
from micromacro.coupling.rounds import ADAPT_CHUNKS, Round, Schedule, coupled_round, local_round
from micromacro.coupling.seeding import RELAXATION_CHUNKS, seeded_round
from micromacro.errors import InputError
from micromacro.generators.completed import CompletedGenerator
from micromacro.generators.family import Family
from micromacro.generators.kinds import family
from micromacro.molecules.positions import coarse_coordinates, hydrogen_coordinates
from micromacro.molecules.system import MolecularSystem, observed_space
from micromacro.progress import Progress
from micromacro.reading import number_in
from micromacro.sampling.engine import Engine, JaxEngine, Tuning
from micromacro.sampling.euler_maruyama import Dynamics
from micromacro.sampling.pool import Cluster
from micromacro.sampling.production import Frames
from micromacro.sampling.proposal import ConditionalProposal
from micromacro.sampling.seeding import (
    BIAS_POINTS,
    PULLS,
    Exploration,
    Seeds,
    explore,
    joined_explorations,
    no_windows,
    pull,
)
from micromacro.sampling.table import Table, zero_table
from micromacro.sampling.windows import Windows, grid_centers
from micromacro.store import Store

NARROW = 0.03
"""Of the range of ξ, the blur of windows that are narrow."""


@dataclass
class Run:
    """A run under way: the case, where its stages are kept, and what it has cost.

    `part` names what goes before the main run, such as a round of learning ξ: it stands before the names of its stages,
    and changes their random keys.
    """

    case: Case
    store: Store
    progress: Progress
    engine: Engine
    costs: dict[str, dict] = field(default_factory=dict)
    part: str = ""

    @cached_property
    def space(self) -> Space:
        """Where the observed state lives."""
        return observed_space(self.case.system, self.case.coarse)

    @property
    def dynamics(self) -> Dynamics:
        """Simulates the system's own dynamics; of systems of equations only."""
        assert isinstance(self.engine, JaxEngine), "a molecule has no equations"
        return self.engine.trajectories

    def key(self, number: int) -> Key[Array, ""]:
        """The random key of a stage: the same whatever was resumed."""
        key = jax.random.key(self.case.seed)
        key = jax.random.fold_in(key, zlib.crc32(self.part.encode())) if self.part else key
        return jax.random.fold_in(key, number)

    def stage_name(self, name: str) -> str:
        """Under which name a stage of this part is stored."""
        return f"{self.part}_{name}" if self.part else name

    def within(self, part: str, case: Case) -> "Run":
        """The same run in another part of it, with the case of that part; what it has cost goes on."""
        return Run(case, self.store, self.progress, self.engine.of(case.system, case.coarse), self.costs, part)

    def stage(self, name: str, total: float, unit: str, compute: Callable[[Callable], xr.Dataset]) -> xr.Dataset:
        """One stage: from the store where it is finished; else computed, timed, counted and stored.

        `compute` is given a function to call with the units of work just done.
        """
        name = self.stage_name(name)
        found = self.store.has(name)
        if found:
            record = self.store.read(name)
            # a kill may have come between the end of the stage and that of its journal
            self.store.journal(name).discard()
            self.engine.evaluations += int(number_in(record.attrs, "force_evaluations"))
        else:
            began, before = time.monotonic(), self.engine.evaluations
            with (
                self.progress.stage(name, total=total, unit=unit, evaluations=lambda: self.engine.evaluations) as shown,
                self.store.journal(name) as journal,
                self.engine.keeping(journal),
            ):
                record = compute(shown.advance)
            record.attrs["force_evaluations"] = int(self.engine.evaluations - before)
            record.attrs["wall_seconds"] = time.monotonic() - began
            self.store.write(name, record)
        self.costs[name] = {key: number_in(record.attrs, key) for key in ("wall_seconds", "force_evaluations")}
        self.progress.finished(name, **self.costs[name], found=found)
        return record


def engine_for(case: Case, platform: str | None = None, cluster: Cluster | None = None) -> Engine:
    """The engine of a case.

    **Arguments:**

    - `platform`: of OpenMM for a molecule, the fastest where left out.
    - `cluster`: whose workers simulate; the cores of this machine where left out.
    """
    if isinstance(case.system, MolecularSystem):
        from micromacro.sampling.openmm_engine import OpenMMEngine

        return OpenMMEngine(case.system, case.coarse, platform=platform, cluster=cluster)
    return JaxEngine(case.system, case.coarse, cluster=cluster)


def explore_stage(run: Run) -> Exploration:
    """Short unbiased runs from every starting point. **Raises:** `BudgetError` where the budget cannot hold them."""
    case = run.case

    def compute(advance: Callable) -> xr.Dataset:
        plan.Budget(case.budget).require(run.engine.evaluations + plan.exploration(case), "exploration alone")
        walkers = plan.explorers(case)
        on_steps = _of_batch(advance, len(case.system.initial) * walkers)
        found = explore(run.engine, case.coarse, case.system.initial, walkers, run.key(1), on_steps)
        return records.exploration_record(found)

    return records.read_exploration(run.stage("explore", plan.exploration(case), "walker-steps", compute))


def first_windows(run: Run, sizes: plan.WindowPlan) -> Windows:
    """Windows on a uniform grid, nothing flattened yet."""
    coarse = run.case.coarse
    centers = jnp.asarray(grid_centers(coarse, sizes.per_dimension))
    return Windows(centers, jnp.asarray(sizes.stiffness), zero_table(coarse, BIAS_POINTS))


def bias_stage(
    run: Run,
    windows: Windows,
    walkers: int,
    exploration: Exploration,
    schedule: Schedule,
    seeds: Seeds | None = None,
) -> tuple[Windows, Round]:
    """Pull walkers into every window from every starting point or its seeds, tune, and sample by local moves alone."""
    case, batch = run.case, windows.count * walkers

    def compute(advance: Callable) -> xr.Dataset:
        on_steps, initial = _of_batch(advance, batch), case.system.initial
        begun = pull(run.engine, case.coarse, windows, initial, walkers, exploration, run.key(2), seeds, on_steps)
        tuning = shared_tuning(exploration, windows.count)
        result = local_round(
            run.engine,
            windows,
            begun,
            tuning,
            schedule,
            run.key(3),
            exchange=case.bias.exchange,
            adapt_chunks=plan.BURN_IN_CHUNKS,
            rescale=True,
            on_steps=on_steps,
        )
        return records.round_record(windows, replace(result, frames=canonical_frames(run, result.frames)))

    steps = PULLS * run.engine.frame_steps + plan.BURN_IN_CHUNKS * plan.chunk_steps(case) + schedule.steps
    return records.read_round(run.stage("bias", batch * steps, "walker-steps", compute))


def unbiased_stage(run: Run, exploration: Exploration, walkers: int, schedule: Schedule) -> tuple[Windows, Round]:
    """All walkers in one window without any bias, started in equal shares at the starting points."""
    windows = no_windows(run.case.coarse, 1)
    begun = explored_states(exploration, walkers)

    def compute(advance: Callable) -> xr.Dataset:
        result = local_round(
            run.engine,
            windows,
            jnp.asarray(begun)[None],
            shared_tuning(exploration, 1),
            schedule,
            run.key(3),
            exchange=False,
            on_steps=_of_batch(advance, walkers),
        )
        return records.round_record(windows, replace(result, frames=canonical_frames(run, result.frames)))

    steps = ADAPT_CHUNKS * plan.chunk_steps(run.case) + schedule.steps
    return records.read_round(run.stage("unbiased", walkers * steps, "walker-steps", compute))


def explored_states(exploration: Exploration, walkers: int) -> np.ndarray:
    """States `(walkers, D)` from every starting point in equal shares."""
    starts = exploration.position.shape[1]
    label = np.arange(walkers) % starts
    return exploration.position[-1, label, np.arange(walkers) // starts % exploration.position.shape[2]]


def stored_exploration(run: Run) -> Exploration:
    """The exploration that this run has finished, wells that it found included; it is counted already."""
    first, wells = run.stage_name("explore"), run.stage_name("explore_wells")
    found = records.read_exploration(run.store.read(first))
    if not run.store.has(wells):
        return found
    return joined_explorations(found, records.read_exploration(run.store.read(wells)))


def shared_tuning(exploration: Exploration, windows: int) -> Tuning:
    """The tuning of the exploration, for every window."""
    scale = jnp.broadcast_to(jnp.asarray(exploration.scale), (windows, *exploration.scale.shape))
    return Tuning(jnp.full(windows, exploration.step_size), scale)


def family_of(case: Case) -> Family:
    """The settings of the generator of a case. **Raises:** `InputError` for a setting that its kind does not have."""
    wanted, system = case.generator, case.system
    general = ("kind", "heavy_atoms", "exact")
    given = {name: value for name, value in vars(wanted).items() if name not in general and value is not None}
    if wanted.heavy_atoms:
        if not isinstance(system, MolecularSystem) or wanted.kind != "flow":
            requirement = "be left out but for molecules and kind 'flow'"
            raise InputError("generator.heavy_atoms", requirement, wanted.heavy_atoms)
        given["apart"] = hydrogen_coordinates(system)
    found = family(wanted.kind, given)
    if wanted.exact and not (found.has_density and coarse_coordinates(case.coarse, system)):
        requirement = (
            "be left out but for kinds with a density and a coarse variable of a molecule's internal coordinates"
        )
        raise InputError("generator.exact", requirement, wanted.exact)
    return found


def learn_stage(
    run: Run,
    number: int,
    segments: list[Segment],
    width: np.ndarray,
    previous: AnyGenerator | None = None,
    *,
    corrected: bool = True,
) -> AnyGenerator:
    """Train the generator on the frames of `segments`, or go on with a previous one.

    Where the coarse variable is some of the coordinates and moves have a density, only the others are learned.

    `corrected`: whether moves or weights will correct it, so that less training will do.
    """
    case, settings = run.case, family_of(run.case)
    settings = settings.for_moves(run.space) if corrected else settings

    own = held_coordinates(case, width) if settings.has_density else None

    def compute(advance: Callable) -> xr.Dataset:
        q, z = map(np.concatenate, zip(*(observed_frames(run, segment) for segment in segments), strict=True))
        key = run.key(100 + number)
        if own is not None:
            assert previous is None or isinstance(previous, CompletedGenerator)
            pairs = exact_pairs(q, z, case.coarse, width)
            found = fit_completed(settings, pairs, own, run.space, case.coarse, width, key, previous, advance)
            return records.generator_record(found)
        assert not isinstance(previous, CompletedGenerator)
        pairs = blurred_pairs(q, z, case.coarse, width, np.random.default_rng([case.seed, number]))
        found = fit_generator(settings, pairs, run.space, case.coarse, width, key, previous, advance)
        return records.generator_record(found)

    steps = settings.steps_for(run.space.dimension - len(own or ()), warm=previous is not None)
    return records.read_generator(run.stage(f"learn_{number}", steps, "training steps", compute))


def held_coordinates(case: Case, width: Float[np.ndarray, "d"]) -> tuple[int, ...] | None:
    """The coordinates that are ξ, where a generator is to hold them exactly; `None` where it learns ξ with the rest.

    In narrow windows ξ is held to its place more sharply than learned; in wide ones a generator given the blurred z
    learns more from the same frames than one given ξ.
    """
    own, wanted = coarse_coordinates(case.coarse, case.system), case.generator.exact
    narrow = bool(np.all(width <= NARROW * case.coarse.range))
    return own if (narrow if wanted is None else wanted) else None


def observed_frames(run: Run, segment: Segment) -> tuple[np.ndarray, np.ndarray]:
    """Observed states `(n, Y)` and coarse values `(n, d)` of the equilibrated frames of a segment."""
    keep = np.arange(len(segment.frames.position))[:, None] >= segment.first
    position = segment.frames.position[keep].reshape(-1, segment.frames.position.shape[-1])
    coarse = segment.frames.coarse[keep].reshape(-1, segment.frames.coarse.shape[-1])
    return np.asarray(jax.jit(jax.vmap(run.case.system.observe))(jnp.asarray(position))), coarse


def round_stage(
    run: Run,
    number: int,
    generator: AnyGenerator | None,
    windows: Windows,
    positions: np.ndarray,
    labels: np.ndarray,
    tuning: Tuning,
    schedule: Schedule,
    adapt_chunks: int = ADAPT_CHUNKS,
    columns: np.ndarray | None = None,
) -> tuple[Windows, Round]:
    """One round in flattened windows: by local moves alone where there is no generator, else coupled to it or seeded.

    `labels` `(windows, walkers)`: the starting points that walkers came from, of all windows but the last added ones.
    `adapt_chunks`: of local steps by which chains are tuned before they count, where they are not seeded; `columns`: of
    which window each of `windows` is a copy, where some are.
    """
    batch = windows.count * positions.shape[1]

    def compute(advance: Callable) -> xr.Dataset:
        on_steps = _of_batch(advance, batch)
        start, key = jnp.asarray(positions), run.key(200 + number)
        if generator is None:
            exchange = run.case.bias.exchange
            result = local_round(
                run.engine,
                windows,
                start,
                tuning,
                schedule,
                key,
                exchange=exchange,
                adapt_chunks=adapt_chunks,
                on_steps=on_steps,
            )
        elif isinstance(generator, ConditionalProposal):
            result = coupled_round(run.engine, generator, windows, start, tuning, schedule, key, on_steps, adapt_chunks)
        else:
            result = seeded_round(run.engine, generator, windows, start, labels, tuning, schedule, key, on_steps)
        result = replace(result, frames=canonical_frames(run, result.frames), window=columns)
        return records.round_record(windows, result)

    seeded = generator is not None and not isinstance(generator, ConditionalProposal)
    chunks = RELAXATION_CHUNKS if seeded else adapt_chunks
    steps = chunks * plan.chunk_steps(run.case) + schedule.steps
    return records.read_round(run.stage(f"round_{number}", batch * steps, "walker-steps", compute))


def _of_batch(advance: Callable, batch: int) -> Callable[[int], None]:
    """Progress in steps of all walkers from those of each."""
    return lambda steps: advance(batch * steps)


def flattened(windows: Windows, table: Table) -> Windows:
    """The same windows over another flattening bias."""
    return replace(windows, flattening=table)


def flattening_padding(run: Run, windows: Windows) -> int:
    """Cells beyond the range that the free energy must be known on to flatten the windows at its ends."""
    return padding_cells(run.case.coarse, windows.width)


def canonical_frames(run: Run, frames: Frames) -> Frames:
    """Frames with periodic coordinates brought into the range of their coarse variable; of a molecule as they are."""
    if isinstance(run.case.system, MolecularSystem):
        return frames
    return replace(frames, position=np.asarray(run.space.wrap(frames.position)))
