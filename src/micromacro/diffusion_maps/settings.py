"""How a diffusion map is made, and what it can be made of."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from micromacro.errors import InputError


@dataclass(frozen=True)
class DiffusionMapSettings:
    """How a diffusion map is made.

    **Arguments:**

    - `components`: eigenvectors besides the constant one.
    - `alpha`: density normalisation, from 0 to 1.
    - `bandwidth`: ε of the kernel; `None` for the scaling of the kernel's sum.
    - `variable`: whether the kernel widens where points are few.
    - `neighbours`: of each point in a sparse kernel, itself among them.
    - `dense`: points up to which the kernel is whole.
    - `landmarks`: points that carry the walk where there are more; `None` for all, however many.

    **Raises:** `InputError` where one is not what it can be.
    """

    components: int = 10
    alpha: float = 0.5
    bandwidth: float | None = None
    variable: bool = False
    neighbours: int = 64
    dense: int = 3000
    landmarks: int | None = 50_000

    def __post_init__(self):
        if not 0 <= self.alpha <= 1:
            raise InputError("alpha", "lie between 0 and 1", self.alpha)
        if self.bandwidth is not None and not (np.isfinite(self.bandwidth) and self.bandwidth > 0):
            raise InputError("bandwidth", "be positive", self.bandwidth)
        least = {"components": 1, "neighbours": 3, "dense": 0, "landmarks": self.components + 2}
        for name, bound in least.items():
            value = getattr(self, name)
            if value is not None and value < bound:
                raise InputError(name, f"be at least {bound}", value)


def checked_points(
    points: Float[np.ndarray, "n F"], settings: DiffusionMapSettings, metric: Float[np.ndarray, "n F F"] | None
) -> Float[np.ndarray, "n F"]:
    """Points that a map with these settings can be made of.

    **Raises:** `InputError` where some are not finite, they are too few, all equal, or without their metric.
    """
    points = np.asarray(points, float)
    count = len(points)
    for name, array in (("points", points), ("metric", metric)):
        if array is not None and not np.isfinite(array).all():
            wrong = int(np.sum(~np.isfinite(array).reshape(count, -1).all(axis=1)))
            raise InputError(name, "be finite", f"{wrong} of {count} that are not")
    if metric is not None and metric.shape != (count, points.shape[1], points.shape[1]):
        raise InputError("metric", f"be of shape {(count, points.shape[1], points.shape[1])}", metric.shape)
    if count < settings.components + 2:
        raise InputError("points", f"number at least components + 2 = {settings.components + 2}", count)
    if np.all(points == points[0]):
        raise InputError("points", "differ from each other", f"{count} that are all equal")
    walking = count if settings.landmarks is None else min(count, settings.landmarks)
    if walking > settings.dense and settings.neighbours > walking:
        raise InputError("neighbours", f"be at most the number of points, {walking}", settings.neighbours)
    return points


def checked_weight(weight: Float[np.ndarray, "n"] | None, count: int, least: int) -> Float[np.ndarray, "n"]:
    """Weights of mean one, equal where none are given.

    **Raises:** `InputError` where they are not one finite number for each point, none of them negative and enough
    of them positive.
    """
    if weight is None:
        return np.ones(count)
    weight = np.asarray(weight, float)
    if weight.shape != (count,):
        raise InputError("weight", f"be of shape {(count,)}", weight.shape)
    if not np.isfinite(weight).all() or weight.min() < 0:
        raise InputError("weight", "be finite and not negative", f"{weight.min()} to {weight.max()}")
    if np.sum(weight > 0) < least:
        raise InputError("weight", f"be positive for at least {least} points", int(np.sum(weight > 0)))
    return weight / weight.mean()
