"""What the lines of a log come to: the events of a run, and of those that it went on from, in their order."""

from micromacro.watching import log_file
from micromacro.watching.standing import StageCost, StageUnderWay, Standing
from micromacro.watching.untrusted import count, number, text

MOST_STAGES = 1000
MOST_WARNINGS = 100


def told(events: list[dict]) -> tuple[Standing, str | None]:
    """What the events say of a run, and the one that has ended it, if any has."""
    found, end = Standing(), None
    for event in events:
        kind = event["event"]
        if kind in (log_file.BEGUN, log_file.RESUMED):
            _begin(found, event, again=kind == log_file.RESUMED)
            end = None
        elif kind in (log_file.STAGE_BEGUN, log_file.PROGRESS):
            _go_on(found, event)
        elif kind in (log_file.STAGE_FINISHED, log_file.STAGE_FOUND):
            _finish(found, event)
        elif kind == log_file.WARNING and len(found.warnings) < MOST_WARNINGS:
            found.warnings.append(_message(event, "message"))
        elif kind in (log_file.INTERRUPTED, log_file.FAILED, log_file.FINISHED) and _is_own(found, event):
            end = kind
            found.message = _message(event, "message" if kind == log_file.FAILED else "signal")
    # a run that goes on counts what is finished as it comes to it, and not what was lost with a stage cut short
    spent = sum(cost.force_evaluations or 0 for cost in found.stages.values())
    found.force_evaluations = max(found.force_evaluations, spent)
    return found, end


def _begin(found: Standing, event: dict, *, again: bool) -> None:
    """A run begins, or goes on with the stages that are there."""
    found.case, found.method = text(event.get("case")), text(event.get("method"))
    found.version, found.device = text(event.get("version")), text(event.get("device"))
    found.process, found.host = count(event.get("process")), text(event.get("host"))
    found.seed, found.budget = count(event.get("seed")), count(event.get("budget"))
    found.stage, found.message, found.warnings = None, None, []
    found.stages = found.stages if again else {}
    found.force_evaluations = 0


def _go_on(found: Standing, event: dict) -> None:
    name, unit = text(event.get("stage")) or "?", text(event.get("unit")) or "units"
    done, total, rate = (number(event.get(key)) for key in ("done", "total", "rate"))
    found.stage = StageUnderWay(name, unit, done or 0.0, total, rate)
    found.stages.pop(name, None)
    found.force_evaluations = max(found.force_evaluations, count(event.get("force_evaluations")) or 0)


def _finish(found: Standing, event: dict) -> None:
    name = text(event.get("stage")) or "?"
    if name in found.stages or len(found.stages) < MOST_STAGES:
        cost = StageCost(number(event.get("wall_seconds")), count(event.get("force_evaluations")))
        found.stages[name] = cost
    found.stage = None


def _is_own(found: Standing, event: dict) -> bool:
    """Whether it speaks of the run that began last, where it says of which."""
    return "process" not in event or (count(event["process"]), text(event.get("host"))) == (found.process, found.host)


def _message(event: dict, key: str) -> str:
    return text(event.get(key), log_file.MOST_CHARACTERS) or ""
