"""The free energy of windows from the generator's own weights: the second route to one number."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.special import logsumexp


@dataclass(frozen=True)
class GeneratorFreeEnergy:
    """f of each window in kT up to one constant, its standard error, and the effective share of the draws.

    Each is `(windows,)`.
    """

    free_energy: Float[np.ndarray, "windows"]
    stderr: Float[np.ndarray, "windows"]
    effective_share: Float[np.ndarray, "windows"]


def generator_free_energy(
    log_weight: Float[np.ndarray, "draws windows"], covered: Float[np.ndarray, "windows"] | None = None
) -> GeneratorFreeEnergy:
    r"""$f(z) = -\log E_\theta[\pi_z(q) / p_\theta(q|z)] + \log c$ from independent draws.

    The standard error is that of the mean weight by the delta method, $\sqrt{(1/e - 1)/n}$ with e the effective share.

    **Arguments:**

    - `covered`: c, the share of the window's own states whose density is known: draws elsewhere have no weight.
    """
    count = len(log_weight)
    covered = np.ones(log_weight.shape[1]) if covered is None else covered
    with np.errstate(divide="ignore", invalid="ignore"):
        total = logsumexp(log_weight, axis=0)
        share = np.exp(2 * total - logsumexp(2 * log_weight, axis=0)) / count
        share = np.where(np.isfinite(total), share, 0.0)
        stderr = np.sqrt(np.maximum(1 / share - 1, 0.0) / count)
        free_energy = np.log(count) - total + np.log(covered)
    return GeneratorFreeEnergy(free_energy, stderr, share)
