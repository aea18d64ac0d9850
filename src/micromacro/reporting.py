"""What a report shows, gathered from the results of a run; the report itself computes nothing."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from micromacro.cases.case import Case
from micromacro.closures.files import PROJECTED
from micromacro.closures.finite_volume import stationary_density
from micromacro.closures.reduced import ReducedDynamics, draw_starts, simulate, time_step
from micromacro.errors import MicromacroError
from micromacro.molecules.system import MolecularSystem, observed_space
from micromacro.report.data import ReportData
from micromacro.report.molecule_data import MoleculeData
from micromacro.report.molecule_source import coarse_names, molecule_data
from micromacro.report.shown_values import spread_values

if TYPE_CHECKING:
    from micromacro.run import Result

SHOWN_VALUES = 6
SHOWN_DRAWS = 400
SHOWN_STATES = 4000
TRAJECTORIES = 20
MOST_STEPS = 50_000


def report_data(result: "Result") -> ReportData:
    """Everything that the page of a run shows."""
    case, surface = result.case, result.free_energy
    z = surface.grid.points
    known = result.summary["stationary"]
    unknown = np.full(len(z), np.nan)
    names, samples = _coarse_names(case), _samples(result)
    return ReportData(
        title=case.title,
        summary=result.summary,
        coarse_names=names,
        lower=case.coarse.lower,
        upper=case.coarse.upper,
        periodic=case.coarse.periodic,
        z=z,
        free_energy=surface.free_energy if known else unknown,
        stderr=surface.stderr if known else unknown,
        closure=result.closure,
        other_closures={route: table for route, table in result.closures.items() if route != PROJECTED},
        lag_study=result.bursts and result.bursts.study,
        **_exact(result, z),
        conditional_samples=[(z, _observed(case, exact), _observed(case, raw)) for z, exact, raw in samples],
        observed_names=list(case.system.internal.names) if isinstance(case.system, MolecularSystem) else None,
        molecule=_molecule(case, names, samples),
        observed_periods=observed_space(case.system, case.coarse).period,
        reduced=_reduced(result),
        coarse_cloud=_cloud(result) if case.coarsen is not None else None,
        rounds=result.summary["rounds"],
        basins={name: tuple(np.asarray(c, float) for c in box) for name, box in case.close.basins.items()},
    )


def _coarse_names(case: Case) -> list[str]:
    if isinstance(case.system, MolecularSystem):
        return coarse_names(case.system, case.coarse)
    return [f"z{axis + 1}" for axis in range(case.coarse.dimension)]


def _molecule(case: Case, names: list[str], samples: list[tuple]) -> MoleculeData | None:
    if not isinstance(case.system, MolecularSystem):
        return None
    return molecule_data(case.system, case.coarse, names, samples)


def _observed(case: Case, draws: np.ndarray | None) -> np.ndarray | None:
    """Draws as a generator sees them: of a molecule, whose draws are positions, internal coordinates."""
    if draws is None or not isinstance(case.system, MolecularSystem):
        return draws
    return np.asarray(jax.vmap(case.system.observe)(jnp.asarray(draws).reshape(len(draws), -1)))


def _cloud(result: "Result") -> tuple[np.ndarray, np.ndarray]:
    """Some of the pooled states, spread evenly over ξ, and their coarse values."""
    record = result.record
    weight = record["flat_weight"].to_numpy()
    rng = np.random.default_rng(0)
    rows = rng.choice(len(weight), min(SHOWN_STATES, len(weight)), p=weight / weight.sum())
    observe = jax.jit(jax.vmap(result.case.system.observe))
    return np.asarray(observe(record["position"].to_numpy()[rows])), record["coarse"].to_numpy()[rows]


def _exact(result: "Result", z: np.ndarray) -> dict:
    exact = result.case.exact
    if exact is None:
        return {}
    found = {
        f"exact_{name}": getattr(exact, name)(z)
        for name in ("free_energy", "drift", "diffusion")
        if getattr(exact, name) is not None
    }
    if exact.hidden_weight is not None and "hidden_weight" in result.case.close.observables:
        found["exact_observables"] = {"hidden_weight": exact.hidden_weight(z)}
    return found


def _samples(result: "Result") -> list[tuple]:
    """Draws at a few coarse values: evenly spaced in one dimension, low ones and apart from each other in more."""
    energy = np.nan_to_num(result.free_energy.free_energy, nan=np.inf)
    points = result.free_energy.grid.points
    sampled = np.flatnonzero(np.isfinite(result.closure.drift).all(axis=1) | np.isfinite(energy))
    if len(sampled) == 0:
        return []
    if points.shape[1] == 1:
        chosen = sampled[np.linspace(0, len(sampled) - 1, SHOWN_VALUES + 2).astype(int)[1:-1]]
    else:
        coarse = result.case.coarse
        chosen = sampled[spread_values(points[sampled], energy[sampled], coarse.range, coarse.periodic, SHOWN_VALUES)]
    shown = []
    for cell in np.unique(chosen):
        try:
            drawn = result.lift(points[[cell]], SHOWN_DRAWS).q
        except MicromacroError:
            continue
        raw = result.lift(points[[cell]], SHOWN_DRAWS, exact=False).q if result.generator is not None else None
        shown.append((points[cell], drawn, raw))
    return shown


def _reduced(result: "Result") -> dict:
    coarse = result.case.coarse
    try:
        dynamics = ReducedDynamics.from_table(result.closure, coarse)
        starts = draw_starts(dynamics, result.start_energy, TRAJECTORIES, 0)
        speed = np.median(np.diagonal(dynamics.diffusion, axis1=1, axis2=2), axis=0)
        # long enough to cross the range by diffusion a few times, unless that takes too many steps
        time = min(float(np.max(coarse.range**2 / (2 * speed))), MOST_STEPS * time_step(dynamics))
        found = simulate(dynamics, starts, time, seed=0)
        density = stationary_density(dynamics) if coarse.dimension <= 2 else None
    except MicromacroError:
        return {}
    return {"t": found.t, "z": found.z, "stationary_density": density}
