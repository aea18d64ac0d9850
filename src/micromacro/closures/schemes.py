"""The numerical schemes whose transition densities a reduced equation can be learned by, by name."""

from micromacro.closures.milstein import MilsteinScheme
from micromacro.closures.transition import (
    GaussianScheme,
    Scheme,
    euler_maruyama_moments,
    local_linearisation_moments,
    statistical_linearisation_moments,
)

SCHEMES: dict[str, Scheme] = {
    "statistical-linearisation": GaussianScheme(statistical_linearisation_moments, order=2),
    "local-linearisation": GaussianScheme(local_linearisation_moments, order=1),
    "euler-maruyama": GaussianScheme(euler_maruyama_moments, order=1),
    "milstein": MilsteinScheme(),
}
