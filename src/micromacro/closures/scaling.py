"""Units of the data and of the lag, and the linear equation that a learned one starts from."""

from dataclasses import dataclass

import equinox as eqx
import numpy as np
from jaxtyping import Float
from scipy import linalg

from micromacro.closures.snapshots import SnapshotPairs
from micromacro.coordinates.coarse import CoarseVariable

LEAST_MEMORY = 0.02
"""The least share of u that a linear fit must say is left after a lag for its logarithm to be believed."""
LARGEST_TURN = 3.0
"""The largest angle, in radians, by which a lag may turn u for its logarithm to be believed."""


class Scaling(eqx.Module):
    """From coarse values to units of the data and of the lag.

    **Arguments:**

    - `centre`, `scale`: `(d,)`, in units of z.
    - `lag`: in time units.
    - `periodic`: `(d,)` booleans.
    """

    centre: Float[np.ndarray, "d"]
    scale: Float[np.ndarray, "d"]
    lag: Float[np.ndarray, ""]
    periodic: tuple[bool, ...] = eqx.field(static=True)

    def position(self, z):
        """The position u of z, `(..., d)` both."""
        return (z - self.centre) / self.scale

    def drift(self, drift):
        """From units of the data a lag to those of z a time, `(..., d)`."""
        return drift * self.scale / self.lag

    def diffusion(self, diffusion):
        """From squared units of the data a lag to those of z a time, `(..., d, d)`."""
        return diffusion * self.scale[:, None] * self.scale[None] / self.lag


def scaling_of(coarse: CoarseVariable, pairs: SnapshotPairs) -> Scaling:
    """Centred at the weighted mean of the starts, in units of their deviation; angles by the period."""
    share = pairs.weight / pairs.weight.sum()
    mean = share @ pairs.start
    deviation = np.sqrt(share @ (pairs.start - mean) ** 2)
    centre = np.where(coarse.periodic, coarse.lower, mean)
    scale = np.where(coarse.periodic, coarse.range / (2 * np.pi), deviation)
    return Scaling(centre, scale, np.asarray(pairs.lag, float), coarse.periodic)


@dataclass(frozen=True)
class LinearFit:
    """The linear equation of constant noise that moves u as the pairs do, in scaled units.

    Drift `slope` u + `offset`, Cholesky factor of D.
    """

    slope: Float[np.ndarray, "d d"]
    offset: Float[np.ndarray, "d"]
    factor: Float[np.ndarray, "d d"]

    @classmethod
    def of(cls, scaling: Scaling, pairs: SnapshotPairs) -> "LinearFit":
        r"""Weighted least squares of the displacements, constant along periodic axes, turned into rates.

        A displacement A u + c belongs to the slope $J = \log(1 + A)$ and the offset $J A^{-1} c$; where 1 + A is nearly
        singular or turns u about, which the logarithm of noise may do, the rates are those of Euler's scheme.
        """
        u = np.where(scaling.periodic, 0.0, scaling.position(pairs.start))
        moved = pairs.displacement / scaling.scale
        root = np.sqrt(pairs.weight / pairs.weight.sum())[:, None]
        design = np.concatenate([u, np.ones((len(u), 1))], axis=1)
        solution = np.linalg.lstsq(root * design, root * moved, rcond=None)[0]
        rest = root * (moved - design @ solution)
        slope, offset = _rates(solution[:-1].T, solution[-1])
        return cls(slope, offset, np.linalg.cholesky(_diffusion(slope, rest.T @ rest)))


def _rates(
    change: Float[np.ndarray, "d d"], shift: Float[np.ndarray, "d"]
) -> tuple[Float[np.ndarray, "d d"], Float[np.ndarray, "d"]]:
    """J and f of the flow dz/dt = J z + f whose displacement in a unit of time is `change` z + `shift`."""
    d = len(shift)
    step = np.eye(d + 1)
    step[:d] += np.column_stack([change, shift])
    values = np.linalg.eigvals(step)
    turned = np.abs(np.angle(values))
    if np.min(np.abs(values)) < LEAST_MEMORY or np.max(turned) > LARGEST_TURN:
        return change, shift
    flow = np.real(linalg.logm(step))
    return flow[:d, :d], flow[:d, d]


def _diffusion(slope: Float[np.ndarray, "d d"], covariance: Float[np.ndarray, "d d"]) -> Float[np.ndarray, "d d"]:
    r"""D of $C = \int_0^1 e^{Js} 2D e^{J^Ts} ds$, half of C where the answer is not positive definite."""
    d = len(slope)
    spread = np.kron(slope, np.eye(d)) + np.kron(np.eye(d), slope)
    augmented = linalg.expm(np.block([[spread, np.eye(d * d)], [np.zeros((d * d, 2 * d * d))]]))
    found = np.linalg.solve(2 * augmented[: d * d, d * d :], covariance.ravel()).reshape(d, d)
    found = (found + found.T) / 2
    return found if np.linalg.eigvalsh(found).min() > 0 else covariance / 2
