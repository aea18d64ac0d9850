"""The pipeline: from a case to results on disk, and the results as an object."""

import json
import tempfile
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

import micromacro
from micromacro import finish, pipeline, stages
from micromacro.cases.case import Case
from micromacro.chain import sample_micro_macro
from micromacro.checking import hidden_barriers_of, run_checks
from micromacro.closures.bursts import BurstClosure
from micromacro.closures.files import PROJECTED, read_closures, write_closures
from micromacro.closures.kernels import kernel_width
from micromacro.closures.reduced import ReducedDynamics, Trajectories, draw_starts, simulate
from micromacro.closures.smooth import SmoothClosure, SmoothSettings, smooth_closure
from micromacro.closures.table import ClosureTable
from micromacro.coarsening import check_learning, learn_coarse, learned_case
from micromacro.coupling.learning import AnyGenerator
from micromacro.coupling.lifting import LocalDynamics, Reservoir, lift_exact, lift_healed
from micromacro.coupling.pairs import padding_cells
from micromacro.durable_files import written_whole
from micromacro.errors import InputError, StoreError
from micromacro.estimates.surface import FreeEnergySurface, coarse_grid
from micromacro.exploring import ADAPTIVE
from micromacro.generators.completed import CompletedGenerator
from micromacro.generators.generator import Generator
from micromacro.long_run import sample_long_run
from micromacro.molecular_passages import passages
from micromacro.molecules.imported import read_own_data
from micromacro.molecules.system import MolecularSystem, exposed, observed_space
from micromacro.own_data import sampled_from_data, thermal_energy
from micromacro.progress import Progress
from micromacro.provenance import mixed_environments, provenance
from micromacro.reading import read_json, refuse_links_out
from micromacro.records import read_generator
from micromacro.reduction import reduce_stages
from micromacro.reduction_records import read_bursts
from micromacro.sampling.engine import Engine
from micromacro.sampling.pool import Cluster
from micromacro.store import Store, room_needed
from micromacro.summary import checked_summary
from micromacro.systems.model import StochasticSystem, identity
from micromacro.target import check_target
from micromacro.watching.log_file import FINISHED
from micromacro.watching.run_log import recorded

DRAWS_AT_ONCE = 10_000
COARSE_AT_ONCE = 1000
METHODS = ("coupled", "umbrella", "unbiased", "generator", "micro-macro", "data")
NEED_DENSITIES = ("generator", "micro-macro")
SUMMARY = "summary.json"
SETTINGS = "run.json"


def run(
    case: Case,
    out: Path | str | None = None,
    *,
    method: str = "coupled",
    resume: bool = False,
    progress: Progress | None = None,
    workers: int | None = None,
    scheduler: str | None = None,
    task_timeout: float | None = None,
) -> "Result":
    """Compute a case and write its results.

    **Arguments:**

    - `case`: a system, its coarse variable and settings.
    - `out`: the directory of results; a temporary one where left out.
    - `method`: `coupled` to a generator, `umbrella` windows alone, `unbiased` dynamics, the `generator` alone, a
      `micro-macro` chain over all coarse values that it lifts, or the `data` of the case instead of a simulation.
    - `resume`: go on with what `out` holds; finished stages are not repeated.
    - `progress`: how to show it; not at all where left out.
    - `workers`: of a cluster that is started here for the run; the cores of this process where left out.
    - `scheduler`: address of a dask scheduler whose workers to use instead.
    - `task_timeout`: seconds without an answer after which workers count as hung; learned from the tasks by default.

    **Raises:** `InputError`, `BudgetError`, `StoreError` for what the user can mend; `PhysicsError` where the
    simulation fails. What was finished before stays in `out`.

    >>> import numpy as np, micromacro as mm
    >>> def potential(q):
    ...     return (q[0] ** 2 - 1) ** 2 + 2 * q[1] ** 2
    >>> system = mm.OverdampedSystem(potential, dimension=2, initial=np.array([[-1.0, 0.0], [1.0, 0.0]]))
    >>> coarse = mm.CoarseVariable(lambda q: q[:1], np.array([-1.5]), np.array([1.5]), (False,))
    >>> bias = mm.BiasSettings(windows=8, walkers=16, steps=200)
    >>> close = mm.CloseSettings(bursts=0, full_model=0)
    >>> case = mm.Case("wells", "Two wells", system, coarse, bias, couple=mm.CoupleSettings(rounds=1), close=close)
    >>> result = mm.run(case, method="umbrella")
    >>> result.free_energy.free_energy.shape
    (120,)
    """
    _check_request(case, method)
    folder = Path(tempfile.mkdtemp(prefix="micromacro-")) if out is None else Path(out)
    refuse_links_out(folder)
    with Store(folder).locked():
        if resume and _is_finished(folder):
            _same_settings(folder, case, method)
            return Result.load(folder, case)
        _prepare(folder, case, method, resume)
        with (
            recorded(Store(folder).path, resumed=resume, **_facts(case, method)) as log,
            _workers(workers, scheduler, task_timeout) as cluster,
        ):
            heard = replace(progress or Progress(quiet=True), listener=log)
            result = _compute(case, folder, method, heard, cluster)
            log.say(FINISHED, **{key: result.summary[key] for key in ("wall_seconds", "force_evaluations")})
        return result


def _is_finished(folder: Path) -> bool:
    """Whether there are results with every stage that they are of: one that was damaged may have been deleted."""
    file, store = folder / SUMMARY, Store(folder)
    return file.exists() and all(store.has(name) for name in checked_summary(read_json(file), file)["stages"])


def _facts(case: Case, method: str) -> dict[str, str | float | None]:
    """What the log says of a run when it begins."""
    device = str(jax.devices()[0].device_kind)
    named = {"case": case.name, "method": method, "seed": case.seed, "budget": case.budget}
    return named | {"version": micromacro.__version__, "device": device}


def _workers(
    workers: int | None, scheduler: str | None, task_timeout: float | None
) -> AbstractContextManager[Cluster | None]:
    """Those of a cluster, where one is asked for."""
    if workers is None and scheduler is None:
        return nullcontext()
    from micromacro.cluster.connect import connected, local_cluster

    if scheduler is None:
        return local_cluster(workers or 1, task_timeout)
    if workers is not None:
        remedy = "The scheduler has the workers that were started for it."
        raise InputError("--workers", "be left out with --scheduler", workers, remedy=remedy)
    return connected(scheduler, task_timeout)


def _compute(case: Case, folder: Path, method: str, progress: Progress, cluster: Cluster | None) -> "Result":
    """Every stage that is not finished, and the files of results."""
    began = time.monotonic()
    store = Store(folder)
    store.describe(provenance(case, method, _settings(case, method), store.provenance))
    engine = _engine(folder, case, method, cluster)
    under_way = stages.Run(case, store, progress, engine)
    coarsening = None
    if case.coarsen is not None:
        under_way, coarsening = learn_coarse(under_way)
        case = under_way.case
    sampled = _sample(under_way, method)
    closed, closing = finish.close_stage(under_way, sampled)
    reduction = reduce_stages(under_way, sampled, closed)
    raw = finish.raw_draws(under_way, sampled)
    checks = run_checks(under_way, sampled, reduction, raw)
    quality = finish.generator_quality(under_way, sampled, raw)
    with room_needed(folder):
        finish.write_free_energy(folder / "free_energy.csv", sampled.estimate.surface, known=sampled.stationary)
        write_closures(folder / "closure.csv", reduction.tables)
    stored = sum(cost["wall_seconds"] for cost in under_way.costs.values())
    summary = {
        "version": micromacro.__version__,
        "case": case.name,
        "title": case.title,
        "method": method,
        "generator": case.generator.kind if sampled.generator is not None else None,
        "corrected": case.system.has_density,
        "seed": case.seed,
        "device": str(jax.devices()[0].device_kind),
        "platform": under_way.engine.platform,
        "force_evaluations": under_way.engine.evaluations,
        "wall_seconds": max(stored, time.monotonic() - began),
        "stages": under_way.costs,
        "basins": finish.basins(under_way, sampled),
        "consistency": {name: check.as_dict() for name, check in checks.items()},
        "rounds": list(sampled.rounds),
        "hidden_barriers": [barrier.sentence for barrier in hidden_barriers_of(under_way, sampled)],
        "coarsening": coarsening and coarsening.as_dict(),
        "chain": sampled.chain,
        "generator_quality": quality and quality.as_dict(),
        "reduction": reduction.as_dict(),
        "passages": _passages(under_way, sampled),
        "last_generator": _last_generator(under_way.store),
        "stationary": sampled.stationary,
        "target_error": sampled.target,
    }
    mixed = mixed_environments(store.provenance)
    summary["notes"] = _notes(case, sampled, method) + _no_closure(closing.attrs.get("no_closure", ""))
    summary["notes"] += [mixed] if mixed else []
    with room_needed(folder):
        finish.write_summary(folder / SUMMARY, summary)
    return Result(folder, case, summary)


def _passages(under_way: stages.Run, sampled: pipeline.Sampled) -> list[dict]:
    """Passage times of a molecule between its basins; of other systems `reduction` says how they agree."""
    molecule = isinstance(under_way.case.system, MolecularSystem) and sampled.stationary
    return passages(under_way, sampled) if molecule else []


def _sample(under_way: stages.Run, method: str) -> pipeline.Sampled:
    if method == "data":
        return _sample_data(under_way)
    if not under_way.case.system.has_density:
        return sample_long_run(under_way, learn=method == "coupled")
    if method == "unbiased":
        return pipeline.sample_unbiased(under_way)
    if method == "generator":
        return pipeline.sample_generator(under_way)
    if method == "micro-macro":
        return sample_micro_macro(under_way)
    invertible = under_way.case.system.hidden is not None
    return pipeline.sample_windows(under_way, coupled=method == "coupled" and invertible)


def _sample_data(under_way: stages.Run) -> pipeline.Sampled:
    data, system = under_way.case.data, under_way.case.system
    assert data is not None
    return sampled_from_data(under_way, read_own_data(data, thermal_energy(system)))


def _no_closure(reason: str) -> list[str]:
    return [f"no closure: {reason}"] if reason else []


def _notes(case: Case, sampled: pipeline.Sampled, method: str) -> list[str]:
    """What a reader of the results must know besides the checks."""
    notes = []
    if method == "data":
        notes.append("F, the generator and the states to lift from are of given data: nothing was simulated for them")
    elif case.data is not None:
        notes.append("the [data] section was not used: method data estimates from it")
    if not case.system.has_density:
        notes.append("uncorrected: the system has no log_density, so averages are those of its own long run")
    if isinstance(case.system, MolecularSystem) and isinstance(sampled.generator, Generator):
        notes.append(
            "draws of the generator were minimised and relaxed by dynamics, and only seeded the windows: hidden wells "
            "have the proportions of its training data"
        )
    if sampled.target is not None and sampled.target["met"] is False:
        notes.append(f"the target error was not met: {sampled.target['reason']}")
    if not sampled.stationary:
        notes.append("ξ was still drifting at the end of the run: it has conditionals but no free energy")
    if case.system.has_density and case.system.hidden is None and method == "coupled":
        notes.append(f"not coupled: {_why_not_coupled(case)}, so no draw of a generator could be simulated")
    return notes


def _why_not_coupled(case: Case) -> str:
    if isinstance(case.system, MolecularSystem):
        return case.system.internal.reason or "the internal coordinates of the solute do not place its solvent"
    return "[system] observe has no inverse hidden"


def _check_request(case: Case, method: str) -> None:
    if method not in METHODS:
        raise InputError("method", f"be one of {', '.join(METHODS)}", repr(method))
    if method == "data" and (case.data is None or case.coarsen is not None):
        requirement = "have a [data] section and a known [coarse] variable for method data"
        raise InputError("the case", requirement, "none" if case.data is None else "one that is learned")
    check_target(case, method)
    kind = case.generator.kind
    family = stages.family_of(case)
    if method in NEED_DENSITIES and not family.has_density:
        remedy = "Use score or flow, or the coupled method, where it seeds the windows."
        raise InputError("generator.kind", f"have a density for method {method}", repr(kind), remedy=remedy)
    density = case.system.has_density
    if case.coarsen is not None:
        check_learning(case)
    if case.explore.kind == ADAPTIVE and not (density and method != "unbiased"):
        requirement = "be unbiased for method unbiased, and for a system without log_density"
        raise InputError("explore.kind", requirement, repr(ADAPTIVE))
    if not density and method in ("umbrella", *NEED_DENSITIES):
        raise InputError(
            "method",
            "be coupled or unbiased for a system without log_density, where no bias is meaningful",
            repr(method),
        )
    if method == "micro-macro" and isinstance(case.system, MolecularSystem):
        requirement = "be one of coupled, umbrella, unbiased, generator for a molecule"
        raise InputError("method", requirement, repr(method))
    if method in NEED_DENSITIES and case.system.hidden is None:
        requirement = f"not be {method} where {_why_not_coupled(case)}"
        raise InputError("method", requirement, repr(method))


def _settings(case: Case, method: str) -> dict:
    keys = ("explore", "bias", "generator", "couple", "seed")
    named = {key: repr(getattr(case, key)) for key in keys}
    # functions have no lasting name: the case's files are compared where they are kept
    coarsen = None if case.coarsen is None else replace(case.coarsen, features=None)
    close = repr((case.close.bursts, case.close.full_model))
    return {"method": method, **named, "coarse": repr(coarsen), "close": close, "target": repr(case.target)}


def _same_settings(folder: Path, case: Case, method: str) -> None:
    path = folder / SETTINGS
    if not path.exists():
        return
    stored = read_json(path)
    for key, value in _settings(case, method).items():
        if key in stored and stored[key] != value:
            raise InputError(
                key,
                f"be as in the run that is resumed, {stored.get(key)}",
                value,
                source=str(path),
                remedy="Use another OUT.",
            )


def _prepare(folder: Path, case: Case, method: str, resume: bool) -> None:
    if not resume and ((folder / SUMMARY).exists() or Store(folder).begun):
        raise StoreError(f"{folder} holds results. Give --resume to go on with them, or another directory.")
    if resume:
        _same_settings(folder, case, method)


def _engine(folder: Path, case: Case, method: str, cluster: Cluster | None) -> Engine:
    """The engine of a run, noted with its settings; one that is resumed keeps the platform on which it began."""
    path = folder / SETTINGS
    stored = read_json(path) if path.exists() else {}
    engine = stages.engine_for(case, stored.get("platform"), cluster)
    settings = _settings(case, method) | {"platform": engine.platform}
    if settings != stored:
        with room_needed(folder):
            written_whole(path, json.dumps(settings, indent=2))
    return engine


def _last_generator(store: Store) -> str | None:
    numbers = [int(name.removeprefix("learn_")) for name in store.names if name.startswith("learn_")]
    return f"learn_{max(numbers)}" if numbers else None


@eqx.filter_jit
def _raw_draws(generator: AnyGenerator, z: Float[Array, "d"], keys: Key[Array, "n"]) -> Float[Array, "n Y"]:
    """Observed states of the generator alone: at z itself where it can hold that fixed."""
    one = generator.sample_exactly if isinstance(generator, CompletedGenerator) else generator.sample
    return jax.lax.map(lambda key: one(z, key), keys, batch_size=DRAWS_AT_ONCE)


@dataclass(frozen=True)
class Lift:
    """Micro states conditioned on coarse values.

    `q` `(rows, Y)`, or `(rows, atoms, 3)` in nm of a molecule; `z` `(rows, d)`, ξ of each; `at` `(rows, d)`, what was
    asked; `log_weight` `(rows,)`, zero where draws are exact; `ess` `(m,)`, one for each value asked: how many
    independent draws they are worth.
    """

    q: Float[np.ndarray, "rows ..."]
    z: Float[np.ndarray, "rows d"]
    at: Float[np.ndarray, "rows d"]
    log_weight: Float[np.ndarray, "rows"]
    ess: Float[np.ndarray, "m"]


@dataclass(frozen=True, eq=False)
class Result:
    """The results of a run: `path` holds the files, `case` what was computed, `summary` is that of `summary.json`."""

    path: Path
    case: Case
    summary: dict

    @classmethod
    def load(cls, path: Path | str, case: Case) -> "Result":
        """The results in a directory. **Raises:** `StoreError` where the run has not finished."""
        file = Path(path) / SUMMARY
        if not file.exists():
            raise StoreError(f"{path} holds no finished run ({SUMMARY} is missing). Run the case with --resume first.")
        return cls(Path(path), learned_case(case, Store(Path(path))), checked_summary(read_json(file), file))

    @cached_property
    def record(self):
        """The dataset of the last stage."""
        return Store(self.path).read("close")

    @property
    def free_energy(self) -> FreeEnergySurface:
        """F on the grid in kT, with its standard errors."""
        grid = coarse_grid(self.case.coarse)
        return FreeEnergySurface(
            grid, self.record["free_energy"].to_numpy(), self.record["free_energy_stderr"].to_numpy()
        )

    @property
    def closure(self) -> ClosureTable:
        """The projected b(z), D(z) and the conditional averages of the observables, with standard errors."""
        return finish.read_closure(self.record)

    @cached_property
    def closures(self) -> dict[str, ClosureTable]:
        """b(z) and D(z) by route: `projected`, and `bursts` and `learned` where the run has them."""
        return read_closures(self.path / "closure.csv")

    @cached_property
    def bursts(self) -> BurstClosure | None:
        """The closure of short bursts with its study of the lag, where the run has one."""
        store = Store(self.path)
        return read_bursts(store.read("bursts")) if store.has("bursts") else None

    def closure_by(self, route: str) -> ClosureTable:
        """The closure by one route. **Raises:** `InputError` for one that the run does not have."""
        if route not in self.closures:
            reason = self.summary.get("reduction", {}).get("reasons", {}).get(route, "no such route")
            requirement = f"be one of the closures of this run, {', '.join(self.closures)}"
            raise InputError("--closure", requirement, f"{route!r} ({reason})")
        return self.closures[route]

    def smooth_closure(self, route: str = PROJECTED) -> SmoothClosure:
        """b(z) and D(z) of one route as smooth differentiable functions, with their standard errors."""
        table = self.closure_by(route)
        overlap = kernel_width(route, self.free_energy.grid)
        return smooth_closure(table, self.case.coarse, SmoothSettings(overlap=overlap))

    def coarse_values(self, q: Float[np.ndarray, "n ..."]) -> Float[np.ndarray, "n d"]:
        """ξ of observed states `(n, Y)`, of a molecule positions `(n, atoms, 3)`, as `(n, d)`.

        **Raises:** `InputError` for states of another size.
        """
        system = self.case.system
        molecule = isinstance(system, MolecularSystem)
        shape = (system.atoms, 3) if molecule else system.observe(jnp.asarray(system.initial[0])).shape
        if q.shape[1:] != shape:
            raise InputError("q", f"be observed states (n, {', '.join(map(str, shape))})", f"shape {q.shape}")
        observe = system.observe if molecule else identity
        chunk = jax.jit(
            lambda states: jax.lax.map(lambda one: self.case.coarse(observe(one)), states, batch_size=COARSE_AT_ONCE)
        )
        return np.asarray(chunk(jnp.asarray(q, float).reshape(len(q), -1)))

    @cached_property
    def generator(self) -> AnyGenerator | None:
        """The generator trained last, if the run had one."""
        name = self.summary["last_generator"]
        if name is None:
            return None
        return read_generator(Store(self.path).read(name))

    def lift(
        self, z: Float[np.ndarray, "m d"], n: int, *, exact: bool = True, width: float | None = None, seed: int = 0
    ) -> Lift:
        """`n` micro states for each coarse value.

        **Arguments:**

        - `z`: coarse values `(m, d)`.
        - `exact`: corrected by the physics, for δ(ξ - z); else the generator alone, for its blurred window, or for z
            itself where the coarse variable is some of the coordinates that it knows.
        - `width`: how far ξ of a draw may be from z; one per cent of the range where left out.

        **Raises:** `InputError` for values outside the range, values near which nothing was sampled, and raw draws of a
        run that had no generator.
        """
        coarse = self.case.coarse
        values = np.asarray(z, float).reshape(-1, coarse.dimension)
        for value in values:
            inside = (value >= coarse.lower) & (value <= coarse.upper) | np.asarray(coarse.periodic)
            if not inside.all():
                raise InputError("--at", f"lie between {coarse.lower} and {coarse.upper}", value.tolist())
        one = self._lift_exact if exact else self._lift_raw
        widths = 0.01 * coarse.range if width is None else np.full(coarse.dimension, width)
        parts = [one(value, n, widths, seed, number) for number, value in enumerate(values)]
        q = np.concatenate([part[0] for part in parts])
        return Lift(
            q,
            np.concatenate([part[1] for part in parts]),
            np.repeat(values, n, axis=0),
            np.zeros(len(q)),
            np.array([part[2] for part in parts]),
        )

    def _lift_raw(self, value: np.ndarray, n: int, _: np.ndarray, seed: int, number: int):
        if self.generator is None:
            raise InputError("--raw", "be of a run that had a generator", f"method {self.summary['method']}")
        keys = jax.random.split(jax.random.fold_in(jax.random.key(seed), number), n)
        observed = _raw_draws(self.generator, jnp.asarray(value), keys)
        z = np.asarray(jax.vmap(self.case.coarse)(observed), float)
        system = self.case.system
        if isinstance(system, MolecularSystem):
            assert system.hidden is not None, "only what can be lifted has a generator"
            return exposed(system, np.asarray(jax.vmap(system.hidden)(observed))), z, float(n)
        return np.asarray(observed, float), z, float(n)

    def _lift_exact(self, value: np.ndarray, n: int, width: np.ndarray, seed: int, number: int):
        system, rng = self.case.system, np.random.default_rng([seed, number])
        key = jax.random.fold_in(jax.random.key(seed), number)
        shared = self.case.coarse, self._reservoir, value, n, width
        if isinstance(system, StochasticSystem) and not system.has_density:
            lifted = lift_healed(self._engine, system, *shared, self._local_dynamics(value), key, rng)
        else:
            lifted = lift_exact(self._engine, *shared, key, rng)
        q = exposed(system, lifted.position)
        if not isinstance(system, MolecularSystem):
            q = np.asarray(observed_space(system, self.case.coarse).wrap(q))
        return q, lifted.coarse, lifted.effective_sample_size

    def _local_dynamics(self, value: np.ndarray) -> LocalDynamics:
        closure, coarse = self.closure, self.case.coarse
        known = np.flatnonzero(closure.finite)
        if len(known) == 0:
            return LocalDynamics(np.zeros(coarse.dimension), np.zeros((coarse.dimension,) * 2), 0.0)
        delta = np.asarray(coarse.difference(closure.z[known], value)) / coarse.range
        cell = known[int(np.argmin(np.sum(delta**2, axis=1)))]
        return LocalDynamics(closure.drift[cell], closure.diffusion[cell], float(self.record["relaxation_time"]))

    @cached_property
    def _engine(self) -> Engine:
        return stages.engine_for(self.case)

    @cached_property
    def _reservoir(self) -> Reservoir:
        record, coarse = self.record, self.case.coarse
        array = {name: record[name].to_numpy() for name in ("position", "coarse", "flat_weight", "blur", "scale")}
        wide, results = len(record["wide_free_energy"]), len(record["free_energy"])
        padding = 0 if wide == results else padding_cells(coarse, array["blur"])
        table = finish.reservoir_table(coarse, record, padding)
        return Reservoir(
            array["position"],
            array["coarse"],
            array["flat_weight"],
            float(record["inefficiency"]),
            table,
            array["blur"],
            array["scale"],
        )

    def reduce(
        self,
        time: float,
        trajectories: int,
        *,
        seed: int = 0,
        start: Float[np.ndarray, "N d"] | None = None,
        route: str = PROJECTED,
    ) -> Trajectories:
        """Trajectories of the reduced dynamics to `time`, from exp(-F/kT) or from `start`, by one route's closure."""
        dynamics = ReducedDynamics.from_table(self.closure_by(route), self.case.coarse)
        if start is None:
            start = draw_starts(dynamics, self.start_energy, trajectories, seed)
        return simulate(dynamics, np.asarray(start, float), time, seed=seed)

    @property
    def start_energy(self) -> np.ndarray:
        """F in kT by which reduced trajectories are started, `(n,)`."""
        # without a free energy the trajectories begin evenly over what was sampled
        values = self.free_energy.free_energy
        return values if self.summary["stationary"] else np.where(np.isfinite(values), 0.0, np.nan)

    def write_report(self) -> Path:
        """`report.html`: one self-contained page."""
        from micromacro.report.page import render
        from micromacro.reporting import report_data

        file = self.path / "report.html"
        file.write_text(render(report_data(self)), encoding="utf-8")
        return file
