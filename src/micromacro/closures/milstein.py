r"""The transition density of Milstein's scheme where noises commute: each axis has its own, $D_{aa}(z_a)$.

One step is $\Delta = b h + \sqrt{2Dh}\,[\zeta + \kappa (\zeta^2 - 1)]$ with ζ standard normal and
$\kappa = D' \sqrt{h / 8D}$, $D' = \partial D / \partial z$: a shifted and scaled noncentral chi-square variable. With
$y = (\Delta - bh)/\sqrt{2Dh}$ and $r = 1 + 4κ(y + κ)$ the two roots are $\zeta_\pm = (-1 \pm \sqrt r)/2κ$ and the
density is $[φ(ζ_+) + φ(ζ_-)] / \sqrt{2Dh\,r}$. It ends, with a square-root singularity, where r = 0.

Source: G. N. Milstein, Theory Probab. Appl. 19, 557 (1974); as a likelihood: F. Dietrich et al., Chaos 33, 023121
(2023), and O. Elerian, Economics Papers W18, Nuffield College, Oxford (1998).
"""

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy import special
from jaxtyping import Array, Float

from micromacro.closures.transition import Coefficients, Lag, Moments

EDGE = 1e-4
"""r below which the density is continued by its tail: a displacement out of reach must cost much, not infinity."""
LEAST_CURVATURE = 1e-6
"""κ² below which the second root has no weight in any precision."""
RAREST = 1e-300


@dataclass(frozen=True)
class MilsteinScheme:
    """Milstein's scheme for a diagonal D each entry of which depends on its own coordinate; any D in one dimension.

    Its density has the right skewness; its mean and variance are wrong by O(h), as those of Euler and Maruyama are.
    """

    order: int = 1

    def moments(self, coefficients: Coefficients, start: Float[Array, "d"], lag: Lag) -> Moments:
        """Mean b h and variance 2 D h (1 + 2 κ²)."""
        drift, variance, curvature = _parts(coefficients, start, lag)
        return lag * drift, jnp.diag(variance * (1 + 2 * curvature**2))

    def log_density(
        self, coefficients: Coefficients, start: Float[Array, "d"], displacement: Float[Array, "d"], lag: Lag
    ) -> Float[Array, ""]:
        """The logarithm of the density, summed over the axes."""
        drift, variance, curvature = _parts(coefficients, start, lag)
        near, root = _roots((displacement - lag * drift) / jnp.sqrt(variance), curvature)
        other = jnp.log1p(jnp.exp(-0.5 * root / jnp.maximum(curvature**2, LEAST_CURVATURE)))
        each = -0.5 * near**2 + other - jnp.log(root) - 0.5 * jnp.log(2 * math.pi * variance)
        return jnp.sum(each)

    def residual(
        self, coefficients: Coefficients, start: Float[Array, "d"], displacement: Float[Array, "d"], lag: Lag
    ) -> Float[Array, "d"]:
        """The normal quantile of the distribution function of each component, `(d,)`."""
        drift, variance, curvature = _parts(coefficients, start, lag)
        near, root = _roots((displacement - lag * drift) / jnp.sqrt(variance), curvature)
        # all that lies beyond the far root, on the side to which the parabola opens, is not below y but above
        beyond = special.ndtr(-(1 + root) / (2 * jnp.maximum(jnp.abs(curvature), math.sqrt(LEAST_CURVATURE))))
        below = special.ndtr(near) - jnp.sign(curvature) * beyond
        return special.ndtri(jnp.clip(below, RAREST, 1 - np.finfo(float).epsneg))


def _parts(coefficients: Coefficients, start: Float[Array, "d"], lag: Lag):
    """b, 2 D h and κ of each axis, `(d,)` each."""

    def diagonal(z):
        return jnp.diagonal(coefficients(z)[1]) ** 2

    drift, diffusion = coefficients(start)[0], diagonal(start)
    slope = jnp.diagonal(jax.jacfwd(diagonal)(start))
    return drift, 2 * lag * diffusion, slope * jnp.sqrt(lag / (8 * diffusion))


def _roots(y: Float[Array, "d"], curvature: Float[Array, "d"]) -> tuple[Float[Array, "d"], Float[Array, "d"]]:
    r"""The root $\zeta_+$, in the form that is stable as κ vanishes, and $\sqrt r$ with r kept above `EDGE`."""
    root = jnp.sqrt(jnp.maximum(1 + 4 * curvature * (y + curvature), EDGE))
    return 2 * (y + curvature) / (1 + root), root
