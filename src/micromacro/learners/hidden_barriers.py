"""Hidden barriers that a poor coarse variable left behind, named: where, along what, between which wells.

The test of a coarse variable is whether what it does not see relaxes fast: in an umbrella window, walkers from
different starting points must come to agree about every other coordinate.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from micromacro.estimates.correlation import group_rhat, split_rhat
from micromacro.estimates.modes import find_modes

THRESHOLD = 1.1
ENOUGH = 500


@dataclass(frozen=True)
class Well:
    """A value that walkers stay at, and the share of the window's frames there."""

    value: float
    share: float


@dataclass(frozen=True)
class HiddenBarrier:
    """A window in which walkers do not mix.

    **Arguments:**

    - `z`: centre of the window.
    - `coordinate`: of the observed state or the features, that differs most between walkers; counted from zero.
    - `name`: of that coordinate.
    - `wells`: the two that it is stuck between, by their values; none where the coordinate has one mode only, and is
      slow without a barrier.
    - `rhat`: split-R̂ of that coordinate.
    """

    z: tuple[float, ...]
    coordinate: int
    name: str
    wells: tuple[Well, Well] | None
    rhat: float

    @property
    def sentence(self) -> str:
        """For people."""
        where = f"At z = {_listed(self.z)}"
        how = f"R̂ = {self.rhat:.2f}" if np.isfinite(self.rhat) else "R̂ infinite: nobody moved"
        if self.wells is None:
            return f"{where} walkers do not agree about {self.name} ({how}): it is slow, with no barrier to be seen."
        low, high = self.wells
        return (
            f"{where} walkers are stuck in {self.name} between {low.value:.3g} ({low.share:.0%} of the frames) and "
            f"{high.value:.3g} ({high.share:.0%}) ({how})."
        )


def hidden_barriers(
    frames: Float[np.ndarray, "frames windows walkers Y"],
    start: Int[np.ndarray, "windows walkers"],
    centres: Float[np.ndarray, "windows d"],
    rng: np.random.Generator,
    *,
    threshold: float = THRESHOLD,
    names: Sequence[str] | None = None,
    most: int | None = None,
) -> tuple[HiddenBarrier, ...]:
    """The windows whose walkers do not mix, the worst first; none where p(q | z) mixes everywhere.

    **Arguments:**

    - `frames`: equilibrated, of walkers that no generator moved; states, or features of them.
    - `start`: label of the starting point of each walker.
    - `centres`: of the windows.
    - `threshold`: on split-R̂, between halves of walkers and between groups of the same starting point.
    - `names`: of the coordinates, for sentences; "coordinate 0" and so on where left out.
    - `most`: how many windows to name; `None` for all.
    """
    every = np.array([_worst_rhat(frames[:, window], start[window]) for window in range(len(centres))])
    worst = [int(window) for window in np.argsort(-every.max(axis=1), kind="stable")[:most]]
    found = []
    for window in worst:
        rhat, centre = every[window], centres[window]
        coordinate = int(np.argmax(rhat))
        if rhat[coordinate] > threshold:
            name = names[coordinate] if names is not None else f"coordinate {coordinate}"
            wells = _wells(frames[:, window, :, coordinate], rng)
            z = tuple(float(value) for value in centre)
            found.append(HiddenBarrier(z, coordinate, name, wells, float(rhat[coordinate])))
    return tuple(sorted(found, key=lambda one: -one.rhat))


def _worst_rhat(frames: np.ndarray, start: np.ndarray) -> Float[np.ndarray, "Y"]:
    """For each coordinate the larger of both R̂: between walkers, and between starting points."""
    columns = np.moveaxis(frames, -1, 0)
    between = [split_rhat(column) for column in columns]
    if len(np.unique(start)) < 2:
        return np.array(between)
    return np.maximum(between, [group_rhat(column, start) for column in columns])


def _wells(values: Float[np.ndarray, "frames walkers"], rng: np.random.Generator) -> tuple[Well, Well] | None:
    """The two modes of largest share."""
    flat = values.reshape(-1, 1)
    modes = find_modes(rng.permutation(flat)[:ENOUGH], rng)
    label = modes.label(flat)
    share = np.bincount(label, minlength=len(modes.share)) / len(label)
    held = np.argsort(-share, kind="stable")[:2]
    if len(held) < 2 or share[held[1]] == 0:
        return None
    wells = sorted((float(flat[label == mode].mean()), float(share[mode])) for mode in held)
    return Well(*wells[0]), Well(*wells[1])


def _listed(values: tuple[float, ...]) -> str:
    return f"{values[0]:.3g}" if len(values) == 1 else "(" + ", ".join(f"{value:.3g}" for value in values) + ")"
