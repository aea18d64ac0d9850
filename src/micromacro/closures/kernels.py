"""Over how many cells of the grid the errors of each route to the closure go together."""

from micromacro.closures.bursts import burst_requirements
from micromacro.closures.conditional import REQUIREMENTS
from micromacro.closures.files import BURSTS, LEARNED, PROJECTED
from micromacro.estimates.surface import Grid

LEARNED_FEATURES = 8
"""A learned equation varies over about so large a share of the range."""


def kernel_width(route: str, grid: Grid) -> float:
    """The half-width in cells."""
    return {
        PROJECTED: REQUIREMENTS.half_width,
        BURSTS: burst_requirements(grid).half_width,
        LEARNED: max(grid.shape) / LEARNED_FEATURES,
    }[route]
