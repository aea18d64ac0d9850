"""A batch of walkers cut into parts that are advanced independently: the same parts however many do the work."""

from math import ceil
from typing import NamedTuple

LEAST_NUMBERS = 512
"""Components of states in one part at least: fewer do not fill the vector registers of a core."""
LEAST_WORK = 250_000
"""Components of states times steps in one part at least: handing a part over costs a fraction of a millisecond."""
ACCELERATED = 1000
"""By which parts are larger on accelerators, which do many walkers in the time of one."""
FEW_WINDOWS = 8
"""So many windows are parts enough; the walkers of fewer are cut as well."""


class Part(NamedTuple):
    """Some windows, and some of the walkers of each."""

    windows: slice
    walkers: slice

    @property
    def label(self) -> str:
        """Which windows these are, for messages."""
        first, last = self.windows.start, self.windows.stop - 1
        return f"window {first}" if first == last else f"windows {first} to {last}"


def parts(windows: int, walkers: int, dimension: int, steps: int, *, accelerated: bool = False) -> list[Part]:
    """How a batch is cut, by its shape, the steps ahead and the kind of device alone.

    Parts have the same shape wherever that is possible, so that one compiled program does for all.
    """
    least = max(LEAST_NUMBERS / dimension, LEAST_WORK / (dimension * max(1, steps)))
    least *= ACCELERATED if accelerated else 1
    together = min(windows, max(1, ceil(least / walkers)))
    pieces = 1
    if windows < FEW_WINDOWS and together == 1:
        pieces = max(1, min(ceil(FEW_WINDOWS / windows), int(walkers // least)))
    return [
        Part(window, walker)
        for window in _slices(windows, together)
        for walker in _slices(walkers, ceil(walkers / pieces))
    ]


def _slices(count: int, size: int) -> list[slice]:
    return [slice(first, min(first + size, count)) for first in range(0, count, size)]
