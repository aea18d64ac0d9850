"""Training pairs (q, z) for the blurred condition, spread evenly in ξ."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from micromacro.coordinates.coarse import CoarseVariable
from micromacro.estimates.surface import coarse_grid

LARGEST_WEIGHT = 30.0
MARGIN = 4.0
COPIES = 3


@dataclass(frozen=True)
class Pairs:
    """Observed states `(n, Y)`, blurred coarse values `(n, d)` and weights `(n,)`."""

    q: Float[np.ndarray, "n Y"]
    z: Float[np.ndarray, "n d"]
    weight: Float[np.ndarray, "n"]


def blurred_pairs(
    q: Float[np.ndarray, "n Y"],
    coarse_values: Float[np.ndarray, "n d"],
    coarse: CoarseVariable,
    width: Float[np.ndarray, "d"],
    rng: np.random.Generator,
    copies: int = COPIES,
) -> Pairs:
    r"""Pairs of the joint density p(q | ξ) N(z; ξ, s²) with ξ even over its range.

    A bias of ξ alone does not change p(q | ξ), so frames of every window serve; each is weighted by the inverse density
    of ξ among the frames. The conditional p(q | z) is then the window of the flattened potential: centred on z.

    **Arguments:**

    - `width`: the blur s, `(d,)`.
    - `copies`: how often each frame is blurred anew.
    """
    even = exact_pairs(q, coarse_values, coarse, width)
    blurred = np.tile(even.z, (copies, 1))
    blurred = np.asarray(coarse.wrap(blurred + width * rng.normal(size=blurred.shape)))
    return Pairs(np.tile(even.q, (copies, 1)), blurred, np.tile(even.weight, copies))


def exact_pairs(
    q: Float[np.ndarray, "n Y"],
    coarse_values: Float[np.ndarray, "n d"],
    coarse: CoarseVariable,
    width: Float[np.ndarray, "d"],
) -> Pairs:
    """Pairs of p(q | ξ), not blurred, with ξ even over its range and as far beyond as windows of `width` reach."""
    grid = coarse_grid(coarse, padding=padding_cells(coarse, width))
    cell = grid.cell(coarse_values)
    inside = cell >= 0
    q, coarse_values, cell = q[inside], coarse_values[inside], cell[inside]
    density = np.bincount(cell, minlength=len(grid.points))
    weight = 1.0 / density[cell]
    weight = np.minimum(weight, LARGEST_WEIGHT * np.median(weight))
    return Pairs(q, coarse_values, weight)


def padding_cells(coarse: CoarseVariable, width: Float[np.ndarray, "d"]) -> int:
    """Cells beyond the range that windows at its ends reach."""
    spacing = coarse_grid(coarse).spacing
    return int(np.ceil(np.max(MARGIN * width / spacing)))
