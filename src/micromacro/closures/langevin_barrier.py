r"""How long passages take where inertia or memory is not over by the time the barrier is left.

The reduced dynamics takes z to diffuse with D(0), that of times beyond all that is hidden. A barrier of curvature F''
(in kT) is left at the rate λ = |F''| D(λ), with D(s) of `umbrella_diffusion`, and passages over it take
$\lambda_0/\lambda = D(0)/D(\lambda)$ of the reduced time, $\lambda_0 = |F''| D(0)$: the theory of R. Grote and J. Hynes
(J. Chem. Phys. 73, 2715, 1980) without a mass in it. For an inertial particle this is the formula of H. Kramers
(Physica 7, 284, 1940), a factor $\frac12(1 + \sqrt{1 + 4\lambda_0/\gamma})$: the reduced dynamics is too fast. Where
much of the friction is that of slow hidden coordinates, which stand still while the barrier is crossed, it is too slow.

Where friction is so weak that energy is slow to change within the wells, passages take longer still; bursts without a
plateau tell.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import optimize

from micromacro.closures.finite_volume import stationary_density
from micromacro.closures.grid import largest_region, neighbours
from micromacro.closures.passage import committor
from micromacro.closures.reduced import ReducedDynamics
from micromacro.closures.umbrella_diffusion import UmbrellaDiffusion
from micromacro.coordinates.coarse import CoarseVariable
from micromacro.errors import PhysicsError

REACH = 2
"""Cells to either side over which slopes are measured."""
LEAST_SHARE = 0.1
"""Weight of a cell where passages are decided, over the largest."""


@dataclass(frozen=True)
class BarrierCrossing:
    """What inertia and memory do to passages between two sets, over each of the barriers that lie between them.

    **Arguments:**

    - `place`: of each barrier, `(barriers, d)`: the cell where most is decided.
    - `share`: of the passages of the reduced dynamics, `(barriers,)`.
    - `reduced_rate`: λ_0, at which the reduced dynamics leaves it, per time.
    - `rate`, `stderr`: λ, at which it is left, and its standard error.
    """

    place: Float[np.ndarray, "barriers d"]
    share: Float[np.ndarray, "barriers"]
    reduced_rate: Float[np.ndarray, "barriers"]
    rate: Float[np.ndarray, "barriers"]
    stderr: Float[np.ndarray, "barriers"]

    @property
    def factor(self) -> float:
        """Passage times over those of the reduced dynamics: above one by inertia, below by memory."""
        return float(1 / np.sum(self.share * self.rate / self.reduced_rate))

    @property
    def factor_stderr(self) -> float:
        """That of the measured D(λ); over a single barrier D(0) drops out of the corrected time."""
        return float(self.factor**2 * np.linalg.norm(self.share * self.stderr / self.reduced_rate))


def barrier_crossing(
    coarse: CoarseVariable,
    dynamics: ReducedDynamics,
    diffusion: UmbrellaDiffusion,
    first: Bool[np.ndarray, "n"],
    second: Bool[np.ndarray, "n"],
) -> BarrierCrossing:
    r"""Averages over where passages are decided: with the weight $p\,\nabla q\cdot D\nabla q$, q the committor.

    **Arguments:**

    - `first`, `second`: sets of cells, `(n,)`.

    **Raises:** `PhysicsError` where there is no barrier, or it is left faster than the frames resolve.
    """
    slope = _slopes(dynamics, committor(dynamics, first, second)[:, None])[:, 0]
    share = np.einsum("na,nab,nb->n", slope, dynamics.diffusion, slope)
    weight = np.nan_to_num(stationary_density(dynamics) * share)
    jacobian = _slopes(dynamics, dynamics.drift)
    weight = np.where(np.isfinite(jacobian).all(axis=(1, 2)), weight, 0.0)
    window = _nearest_window(coarse, dynamics, diffusion)
    barriers = []
    for used in _barriers(dynamics, weight):
        own = weight[used] / weight[used].sum()
        reduced = float(own @ np.linalg.eigvals(jacobian[used]).real.max(axis=1))
        ratio, stderr = _ratio(diffusion, window[used], slope[used], own / share[used])
        place = dynamics.grid.points[used[np.argmax(own)]]
        barriers.append((place, weight[used].sum(), reduced, *_crossing(reduced, diffusion.rates, ratio, stderr)))
    place, total, reduced_rate, rate, error = (np.array(column) for column in zip(*barriers, strict=True))
    return BarrierCrossing(place, total / total.sum(), reduced_rate, rate, error)


def _barriers(dynamics: ReducedDynamics, weight: Float[np.ndarray, "n"]) -> list[Int[np.ndarray, "cells"]]:
    """Connected sets of cells in which passages are decided."""
    left, parts = weight > LEAST_SHARE * weight.max(), []
    while left.any():
        part = largest_region(dynamics.grid, left)
        parts.append(np.flatnonzero(part))
        left = left & ~part
    return parts


def _ratio(
    diffusion: UmbrellaDiffusion,
    window: Int[np.ndarray, "cells"],
    slope: Float[np.ndarray, "cells d"],
    weight: Float[np.ndarray, "cells"],
) -> tuple[Float[np.ndarray, "m"], Float[np.ndarray, "m"]]:
    """D(s) over the D of the reduced dynamics across one barrier, and its standard error."""
    value, error = (
        np.einsum("n,na,nmab,nb->nm", weight, slope, values[window], slope)
        for values in (diffusion.diffusion_at, diffusion.diffusion_at_stderr)
    )
    # cells of one window share its error
    by_window = np.zeros((len(diffusion.mean), value.shape[1]))
    np.add.at(by_window, window, np.abs(error))
    return value.sum(axis=0), np.linalg.norm(by_window, axis=0)


def _crossing(
    reduced: float, rates: Float[np.ndarray, "m"], ratio: Float[np.ndarray, "m"], stderr: Float[np.ndarray, "m"]
) -> tuple[float, float]:
    """The solution of λ = λ_0 D(λ) / D(0), the ratio interpolated, and its standard error."""

    def excess(log_rate: float) -> float:
        return reduced * float(np.interp(log_rate, np.log(rates), ratio)) - np.exp(log_rate)

    low, high = np.log(rates[0] / 1e6), np.log(rates[-1])
    if not (reduced > 0 and excess(low) > 0 and excess(high) < 0):
        raise PhysicsError(
            f"the barrier is left at a rate of {reduced:.3g}, which is not between zero and {rates[-1]:.3g}",
            where="passages with inertia and memory",
            remedy="Save frames of the umbrella windows more often, or choose sets with a barrier between them.",
        )
    root: Any = optimize.brentq(excess, low, high)
    error = reduced * float(np.interp(root, np.log(rates), stderr))
    slope = (excess(root + 1e-3) - excess(root - 1e-3)) / 2e-3 / np.exp(root)
    return float(np.exp(root)), float(error / abs(slope))


def _slopes(dynamics: ReducedDynamics, values: Float[np.ndarray, "n m"]) -> Float[np.ndarray, "n m d"]:
    """Derivatives along the axes by central differences; NaN next to an end of the region."""
    result = np.full((*values.shape, len(dynamics.grid.shape)), np.nan)
    for axis, spacing in enumerate(dynamics.grid.spacing):
        step = REACH * np.eye(len(dynamics.grid.shape), dtype=int)[axis]
        before, after = np.full((2, len(values)), -1)
        first, second = neighbours(dynamics.grid, tuple(step.tolist()))
        after[first], before[second] = second, first
        inside = (before >= 0) & (after >= 0)
        inside &= dynamics.region & dynamics.region[before] & dynamics.region[after]
        result[inside, :, axis] = (values[after] - values[before])[inside] / (2 * REACH * spacing)
    return result


def _nearest_window(coarse: CoarseVariable, dynamics: ReducedDynamics, diffusion: UmbrellaDiffusion) -> np.ndarray:
    usable = np.flatnonzero(np.isfinite(diffusion.diffusion_at).all(axis=(1, 2, 3)))
    apart = np.asarray(coarse.difference(dynamics.grid.points[:, None], diffusion.mean[None, usable]))
    return usable[np.argmin(np.sum((apart / coarse.range) ** 2, axis=2), axis=1)]
