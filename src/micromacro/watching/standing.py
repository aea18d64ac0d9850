"""How a run stands, as a value."""

import math
from dataclasses import asdict, dataclass, field

RUNNING, UNKNOWN, STOPPED = "running", "unknown", "stopped"
"""Besides the three events that end a log."""


@dataclass(frozen=True)
class StageUnderWay:
    """The stage that is computed now: `done` of `total` units, `rate` in units per second."""

    name: str
    unit: str
    done: float = 0.0
    total: float | None = None
    rate: float | None = None

    @property
    def share(self) -> float | None:
        """How much of it is done, from 0 to 1, where that is known."""
        return min(self.done / self.total, 1.0) if self.total else None

    @property
    def seconds_left(self) -> float | None:
        """At the rate so far."""
        left = max(self.total - self.done, 0.0) / self.rate if self.total and self.rate else math.inf
        return left if math.isfinite(left) else None


@dataclass(frozen=True)
class StageCost:
    """What a finished stage cost."""

    wall_seconds: float | None
    force_evaluations: int | None


@dataclass
class Standing:
    """How a run stands.

    **Arguments:**

    - `state`: `running`, `interrupted`, `failed`, `finished`; `stopped` without a word; `unknown` on another machine
      from which nothing was heard for five minutes.
    - `process`, `host`: of the run; `elsewhere` where that is not this machine.
    - `stage`: the one that is computed now, or was when the run ended.
    - `stages`: what the finished ones cost.
    - `force_evaluations`: of the whole run so far, of `budget` where it has one.
    - `last_heard`: time of the last line of its log, and `age_seconds` since then where the clocks agree.
    - `message`: why it failed, or the signal that interrupted it.
    - `to_go_on`: what to type where it has ended before its time.
    """

    state: str = STOPPED
    process: int | None = None
    host: str | None = None
    elsewhere: bool = False
    case: str | None = None
    method: str | None = None
    seed: int | None = None
    version: str | None = None
    device: str | None = None
    stage: StageUnderWay | None = None
    stages: dict[str, StageCost] = field(default_factory=dict)
    force_evaluations: int = 0
    budget: int | None = None
    warnings: list[str] = field(default_factory=list)
    last_heard: str | None = None
    age_seconds: float | None = None
    message: str | None = None
    to_go_on: str | None = None

    def as_dict(self) -> dict:
        """All of it, for JSON."""
        found = asdict(self)
        if self.stage is not None:
            found["stage"] |= {"share": self.stage.share, "seconds_left": self.stage.seconds_left}
        return found
