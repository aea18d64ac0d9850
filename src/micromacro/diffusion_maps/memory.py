"""How much memory a diffusion map needs, before it is made."""

from micromacro.diffusion_maps.eigenpairs import DIRECT, GUARDS
from micromacro.diffusion_maps.neighbours import BLOCK
from micromacro.diffusion_maps.settings import DiffusionMapSettings

DOUBLE = 8
DENSE_COPIES = 6  # squares, their logarithms, kernel, walk and what is between
DENSE_COPIES_VARIABLE = 9  # and neighbours in order
EDGE_BYTES = 8 + 4  # value and index of an entry of a sparse matrix
SYMMETRIC = 1.5  # edges of the graph in either direction per neighbour
SPARSE_COPIES = 6  # one-sided, its transpose, symmetric, walk, where it has steps, the walk on some of the points
BLOCK_COPIES = 16  # of vectors for each eigenvector and guard: modes, steps and images, old and new, and corrections
DIRECT_COPIES = 3  # of a small sparse matrix for the direct solver: whole, overwritten and its vectors


def memory_bytes(count: int, features: int, settings: DiffusionMapSettings, *, metric: bool = False) -> int:
    """An upper bound on what `fit_diffusion_map` holds at once for so many points, in bytes, besides its arguments.

    Dense, that of a few matrices of all pairs; sparse, neighbours and a few sparse matrices of them; beyond the
    landmarks, that of the landmarks and what is found for all points, with blocks of 2²⁴ distances.
    """
    walking = count if settings.landmarks is None else min(count, settings.landmarks)
    if walking <= settings.dense:
        graph = (DENSE_COPIES_VARIABLE if settings.variable else DENSE_COPIES) * DOUBLE * walking**2
        modes = DOUBLE * walking**2
    else:
        edges = walking * settings.neighbours
        graph = int(edges * (5 * DOUBLE + SPARSE_COPIES * SYMMETRIC * EDGE_BYTES))
        modes = DOUBLE * walking * BLOCK_COPIES * (settings.components + 1 + GUARDS)
        modes += DIRECT_COPIES * DOUBLE * walking**2 if walking <= DIRECT else 0
    result = DOUBLE * count * (2 * settings.components + features + 6)
    blocks = 6 * DOUBLE * BLOCK if metric or walking < count else 0
    return graph + modes + result + blocks
