"""The consistency checks of a run: each gives a figure and its threshold, or why it cannot be judged."""

from dataclasses import dataclass

import jax
import numpy as np
from jaxtyping import Float

from micromacro import stages
from micromacro.closures.bursts import BurstClosure
from micromacro.closures.files import PROJECTED, ROUTES
from micromacro.closures.finite_volume import stationary_density
from micromacro.closures.lifting_check import LARGEST_SHIFT
from micromacro.closures.reduced import ReducedDynamics
from micromacro.closures.table import ClosureTable
from micromacro.closures.thermodynamic import free_energy_from_closure, free_energy_spread
from micromacro.coupling import checks
from micromacro.coupling.checks import Check, not_applicable
from micromacro.coupling.weights import generator_free_energy
from micromacro.errors import MicromacroError
from micromacro.estimates.surface import FreeEnergySurface
from micromacro.learners.hidden_barriers import HiddenBarrier, hidden_barriers
from micromacro.molecules.system import MolecularSystem
from micromacro.pipeline import Sampled
from micromacro.reduction import Reduction
from micromacro.systems.model import OverdampedSystem

LOW = 6.0
LARGEST_FREE_ENERGY_GAP = 0.15
LARGEST_VARIATION = 0.1
LARGEST_SCORE = 4.0
ROUTE_TOLERANCE = 0.02
MOST_NAMED = 3


def run_checks(run: stages.Run, sampled: Sampled, found: Reduction, raw: checks.RawDraws | None) -> dict[str, Check]:
    """Every consistency check by its name."""
    case, observe = run.case, run.case.system.observe
    rows: dict[str, Check] = {}
    no_draws = not_applicable("this method has no generator")
    rows["restriction"] = rows["free_energy"] = rows["conditionals"] = no_draws
    if raw is not None:
        judged = sampled.trained or sampled
        centers = np.asarray(judged.last.windows.centers)
        rows["restriction"] = checks.restriction(raw, case.coarse, centers, judged.blur)
        rows["conditionals"] = _conditionals(run, judged, raw)
        rows["free_energy"] = _free_energy_check(run, judged)
    elif sampled.generator is not None:
        reason = "there are no windows with frames enough to judge the generator in"
        if not case.system.has_density:
            reason = "uncorrected: without a density the generator cannot be judged by the physics"
        rows["restriction"] = rows["free_energy"] = rows["conditionals"] = not_applicable(reason)
    rows["mixing"] = _mixing(run, sampled)
    rows["closures"] = _closures(run, sampled, found)
    rows["dynamics"] = _dynamics(run, sampled, found)
    rows["overlap"] = checks.overlap(sampled.estimate.mbar, sampled.last_states)
    weighted = sampled.last.independent
    rows["effective_sample_size"] = (
        _weighted_size(sampled) if weighted else checks.effective_sample_size(observe, sampled.last)
    )
    order = ["restriction", "mixing", "free_energy", "conditionals", "closures", "dynamics", "overlap"]
    return {name: rows[name] for name in [*order, "effective_sample_size"]}


def hidden_barriers_of(run: stages.Run, sampled: Sampled) -> tuple[HiddenBarrier, ...]:
    """What ξ does not see and local moves do not cross: the windows that mix worst, by the run without a generator."""
    local = sampled.local
    if local is None or local.exchanged or not sampled.stationary:
        return ()
    first = int(np.median(local.first))
    position = local.frames.position[first:]
    observed = np.asarray(jax.jit(jax.vmap(run.case.system.observe))(position.reshape(-1, position.shape[-1])))
    start = np.broadcast_to(sampled.start, position.shape[1:3]) if local.start is None else local.start
    frames, centres = observed.reshape(*position.shape[:3], -1), np.asarray(local.windows.centers)
    system = run.case.system
    known = system.internal.names if isinstance(system, MolecularSystem) else None
    names = list(known or (f"q{axis + 1}" for axis in range(frames.shape[-1])))
    rng = np.random.default_rng([run.case.seed, 2])
    return hidden_barriers(frames, start, centres, rng, names=names, most=MOST_NAMED)


def _mixing(run: stages.Run, sampled: Sampled) -> Check:
    observe = run.case.system.observe
    if not sampled.stationary:
        return not_applicable("ξ is still drifting at the end of the run: there is no long-run law to mix to")
    if not sampled.last.independent:
        return checks.mixing(observe, sampled.last, sampled.start)
    assert sampled.local is not None
    trained = checks.mixing(observe, sampled.local, sampled.start)
    reason = "the generator's draws are independent; its training data: " + trained.reason
    return Check(trained.value, trained.threshold, trained.passed, reason)


def _conditionals(run: stages.Run, sampled: Sampled, raw: checks.RawDraws) -> Check:
    if sampled.last.weight is not None:
        return not_applicable("there is no physics but the generator's own weights to compare with")
    rng = np.random.default_rng([run.case.seed, 1])
    return checks.conditionals(raw, run.case.system.observe, sampled.last, rng)


def _free_energy_check(run: stages.Run, sampled: Sampled) -> Check:
    if sampled.log_weight is None:
        return not_applicable(
            "no draw of the generator was weighed by the physics: it has no density, or the frames are given data"
        )
    if sampled.last.weight is not None:
        return not_applicable("F comes from the generator's weights alone")
    before = sampled.last.log_weight_before
    covered = None if before is None else np.isfinite(before).mean(axis=(0, 2))
    own = generator_free_energy(sampled.log_weight, covered)
    return checks.free_energy(own, sampled.estimate.alone, sampled.last_states, run.case.couple.tolerance)


def _weighted_size(sampled: Sampled) -> Check:
    weight = sampled.last.weight
    assert weight is not None
    size = weight.sum(axis=(0, 2))
    reason = f"smallest effective number of draws, at window {int(np.argmin(size))}"
    return checks.at_least(float(size.min()), checks.FEWEST_SAMPLES, reason)


@dataclass(frozen=True)
class _Part:
    """One of several figures that a check is made of: what it is, its value, and what it may be at most."""

    name: str
    value: float
    threshold: float

    @property
    def share(self) -> float:
        """Of what is allowed; infinite where the value is no number."""
        return self.value / self.threshold if np.isfinite(self.value) else float("inf")

    def __str__(self) -> str:
        return f"{self.name}: {self.value:.3g}, at most {self.threshold:.3g}"


def worst_of(parts: list[_Part], remarks: list[str]) -> Check:
    """The check that all parts pass; its figures are those of the worst, its reason names all."""
    if not parts:
        return not_applicable("; ".join(remarks))
    worst = max(parts, key=lambda part: part.share)
    reason = "; ".join([str(worst), *(str(part) for part in parts if part is not worst), *remarks])
    return checks.at_most(worst.value, worst.threshold, reason)


def _closures(run: stages.Run, sampled: Sampled, found: Reduction) -> Check:
    """Detailed balance; each route beside the other of the same limit; what bursts say of their starts."""
    parts, remarks = [], []
    balance = _detailed_balance(run, sampled, found.projected)
    (parts if isinstance(balance, _Part) else remarks).append(balance)
    short, bursts, learned = found.short_trajectories, found.bursts, found.learned
    if short is not None:
        remarks += [f"short trajectories: {short.diffusion.reason}"]
        name = "D of short trajectories over that of the windows, difference from 1"
        difference = abs(short.diffusion.plateau_ratio - 1)
        parts += [_Part(name, difference, short.allowed)] if short.diffusion.plateau is not None else []
    if bursts is not None and bursts.short_lag_table is not None and shared(bursts.short_lag_table, found.projected):
        name = f"bursts at lag {bursts.short_lag:.3g} against the projection, mean squared z-score"
        parts.append(_Part(name, *_difference(bursts.short_lag_table, found.projected, ROUTE_TOLERANCE)))
    if bursts is not None and bursts.lifting is not None:
        shift = f"hidden means shift by {bursts.lifting.shift:.2g} standard deviations as bursts heal"
        remarks += [shift] if bursts.lifting.passed else []
        parts += [] if bursts.lifting.passed else [_Part(shift, bursts.lifting.shift, LARGEST_SHIFT)]
    if bursts is not None and bursts.table is not None and learned is not None and shared(learned.table, bursts.table):
        name = "learned equation against bursts, mean squared z-score"
        allowance = ROUTE_TOLERANCE + _share_of_the_transient(bursts) / learned.lag
        parts.append(_Part(name, *_difference(learned.table, bursts.table, allowance)))
    if learned is not None:
        remarks.append(f"learned equation at lag {learned.lag:.3g}: {learned.reason}")
    if "short_trajectories" in found.reasons:
        remarks.append(f"no short trajectories: {found.reasons['short_trajectories']}")
    remarks += [f"no closure from {what}: {reason}" for reason, what in _by_reason(found.reasons).items()]
    return worst_of(parts, remarks)


def _share_of_the_transient(bursts: BurstClosure) -> float:
    """By how much of itself, times a lag, an equation read at that lag still feels what went on before the plateau."""
    study = bursts.study
    if study is None or study.plateau is None:
        return 0.0
    settled = study.lags >= study.plateau[0]
    change = [abs(float(np.mean(ratio[settled])) - 1) for ratio in (study.drift_ratio, study.diffusion_ratio)]
    return max(change) * study.plateau[0]


def _by_reason(reasons: dict[str, str]) -> dict[str, str]:
    """What is missing of the routes, by why."""
    return {
        reason: " or ".join(route for route, other in reasons.items() if other == reason and route in ROUTES)
        for reason in reasons.values()
        if any(other == reason for route, other in reasons.items() if route in ROUTES)
    }


def shared(first: ClosureTable, second: ClosureTable) -> bool:
    """Whether two closures are known in one cell at least."""
    return bool(np.any(first.finite & second.finite))


def _difference(first: ClosureTable, second: ClosureTable, allowance: float) -> tuple[float, float]:
    """The larger mean squared z-score, of drift or of diffusion, and what it may be.

    Beside their standard errors two routes may differ by `allowance`, a share of the size of the second.
    """
    known = first.finite & second.finite
    if not known.any():
        return float("nan"), LARGEST_SCORE
    scores = []
    for name in ("drift", "diffusion"):
        one, other = getattr(first, name)[known], getattr(second, name)[known]
        error = np.hypot(getattr(first, f"{name}_stderr")[known], getattr(second, f"{name}_stderr")[known])
        size = np.sqrt(np.mean(other**2, axis=0))
        scores.append(float(np.mean(((one - other) / np.hypot(error, allowance * size)) ** 2)))
    return max(scores), LARGEST_SCORE


def _detailed_balance(run: stages.Run, sampled: Sampled, closed: ClosureTable) -> "_Part | str":
    case, surface = run.case, sampled.estimate.surface
    if isinstance(case.system, MolecularSystem):
        return "b of a molecule is that of detailed balance"
    if not isinstance(case.system, OverdampedSystem):
        return "detailed balance is known to hold for overdamped systems alone"
    if case.coarse.dimension > 2:
        return "the integration of the closure is meant for one or two coarse variables"
    implied = free_energy_from_closure(closed, case.coarse)
    error = np.hypot(free_energy_spread(closed, case.coarse), surface.stderr)
    low = np.isfinite(implied) & (np.nan_to_num(surface.free_energy, nan=np.inf) < LOW)
    if not low.any():
        return "the closure is known nowhere that F is low"
    value = float(np.std((implied - surface.free_energy)[low]))
    expected = float(np.sqrt(np.nanmean(error[low] ** 2)))
    threshold = max(LARGEST_FREE_ENERGY_GAP, 3 * expected)
    return _Part("rms of F from b = -D∇F/kT + ∇·D minus F from MBAR, in kT", value, threshold)


def _dynamics(run: stages.Run, sampled: Sampled, found: Reduction) -> Check:
    """The stationary density of the reduced dynamics against F, and its times against the full model's."""
    case = run.case
    if not sampled.stationary:
        return not_applicable("ξ has no stationary density to compare the reduced dynamics with")
    if case.coarse.dimension > 2:
        return not_applicable("the finite-volume density is for one or two coarse variables")
    if found.no_gap is not None:
        return not_applicable(found.no_gap)
    try:
        density = stationary_density(ReducedDynamics.from_table(found.projected, case.coarse))
    except MicromacroError as error:
        return not_applicable(str(error))
    name = "total variation between the stationary density of the reduced dynamics and exp(-F/kT)"
    parts, remarks = [_Part(name, total_variation(density, sampled.estimate.surface), LARGEST_VARIATION)], []
    for route, agreement in found.agreement.items():
        if route == PROJECTED and agreement.passed is not None:
            parts.append(_Part("projected closure against the full model, of what is allowed", agreement.score, 1.0))
        remarks.append(f"{route}: {agreement.verdict}")
    remarks += [found.reasons["full_model"]] if "full_model" in found.reasons else []
    return worst_of(parts, remarks)


def total_variation(density: Float[np.ndarray, "n"], surface: FreeEnergySurface) -> float:
    """Half the integral of the absolute difference between a density and exp(-F), over the cells that both know."""
    known = np.isfinite(density) & np.isfinite(surface.free_energy)
    first = np.where(known, density, 0.0)
    second = np.where(known, np.exp(-np.where(known, surface.free_energy, 0.0)), 0.0)
    return float(0.5 * np.sum(np.abs(first / first.sum() - second / second.sum())))
