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
from jaxtyping import Bool, Float
from scipy import optimize

from micromacro.closures.finite_volume import stationary_density
from micromacro.closures.grid import neighbours
from micromacro.closures.passage import committor
from micromacro.closures.reduced import ReducedDynamics
from micromacro.closures.umbrella_diffusion import UmbrellaDiffusion
from micromacro.coordinates.coarse import CoarseVariable
from micromacro.errors import PhysicsError

REACH = 2
"""Cells to either side over which slopes are measured."""


@dataclass(frozen=True)
class BarrierCrossing:
    """What inertia and memory do to passages between two sets.

    **Arguments:**

    - `reduced_rate`: λ_0, at which the reduced dynamics leaves the barrier, per time.
    - `rate`, `stderr`: λ, at which it is left, and its standard error.
    """

    reduced_rate: float
    rate: float
    stderr: float

    @property
    def factor(self) -> float:
        """Passage times over those of the reduced dynamics: above one by inertia, below by memory."""
        return self.reduced_rate / self.rate

    @property
    def factor_stderr(self) -> float:
        """That of the measured D(λ); the D(0) of the reduced dynamics drops out of the corrected time."""
        return self.factor * self.stderr / self.rate


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
    used = np.flatnonzero((weight > 0) & np.isfinite(jacobian).all(axis=(1, 2)))
    weight = weight[used] / weight[used].sum()
    reduced = float(weight @ np.linalg.eigvals(jacobian[used]).real.max(axis=1))
    window = _nearest_window(coarse, dynamics, diffusion)[used]
    share_at, error_at = (
        np.einsum("na,nmab,nb->nm", slope[used], values[window], slope[used]) / share[used, None]
        for values in (diffusion.diffusion_at, diffusion.diffusion_at_stderr)
    )
    ratio = np.einsum("n,nm->m", weight, share_at)
    # neighbouring cells of one window share its error
    by_window = np.zeros((len(diffusion.mean), len(ratio)))
    np.add.at(by_window, window, weight[:, None] * np.abs(error_at))
    return _crossing(reduced, diffusion.rates, ratio, np.linalg.norm(by_window, axis=0))


def _crossing(
    reduced: float, rates: Float[np.ndarray, "m"], ratio: Float[np.ndarray, "m"], stderr: Float[np.ndarray, "m"]
) -> BarrierCrossing:
    """Solves λ = λ_0 D(λ) / D(0), the ratio interpolated."""

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
    return BarrierCrossing(reduced, float(np.exp(root)), error / abs(slope))


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
