"""What learning the coarse variable costs in force evaluations, and how much of a run's budget it may have."""

import numpy as np

from micromacro import plan
from micromacro.cases.case import Case, CoarsenSettings
from micromacro.errors import BudgetError
from micromacro.learners.kinds import KINDS

BUDGET_SHARE = 0.4
FRAMES_PER_LAG, MORE_FRAMES = 10, 2
BURSTS = "bursts"


def learning_settings(case: Case) -> CoarsenSettings:
    """How the coarse variable of a case is learned, of one where it is."""
    assert case.coarsen is not None
    return case.coarsen


def series_steps(settings: CoarsenSettings, time_step: float) -> tuple[int, int]:
    """Time steps between the frames of a trajectory for time-lagged learners, and those of all of it."""
    assert settings.lag is not None, "check_learning comes first"
    every = max(1, round(settings.lag / (FRAMES_PER_LAG * time_step)))
    return every, (FRAMES_PER_LAG + MORE_FRAMES) * every


def learning_cost(case: Case) -> int:
    """Force evaluations of one round at most, besides those that its states cost."""
    settings = learning_settings(case)
    each = settings.copies * settings.burst_steps if settings.covariance == BURSTS else 0
    if KINDS[settings.kind].needs_series:
        each += series_steps(settings, case.system.time_step)[1]
    return settings.points * each


def require_first(case: Case, states: int) -> None:
    """Refuse a budget whose share cannot hold the first round, its states costing so many force evaluations.

    **Raises:** `BudgetError`.
    """
    needed = states + learning_cost(case)
    if case.budget is not None and needed > BUDGET_SHARE * case.budget:
        remedy = "lower [coarse] points"
        remedy += ", lag" if KINDS[learning_settings(case).kind].needs_series else ""
        remedy += " or burst_steps" if learning_settings(case).covariance == BURSTS else ""
        raise BudgetError(
            f"budget must be at least {int(np.ceil(needed / BUDGET_SHARE))} force evaluations, of which learning the "
            f"coarse variable may have {BUDGET_SHARE:.0%}; got {case.budget}. Raise --budget, or {remedy}."
        )


def first_run_steps(case: Case, walkers: int) -> int:
    """Time steps of each walker of a first run of the system's own dynamics: `[explore] steps`, or what is affordable.

    **Raises:** `BudgetError` where that is too few.
    """
    require_first(case, walkers * min(case.explore.steps, plan.FEWEST_STEPS))
    if case.budget is None:
        return case.explore.steps
    return int(min(case.explore.steps, (BUDGET_SHARE * case.budget - learning_cost(case)) // walkers))


def ceiling_along(case: Case, spent: int, number: int) -> int | None:
    """The ceiling for states along the ξ of a round: an equal part of what the share leaves to later rounds.

    **Raises:** `BudgetError` where no shortest run is within it.
    """
    if case.budget is None:
        return None
    settings = learning_settings(case)
    each = int(BUDGET_SHARE * case.budget - spent) // (settings.rounds - number) - learning_cost(case)
    fewest = plan.WINDOW_LIMITS.get(case.coarse.dimension, (5, 7))[0]
    walkers = max(settings.walkers, len(case.system.initial))
    needed = plan.least_cost(case, plan.WindowPlan(fewest, np.ones(case.coarse.dimension), walkers))
    if each < needed:
        raise BudgetError(f"what is left for learning the coarse variable, {each} force evaluations, must be {needed}.")
    return spent + each
