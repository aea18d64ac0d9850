r"""The multiplicative closure: a slow y on the circle whose noise a fast z modulates.

$dy = \sin y\,dt + \sqrt{1 + ½ \sin z}\,dW$, $dz = (\sin y - z)/ε\,dt + ε^{-1/2} dW$. To leading order in ε,
z | y ~ N(sin y, ½) and the effective squared diffusion is $σ^2(y) = 1 + ½ e^{-1/4} \sin(\sin y)$.
Every answer here is exact to O(ε); that is the tolerance it may be held to.

The reduced equation is not at equilibrium: the circulation $\oint 2 \sin y / σ^2 dy$ does not vanish, so the stationary
law carries a flux. Its density is the one with that flux, not the exponential of an integral.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from micromacro.systems.exact import ExactAnswers
from micromacro.systems.model import StochasticSystem
from micromacro.systems.reference import Reference

MODULATION = 0.5 * np.exp(-0.25)


def angle(state: Float[Array, "2"]) -> Float[Array, "1"]:
    """ξ = y, to be wrapped into [-π, π)."""
    return state[:1]


def effective_variance(y: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """σ²(y) of the reduced equation dy = sin y dt + σ(y) dW, `(...)`; D = σ²/2."""
    return 1 + MODULATION * np.sin(np.sin(y))


def stationary_law(count: int = 8192) -> tuple[Float[np.ndarray, "k"], Float[np.ndarray, "k"], float]:
    r"""Stationary density of the reduced equation on the circle: points `(count,)`, density `(count,)`, flux.

    With G = σ² p / 2 and a = 2 sin y / σ², the flux is J = a G - G', whose periodic solution is
    $G(y) \propto e^{Φ(y)} \int_y^{y + 2π} e^{-Φ(s)} ds$, Φ' = a. Both integrals run over Fourier series of smooth
    periodic functions, so the error is that of rounding.
    """
    y = -np.pi + 2 * np.pi * np.arange(count) / count
    variance = effective_variance(y)
    mean_slope, wave = _periodic_primitive(2 * np.sin(y) / variance)
    # Φ = mean_slope y + wave; the integral to y + 2π of e^(-Φ) is e^(-mean_slope y) times a periodic h with
    # h' = mean_slope h + (e^(-2π mean_slope) - 1) e^(-wave)
    factor = np.expm1(-2 * np.pi * mean_slope)
    frequency = 1j * np.fft.rfftfreq(count, 1 / count)
    window = np.fft.irfft(factor * np.fft.rfft(np.exp(-wave)) / (frequency - mean_slope), count)
    current_potential = np.exp(wave) * window
    density = 2 * current_potential / variance
    mass = density.mean() * 2 * np.pi
    return y, density / mass, float(-factor / mass)


def _periodic_primitive(values: Float[np.ndarray, "k"]) -> tuple[float, Float[np.ndarray, "k"]]:
    """Mean of a periodic function and the primitive of the rest, by Fourier series."""
    count = len(values)
    frequency = np.fft.rfftfreq(count, 1 / count)
    coefficients = np.fft.rfft(values)
    coefficients[1:] /= 1j * frequency[1:]
    coefficients[0] = 0
    return float(values.mean()), np.fft.irfft(coefficients, count)


def multiplicative_closure(epsilon: float = 0.01) -> Reference:
    """The system, state (y, z), with y an angle that the dynamics does not wrap; its density is not known."""
    system = StochasticSystem(
        drift=lambda state: jnp.stack([jnp.sin(state[0]), (jnp.sin(state[0]) - state[1]) / epsilon]),
        diffusion=lambda state: jnp.stack([jnp.sqrt(1 + 0.5 * jnp.sin(state[1])), jnp.full((), epsilon**-0.5)]),
        dimension=2,
        initial=np.array([[-np.pi / 2, -1.0], [0.0, 0.0], [np.pi / 2, 1.0], [np.pi, 0.0]]),
        time_step=0.1 * epsilon,
    )
    return Reference(system, angle, (-np.pi,), (np.pi,), (True,), _answers())


def _answers() -> ExactAnswers:
    points, density, _ = stationary_law()
    points, log_density = np.append(points, np.pi), np.log(np.append(density, density[0]))

    def free_energy(z: Float[np.ndarray, "n 1"]) -> Float[np.ndarray, "n"]:
        wrapped = np.mod(np.asarray(z, float)[:, 0] + np.pi, 2 * np.pi) - np.pi
        return -np.interp(wrapped, points, log_density)

    def sample(z, count: int, rng: np.random.Generator) -> Float[np.ndarray, "count 2"]:
        fast = np.sin(z[0]) + np.sqrt(0.5) * rng.standard_normal(count)
        return np.column_stack([np.full(count, z[0]), fast])

    def diffusion(z: Float[np.ndarray, "n 1"]) -> Float[np.ndarray, "n 1 1"]:
        return effective_variance(z)[:, :, None] / 2

    return ExactAnswers(
        known="F, moments, b, D, each to O(ε)",
        free_energy=free_energy,
        conditional_mean=lambda z: np.hstack([z, np.sin(z)]),
        conditional_variance=lambda z: np.tile([0.0, 0.5], (len(z), 1)),
        drift=np.sin,
        diffusion=diffusion,
        homogenised_drift=np.sin,
        homogenised_diffusion=diffusion,
        sample_conditional=sample,
    )
