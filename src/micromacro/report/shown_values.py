"""Which coarse values a page shows."""

import numpy as np
from jaxtyping import Float, Int

LEAST_DISTANCE = 0.18
"""Between two shown values, in shares of the range."""
HIGHEST = 8.0
"""In kT: what lies higher is seldom asked about."""


def spread_values(
    points: Float[np.ndarray, "n d"],
    energy: Float[np.ndarray, "n"],
    extent: Float[np.ndarray, "d"],
    periodic: tuple[bool, ...],
    most: int,
) -> Int[np.ndarray, "k"]:
    """At most `most` of the `points`, low ones first, none near another: the basins, then what lies between.

    **Arguments:**

    - `energy`: in kT, infinite or NaN where a point cannot be shown.
    - `extent`: of the range, `(d,)`; the period where `periodic`.
    """
    energy = np.where(np.isfinite(energy), energy, np.inf)
    order = np.argsort(energy, kind="stable")
    chosen: list[int] = []
    for cell in order[energy[order] <= energy.min() + HIGHEST] if np.isfinite(energy.min()) else []:
        share = (points[chosen] - points[cell]) / extent
        share = np.where(periodic, share - np.round(share), share)
        if len(chosen) < most and (np.linalg.norm(share, axis=1) >= LEAST_DISTANCE).all():
            chosen.append(int(cell))
    return np.array(chosen, int)
