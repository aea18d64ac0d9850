"""The Müller-Brown surface against published stationary points and figures found by other quadrature."""

import jax
import numpy as np
import pytest
from scipy.integrate import quad

from micromacro.errors import InputError
from micromacro.systems.muller_brown import MINIMA, SADDLES, muller_brown, muller_brown_potential

FIGURES = {
    10.0: (37.20, 62.55, 0.4176, 0.1482),
    15.0: (35.56, 59.38, 0.4111, 0.2437),
    20.0: (34.70, 55.93, 0.4287, 0.3411),
}


def potential(x: float, y: float) -> float:
    """Written out term by term, as published."""
    return (
        -200 * np.exp(-((x - 1) ** 2) - 10 * y**2)
        - 100 * np.exp(-(x**2) - 10 * (y - 0.5) ** 2)
        - 170 * np.exp(-6.5 * (x + 0.5) ** 2 + 11 * (x + 0.5) * (y - 1.5) - 6.5 * (y - 1.5) ** 2)
        + 15 * np.exp(0.7 * (x + 1) ** 2 + 0.6 * (x + 1) * (y - 1) + 0.7 * (y - 1) ** 2)
    )


@pytest.mark.parametrize(("points", "negative"), [(MINIMA, 0), (SADDLES, 1)])
def test_stationary_points(points, negative):
    gradient, hessian = jax.jit(jax.grad(muller_brown_potential)), jax.jit(jax.hessian(muller_brown_potential))
    for point in points:
        curvature = np.asarray(hessian(point))
        assert abs(np.linalg.solve(curvature, gradient(point))).max() < 1e-6
        assert (np.linalg.eigvalsh(curvature) < 0).sum() == negative


def test_published_positions_and_depth():
    published = [[0.6235, 0.0280], [-0.0500, 0.4667], [-0.5582, 1.4417]]
    np.testing.assert_allclose(MINIMA, published, atol=5.1e-5)
    np.testing.assert_allclose(SADDLES, [[0.2125, 0.2930], [-0.8220, 0.6243]], atol=5.1e-5)
    assert np.isclose(jax.vmap(muller_brown_potential)(MINIMA).min(), -146.6995, atol=1e-4)


@pytest.mark.parametrize("kT", FIGURES)
def test_figures_of_the_recipes(kT):
    """ΔF of x > 0 against x < 0 over the whole axis, barrier over the lowest F, moments of y at x = 0."""
    exact = muller_brown(kT).exact
    x = np.linspace(-2.5, 2.0, 4501)[:, None]
    free_energy = exact.free_energy(x)
    density = np.exp(-(free_energy - free_energy.min()))
    middle = np.argmin(abs(x[:, 0]))
    left, right = np.trapezoid(density[: middle + 1]), np.trapezoid(density[middle:])
    between = (x[:, 0] > -0.5) & (x[:, 0] < 0.6)
    origin = np.zeros((1, 1))
    found = (
        -kT * np.log(right / left),
        kT * (free_energy[between].max() - free_energy.min()),
        exact.conditional_mean(origin)[0, 1],
        np.sqrt(exact.conditional_variance(origin)[0, 1]),
    )
    np.testing.assert_allclose(found[:2], FIGURES[kT][:2], atol=6e-3)
    np.testing.assert_allclose(found[2:], FIGURES[kT][2:], atol=6e-5)


@pytest.mark.parametrize("coordinate", ["x", "y"])
def test_free_energy_against_adaptive_quadrature(coordinate):
    kT = 15.0
    reference = muller_brown(kT, coordinate)
    z = np.linspace(reference.lower[0], reference.upper[0], 4)[:, None]
    along = {"x": lambda c, t: potential(c, t), "y": lambda c, t: potential(t, c)}[coordinate]
    norm = [
        quad(lambda t, c=c: np.exp(-(along(c, t) + 140) / kT), -3.5, 4.0, epsabs=0, epsrel=1e-10, limit=400)[0]
        for (c,) in z
    ]
    difference = reference.exact.free_energy(z) + np.log(norm)
    np.testing.assert_allclose(difference, difference[0], atol=1e-7)


def test_an_unknown_coordinate_is_refused():
    with pytest.raises(InputError, match="coordinate must be 'x' or 'y'; got 'z'"):
        muller_brown(15.0, "z")
