"""The closure as a table: drift, diffusion and observables on the grid, with standard errors."""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int
from scipy.ndimage import maximum_filter1d

from micromacro.closures.conditional import REQUIREMENTS, LocalRequirements, conditional_averages
from micromacro.coordinates.coarse import CoarseVariable
from micromacro.estimates.surface import Grid

AROUND = 2


@dataclass(frozen=True)
class ClosureTable:
    r"""b, D of $dz = b\,dt + \sqrt{2D}\,dW$ (Itô) and conditional averages on a grid; NaN where nothing was sampled.

    **Arguments:**

    - `z`: centres of the cells `(n, d)`.
    - `drift`, `drift_stderr`: `(n, d)`, units of z per time.
    - `diffusion`, `diffusion_stderr`: `(n, d, d)`, squared units of z per time.
    - `observables`, `observables_stderr`: name to `(n,)`.
    """

    z: Float[np.ndarray, "n d"]
    drift: Float[np.ndarray, "n d"]
    drift_stderr: Float[np.ndarray, "n d"]
    diffusion: Float[np.ndarray, "n d d"]
    diffusion_stderr: Float[np.ndarray, "n d d"]
    observables: dict[str, Float[np.ndarray, "n"]] = field(default_factory=dict)
    observables_stderr: dict[str, Float[np.ndarray, "n"]] = field(default_factory=dict)

    @property
    def finite(self) -> np.ndarray:
        """Where both drift and diffusion are known, `(n,)` booleans."""
        return np.asarray(np.isfinite(self.drift).all(axis=1) & np.isfinite(self.diffusion).all(axis=(1, 2)))


def closure_table(
    coarse: CoarseVariable,
    grid: Grid,
    coarse_values: Float[np.ndarray, "n d"],
    drift_terms: Float[np.ndarray, "n d"],
    diffusion_terms: Float[np.ndarray, "n d d"],
    observables: dict[str, Float[np.ndarray, "n"]],
    weights: Float[np.ndarray, "n"],
    clusters: Int[np.ndarray, "n"],
    requirements: LocalRequirements = REQUIREMENTS,
) -> ClosureTable:
    """Conditional averages of the projected terms and of observables, one value per sample each.

    `weights` and `clusters` are those of `conditional_averages`; `drift_terms` and `diffusion_terms` come from
    `projected_terms`.
    """
    d, names = coarse.dimension, list(observables)
    values = np.concatenate(
        [drift_terms, diffusion_terms.reshape(-1, d * d), *(np.reshape(observables[name], (-1, 1)) for name in names)],
        axis=1,
    )
    found = conditional_averages(coarse, grid, coarse_values, values, weights, clusters, requirements)
    stderr = np.hypot(found.stderr, smoothing_bias(grid, found.mean, found.half_width))
    tensors = slice(d, d + d * d)
    return ClosureTable(
        z=grid.points,
        drift=found.mean[:, :d],
        drift_stderr=stderr[:, :d],
        diffusion=found.mean[:, tensors].reshape(-1, d, d),
        diffusion_stderr=stderr[:, tensors].reshape(-1, d, d),
        observables=dict(zip(names, found.mean[:, d + d * d :].T, strict=True)),
        observables_stderr=dict(zip(names, stderr[:, d + d * d :].T, strict=True)),
    )


def smoothing_bias(
    grid: Grid, mean: Float[np.ndarray, "n m"], half_width: Float[np.ndarray, "n"]
) -> Float[np.ndarray, "n m"]:
    r"""What a kernel of `half_width` cells does to averages that curve: $h^2 g''/10$ summed over the axes, `(n, m)`.

    From the second differences of the averages themselves, the largest within `AROUND` cells: where a curve turns, its
    own second difference is zero by chance.
    """
    total = np.zeros_like(mean)
    shaped = mean.reshape(*grid.shape, -1)
    for axis, periodic in enumerate(grid.periodic):
        second = np.abs(np.roll(shaped, 1, axis) + np.roll(shaped, -1, axis) - 2 * shaped)
        if not periodic:
            index = np.clip(np.arange(grid.shape[axis]), 1, grid.shape[axis] - 2)
            second = np.take(second, index, axis=axis)
        mode = "wrap" if periodic else "nearest"
        second = maximum_filter1d(np.nan_to_num(second), 2 * AROUND + 1, axis=axis, mode=mode)
        total += second.reshape(mean.shape)
    return total * np.nan_to_num(half_width[:, None]) ** 2 / 10
