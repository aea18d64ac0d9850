"""Passage times of a molecule between its basins, by the reduced dynamics and corrected for inertia and memory."""

from functools import partial
from itertools import combinations
from typing import Any

import numpy as np

from micromacro import stages
from micromacro.closures.langevin_barrier import barrier_crossing
from micromacro.closures.langevin_closure import fit_diffusion, langevin_closure, langevin_spread
from micromacro.closures.langevin_passages import cells_in
from micromacro.closures.passage import transition_times
from micromacro.closures.reduced import ReducedDynamics
from micromacro.errors import MicromacroError
from micromacro.finish import number
from micromacro.molecular_closure import SERIES, diffusion_of
from micromacro.pipeline import Sampled

REPLICAS = 20


def passages(run: stages.Run, sampled: Sampled) -> list[dict[str, Any]]:
    """For each two named basins, how long passages take in ps, with standard errors; or why that is not known.

    Nothing where there are no series of ξ in windows.

    `factor` times the reduced times are what inertia and memory make of them: theory of Grote and Hynes, see
    `langevin_barrier`.
    """
    if not run.store.has(run.stage_name(SERIES)):
        return []
    return [_between(run, sampled, *pair) for pair in combinations(run.case.close.basins, 2)]


def _between(run: stages.Run, sampled: Sampled, first: str, second: str) -> dict[str, Any]:
    case, surface = run.case, sampled.estimate.surface
    row: dict[str, Any] = {"from": first, "to": second}
    try:
        diffusion = diffusion_of(run, run.store.read(run.stage_name(SERIES)))
        fit = fit_diffusion(case.coarse, diffusion)
        cells = [cells_in(case.coarse, surface.grid, case.close.basins[name]) for name in (first, second)]
        cells = [_core(cells_of, surface.free_energy) for cells_of in cells]
        times = partial(_times, cells=cells)
        found = langevin_spread(case.coarse, surface, fit, times, replicas=REPLICAS, seed=case.seed)
        for name, value, stderr in zip(("forward", "backward"), found.value, found.stderr, strict=True):
            row |= {f"{name}_ps": number(value), f"{name}_stderr_ps": number(stderr)}
        # the times of the reduced dynamics stand without what corrects them
        dynamics = ReducedDynamics.from_table(langevin_closure(surface, fit), case.coarse)
        crossing = barrier_crossing(case.coarse, dynamics, diffusion, *cells)
    except MicromacroError as error:
        return row | {"reason": str(error)}
    return row | {"factor": number(crossing.factor), "factor_stderr": number(crossing.factor_stderr)}


def _times(dynamics: ReducedDynamics, cells: list[np.ndarray]) -> list[float]:
    found = transition_times(dynamics, *cells)
    return [found.forward, found.backward]


def _core(cells: np.ndarray, free_energy: np.ndarray, height: float = 2.0) -> np.ndarray:
    """The bottom of a basin, up to 2 kT: basins that touch have none of their passages counted at the barrier."""
    known = np.where(cells, np.nan_to_num(free_energy, nan=np.inf), np.inf)
    return known < known.min() + height
