r"""Variable bandwidth: ρ of each point from a pilot estimate of the density, and the walk's normalisation with it.

Near x the kernel $e^{-|x - y|^2 / 4 \varepsilon \rho(x) \rho(y)}$, expanded in $s = y - x$, is a Gaussian of variance
$2 \varepsilon \rho^2$ per dimension times $1 + (s^2 / 4 \varepsilon \rho^2) \nabla \log \rho \cdot s$, so that

$\int K(x, y) g(y) f(y) dy \propto \rho^d [g f + \varepsilon \rho^2 (\Delta (g f) + (d + 2) \nabla \log \rho \cdot
\nabla (g f) + a g f)]$

with some a(x), and the walk with columns of measure g has

$(P - 1) f / \varepsilon \rho^2 \to \Delta f + \nabla \log (g^2 \rho^{d+2}) \cdot \nabla f.$

For it to be $\Delta + 2 (1 - \alpha) \nabla \log \pi \cdot \nabla$ whatever ρ and the density q of the samples,
$g = \pi^{1-\alpha} \rho^{-(d+2)/2}$; samples bring the factor q of their own and weights $w = \pi / q$, so the columns
are

$e^{l_j} = w_j^{1-\alpha} q_j^{-\alpha} \rho_j^{-(d+2)/2}, \quad q_i = \rho_i^{-d} \sum_j K_{ij}.$

With $\rho = q^{-1/2}$ this is $q^{-\alpha'}$ with the $\alpha' = \alpha - (d+2)/4$ of Berry and Harlim, Appl. Comput.
Harmon. Anal. 40, 68 (2016): α' = -d/4 for α = 1/2, as theirs. For α = 1/2 the dimension drops out of l altogether.
"""

import numpy as np
from jaxtyping import Float

from micromacro.diffusion_maps.bandwidth import kernel_scaling
from micromacro.diffusion_maps.neighbours import Neighbours

PILOT_NEIGHBOURS = 8
EXPONENT = -0.5  # β: the bandwidth then falls in proportion to the spacing of points in two dimensions
LEAST_DISTANCE = 1e-3  # in units of the median one, for points that are repeated


def pilot_density(found: Neighbours, size: int) -> Float[np.ndarray, "n"]:
    r"""The density of the points by a kernel as wide as the distance to the nearest ones.

    $q_0(x_i) \propto \rho_0(x_i)^{-d} \sum_j e^{-|x_i - x_j|^2 / 4 \varepsilon_0 \rho_0(x_i) \rho_0(x_j)}$ with the
    root mean square distance ρ₀ to the eight nearest and ε₀ and d by the scaling of the sum. Source: Berry and Harlim
    (2016), section 4.1; theirs takes eight with the point itself.
    """
    count = min(PILOT_NEIGHBOURS, found.squares.shape[1])
    spread = np.sqrt(found.squares[:, 1:count].mean(axis=1))
    spread = np.maximum(spread, LEAST_DISTANCE * np.median(spread[spread > 0]))
    scaled = found.squares / (spread[:, None] * spread[found.indices])
    scaling = kernel_scaling(scaled)
    total = np.exp(-scaled / (4 * scaling.bandwidth)).sum(axis=1)
    return total / size / (4 * np.pi * scaling.bandwidth) ** (scaling.dimension / 2) / spread**scaling.dimension


def bandwidth_scale(found: Neighbours, size: int) -> Float[np.ndarray, "n"]:
    """How wide the kernel is at each point, ρ = q₀^(-1/2) over its geometric mean."""
    logs = EXPONENT * np.log(pilot_density(found, size))
    return np.exp(logs - logs.mean())
