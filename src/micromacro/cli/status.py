"""`micromacro status`: how a run stands."""

import json

from micromacro.cli.arguments import Json, Out
from micromacro.cli.tables import figure, print_table
from micromacro.progress import short_number
from micromacro.watching.standing import RUNNING, UNKNOWN, StageUnderWay, Standing
from micromacro.watching.status import status as status_of


def status(out: Out, as_json: Json = False) -> None:
    """Show how a run stands, also while it goes on elsewhere.

    Reads what the run leaves in OUT, and changes nothing there.
    """
    found = status_of(out)
    if as_json:
        print(json.dumps(found.as_dict(), indent=2))
        return
    rows = {name: value for name, value in _rows(found).items() if value}
    width = max(map(len, rows))
    for name, value in rows.items():
        print(f"{name:{width}}  {value}")
    if found.stages:
        costs = [
            (name, figure(cost.wall_seconds), figure(cost.force_evaluations)) for name, cost in found.stages.items()
        ]
        print_table(("finished stage", "wall seconds", "force evaluations"), costs)
    if found.to_go_on is not None:
        print(f"To go on: {found.to_go_on}")


def _rows(found: Standing) -> dict[str, str]:
    method, seed = found.method and f"method {found.method}", None if found.seed is None else f"seed {found.seed}"
    budget = "" if found.budget is None else f" of {found.budget:,}"
    return {
        "state": _state(found),
        "case": ", ".join(filter(None, (found.case, method, seed))),
        "stage": _stage(found.stage, going_on=found.state == RUNNING),
        "force evaluations": f"{found.force_evaluations:,}{budget}",
        "last heard of": _last_heard(found),
        "warnings": "; ".join(found.warnings[-3:]),
    }


def _state(found: Standing) -> str:
    where = f"process {found.process}" if found.process is not None else ""
    if found.elsewhere:
        where += f" on {found.host}, another machine"
    if found.state == UNKNOWN:
        return f"unknown: {where}, which cannot be seen from here and has not been heard of lately"
    if found.state == RUNNING:
        judged = ", by the age of its last line" if found.elsewhere else ""
        return f"running: {where}{judged}" if where else "running"
    reason = found.message or ("it was killed, or its machine went down" if found.state == "stopped" else "")
    return f"{found.state}: {reason}" if reason else found.state


def _stage(stage: StageUnderWay | None, *, going_on: bool) -> str:
    if stage is None:
        return "none: before, between or after stages" if going_on else ""
    share = "" if stage.share is None else f"{stage.share:.0%} of {short_number(stage.total or 0)} {stage.unit}"
    rate = "" if stage.rate is None else f"{short_number(stage.rate)} {stage.unit}/s"
    left = f"about {duration(stage.seconds_left)} left" if going_on and stage.seconds_left is not None else ""
    how = ", ".join(filter(None, (share, rate, left)))
    return f"{stage.name}: {how or 'begun'}"


def _last_heard(found: Standing) -> str:
    if found.last_heard is None:
        return "never: it has no log" if found.age_seconds is None else f"{duration(found.age_seconds)} ago"
    if found.age_seconds is None:
        return f"{found.last_heard}, by a clock that is ahead of this one"
    return f"{duration(found.age_seconds)} ago ({found.last_heard})"


def duration(seconds: float) -> str:
    """A time in the unit that fits it.

    >>> duration(0.4), duration(90), duration(10_000), duration(1e6)
    ('0 s', '2 min', '2.8 h', '11.6 d')
    """
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 172_800 else f"{seconds / 86_400:.3g} d"
