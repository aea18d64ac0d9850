"""How a run stands, from what it leaves in its folder: read only, and none of it trusted.

The lock tells whether a run goes on: it goes with its process, however that ends. From another machine a lock on a
shared file system may not be seen: a run there is judged by the age of the last line of its log.
"""

import platform
import re
import shlex
import time
from datetime import UTC, datetime
from pathlib import Path, PurePath

from micromacro.errors import StoreError
from micromacro.watching import log_file
from micromacro.watching.history import told
from micromacro.watching.lock import OWNER, is_held, last_owner
from micromacro.watching.standing import RUNNING, UNKNOWN, StageCost, Standing
from micromacro.watching.untrusted import count, number, read_object, text

SUMMARY, CASE, STORE = "summary.json", "case", "store"
SILENT_SECONDS = 300.0
"""A run writes a line a minute at least: one that missed five is not known to go on."""
CLOCKS_DIFFER_SECONDS = 300.0
"""By which the clock of another machine may be ahead without its times meaning nothing."""


def status(out: Path) -> Standing:
    """How the run in a folder stands. **Raises:** `StoreError` where there is none."""
    if not any((out / name).exists() for name in (SUMMARY, CASE, STORE, OWNER)):
        remedy = "'micromacro run CASE -o OUT' begins one there."
        raise StoreError(f"OUT must be the folder of a run; got {out}, which holds none. {remedy}")
    # before the log: a run that ends meanwhile has then written its last line
    held = is_held(out)
    events = log_file.read_events(out / STORE / log_file.LOG)
    found, end = told(events)
    end = _own(found, last_owner(out), end, held=bool(held))
    if events:
        same_clock = bool(held) and not found.elsewhere
        found.last_heard, found.age_seconds = last_heard(events[-1], same_clock=same_clock)
    if (out / SUMMARY).exists() and not held:
        _take_summary(found, read_object(out / SUMMARY))
    else:
        found.state = _state(found, end, held=bool(held))
    if found.state not in (RUNNING, log_file.FINISHED):
        found.to_go_on = command_to_go_on(out, found.method)
    return found


def _own(found: Standing, owner: tuple[int, str] | None, end: str | None, *, held: bool) -> str | None:
    """Put the owner of the lock in its place; returns the event that has ended its run, if any."""
    if owner is not None and (found.process is None or (held and owner != (found.process, found.host))):
        # it has not come to its first line yet: how the log ends is about the run before
        found.process, found.host = owner
        found.stage, found.message, end = None, None, None
    found.elsewhere = found.host not in (None, platform.node())
    return end


def _state(found: Standing, end: str | None, *, held: bool) -> str:
    if end in (log_file.INTERRUPTED, log_file.FAILED):
        return end
    recent = found.age_seconds is not None and found.age_seconds < SILENT_SECONDS
    if held or (found.elsewhere and end is None and recent):
        return RUNNING
    return UNKNOWN if found.elsewhere and end is None else found.state


def _take_summary(found: Standing, summary: dict) -> None:
    """A run that has finished: what its results say, and its log where they do not."""
    found.state, found.stage, found.message = log_file.FINISHED, None, None
    found.case, found.method = (text(summary.get(key)) for key in ("case", "method"))
    found.version, found.device = (text(summary.get(key)) for key in ("version", "device"))
    found.seed = count(summary.get("seed"))
    found.force_evaluations = count(summary.get("force_evaluations")) or found.force_evaluations
    if not found.stages and isinstance(summary.get("stages"), dict):
        for name, cost in list(summary["stages"].items())[:1000]:
            if isinstance(cost, dict):
                seconds, evaluations = number(cost.get("wall_seconds")), count(cost.get("force_evaluations"))
                found.stages[text(name) or "?"] = StageCost(seconds, evaluations)


def last_heard(event: dict, *, same_clock: bool) -> tuple[str | None, float | None]:
    """Time of an event, and its age in seconds where that can be told.

    `same_clock`: the run lives on this machine, so its monotonic clock is ours, and one that is set does no harm.
    """
    reading, stamp = number(event.get("monotonic")), event.get("time")
    try:
        heard = datetime.fromisoformat(stamp) if isinstance(stamp, str) and len(stamp) < 40 else None
    except ValueError:
        heard = None
    shown = None if heard is None else text(stamp)
    if same_clock and reading is not None and reading <= time.monotonic():
        return shown, time.monotonic() - reading
    if heard is None or heard.tzinfo is None:
        return shown, None
    age = (datetime.now(UTC) - heard).total_seconds()
    return shown, max(age, 0.0) if age > -CLOCKS_DIFFER_SECONDS else None


def command_to_go_on(out: Path, method: str | None) -> str:
    """What goes on with a run: by the name of its case, or by the copy of it where that file is not to be seen."""
    record = read_object(out / CASE / "case.json")
    name, file = record.get("name"), record.get("file")
    if not isinstance(name, str) or not name or text(name) != name or name.startswith("-"):
        return "micromacro.run(case, out, resume=True) in Python, with the case it was begun with"
    if isinstance(file, str) and text(file) == file and not Path(name).is_file():
        inside = not PurePath(file).is_absolute() and ".." not in PurePath(file).parts
        name = str(out / CASE / file) if inside else name
    words = ["micromacro", "run", name, "-o", str(out)]
    if method is not None and re.fullmatch("[a-z-]+", method):
        words += ["--method", method]
    return shlex.join([*words, "--resume"])
