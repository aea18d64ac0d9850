"""The method `micro-macro`: a chain over the full Boltzmann distribution, by what a coupled run has learnt."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import jax.numpy as jnp
import numpy as np
import xarray as xr

from micromacro import records, stages
from micromacro.coupling.chains import MicroMacro, MicroMacroChains
from micromacro.coupling.estimate import equilibrated, estimate
from micromacro.coupling.macro import blurred_density
from micromacro.coupling.micro_macro import LocalTuning, MicroMacroSettings
from micromacro.coupling.rounds import ADAPT_CHUNKS, Round
from micromacro.errors import BudgetError
from micromacro.generators.generator import DensityGenerator
from micromacro.pipeline import Sampled, closure_reserve, reduction_reserve, sample_windows
from micromacro.sampling.engine import JaxEngine, Tuning
from micromacro.sampling.seeding import no_windows, start_labels
from micromacro.sampling.tuning import CHUNK_STEPS, adapt

TRAINING_SHARE = 0.5
WALKERS_PER_WINDOW_WALKER = 4
LOCAL_STEPS = 5
FEWEST_CYCLES, MOST_CYCLES = 50, 1000
MOST_FRAMES, CHUNKS = 160_000, 10
PREPARATION = 1 + ADAPT_CHUNKS * CHUNK_STEPS + 1


@dataclass(frozen=True)
class ChainSize:
    """How the chains spend their steps: `chunks` of `frames`, each after `every` cycles with `local_steps`."""

    walkers: int
    chunks: int
    frames: int
    every: int
    local_steps: int

    @property
    def cycles(self) -> int:
        """Cycles of each walker."""
        return self.chunks * self.frames * self.every

    @property
    def evaluations(self) -> int:
        """Force evaluations in all, preparation included."""
        return self.walkers * (PREPARATION + self.cycles * (1 + self.local_steps))


def chain_size(walkers: int, evaluations: int) -> ChainSize:
    """Chains of so many force evaluations or a little fewer: the generator is asked `MOST_CYCLES` times at most.

    **Raises:** `BudgetError` where fewer than `FEWEST_CYCLES` cycles are affordable.
    """
    each = evaluations // walkers - PREPARATION
    cycles = min(MOST_CYCLES, each // (1 + LOCAL_STEPS))
    if cycles < FEWEST_CYCLES:
        needed = walkers * (PREPARATION + FEWEST_CYCLES * (1 + LOCAL_STEPS))
        raise BudgetError(
            f"budget must leave {needed} force evaluations to the chain after training; {evaluations} are left. "
            "Raise --budget, or lower [bias] walkers."
        )
    every = max(1, min(math.ceil(cycles * walkers / MOST_FRAMES), cycles // CHUNKS))
    frames = cycles // (CHUNKS * every)
    cycles = CHUNKS * frames * every
    return ChainSize(walkers, CHUNKS, frames, every, each // cycles - 1)


def sample_micro_macro(run: stages.Run) -> Sampled:
    """A coupled run within a share of the budget, then chains by its F and generator for the rest.

    Without a budget the chains cost as much as the training.

    **Raises:** `BudgetError` where too little is left to train a generator or to run the chains.
    """
    case = run.case
    trained = sample_windows(run, coupled=True, share=TRAINING_SHARE)
    if not isinstance(trained.generator, DensityGenerator):
        raise BudgetError(f"budget must be enough to train a generator; got {case.budget}. Raise --budget.")
    walkers = WALKERS_PER_WINDOW_WALKER * trained.start.size
    spent = run.engine.evaluations
    reserve = closure_reserve(case) + reduction_reserve(case)
    left = spent if case.budget is None else case.budget - spent - reserve
    size = chain_size(walkers, left)
    record = _chain_stage(run, trained, trained.generator, size)
    windows, result = records.read_round(record)
    segment = equilibrated(case.system.observe, windows, result.frames)
    return replace(
        trained,
        segments=[segment],
        estimate=estimate(case.coarse, [segment], 0),
        start=start_labels(stages.stored_exploration(run).position.shape[1], walkers),
        scale=np.asarray(result.tuning.scale)[0],
        trained=trained,
        chain={key: float(record[f"{key}_acceptance"]) for key in ("macro", "micro", "local")}
        | {"cycles": size.cycles, "walkers": walkers},
    )


def _chain_stage(run: stages.Run, trained: Sampled, generator: DensityGenerator, size: ChainSize) -> xr.Dataset:
    def compute(advance: Callable) -> xr.Dataset:
        chains, tuning = _run_chains(run, trained, generator, size, advance)
        frames = stages.canonical_frames(run, chains.frames)
        last = np.asarray(chains.last.walker.position)[None]
        record = records.round_record(no_windows(run.case.coarse, 1), Round(frames, last, tuning))
        for name in ("macro", "micro", "local"):
            record[f"{name}_acceptance"] = getattr(chains, name)
        record["blurred"] = (("frame", "walker", "component"), chains.coarse, {"long_name": "z of the extended state"})
        return record

    return run.stage("chain", size.walkers * size.cycles, "cycles", compute)


def _run_chains(
    run: stages.Run, trained: Sampled, generator: DensityGenerator, size: ChainSize, advance: Callable
) -> tuple[MicroMacroChains, Tuning]:
    """From every starting point in equal shares: the local sampler tuned, then the chains."""
    coarse, exploration = run.case.coarse, stages.stored_exploration(run)
    windows = no_windows(coarse, 1)
    walkers = run.engine.start(windows, jnp.asarray(stages.explored_states(exploration, size.walkers))[None])
    tuning = stages.shared_tuning(exploration, 1)
    tuned = adapt(run.engine, windows, walkers, tuning, run.key(500), ADAPT_CHUNKS, rescale=False)
    macro = blurred_density(coarse, trained.estimate.wide, trained.blur)
    local = LocalTuning(tuned.tuning.step_size[0], tuned.tuning.scale[0])
    assert isinstance(run.engine, JaxEngine), "molecules are refused when the method is chosen"
    sampler = MicroMacro(run.engine, MicroMacroSettings(local_steps=size.local_steps))
    chains = sampler.sample(
        generator,
        macro,
        local,
        tuned.walkers.position[0],
        run.key(501),
        frames=size.frames,
        every=size.every,
        chunks=size.chunks,
        advance=advance,
    )
    return chains, tuned.tuning
