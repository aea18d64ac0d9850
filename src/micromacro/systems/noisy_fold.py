r"""A slow variable in a cubic force that a fast noise shakes: the fold of the averaged equation is known.

$dx = (λ + a(x + y) - (x + y)^3)\,dt$, $dy = -y/ε\,dt + \sqrt{2s/ε}\,dW$ with a = 1.3 and s = 0.1; state (x, y), ξ = x.
As ε → 0, y ~ N(0, s) and $E[(x + y)^3] = x^3 + 3 s x$, so the averaged equation is $x' = λ + c x - x^3$ with
$c = a - 3s = 1$. Its steady states are $λ = x^3 - c x$, with folds at $x = \pm\sqrt{c/3}$,
$λ = \mp\frac{2c}{3}\sqrt{c/3} = \mp 0.3849$. Without the noise the folds would be at 0.5705, nearly half as far again:
what finds the right ones has averaged.

For small ε, x also feels a noise of strength $D(x) = \int_0^\infty \mathrm{Cov}[f(x, y_0), f(x, y_t)]\,dt$. In Hermite
polynomials of y, $f - E f = (c - 3x^2) y - 3x (y^2 - s) - (y^3 - 3 s y)$, whose terms decay at the rates 1/ε, 2/ε and
3/ε with variances s, 2s² and 6s³: $D = ε[s(c - 3x^2)^2 + 9 s^2 x^2 + 2 s^3]$. All answers are exact to O(ε).
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from micromacro.systems.exact import ExactAnswers
from micromacro.systems.model import StochasticSystem
from micromacro.systems.reference import Reference

LINEAR, VARIANCE = 1.3, 0.1
AVERAGED = LINEAR - 3 * VARIANCE
LOWER, UPPER = -1.4, 1.4


def coarse(state: Float[Array, "2"]) -> Float[Array, "1"]:
    """ξ = x."""
    return state[:1]


def branch(x: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
    """The parameter λ at which x is a steady state of the averaged equation."""
    return x**3 - AVERAGED * x


def fold() -> tuple[float, float]:
    """The fold (x, λ) of the upper branch of the averaged equation; the other is its mirror image."""
    x = float(np.sqrt(AVERAGED / 3))
    return x, float(branch(np.array([x]))[0])


def effective_diffusion(x: Float[np.ndarray, "*n"], epsilon: float) -> Float[np.ndarray, "*n"]:
    """D(x) of the noise that the fast variable leaves on x."""
    return epsilon * (
        VARIANCE * (AVERAGED - 3 * x**2) ** 2 + 9 * VARIANCE**2 * x**2 + 2 * VARIANCE**3 * np.ones_like(x)
    )


def noisy_fold(epsilon: float = 0.01, parameter: float = 0.0) -> Reference:
    """The system at one value of λ; its drift takes another as a second argument.

    The step is a fiftieth of ε: Euler and Maruyama's scheme widens y by the factor 1/(1 - step/2ε), and c feels that.
    """

    def drift(state: Float[Array, "2"], value: Array | float = parameter) -> Float[Array, "2"]:
        x, y = state
        return jnp.stack([value + LINEAR * (x + y) - (x + y) ** 3, -y / epsilon])

    system = StochasticSystem(
        drift=drift,
        diffusion=lambda _state: jnp.array([0.0, np.sqrt(2 * VARIANCE / epsilon)]),
        dimension=2,
        initial=np.array([[-1.0, 0.0], [1.0, 0.0]]),
        time_step=0.02 * epsilon,
    )
    return Reference(system, coarse, (LOWER,), (UPPER,), (False,), _answers(parameter))


def _answers(parameter: float) -> ExactAnswers:
    def sample(z, count: int, rng: np.random.Generator) -> Float[np.ndarray, "count 2"]:
        return np.column_stack([np.full(count, z[0]), np.sqrt(VARIANCE) * rng.standard_normal(count)])

    return ExactAnswers(
        known="averaged bifurcation diagram; moments, b, D, each to O(ε)",
        conditional_mean=lambda z: np.hstack([z, np.zeros_like(z)]),
        conditional_variance=lambda z: np.tile([0.0, VARIANCE], (len(z), 1)),
        drift=lambda z: parameter - branch(np.asarray(z, float)),
        diffusion=lambda z: np.zeros((len(z), 1, 1)),
        sample_conditional=sample,
    )
