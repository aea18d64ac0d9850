"""Exponents: the slope of one quantity over another in logarithms."""

import math
from collections.abc import Sequence
from typing import NamedTuple


class Exponent(NamedTuple):
    """A slope, its standard error, and the slope between the last two points alone."""

    value: float
    stderr: float
    last: float

    def __str__(self) -> str:
        return f"{self.value:.2f} ± {self.stderr:.2f}, between the last two points {self.last:.2f}"


def exponent(sizes: Sequence[float], costs: Sequence[float]) -> Exponent:
    """The least-squares line through at least three points, logarithms of both."""
    x, y = ([math.log(value) for value in values] for values in (sizes, costs))
    count, mean_x, mean_y = len(x), sum(x) / len(x), sum(y) / len(y)
    square = sum((a - mean_x) ** 2 for a in x)
    slope = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True)) / square
    left = sum((b - mean_y - slope * (a - mean_x)) ** 2 for a, b in zip(x, y, strict=True))
    return Exponent(slope, math.sqrt(left / (count - 2) / square), (y[-1] - y[-2]) / (x[-1] - x[-2]))
