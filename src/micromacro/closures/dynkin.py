r"""Drift and diffusion from the displacement of bursts between two lags, without bias in either.

A slow generator $\bar L f = \bar b\cdot\nabla f + \bar D:\nabla^2 f$ that governs ξ once hidden coordinates have
forgotten the start obeys Dynkin's formula between any two lags $t_1 < t_2$ beyond the fast time,
$$E[f(ξ_{t_2}) - f(ξ_{t_1}) \mid z_0] = E[\textstyle\int_{t_1}^{t_2}\bar L f(ξ_s)\,ds \mid z_0].$$
With f the displacement Δ from z_0, and ΔΔ^T, and $w = t_2 - t_1$,
$$\bar b(z_0) = b(z_0) + E\Big[\tfrac1w\big(Δ_2 - Δ_1 - \textstyle\int b(ξ_s)\,ds\big)\Big],$$
$$\bar D(z_0) = D(z_0) + E\Big[\tfrac1{2w}\big(Δ_2Δ_2^T - Δ_1Δ_1^T
- \textstyle\int (Δ_s b^T + b Δ_s^T + 2D)(ξ_s)\,ds\big)\Big]$$
hold where $(b, D) = (\bar b, \bar D)$, and a guess that is off by r leaves off by $(1 - S) r$, S the average over where
ξ is between the lags. So a few sweeps from b = 0, whose first is Kramers and Moyal's quotient between two lags, remove
the bias in the lag to any order; each guess is the smooth fit of the table before it, and so adds little noise. For D
they begin once b is known, for the motion by b enters the quotient squared, and one suffices: every further one would
undo some of the averaging by S, and so amplify noise.
The transient at lags below t_1 drops out of the difference. The increment is not regressed on ξ at t_1: hidden
coordinates are correlated with that, and the slope would be the projected one again.

Every record of a burst serves as a start: the formula holds whatever the hidden coordinates were then.

The paths are those of Euler and Maruyama's scheme, whose mean moves by $b\,h$ in a step of length h with b at its left
end, and whose second moment moves by $(Δ b^T + b Δ^T + 2D)h + bb^T h^2$. So the integrals are sums over left ends, and
D is joined by $bb^T h/2$: what the step does to the motion along ξ drops out to first order in h.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from micromacro.closures.burst_paths import BurstPaths
from micromacro.closures.conditional import REQUIREMENTS, LocalRequirements, conditional_averages
from micromacro.closures.smooth import SmoothClosure, SmoothSettings, smooth_closure
from micromacro.closures.table import ClosureTable, smoothing_bias
from micromacro.coordinates.coarse import CoarseVariable
from micromacro.estimates.surface import Grid

BATCH = 8192


@dataclass(frozen=True)
class Lags:
    """Records from a start to the first and to the second lag, and the records that serve as starts `(s,)`."""

    first: int
    second: int
    starts: Int[np.ndarray, "s"]


def displacement_table(
    coarse: CoarseVariable,
    grid: Grid,
    paths: BurstPaths,
    lags: Lags,
    reference: SmoothClosure | None = None,
    requirements: LocalRequirements = REQUIREMENTS,
    *,
    drift_alone: bool = False,
) -> ClosureTable:
    """The right-hand sides above on the grid, for one guess; without one, the plain quotient between the lags.

    With `drift_alone` the guess of D is zero.

    Where the closure curves the kernel of the averages does not blunt it: they are those of the rest beside the guess.
    """
    z, values, clusters = _window_values(coarse, paths, lags, reference, drift_alone=drift_alone)
    found = conditional_averages(coarse, grid, z, values, np.ones(len(z)), clusters, requirements)
    d, mean, stderr = coarse.dimension, found.mean, found.stderr
    if reference is None:
        stderr = np.hypot(stderr, smoothing_bias(grid, mean, found.half_width))
    else:
        drift, diffusion = _of_points(reference, jnp.asarray(grid.points))
        diffusion = 0 * diffusion if drift_alone else diffusion
        mean = mean + np.concatenate([drift, diffusion.reshape(-1, d * d)], axis=1)
    return ClosureTable(
        z=grid.points,
        drift=mean[:, :d],
        drift_stderr=stderr[:, :d],
        diffusion=mean[:, d:].reshape(-1, d, d),
        diffusion_stderr=stderr[:, d:].reshape(-1, d, d),
    )


def solve(
    coarse: CoarseVariable,
    grid: Grid,
    paths: BurstPaths,
    lags: Lags,
    sweeps: int,
    requirements: LocalRequirements = REQUIREMENTS,
) -> tuple[ClosureTable, SmoothClosure]:
    """The table after `sweeps` (at least two) improvements of the plain quotient, and the guess that made it."""
    table = displacement_table(coarse, grid, paths, lags, None, requirements)
    smoothing = SmoothSettings(overlap=requirements.half_width)
    reference = smooth_closure(table, coarse, smoothing)
    for _ in range(sweeps - 1):
        table = displacement_table(coarse, grid, paths, lags, reference, requirements, drift_alone=True)
        reference = smooth_closure(table, coarse, smoothing)
    return displacement_table(coarse, grid, paths, lags, reference, requirements), reference


def _window_values(
    coarse: CoarseVariable, paths: BurstPaths, lags: Lags, reference: SmoothClosure | None, *, drift_alone: bool
):
    """ξ at each start `(m, d)`, what is averaged given it `(m, d + d²)`, and clusters `(m,)`."""
    position, width = paths.positions, paths.times[lags.second - lags.first]
    d = coarse.dimension
    integrals = None if reference is None else _integrals(reference, paths, drift_alone)
    starts, values = [], []
    for start in lags.starts:
        early, late = start + lags.first, start + lags.second
        before = paths.displacement[:, early] - paths.displacement[:, start]
        after = paths.displacement[:, late] - paths.displacement[:, start]
        rise = after - before
        square = after[:, :, None] * after[:, None, :] - before[:, :, None] * before[:, None, :]
        if integrals is not None:
            drift, moment, diffusion = (part[:, late] - part[:, early] for part in integrals)
            moment = moment - paths.displacement[:, start, :, None] * drift[:, None, :]
            rise = rise - drift
            square = square - moment - np.swapaxes(moment, 1, 2) - 2 * diffusion
        starts.append(position[:, start])
        values.append(np.concatenate([rise / width, square.reshape(-1, d * d) / (2 * width)], axis=1))
    z = np.asarray(coarse.wrap(np.concatenate(starts)))
    return z, np.concatenate(values), np.tile(paths.clusters, len(lags.starts))


def _integrals(reference: SmoothClosure, paths: BurstPaths, drift_alone: bool):
    """Sums from the start to every record of b `(n, k, d)`, Δ bᵀ and D `(n, k, d, d)`."""
    bursts, records, d = paths.displacement.shape
    drift, diffusion = _of_points(reference, jnp.asarray(paths.positions.reshape(-1, d)))
    drift, diffusion = drift.reshape(bursts, records, d), diffusion.reshape(bursts, records, d, d)
    moment = paths.displacement[:, :, :, None] * drift[:, :, None, :]
    diffusion = (0 if drift_alone else diffusion) + paths.time_step / 2 * drift[:, :, :, None] * drift[:, :, None, :]
    return tuple(_left_sums(values, paths) for values in (drift, moment, diffusion))


def _left_sums(values: np.ndarray, paths: BurstPaths) -> np.ndarray:
    """Sums over the left ends of all steps: trapezoids between records, less half a step at the ends."""
    middle = (values[:, 1:] + values[:, :-1]) * (paths.times[1] / 2)
    integral = np.concatenate([np.zeros_like(values[:, :1]), np.cumsum(middle, axis=1)], axis=1)
    return integral - paths.time_step / 2 * (values - values[:, :1])


def _of_points(reference: SmoothClosure, z: Float[Array, "n d"]) -> tuple[np.ndarray, np.ndarray]:
    drift, diffusion = _evaluate(reference, z)
    return np.asarray(drift), np.asarray(diffusion)


@jax.jit
def _evaluate(reference: SmoothClosure, z: Float[Array, "n d"]) -> tuple[Array, Array]:
    return jax.lax.map(lambda point: (reference.drift(point), reference.diffusion(point)), z, batch_size=BATCH)
