"""Learning the coarse variable: explore, learn ξ, bias along it and learn again from better states, until settled.

Rounds are parts of the run of their own, before the main one: each leaves its stages in the store.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

from micromacro import coarsening_records as records
from micromacro import exploring, pipeline, plan, stages
from micromacro.cases.case import BiasSettings, Case, CoarsenSettings, CoupleSettings, TargetSettings
from micromacro.coarsening_budget import (
    BURSTS,
    ceiling_along,
    first_run_steps,
    learning_settings,
    require_first,
    series_steps,
)
from micromacro.coordinates.coarse import CoarseVariable
from micromacro.coordinates.geometry import PositionFunction
from micromacro.errors import BudgetError, InputError, PhysicsError
from micromacro.learners.alignment import align
from micromacro.learners.choosing import choose_points
from micromacro.learners.diffusion_map import DiffusionMapLearner
from micromacro.learners.kinds import KINDS, learner
from micromacro.learners.learner import Learned, Learner, TimeSeries, TrainingData
from micromacro.learners.local_noise import BurstNoiseSettings, noise_from_bursts, noise_from_model
from micromacro.learners.scaling import data_range, gradient_squares
from micromacro.molecules.positions import directly, of_all_atoms
from micromacro.molecules.system import MolecularSystem, of_equations
from micromacro.sampling.seeding import start_labels

SAVED_FRAMES = 100
HIGH, TINY = 15.0, 1e-300
MARGIN = 0.05
"""Of the range, by which a coordinate that goes on beyond the data may exceed them."""
MAHALANOBIS = "mahalanobis"
OF_THE_LOOP = (
    "kind",
    "features",
    "rounds",
    "tolerance",
    "points",
    "walkers",
    "steps",
    "covariance",
    "copies",
    "burst_steps",
)
"""Settings of how ξ is learned that are not the learner's own."""


@dataclass(frozen=True)
class States:
    """Simulated states `(n, D)` and their weights in the stationary law `(n,)`, equal where those are not known."""

    position: Float[np.ndarray, "n D"]
    weight: Float[np.ndarray, "n"]


@dataclass(frozen=True)
class Coarsening:
    """How the coarse variable was learned.

    **Arguments:**

    - `rounds`: for each the states that were learned from, the change of ξ since the round before, its range, the
      eigenvalues and, for learners that see time, the time scales found.
    - `settled`: whether the last change was within the tolerance; `None` where there was one round alone.
    - `reason`: why it ended.
    """

    rounds: tuple[dict, ...]
    settled: bool | None
    reason: str

    def as_dict(self) -> dict:
        """For JSON."""
        return {"rounds": list(self.rounds), "settled": self.settled, "reason": self.reason}


def learn_coarse(run: stages.Run) -> tuple[stages.Run, Coarsening]:
    """Learn the coarse variable of a case; what follows runs with it.

    **Raises:** `InputError` for settings that the kind of learner does not have; `BudgetError` where not even the first
    exploration is within the budget.
    """
    settings = learning_settings(run.case)
    states = _first_states(run)
    coarse, rows, settled, reason = None, [], None, ""
    for number in range(1, settings.rounds + 1):
        coarse, row = _learn(run, number, states, coarse)
        rows.append(row)
        settled = None if row["change"] is None else bool(row["change"] <= settings.tolerance)
        if settled:
            reason = f"ξ had settled after {number} rounds"
            break
        if not run.case.system.has_density:
            reason = "no bias is meaningful without a density: ξ was learned once"
            break
        if number == settings.rounds:
            reason = f"ξ was learned {number} time{'s' if number > 1 else ''}, as [coarse] rounds allows"
            break
        try:
            states = _pooled(settings, states, _biased_states(run, number, coarse))
        except BudgetError:
            reason = "the budget's share for learning ξ was spent"
            break
    assert coarse is not None
    return run.within("", replace(run.case, coarse=coarse)), Coarsening(tuple(rows), settled, reason)


def _pooled(settings: CoarsenSettings, before: States, new: States) -> States:
    """What the next round learns from: all states where weights do not matter, in equal shares; else the new ones.

    A diffusion map with α = 1 follows the shape of the points alone, and the more of it is known the better. Weights of
    different rounds are not those of one density.
    """
    own = learner_of(settings)
    if not (isinstance(own, DiffusionMapLearner) and own.alpha == 1):
        return new
    parts = [(part, max(1, len(part.position) // settings.points)) for part in (before, new)]
    position = np.concatenate([part.position[::every] for part, every in parts])
    return States(position, np.concatenate([part.weight[::every] for part, every in parts]))


def learned_case(case: Case, store) -> Case:
    """The case with the coarse variable that a run has learned, read from its store; as it is where that is known."""
    if case.coarsen is None:
        return case
    numbers = [int(name.removeprefix("coarsen_")) for name in store.names if name.startswith("coarsen_")]
    record = store.read(f"coarsen_{max(numbers, default=1)}")
    return replace(case, coarse=_coarse_variable(case, *records.read_learned(record)[:3]))


def _features(case: Case) -> Callable:
    """From the observed state to features."""
    return learning_settings(case).features or (lambda observed: observed)


def _first_states(run: stages.Run) -> States:
    """States from the starting points without any bias; how the wells weigh is not known yet."""
    case = run.case
    if not case.system.has_density:
        return _own_dynamics(run)
    require_first(case, plan.exploration(case))
    features = _features(case)
    provisional = CoarseVariable(lambda observed: features(observed)[:1], np.array([-1.0]), np.array([1.0]), (False,))
    part = run.within("first", replace(case, coarse=provisional))
    position = stages.explore_stage(part).position
    run.engine.evaluations = part.engine.evaluations
    flat = position.reshape(-1, position.shape[-1])
    return States(flat, np.ones(len(flat)))


def _own_dynamics(run: stages.Run) -> States:
    """Unbiased trajectories of a system whose density is not known."""
    system, explore = of_equations(run.case.system), run.case.explore
    walkers = max(explore.walkers, len(system.initial))
    begun, steps = system.initial[start_labels(len(system.initial), walkers)], first_run_steps(run.case, walkers)

    def compute(advance: Callable) -> xr.Dataset:
        every = max(1, steps // SAVED_FRAMES)
        found = run.dynamics(begun, system.time_step, steps, run.key(1), save_every=every)
        run.engine.evaluations += walkers * steps
        advance(walkers * steps)
        _check_finite(np.asarray(found.saved))
        return xr.Dataset({"position": (("frame", "walker", "state"), np.asarray(found.saved))})

    record = run.stage("first_run", walkers * steps, "walker-steps", compute)
    position = record["position"].to_numpy()
    flat = position.reshape(-1, position.shape[-1])
    return States(flat, np.ones(len(flat)))


def _learn(
    run: stages.Run, number: int, states: States, previous: CoarseVariable | None
) -> tuple[CoarseVariable, dict]:
    """One round's coarse variable, in the order and sign of the one before."""

    def compute(advance: Callable) -> xr.Dataset:
        picked = _pick(run, states, number)
        data = training_data(run, picked, number)
        if previous is not None:
            data = replace(data, previous=_values(run, previous, picked.position))
        found = learner_of(learning_settings(run.case)).fit(data, run.key(700 + number))
        noise = np.eye(data.size) if data.noise is None else data.noise
        values, squares = gradient_squares(found, data.features, noise)
        change = None
        if data.previous is not None:
            alignment = align(data.previous, values, np.ones(len(values)))
            found = Learned(alignment.of_coordinate(found.coordinate), found.diagnostics)
            values, squares = alignment.of_values(values), squares[:, alignment.order]
            change = float(np.max(1 - alignment.correlation))
        advance(1)
        margin = MARGIN if KINDS[learning_settings(run.case).kind].needs_series else 0.0
        lower, upper = data_range(values, data.weight, squares, margin=margin)
        return records.learned_record(found, lower, upper, change)

    record = run.stage(f"coarsen_{number}", 1, "fits", compute)
    found, lower, upper, change = records.read_learned(record)
    scales = found.diagnostics.time_scales
    row = {
        "round": number,
        "states": found.diagnostics.points,
        "change": change,
        "lower": lower.tolist(),
        "upper": upper.tolist(),
        "error": found.diagnostics.error,
        "eigenvalues": np.asarray(found.diagnostics.eigenvalues).tolist(),
        "time_scales": None if scales is None else np.asarray(scales).tolist(),
        "force_evaluations": run.engine.evaluations,
    }
    return _coarse_variable(run.case, found, lower, upper), row


def learner_of(settings: CoarsenSettings) -> Learner:
    """The settings of the learner of a case. **Raises:** `InputError` for one that its kind does not have."""
    given = {name: value for name, value in vars(settings).items() if name not in OF_THE_LOOP and value is not None}
    return learner(settings.kind, given)


def check_learning(case: Case) -> None:
    """Refuse what would be refused after the first exploration. **Raises:** `InputError`."""
    settings = learning_settings(case)
    learner_of(settings)
    if isinstance(case.system, MolecularSystem):
        _check_molecule(settings)
    if KINDS[settings.kind].needs_series and settings.lag is None:
        raise InputError("coarse.lag", f"be given for kind {settings.kind!r}, in units of time", "nothing")
    if case.system.has_density and settings.rounds > 1 and not KINDS[settings.kind].takes_weights:
        remedy = "Later rounds learn from weighted states: learn once, or with kind 'tica'."
        raise InputError("coarse.rounds", f"be 1 for kind {settings.kind!r}", settings.rounds, remedy=remedy)


def _check_molecule(settings: CoarsenSettings) -> None:
    """Refuse what needs unbiased trajectories or bursts: these are not simulated of a molecule while ξ is learned."""
    if KINDS[settings.kind].needs_series:
        raise InputError("coarse.kind", "be 'diffusion-map' for a molecule", repr(settings.kind))
    if settings.covariance == BURSTS:
        raise InputError("coarse.covariance", "be 'noise' for a molecule", repr(settings.covariance))


def _pick(run: stages.Run, states: States, number: int) -> States:
    """At most `points` states, of every weight some."""
    rng = np.random.default_rng([run.case.seed, 700 + number])
    rows = choose_points(states.weight, learning_settings(run.case).points, rng)
    return States(states.position[rows], states.weight[rows])


def training_data(run: stages.Run, states: States, number: int) -> TrainingData:
    """What a learner takes of states: features, weights, noise, and trajectories where it needs them."""
    system, settings, features = run.case.system, learning_settings(run.case), _features(run.case)

    def of_state(state: Float[Array, "D"]) -> Float[Array, "F"]:
        return features(system.observe(state))

    values = np.asarray(jax.jit(jax.vmap(of_state))(jnp.asarray(states.position)))
    series = None
    if KINDS[settings.kind].needs_series:
        series = _series(run, states, of_state, number)
    if settings.covariance == BURSTS:
        bursts = BurstNoiseSettings(copies=settings.copies, steps=settings.burst_steps)
        noise = noise_from_bursts(of_equations(system), of_state, states.position, bursts, run.key(720 + number))
        run.engine.evaluations += noise.evaluations
    else:
        noise = noise_from_model(system, of_state, states.position)
    metric = noise.metric if settings.kernel == MAHALANOBIS else None
    return TrainingData(values, states.weight, metric, noise.covariances, series)


def _series(run: stages.Run, states: States, of_state: Callable, number: int) -> TimeSeries:
    """Unbiased trajectories from the states, a little longer than a lag, with the weights of where they start."""
    system = of_equations(run.case.system)
    every, steps = series_steps(learning_settings(run.case), system.time_step)
    moved = run.dynamics(states.position, system.time_step, steps, run.key(740 + number), save_every=every)
    run.engine.evaluations += len(states.position) * steps
    _check_finite(np.asarray(moved.saved))
    features = np.stack([np.asarray(jax.jit(jax.vmap(of_state))(jnp.asarray(frame))) for frame in moved.saved])
    equal = np.all(states.weight == states.weight[0])
    weight = None if equal else np.broadcast_to(states.weight, features.shape[:2])
    return TimeSeries(features, every * system.time_step, weight)


def _check_finite(saved: np.ndarray) -> None:
    if not np.all(np.isfinite(saved)):
        remedy = "Lower [system] time_step."
        raise PhysicsError("a trajectory left the finite numbers", where="learning the coarse variable", remedy=remedy)


def _values(run: stages.Run, coarse: CoarseVariable, position: np.ndarray) -> Float[np.ndarray, "n d"]:
    return np.asarray(jax.jit(jax.vmap(lambda state: coarse(run.case.system.observe(state))))(jnp.asarray(position)))


def _biased_states(run: stages.Run, number: int, coarse: CoarseVariable) -> States:
    """States from all along ξ: under an adaptive bias with its weights, or in windows with those of MBAR."""
    part = run.within(f"along_{number}", _along(run, number, coarse))
    try:
        return _under_adaptive_bias(part) if part.case.explore.kind == exploring.ADAPTIVE else _in_windows(part)
    finally:
        run.engine.evaluations = part.engine.evaluations


def _along(run: stages.Run, number: int, coarse: CoarseVariable) -> Case:
    """The case of a short run along ξ, with its share of the budget."""
    case, settings = run.case, learning_settings(run.case)
    ceiling = ceiling_along(case, run.engine.evaluations, number)
    bias = BiasSettings(steps=settings.steps, walkers=settings.walkers)
    single = CoupleSettings(rounds=1)
    return replace(case, coarse=coarse, coarsen=None, bias=bias, couple=single, budget=ceiling, target=TargetSettings())


def _in_windows(part: stages.Run) -> States:
    found = pipeline.sample_windows(part, coupled=False).estimate
    return States(found.position, _weight(found.log_weight))


def _weight(log_weight: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
    """Weights of the largest one, none of them below a bound: beyond, those of windows that do not mix are noise."""
    return np.exp(np.maximum(log_weight - log_weight.max(), -HIGH))


def _under_adaptive_bias(part: stages.Run) -> States:
    _, explored = exploring.explore(part, plan.Budget(part.case.budget))
    found = explored.found
    assert found is not None, "an adaptive bias was asked for"
    position, log_weight = found.position, np.log(np.maximum(found.weight, TINY)).reshape(-1)
    return States(position.reshape(-1, position.shape[-1]), _weight(log_weight))


def _coarse_variable(case: Case, found: Learned, lower: np.ndarray, upper: np.ndarray) -> CoarseVariable:
    features, system = _features(case), case.system
    components = ()
    if isinstance(system, MolecularSystem):
        of_positions = of_all_atoms(directly(features, system), system)
        components = tuple(_component(found, of_positions, index) for index in range(len(lower)))
    return CoarseVariable(lambda observed: found(features(observed)), lower, upper, (False,) * len(lower), components)


def _component(found: Learned, features: Callable, index: int) -> PositionFunction:
    """One learned coordinate of a molecule as a bias takes it: its positions need no internal coordinates."""
    return PositionFunction(lambda positions: found(features(positions))[index])
