r"""Whether an overdamped equation in z can tell how long a passage takes, where the dynamics has inertia.

Over a barrier of curvature $-m\omega^2$ an inertial particle of friction rate γ passes at Kramers' rate. That of its
overdamped equation is $\frac12\big(1 + \sqrt{1 + (2\omega/\gamma)^2}\big)$ times as large (H. Kramers, Physica 7, 284,
1940; P. Hänggi, P. Talkner, M. Borkovec, Rev. Mod. Phys. 62, 251, 1990, section IV). With
$t_v = 1/\gamma = D/\langle\dot z^2\rangle$ and λ = ω²/γ the rate at which b drives z off the barrier,
$(2\omega/\gamma)^2 = 4\lambda t_v$: one number, known from b and the velocities. Small: the reduced dynamics is right.
Large: it is too fast, by that factor at least, for where friction is so weak that energy itself is slow to change,
passages take longer still.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from micromacro.closures.finite_volume import stationary_density
from micromacro.closures.grid import neighbours
from micromacro.closures.passage import committor
from micromacro.closures.reduced import ReducedDynamics
from micromacro.closures.umbrella_diffusion import UmbrellaDiffusion
from micromacro.coordinates.coarse import CoarseVariable

REACH = 2
"""Cells to either side over which the slope of b is measured."""


@dataclass(frozen=True)
class Inertia:
    """What inertia does to passages between two sets.

    **Arguments:**

    - `escape_rate`: λ, at which b drives z off the barrier, per time.
    - `velocity_time`: t_v, in which velocities forget, there.
    """

    escape_rate: float
    velocity_time: float

    @property
    def number(self) -> float:
        """λ t_v, which is (ω/γ)²: what must be small."""
        return self.escape_rate * self.velocity_time

    @property
    def slowdown(self) -> float:
        """Passage times by Kramers over those of the reduced dynamics; at least so much where friction is weak."""
        return (1 + np.sqrt(1 + 4 * self.number)) / 2


def inertia_of_passage(
    coarse: CoarseVariable,
    dynamics: ReducedDynamics,
    diffusion: UmbrellaDiffusion,
    first: Bool[np.ndarray, "n"],
    second: Bool[np.ndarray, "n"],
) -> Inertia:
    r"""Averages over where passages are decided: with the weight $p\,\nabla q\cdot D\nabla q$, q the committor.

    **Arguments:**

    - `first`, `second`: sets of cells, `(n,)`.
    """
    slope = _slopes(dynamics, committor(dynamics, first, second)[:, None])[:, 0]
    weight = np.nan_to_num(stationary_density(dynamics) * np.einsum("na,nab,nb->n", slope, dynamics.diffusion, slope))
    jacobian = _slopes(dynamics, dynamics.drift)
    used = (weight > 0) & np.isfinite(jacobian).all(axis=(1, 2))
    weight = np.where(used, weight, 0.0) / weight[used].sum()
    unstable = np.linalg.eigvals(np.where(used[:, None, None], jacobian, 0.0)).real.max(axis=1)
    nearest = _nearest_window(coarse, dynamics, diffusion)
    return Inertia(max(float(weight @ unstable), 0.0), float(weight @ diffusion.velocity_time[nearest]))


def _slopes(dynamics: ReducedDynamics, values: Float[np.ndarray, "n m"]) -> Float[np.ndarray, "n m d"]:
    """Derivatives along the axes by central differences; NaN next to an end of the region."""
    result = np.full((*values.shape, len(dynamics.grid.shape)), np.nan)
    for axis, spacing in enumerate(dynamics.grid.spacing):
        offset = tuple(2 * REACH * int(other == axis) for other in range(len(dynamics.grid.shape)))
        centre = tuple(one // 2 for one in offset)
        low, high = neighbours(dynamics.grid, offset)
        start, middle = neighbours(dynamics.grid, centre)
        at = dict(zip(start.tolist(), middle.tolist(), strict=True))
        number = np.array([at[cell] for cell in low.tolist()])
        inside = dynamics.region[low] & dynamics.region[high] & dynamics.region[number]
        change = (values[high] - values[low]) / (2 * REACH * spacing)
        result[number[inside], :, axis] = change[inside]
    return result


def _nearest_window(coarse: CoarseVariable, dynamics: ReducedDynamics, diffusion: UmbrellaDiffusion) -> np.ndarray:
    usable = np.flatnonzero(np.isfinite(diffusion.velocity_time))
    apart = np.asarray(coarse.difference(dynamics.grid.points[:, None], diffusion.mean[None, usable]))
    return usable[np.argmin(np.sum((apart / coarse.range) ** 2, axis=2), axis=1)]
