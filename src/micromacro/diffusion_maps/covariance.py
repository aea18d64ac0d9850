r"""Covariance of the noise at each point, seen in the features, and the metric that it makes.

Hidden variables of independent noises, seen through an unknown smooth map of Jacobian J, have the noise covariance
$C = J \sigma \sigma^T J^T$ per unit time in the features, and $(x_i - x_j)^T C^{-1} (x_i - x_j)$ is their squared
distance in the hidden space, in units of the noise, to second order: the map is undone without knowing it.

Source: Singer and Coifman, Appl. Comput. Harmon. Anal. 25, 226 (2008); from bursts and with more features than noises,
Dsilva, Talmon, Gear, Coifman and Kevrekidis, SIAM J. Appl. Dyn. Syst. 15, 1327 (2016).
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from micromacro.errors import InputError


def noise_covariances(
    states: Float[np.ndarray, "n D"],
    diffusion: Callable[[Float[Array, "D"]], Array],
    features: Callable[[Float[Array, "D"]], Float[Array, "F"]],
) -> Float[np.ndarray, "n F F"]:
    r"""The noise of the features from a known diffusion, $J \sigma \sigma^T J^T$ per unit time.

    **Arguments:**

    - `states`: hidden states `(n, D)`.
    - `diffusion`: state to σ, `(D,)` for independent noises or `(D, D)`.
    - `features`: hidden state `(D,)` to features `(F,)`, with `jax.numpy`.
    """

    def one(state: Float[Array, "D"]) -> Float[Array, "F F"]:
        sigma = diffusion(state)
        jacobian = jax.jacfwd(features)(state)
        spread = jacobian @ sigma if sigma.ndim == 2 else jacobian * sigma
        return spread @ spread.T

    return np.asarray(jax.jit(jax.vmap(one))(jnp.asarray(states, float)))


def burst_covariances(ends: Float[np.ndarray, "n copies F"], lag: float) -> Float[np.ndarray, "n F F"]:
    """Noise of the features per unit time, from where copies of each point are after a short time.

    The sample covariance of the copies over the lag; their mean displacement, the drift, drops out.

    **Raises:** `InputError` for fewer than two copies, a lag that is not positive and ends that are not finite.
    """
    ends = np.asarray(ends, float)
    if ends.shape[1] < 2:
        raise InputError("copies", "be at least 2", ends.shape[1])
    if not lag > 0:
        raise InputError("lag", "be positive", lag)
    if not np.all(np.isfinite(ends)):
        raise InputError("ends", "be finite", "bursts that diverged", remedy="Take a smaller time step.")
    delta = ends - ends.mean(axis=1, keepdims=True)
    return delta.transpose(0, 2, 1) @ delta / ((ends.shape[1] - 1) * lag)


def noise_rank(covariances: Float[np.ndarray, "n F F"], floor: float) -> int:
    """How many independent noises the features show: eigenvalues that, in the median, exceed the floor.

    The floor is a share of the largest eigenvalue at each point.
    """
    values = np.linalg.eigvalsh(covariances)
    return int(np.sum(np.median(values / np.maximum(values[:, -1:], 1e-300), axis=0) > floor))


def metric_of(
    covariances: Float[np.ndarray, "n F F"],
    *,
    copies: int | None = None,
    rank: int | None = None,
    floor: float = 1e-5,
    outside: float = 1.0,
) -> Float[np.ndarray, "n F F"]:
    r"""Inverses of noise covariances: the metric of the hidden space in units of the noise.

    Of each covariance the `rank` largest eigenvalues are inverted. Where features outnumber noises the rest are not
    noise of the hidden variables but curvature, of the order of the lag: a pseudo-inverse gives them no weight, and so
    sees no distance at all between the sheets of a fold. Here they get that of the largest noise: to leading order
    that leaves distances between neighbours as they are, since those hardly leave the tangent plane.

    With few copies the inverse of a sample covariance is too large on average, by ν/(ν - r - 1) for ν + 1 copies and
    rank r (the mean of an inverse Wishart matrix); that is corrected.

    **Arguments:**

    - `covariances`: symmetric `(n, F, F)`, per unit time.
    - `copies`: that each was estimated from; `None` for exact ones.
    - `rank`: number of independent noises; `None` to count those above the floor.
    - `floor`: eigenvalue, as a share of the largest, below which it is no noise.
    - `outside`: metric in the directions cut, as a share of its least eigenvalue in the others; 0 is the
        pseudo-inverse.

    **Raises:** `InputError` for a rank that the features or the copies cannot have, and for points without noise.
    """
    covariances = np.asarray(covariances, float)
    size = covariances.shape[-1]
    values, vectors = np.linalg.eigh(covariances)
    if not np.all(values[:, -1] > 0):
        raise InputError("covariances", "have some noise at every point", f"{np.sum(values[:, -1] <= 0)} without any")
    rank = noise_rank(covariances, floor) if rank is None else rank
    if not 1 <= rank <= size:
        raise InputError("rank", f"be from 1 to the number of features, {size}", rank)
    if copies is not None and copies < rank + 3:
        raise InputError("copies", f"be at least rank + 3 = {rank + 3}, to invert covariances", copies)
    shrink = 1.0 if copies is None else (copies - rank - 2) / (copies - 1)
    kept = np.maximum(values[:, size - rank :], floor * values[:, -1:])
    inverse = np.empty_like(values)
    inverse[:, size - rank :] = shrink / kept
    inverse[:, : size - rank] = outside * shrink / values[:, -1:]
    return np.einsum("nij,nj,nkj->nik", vectors, inverse, vectors)
