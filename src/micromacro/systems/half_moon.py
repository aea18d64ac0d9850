r"""The half-moon: a slow x and a fast y, seen only as a point of a curved band.

$u = x \cos(x + y - 1)$, $v = x \sin(x + y - 1)$ with $dy = a_3 (1 - y) dt + a_4 dW$ and, in the unconfined form,
$dx = a_1 dt + a_2 dW$. Given x, y ~ N(1, a_4²/2a_3) exactly, in both forms; ξ = hypot(u, v) = x.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from micromacro.systems.exact import ExactAnswers
from micromacro.systems.model import StochasticSystem
from micromacro.systems.quadrature import sample_line
from micromacro.systems.reference import Reference

A1, A2, A3, A4 = 1e-3, 1e-3, 1e-1, 1e-1
VARIANCE = A4**2 / (2 * A3)  # of y given x
LOWER, UPPER = 1.0, 4.0
CENTRE, HALF_WIDTH = 2.5, 0.9  # of the double well of the confined form
BARRIER, TILT, MOBILITY = 3.0, 0.5, 1e-3
GRID = np.linspace(0.2, 5.0, 20_001)  # of x in exact draws of the confined form


def observe(state: Float[Array, "2"]) -> Float[Array, "2"]:
    """(x, y) to (u, v)."""
    x, phase = state[0], state[0] + state[1] - 1
    return jnp.stack([x * jnp.cos(phase), x * jnp.sin(phase)])


def hidden(observed: Float[Array, "2"]) -> Float[Array, "2"]:
    """(u, v) to (x, y): x > 0, and of the values of y, 2π apart, the one within π of 1 (14 standard deviations)."""
    x = jnp.hypot(observed[0], observed[1])
    offset = jnp.arctan2(observed[1], observed[0]) - x
    return jnp.stack([x, 1 + offset - 2 * jnp.pi * jnp.round(offset / (2 * jnp.pi))])


def radius(observed: Float[Array, "2"]) -> Float[Array, "1"]:
    """ξ = hypot(u, v)."""
    return jnp.hypot(observed[:1], observed[1:])


def double_well(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """Free energy of the confined form in kT: wells near 1.6 and 3.4, barrier 3 kT, 135 kT at x = 0."""
    scaled = (x - CENTRE) / HALF_WIDTH
    return BARRIER * (scaled**2 - 1) ** 2 + TILT * scaled


def half_moon() -> Reference:
    """The unconfined form, state (x, y): x drifts at constant speed, so it has conditionals but no free energy.

    Starting points are spread along x, so that runs of a few relaxation times of y (10 time units) cover the range.
    """
    starts = np.linspace(LOWER - 0.25, UPPER, 27)
    system = StochasticSystem(
        drift=lambda state: jnp.stack([jnp.full((), A1), A3 * (1 - state[1])]),
        diffusion=lambda _state: jnp.array([A2, A4]),
        dimension=2,
        initial=np.column_stack([starts, np.ones_like(starts)]),
        time_step=0.5,
        observe=observe,
        hidden=hidden,
    )
    exact = _answers(
        known="moments, b, D in closed form; no free energy: x is not stationary",
        free_energy=None,
        drift=lambda z: np.full((len(z), 1), A1),
        diffusion=A2**2 / 2,
    )
    return Reference(system, radius, (LOWER,), (UPPER,), (False,), exact)


def half_moon_confined() -> Reference:
    r"""The confined form, $dx = -m U'(x) dt + \sqrt{2m} dW$ with U the double well and m = 10⁻³: F = U exactly."""
    slope = jax.grad(double_well)
    system = StochasticSystem(
        drift=lambda state: jnp.stack([-MOBILITY * slope(state[0]), A3 * (1 - state[1])]),
        diffusion=lambda _state: jnp.array([np.sqrt(2 * MOBILITY), A4]),
        dimension=2,
        initial=np.array([[CENTRE - HALF_WIDTH, 1.0], [CENTRE + HALF_WIDTH, 1.0]]),
        time_step=0.5,
        log_stationary_density=lambda state: -double_well(state[0]) - (state[1] - 1) ** 2 / (2 * VARIANCE),
        observe=observe,
        hidden=hidden,
    )
    exact = _answers(
        known="F, moments, b, D in closed form",
        free_energy=lambda z: np.asarray(double_well(jnp.asarray(z[:, 0]))),
        drift=lambda z: -MOBILITY * np.asarray(jax.vmap(jax.vmap(slope))(np.asarray(z, float))),
        diffusion=MOBILITY,
        sample_stationary=_sample_confined,
    )
    return Reference(system, radius, (LOWER,), (UPPER,), (False,), exact)


def _answers(
    known: str,
    free_energy: Callable | None,
    drift: Callable,
    diffusion: float,
    sample_stationary: Callable | None = None,
) -> ExactAnswers:
    return ExactAnswers(
        known=known,
        free_energy=free_energy,
        conditional_mean=_mean,
        conditional_variance=_variance,
        drift=drift,
        diffusion=lambda z: np.full((len(z), 1, 1), diffusion),
        sample_conditional=_sample,
        sample_stationary=sample_stationary,
    )


def _mean(z: Float[np.ndarray, "n 1"]) -> Float[np.ndarray, "n 2"]:
    """E[e^(iw)] = e^(-s²/2) for w ~ N(0, s²), at the phase x + w."""
    return z * np.exp(-VARIANCE / 2) * np.hstack([np.cos(z), np.sin(z)])


def _variance(z: Float[np.ndarray, "n 1"]) -> Float[np.ndarray, "n 2"]:
    double = np.cos(2 * z) * np.exp(-2 * VARIANCE)
    return z**2 * np.hstack([1 + double, 1 - double]) / 2 - _mean(z) ** 2


def _sample(z: Float[np.ndarray, "1"], count: int, rng: np.random.Generator) -> Float[np.ndarray, "count 2"]:
    phase = z[0] + np.sqrt(VARIANCE) * rng.standard_normal(count)
    return z[0] * np.column_stack([np.cos(phase), np.sin(phase)])


def _sample_confined(count: int, rng: np.random.Generator) -> Float[np.ndarray, "count 2"]:
    """Draws of (u, v): x from its double well, y independent of it."""
    log_weight = -np.asarray(double_well(jnp.asarray(GRID)))
    x = sample_line(log_weight, GRID, count, rng)
    y = 1 + np.sqrt(VARIANCE) * rng.standard_normal(count)
    return np.asarray(jax.vmap(observe)(jnp.asarray(np.column_stack([x, y]))))
