"""What is measured: calls of an engine as real runs make them."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np

from micromacro import plan, stages
from micromacro.cases.case import Case
from micromacro.cases.file import load_case
from micromacro.coupling.rounds import Schedule
from micromacro.molecules.system import MolecularSystem
from micromacro.sampling.openmm_platform import measured_platform
from micromacro.sampling.pool import Cluster
from micromacro.sampling.table import fit_table, padded_grid
from micromacro.sampling.tuning import first_tuning
from micromacro.sampling.windows import Windows, grid_centers

SPREAD = 0.2
"""Thermal spread of φ in radians in the narrowest well, which exploration finds."""
CELLS = 60


@dataclass(frozen=True)
class Workload:
    """Calls of `advance` for so many windows and walkers, a cycle of a round each."""

    name: str
    case: Case
    windows: int
    walkers: int
    schedule: Schedule
    platform: str | None = None

    @property
    def walker_steps(self) -> int:
        """Of one call."""
        return self.windows * self.walkers * self.schedule.frames * self.schedule.interval

    def described(self) -> str:
        """In words."""
        steps = f"{self.schedule.frames} frames {self.schedule.interval} steps apart"
        return f"{self.name}: {self.windows} windows × {self.walkers} walkers, calls of {steps}"

    def ready(self, cluster: Cluster | None) -> Callable[[int], None]:
        """Makes an engine, and starts its walkers; what is returned makes a call with the random key of a number."""
        engine = stages.engine_for(self.case, self.platform, cluster)
        windows = self._biased()
        initial = np.asarray(self.case.system.initial)
        which = np.arange(self.windows)[:, None] % len(initial) + np.zeros((1, self.walkers), int)
        walkers = [engine.start(windows, jnp.asarray(initial[which]))]
        tuning = first_tuning(self.windows, windows.centers.shape[1] if engine.platform else self.case.system.dimension)

        def call(number: int) -> None:
            key = jax.random.key(number)
            walkers[0], chunk = engine.advance(
                windows, tuning, walkers[0], key, self.schedule.frames, self.schedule.interval
            )
            jax.block_until_ready(chunk)

        return call

    def _biased(self) -> Windows:
        """Windows over a flattening, as in every round but the first."""
        coarse = self.case.coarse
        stiffness = plan.plan_windows(self._sized(), np.full(coarse.dimension, SPREAD)).stiffness
        origin, spacing, shape = padded_grid(coarse, CELLS)
        grid = origin[0] + spacing[0] * np.arange(shape[0])
        table = fit_table(0.5 * np.cos(grid), origin, spacing, coarse.periodic)
        return Windows(jnp.asarray(grid_centers(coarse, self.windows)), jnp.asarray(stiffness), table)

    def _sized(self) -> Case:
        return replace(self.case, bias=replace(self.case.bias, windows=self.windows))


def dipeptide(longer: int = 1) -> Workload:
    """The alanine dipeptide in vacuum: the cycles of a round of its default run, with `longer` times its budget."""
    case = load_case("alanine-dipeptide-vacuum", [])
    assert case.budget is not None
    case = replace(case, budget=longer * case.budget, bias=replace(case.bias, steps=longer * case.bias.steps))
    sizes = plan.plan_windows(case, np.array([SPREAD]))
    batch = sizes.per_dimension * sizes.walkers
    overhead = plan.round_overhead(plan.cycles_for(case), coupled=True, chunk=plan.chunk_steps(case))
    steps = plan.Budget(case.budget).steps(case.bias.steps, 0, 0, batch, overhead, case.couple.rounds + 1)
    assert isinstance(case.system, MolecularSystem)
    platform = measured_platform(case.system, 1)
    schedule = plan.schedule(case, steps, batch)
    name = "alanine dipeptide" + (f", {longer} times its default budget" if longer > 1 else "")
    return Workload(name, case, sizes.per_dimension, sizes.walkers, schedule, platform)


def baths(walkers: int) -> Workload:
    """The hidden barrier with 18 curved baths, dimension 20: the cycles of a default round with many walkers."""
    case = load_case("hidden-barrier-bath", [])
    windows = 24
    schedule = plan.schedule(case, case.bias.steps, windows * walkers)
    return Workload("hidden barrier, dimension 20", case, windows, walkers, schedule)
