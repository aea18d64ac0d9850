r"""The transition density of Milstein's scheme where noises commute: each axis has its own, $D_{aa}(z_a)$.

One step is $\Delta = b h + \sqrt{2Dh}\,[\zeta + \kappa (\zeta^2 - 1)]$ with ζ standard normal and
$\kappa = D' \sqrt{h / 8D}$, $D' = \partial D / \partial z$: a shifted and scaled noncentral chi-square variable. With
$y = (\Delta - bh)/\sqrt{2Dh}$ and $r = 1 + 4κ(y + κ)$ the two roots are $\zeta_\pm = (-1 \pm \sqrt r)/2κ$ and the
density is $[φ(ζ_+) + φ(ζ_-)] / \sqrt{2Dh\,r}$. It ends, with a square-root singularity, where r = 0, at
$|y + κ| = 1/4|κ|$. A likelihood of that kind is of no use: one pair beyond the end makes it zero, one upon it infinite.
From r = `EDGE` on the probability that is left, $P(r < EDGE)$, lies in an exponential tail that joins the density: it
stays normalised, and is Milstein's wherever that is finite and smooth.

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

EDGE = 0.04
"""r from which the density is a tail."""
LEAST_CURVATURE = 1e-3
"""|κ| below which neither the second root nor the tail has any weight in any precision."""
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
        y = (displacement - lag * drift) / jnp.sqrt(variance)
        near, root, beyond = _roots(y, curvature)
        size = jnp.maximum(jnp.abs(curvature), LEAST_CURVATURE)
        other = jnp.log1p(jnp.exp(-0.5 * root / size**2))
        density = -0.5 * near**2 + other - jnp.log(root) - 0.5 * math.log(2 * math.pi)
        rate = jnp.exp(_edge_log_density(size) - _left_log_probability(size))
        return jnp.sum(density - rate * beyond - 0.5 * jnp.log(variance))

    def residual(
        self, coefficients: Coefficients, start: Float[Array, "d"], displacement: Float[Array, "d"], lag: Lag
    ) -> Float[Array, "d"]:
        """The normal quantile of the distribution function of each component, `(d,)`."""
        drift, variance, curvature = _parts(coefficients, start, lag)
        y = (displacement - lag * drift) / jnp.sqrt(variance)
        near, root, beyond = _roots(y, curvature)
        size = jnp.maximum(jnp.abs(curvature), LEAST_CURVATURE)
        # on the side to which the parabola opens, mirrored to the right: the mass between the roots is below
        mirrored = jnp.where(curvature < 0, -near, near)
        below = special.ndtr(mirrored) - special.ndtr(-(1 + root) / (2 * size))
        tail = _left_log_probability(size)
        below = jnp.where(beyond > 0, jnp.exp(tail - jnp.exp(_edge_log_density(size) - tail) * beyond), below)
        quantile = special.ndtri(jnp.clip(below, RAREST, 1 - np.finfo(float).epsneg))
        return jnp.where(curvature < 0, -quantile, quantile)


def _parts(coefficients: Coefficients, start: Float[Array, "d"], lag: Lag):
    """b, 2 D h and κ of each axis, `(d,)` each."""

    def diagonal(z):
        return jnp.diagonal(coefficients(z)[1]) ** 2

    drift, diffusion = coefficients(start)[0], diagonal(start)
    slope = jnp.diagonal(jax.jacfwd(diagonal)(start))
    return drift, 2 * lag * diffusion, slope * jnp.sqrt(lag / (8 * diffusion))


def _roots(y: Float[Array, "d"], curvature: Float[Array, "d"]):
    r"""The root $\zeta_+$, in the form that is stable as κ vanishes, $\sqrt r$, and how far y is beyond the edge.

    Of r at least `EDGE`; `(d,)` each.
    """
    r = 1 + 4 * curvature * (y + curvature)
    kept = jnp.maximum(r, EDGE)
    root = jnp.sqrt(kept)
    beyond = (kept - r) / (4 * jnp.maximum(jnp.abs(curvature), LEAST_CURVATURE))
    inside = jnp.where(r < EDGE, (EDGE - 1) / (4 * _signed(curvature)), y + curvature)
    return 2 * inside / (1 + root), root, beyond


def _signed(curvature: Float[Array, "d"]) -> Float[Array, "d"]:
    """κ kept away from zero."""
    return jnp.where(curvature < 0, jnp.minimum(curvature, -LEAST_CURVATURE), jnp.maximum(curvature, LEAST_CURVATURE))


def _edge_log_density(size: Float[Array, "d"]) -> Float[Array, "d"]:
    """The log density of y where r = `EDGE`, for |κ| = `size`."""
    near, far = _edge_roots(size)
    return -0.5 * near**2 + jnp.log1p(jnp.exp(0.5 * (near**2 - far**2))) - 0.5 * math.log(2 * math.pi * EDGE)


def _left_log_probability(size: Float[Array, "d"]) -> Float[Array, "d"]:
    """The logarithm of the probability of r < `EDGE`."""
    near, far = _edge_roots(size)
    log_near, log_far = special.log_ndtr(-near), special.log_ndtr(-far)
    return log_near + jnp.log1p(-jnp.exp(log_far - log_near))


def _edge_roots(size: Float[Array, "d"]) -> tuple[Float[Array, "d"], Float[Array, "d"]]:
    r"""$|\zeta_\pm|$ where r = `EDGE`."""
    return (1 - math.sqrt(EDGE)) / (2 * size), (1 + math.sqrt(EDGE)) / (2 * size)
