"""Rounds under one bias as one: what the checks look at where windows have copies and rounds go on from each other."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from micromacro.coupling.allocation import first_columns
from micromacro.coupling.estimate import Segment, equilibrated
from micromacro.sampling.production import Frames, join_frames


def joined(observe: Callable, segments: list[Segment]) -> Segment:
    """The rounds under the last bias as one segment, of every window its first copy.

    A chain is then as long as all these rounds together, and none counts twice.
    """
    last = segments[-1]
    begin = len(segments) - 1
    while begin > 0 and segments[begin - 1].windows.same_as(last.windows):
        begin -= 1
    parts = [_first_copies(segment) for segment in segments[begin:]]
    if len(parts) == 1:
        return parts[0]
    interval = max(part.interval for part in parts)
    parts = [_thinned(part, round(interval / part.interval)) for part in parts]
    frames = join_frames([part.frames for part in parts])
    cut = equilibrated(observe, last.windows, frames, exchanged=last.exchanged)
    moves = {name: _stacked([getattr(part, name) for part in parts]) for name in ("log_weight", "log_weight_before")}
    return replace(cut, start=parts[-1].start, interval=interval, **moves)


def _first_copies(segment: Segment) -> Segment:
    if segment.window is None:
        return segment
    first = first_columns(segment.columns)
    frames = segment.frames
    kept = Frames(
        frames.position[:, first], frames.coarse[:, first], frames.log_density[:, first], frames.acceptance[first]
    )
    moves = {
        name: None if (values := getattr(segment, name)) is None else values[:, first]
        for name in ("log_weight", "log_weight_before")
    }
    start = None if segment.start is None else segment.start[first]
    return replace(segment, frames=kept, first=segment.first[first], window=None, start=start, **moves)


def _thinned(segment: Segment, every: int) -> Segment:
    """Every so many frames, so that those of all rounds are as far apart."""
    frames = segment.frames
    kept = Frames(frames.position[::every], frames.coarse[::every], frames.log_density[::every], frames.acceptance)
    return replace(segment, frames=kept)


def _stacked(parts: list[np.ndarray | None]) -> np.ndarray | None:
    known = [part for part in parts if part is not None]
    return np.concatenate(known) if len(known) == len(parts) else None
