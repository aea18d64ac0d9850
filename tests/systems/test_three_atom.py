"""The three-atom molecule against its closed form and against sums over a Cartesian grid."""

import jax.numpy as jnp
import numpy as np

from micromacro.systems.three_atom import bending, three_atom

EPSILON = 1e-3
EXACT = three_atom(EPSILON).exact


def cartesian_average(function) -> float:
    """Average of `function(angle, bond)` over exp(-V) dx dy, by the trapezoid rule in Cartesian coordinates of C.

    The integrand is smooth and vanishes at the edges of the box, so the rule is exact to rounding once it resolves
    the width of the bond, 0.03.
    """
    axis = np.arange(-1.4, 1.4, 0.004)
    x, y = np.meshgrid(axis, axis[axis > 0.2], indexing="ij")
    bond, angle = np.hypot(x, y), np.arctan2(y, x)
    weight = np.exp(-((bond - 1) ** 2) / (2 * EPSILON) - 104 * ((angle - np.pi / 2) ** 2 - 0.3838**2) ** 2)
    return float((weight * function(angle, bond)).sum() / weight.sum())


def angular_average(values) -> float:
    """Average of `values(z)` over exp(-F) along the angle, F being the exact answer."""
    z = np.linspace(0.5, np.pi - 0.5, 201)[:, None]
    weight = np.exp(-EXACT.free_energy(z))
    return float(weight @ values(z) / weight.sum())


def test_free_energy_is_the_bending_term():
    z = np.linspace(0.9, 2.2, 9)[:, None]
    difference = EXACT.free_energy(z) - np.asarray(bending(jnp.asarray(z[:, 0])))
    np.testing.assert_allclose(difference, difference[0], atol=1e-9)


def test_free_energy_against_the_cartesian_density():
    for function in (lambda angle: (angle - np.pi / 2) ** 2, lambda angle: np.cos(4 * angle)):
        found = angular_average(lambda z, f=function: f(z[:, 0]))
        assert np.isclose(found, cartesian_average(lambda angle, _bond, f=function: f(angle)), atol=1e-8)


def test_diffusion_and_drift_against_the_cartesian_density():
    square = cartesian_average(lambda angle, bond: (angle - np.pi / 2) ** 2 / bond**2)
    assert np.isclose(angular_average(lambda z: (z[:, 0] - np.pi / 2) ** 2 * EXACT.diffusion(z)[:, 0, 0]), square)
    assert abs(EXACT.diffusion(np.full((1, 1), 1.5))[0, 0, 0] - 1) > 5e-4

    def force(angle, bond):
        slope = 4 * 104 * (angle - np.pi / 2) * ((angle - np.pi / 2) ** 2 - 0.3838**2)
        return -slope / bond**2 * (angle - np.pi / 2)

    found = angular_average(lambda z: EXACT.drift(z)[:, 0] * (z[:, 0] - np.pi / 2))
    assert np.isclose(found, cartesian_average(force), rtol=1e-7)


def test_moments_against_the_cartesian_density():
    found = angular_average(lambda z: EXACT.conditional_mean(z)[:, 2])
    assert np.isclose(found, cartesian_average(lambda angle, bond: bond * np.sin(angle)), atol=1e-8)
    np.testing.assert_allclose(EXACT.conditional_mean(np.full((1, 1), 1.0))[0, 0], 1.0, atol=1e-10)
    np.testing.assert_allclose(EXACT.conditional_variance(np.full((1, 1), 1.0))[0, 0], EPSILON, atol=1e-10)
