"""The hidden barriers against adaptive quadrature of formulas written out anew."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import dblquad, quad

from micromacro.systems.hidden_barrier import bath_deviations, bath_means, hidden_barrier, hidden_barrier_bath

POINTS = np.array([[-1.7], [-0.9], [0.0], [0.35], [1.8]])


def weight(y: float, x: float) -> float:
    return np.exp(-(4 * (x * x - 1) ** 2 + 12 * (y * y - 1) ** 2 + 1.5 * x * y))


def integral(x: float, function=lambda _y: 1.0, start: float = -3.0) -> float:
    split = [(start, 0.0), (0.0, 3.0)] if start < 0 else [(start, 3.0)]
    return sum(quad(lambda y: weight(y, x) * function(y), *ends, epsabs=0, epsrel=1e-11)[0] for ends in split)


def test_free_energy_and_hidden_weight():
    exact = hidden_barrier().exact
    norm = np.array([integral(x) for (x,) in POINTS])
    difference = exact.free_energy(POINTS) + np.log(norm)
    np.testing.assert_allclose(difference, difference[0], atol=1e-8)
    upper = [integral(x, start=0.0) for (x,) in POINTS]
    np.testing.assert_allclose(exact.hidden_weight(POINTS), upper / norm, atol=1e-8)


def test_moments_and_drift():
    exact = hidden_barrier().exact
    norm = np.array([integral(x) for (x,) in POINTS])
    mean = np.array([integral(x, lambda y: y) for (x,) in POINTS]) / norm
    second = np.array([integral(x, lambda y: y * y) for (x,) in POINTS]) / norm
    np.testing.assert_allclose(exact.conditional_mean(POINTS)[:, 1], mean, atol=1e-8)
    np.testing.assert_allclose(exact.conditional_variance(POINTS)[:, 1], second - mean**2, atol=1e-8)
    x = POINTS[:, 0]
    np.testing.assert_allclose(exact.drift(POINTS)[:, 0], -16 * x * (x**2 - 1) - 1.5 * mean, atol=1e-7)


def test_the_hidden_well_matters():
    """What a sampler that keeps equal shares would report is far from the truth."""
    weights = hidden_barrier().exact.hidden_weight(np.array([[-1.8], [1.8]]))
    np.testing.assert_allclose(weights, [0.995, 0.005], atol=1e-3)


def test_one_bath_by_direct_integration_of_the_full_potential():
    reference = hidden_barrier_bath(3)
    (deviation,) = bath_deviations(1)

    def density(b: float, y: float, x: float) -> float:
        mean = 0.8 * np.sin(1.5 * x + 1) + 0.5 * y * np.cos(0.7) + 0.4 * x * y * np.sin(1.3) + 0.3 * y * y
        return weight(y, x) * np.exp(-(((b - mean) / deviation) ** 2) / 2)

    for x in (-1.1, 0.4):
        options = {"epsabs": 1e-8, "epsrel": 1e-8}
        total, first, second = (
            dblquad(lambda b, y, x=x, p=power: b**p * density(b, y, x), -2.0, 2.0, -6.0, 6.0, **options)[0]
            for power in range(3)
        )
        mean = reference.exact.conditional_mean(np.array([[x]]))[0, 2]
        variance = reference.exact.conditional_variance(np.array([[x]]))[0, 2]
        np.testing.assert_allclose([mean, variance + mean**2], [first / total, second / total], atol=1e-6)
        point = jnp.array([x, 0.7, -0.2])
        assert np.isclose(np.exp(-reference.system.potential(point)), density(-0.2, 0.7, x), rtol=1e-12)


@pytest.mark.parametrize("dimension", [3, 20])
def test_baths_change_no_free_energy_and_bend_with_both_coordinates(dimension):
    bath, plain = hidden_barrier_bath(dimension).exact, hidden_barrier().exact
    np.testing.assert_allclose(bath.free_energy(POINTS), plain.free_energy(POINTS))
    np.testing.assert_allclose(bath.hidden_weight(POINTS), plain.hidden_weight(POINTS))
    axis = jnp.array([-1.0, 0.0, 1.0])
    over_y = jax.vmap(lambda x, y: bath_means(x, y, dimension - 2), in_axes=(None, 0))
    means = np.asarray(jax.jit(jax.vmap(over_y, in_axes=(0, None)))(axis, axis))
    assert (np.ptp(means, axis=0).max(axis=0) > 0.2).all()
    assert (np.ptp(means, axis=1).max(axis=0) > 0.2).all()
    mixed = means[2, 2] - means[2, 0] - means[0, 2] + means[0, 0]
    assert abs(mixed).max() > 0.5
    assert (bath_deviations(dimension - 2) >= 0.3).all()
    assert (bath_deviations(dimension - 2) <= 0.6).all()
