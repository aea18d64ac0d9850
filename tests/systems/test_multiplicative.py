"""The multiplicative closure against a Fourier solution of its reduced law and a simulation of the full system."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy.integrate import quad

from micromacro.systems.multiplicative import effective_variance, multiplicative_closure, stationary_law


def fourier_law(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Null vector of the Fokker-Planck operator, -(sin y p)' + ½ (σ² p)'', by Fourier differentiation."""
    y = -np.pi + 2 * np.pi * np.arange(count) / count
    wave = 1j * np.fft.fftfreq(count, 1 / count)
    wave[count // 2] = 0
    derivative = np.fft.ifft(wave[:, None] * np.fft.fft(np.eye(count), axis=0), axis=0).real
    operator = -derivative @ np.diag(np.sin(y)) + 0.5 * derivative @ derivative @ np.diag(effective_variance(y))
    rows = np.vstack([operator, np.full(count, 2 * np.pi / count)])
    return y, np.linalg.lstsq(rows, np.append(np.zeros(count), 1.0), rcond=None)[0]


def test_effective_variance_is_the_average_over_the_fast_variable():
    for y in (-2.0, 0.3, 1.5):
        density = lambda z, y=y: np.exp(-((z - np.sin(y)) ** 2)) / np.sqrt(np.pi)  # noqa: E731
        average = quad(lambda z, p=density: (1 + 0.5 * np.sin(z)) * p(z), -8, 8, epsabs=1e-12)[0]
        assert np.isclose(effective_variance(np.array([y])), average, atol=1e-10)


def test_stationary_density_by_fourier_solution():
    y, expected = fourier_law(129)
    exact = multiplicative_closure().exact
    found = np.exp(-exact.free_energy(y[:, None]))
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert expected.min() > 1e-3


def test_flux_is_constant_and_not_zero():
    y, density, flux = stationary_law()
    spacing = y[1] - y[0]
    half = effective_variance(y) * density / 2
    slope = (np.roll(half, -1) - np.roll(half, 1)) / (2 * spacing)
    np.testing.assert_allclose(np.sin(y) * density - slope, flux, atol=1e-6)
    assert abs(flux) > 1e-3
    assert np.isclose(density.sum() * spacing, 1)


def simulate(epsilon: float, walkers: int, steps: int, key: int) -> tuple[np.ndarray, np.ndarray]:
    """Euler-Maruyama from uniform y; both coordinates at the end."""
    system = multiplicative_closure(epsilon).system
    start, noise = jax.random.split(jax.random.key(key))
    angles = jax.random.uniform(start, (walkers,), minval=-jnp.pi, maxval=jnp.pi)
    step = system.time_step

    def advance(states, key):
        kicks = jnp.sqrt(step) * jax.random.normal(key, states.shape)
        return states + step * jax.vmap(system.drift)(states) + jax.vmap(system.diffusion)(states) * kicks, None

    states = jnp.stack([angles, jnp.sin(angles)], axis=1)
    final, _ = jax.lax.scan(advance, states, jax.random.split(noise, steps))
    return np.asarray(final[:, 0]), np.asarray(final[:, 1])


def test_the_full_system_obeys_the_reduced_law_to_order_epsilon():
    """ε = 0.02: four standard errors and 2ε are allowed, in averages of order one."""
    epsilon, walkers = 0.02, 8000
    y, z = simulate(epsilon, walkers, steps=4000, key=4)
    points, density, _ = stationary_law()
    share = density / density.sum()
    for function in (np.cos, np.sin, lambda a: np.cos(2 * a), lambda a: np.sin(2 * a)):
        values = function(y)
        assert abs(values.mean() - share @ function(points)) < 4 * values.std() / np.sqrt(walkers) + 2 * epsilon
    rest = z - np.sin(y)
    assert abs(rest.mean()) < 4 * rest.std() / np.sqrt(walkers) + 2 * epsilon
    # Euler-Maruyama at a tenth of the fast time widens the fast variable by 1 / (1 - 0.05)
    assert abs(rest.var() * 0.95 - 0.5) < 4 * np.sqrt(2 / walkers) * 0.5 + 2 * epsilon
