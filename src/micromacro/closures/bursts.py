r"""Drift and diffusion from short bursts of the full dynamics: the homogenised closure, with a study of the lag.

States lifted to known ξ are simulated for a short time, and the displacement of ξ is followed. Only ξ enters the
estimate: neither derivatives nor a generator. Three questions come first, and are answered from the bursts themselves.

How long must a burst be? A pilot doubles its length until the hidden coordinates have forgotten the start
(`lag_study`), or ξ itself has relaxed or crossed a quarter of its range: then there is no gap between time scales, and
no closure.

Which lags? At lag zero the slopes of the conditional moments are the projected b and D; they change over the fast time
and then settle. The plateau starts where they have settled to within `settled`: at once, where hidden coordinates
fluctuate too little to matter.

How is the bias in the lag avoided? Kramers and Moyal's quotient at lag 0.2 of a drift of rate 1 is 10 % low. Dynkin's
formula between two lags has no such bias (`dynkin`).

Sources: Y. Kevrekidis et al., Commun. Math. Sci. 1, 715 (2003); G. Pavliotis and A. Stuart, J. Stat. Phys. 127, 741
(2007), on lags between the fast and the slow time.
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import numpy as np
from jaxtyping import Float, Int, Key

from micromacro.closures.burst_paths import BurstPaths, run_bursts, spread_starts
from micromacro.closures.conditional import REQUIREMENTS, LocalRequirements
from micromacro.closures.dynkin import Lags, displacement_table, solve
from micromacro.closures.lag_study import LagStudy, study_lags
from micromacro.closures.lifting_check import LiftingCheck, check_lifting
from micromacro.closures.pilot import Pilot, find_fast_time
from micromacro.closures.table import ClosureTable
from micromacro.coordinates.coarse import CoarseVariable
from micromacro.errors import InputError
from micromacro.estimates.surface import Grid
from micromacro.sampling.euler_maruyama import Dynamics
from micromacro.systems.model import System

RECORDS_PER_FAST_TIME = 16
FEWEST_STEPS = 16
"""Shortest fast time that is assumed, in steps."""
TERM_RECORDS = 17
FEWEST_BURSTS = 500


@dataclass(frozen=True)
class BurstSettings:
    """How bursts are made and read.

    **Arguments:**

    - `evaluations`: force evaluations to spend, the pilot included.
    - `length`: of a burst, in fast times.
    - `memory`: of the hidden coordinates below which they have forgotten the start.
    - `settled`: how nearly slopes must agree to be a plateau, as a share of the projected ones.
    - `sweeps`: of Dynkin's formula; the last alone corrects D.
    - `pilot_bursts`, `pilot_steps`: how many bursts look for the fast time, and how many steps each at most.
    """

    evaluations: int = 4_000_000
    length: float = 3.0
    memory: float = 0.05
    settled: float = 0.01
    sweeps: int = 4
    pilot_bursts: int = 1024
    pilot_steps: int = 2048

    def __post_init__(self):
        if self.length < 2:
            raise InputError("length", "be at least 2 fast times, to see the plateau", self.length)
        if self.sweeps < 2:
            raise InputError("sweeps", "be at least 2, one for b and one for D", self.sweeps)


SETTINGS = BurstSettings()


@dataclass(frozen=True)
class BurstClosure:
    """The closure of short bursts.

    **Arguments:**

    - `table`: b and D at the plateau; `None` where there is none.
    - `short_lag_table`: b and D at `short_lag`, an interval between records: near the projected ones.
    - `study`: slopes and memory against lag, the plateau, the healing time.
    - `lags`: the two lags between which `table` was found, `None` without a plateau.
    - `lifting`: whether the starts were at equilibrium given ξ; `None` without stationary weights.
    - `bursts`, `evaluations`: how many were run, and force evaluations, all told.
    - `separated`: whether there is a gap between time scales; `None` where the force evaluations did not do to tell.
    """

    table: ClosureTable | None
    short_lag_table: ClosureTable | None
    short_lag: float
    study: LagStudy | None
    lags: tuple[float, float] | None
    lifting: LiftingCheck | None
    bursts: int
    evaluations: int
    reason: str
    separated: bool | None

    @property
    def plateau(self) -> tuple[float, float] | None:
        """First and last lag of the plateau."""
        return None if self.study is None else self.study.plateau

    @property
    def healing_time(self) -> float | None:
        """In which hidden coordinates forget the start."""
        return None if self.study is None else self.study.healing_time


def burst_closure(
    system: System,
    coarse: CoarseVariable,
    grid: Grid,
    states: Float[np.ndarray, "n D"],
    weights: Float[np.ndarray, "n"],
    clusters: Int[np.ndarray, "n"],
    key: Key[jax.Array, ""],
    *,
    settings: BurstSettings = SETTINGS,
    stationary_weights: Float[np.ndarray, "n"] | None = None,
    requirements: LocalRequirements | None = None,
    advance: Callable[[int], None] | None = None,
    dynamics: Dynamics | None = None,
) -> BurstClosure:
    """Drift and diffusion of bursts from `states`, with the lags at which they hold.

    **Arguments:**

    - `states`: hidden states `(n, D)` that cover the grid; exact conditional samples, or such as heal.
    - `weights`: `(n,)` that spread them evenly in ξ.
    - `clusters`: `(n,)` integers; starts of different clusters are independent.
    - `stationary_weights`: `(n,)` under which the states follow the stationary law, for the check of lifting.
    - `requirements`: of the local averages; `None` takes kernels of half-width a twentieth of the range in one
      dimension, a twelfth in two, an eighth in three: the guess that they correct holds what is sharper.
    - `advance`: told the force evaluations as they are spent.
    - `dynamics`: simulates; this process where left out.

    Where `settings.evaluations` pays for too few bursts there is no table, and the reason says what they need.
    """
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)).ravel())
    pilot_key, key = jax.random.split(key)
    picked = spread_starts(weights, settings.pilot_bursts, rng)
    shared = (advance, dynamics)
    pilot = find_fast_time(system, coarse, states[picked], settings.memory, settings.pilot_steps, pilot_key, *shared)
    if pilot.fast_time is None:
        return _nothing(pilot, pilot.reason, None if pilot.slow_time is None else False)
    interval, records = _layout(system, pilot, settings)
    each = records * interval + TERM_RECORDS
    count = int((settings.evaluations - pilot.evaluations) // each)
    if count < FEWEST_BURSTS:
        needed = FEWEST_BURSTS * each + pilot.evaluations
        reason = f"{FEWEST_BURSTS} bursts need {needed:.2g} force evaluations; {settings.evaluations:.2g} given"
        return _nothing(pilot, reason, None)
    picked = spread_starts(weights, count, rng)
    term_records = np.unique(np.round(np.linspace(0, records, TERM_RECORDS)).astype(int))
    begun = (states[picked], clusters[picked])
    paths = run_bursts(system, coarse, *begun, interval, term_records, records, key, *shared)
    study = study_lags(coarse, paths, settings.memory, settings.settled)
    lifting = None
    if stationary_weights is not None and study.healing_time:
        shares = stationary_weights[picked] / weights[picked]
        lifting = check_lifting(coarse, paths, shares, study.healing_time)
    local = requirements or burst_requirements(grid)
    return _closed(coarse, grid, paths, study, lifting, settings, local, pilot)


def burst_requirements(grid: Grid) -> LocalRequirements:
    """What local averages over bursts need: wide kernels, since the guess that they correct holds what is sharper."""
    kernels = {1: 20, 2: 12}.get(len(grid.shape), 8)
    return LocalRequirements(half_width=max(1.0, max(grid.shape) / kernels))


def _layout(system: System, pilot: Pilot, settings: BurstSettings) -> tuple[int, int]:
    """Steps between records, and records of a burst."""
    assert pilot.fast_time is not None
    steps = max(FEWEST_STEPS, pilot.fast_time / system.time_step)
    interval = max(1, round(steps / RECORDS_PER_FAST_TIME))
    return interval, int(np.ceil(settings.length * steps / interval))


def _nothing(pilot: Pilot, reason: str, separated: bool | None) -> BurstClosure:
    return BurstClosure(None, None, np.nan, None, None, None, 0, pilot.evaluations, reason, separated)


def _closed(coarse, grid, paths: BurstPaths, study: LagStudy, lifting, settings, requirements, pilot: Pilot):
    """The tables at the plateau and at the shortest lag."""
    at_once = Lags(0, 1, np.zeros(1, int))
    table, reference, lags = None, None, None
    if study.plateau is not None:
        chosen = choose_lags(paths, study.plateau[0])
        table, reference = solve(coarse, grid, paths, chosen, settings.sweeps, requirements)
        lags = (float(paths.times[chosen.first]), float(paths.times[chosen.second]))
    short = displacement_table(coarse, grid, paths, at_once, reference, requirements)
    count, evaluations = len(paths.start), paths.evaluations + pilot.evaluations
    at = float(paths.times[1])
    return BurstClosure(
        table, short, at, study, lags, lifting, count, evaluations, study.reason, study.plateau is not None
    )


def choose_lags(paths: BurstPaths, begin: float) -> Lags:
    """The first lag where the plateau begins, the second soon after, lest noise grow; and the starts for them."""
    first = int(np.ceil(begin / paths.times[1] - 1e-6))
    width = max(RECORDS_PER_FAST_TIME // 4, first // 2)
    last = max(len(paths.times) - 1 - first - width, 0)
    return Lags(first, first + width, np.arange(0, last + 1, width))


def lag_table(
    coarse: CoarseVariable,
    grid: Grid,
    paths: BurstPaths,
    lag: float,
    requirements: LocalRequirements = REQUIREMENTS,
) -> ClosureTable:
    """Kramers and Moyal's quotient at one lag from the start, as it is commonly taken: biased in the lag."""
    record = max(1, round(lag / float(paths.times[1])))
    return displacement_table(coarse, grid, paths, Lags(0, record, np.zeros(1, int)), None, requirements)


def mean_square_scores(first: ClosureTable, second: ClosureTable) -> tuple[float, float]:
    """Mean squared z-score of the difference of two tables, of drift and of diffusion, where both are known."""
    known = first.finite & second.finite
    drift = (first.drift - second.drift)[known] / np.hypot(first.drift_stderr, second.drift_stderr)[known]
    spread = np.hypot(first.diffusion_stderr, second.diffusion_stderr)[known]
    diffusion = (first.diffusion - second.diffusion)[known] / spread
    return float(np.mean(drift**2)), float(np.mean(diffusion**2))
