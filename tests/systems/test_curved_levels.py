"""Curved level sets: δ averages against adaptive quadrature and Cartesian sums, and the surface measure."""

import numpy as np
from scipy.integrate import quad

from micromacro.systems.curved_levels import curved_level_sets

POINTS = np.array([[-1.2], [0.1], [1.0]])
KT = 0.5


def potential(first, second):
    level = first + 0.5 * second**2
    return 1.5 * (level**2 - 1) ** 2 + (((second - 1.5) / 1.5) ** 2 - 1) ** 2 + 0.2 * level * (second - 1.5)


def along(z: float, function, measure=lambda _t: 1.0) -> float:
    """Conditional average of `function(q_2)` on the parabola q_1 = z - q_2²/2 under `measure`."""

    def integral(factor):
        integrand = lambda t: np.exp(-potential(z - t * t / 2, t) / KT) * measure(t) * factor(t)  # noqa: E731
        return sum(quad(integrand, *ends, epsabs=0, epsrel=1e-10)[0] for ends in ((-3.0, 1.5), (1.5, 6.0)))

    return integral(function) / integral(lambda _t: 1.0)


def test_moments_hidden_weight_and_diffusion():
    exact = curved_level_sets().exact
    for row, (z,) in enumerate(POINTS):
        second = along(z, lambda t: t * t)
        assert np.isclose(exact.conditional_mean(POINTS)[row, 1], along(z, lambda t: t), atol=1e-8)
        assert np.isclose(exact.conditional_mean(POINTS)[row, 0], z - second / 2, atol=1e-8)
        assert np.isclose(exact.hidden_weight(POINTS)[row], along(z, lambda t: float(t > 1.5)), atol=1e-8)
        assert np.isclose(exact.diffusion(POINTS)[row, 0, 0], KT * (1 + 0.5 * second), atol=1e-8)


def test_drift_in_closed_form_on_the_fibre():
    """-∂₁V ∂₁ξ - ½ ∂₂V ∂₂ξ + ½ kT ∂₂²ξ with V = U(ξ) + W(q_2) + 0.2 ξ (q_2 - 1.5)."""
    exact = curved_level_sets().exact
    for row, (z,) in enumerate(POINTS):

        def integrand(t, z=z):
            by_level = 6 * z * (z * z - 1) + 0.2 * (t - 1.5)
            by_second = 4 * (t - 1.5) / 1.5**2 * (((t - 1.5) / 1.5) ** 2 - 1) + 0.2 * z
            return -by_level - 0.5 * (by_level * t + by_second) * t + 0.5 * KT

        assert np.isclose(exact.drift(POINTS)[row, 0], along(z, integrand), atol=1e-7)


def test_free_energy_and_hidden_weight_against_the_plain_cartesian_density():
    """Averages over dq_1 dq_2 know nothing of fibres: they convict the Jacobian."""
    exact = curved_level_sets().exact
    second, first = np.meshgrid(np.arange(-2.5, 5.5, 0.01), np.arange(-17.5, 2.5, 0.01), indexing="ij")
    weight = np.exp(-potential(first, second) / KT)
    level = first + 0.5 * second**2
    z = np.linspace(-2.4, 2.4, 961)[:, None]
    density = np.exp(-exact.free_energy(z))
    for function in (lambda a: a**2, lambda a: np.cos(2 * a - 0.3)):
        plain = (weight * function(level)).sum() / weight.sum()
        assert np.isclose(density @ function(z[:, 0]) / density.sum(), plain, atol=1e-7)
        plain = (weight * function(level) * second).sum() / weight.sum()
        found = density @ (function(z[:, 0]) * exact.conditional_mean(z)[:, 1]) / density.sum()
        assert np.isclose(found, plain, atol=1e-7)


def test_the_surface_measure_gives_another_answer():
    """The surface measure weighs by |∇ξ| = √(1 + q_2²) more: it is off by more than 0.1 in hidden weight, 0.3 in D."""
    exact = curved_level_sets().exact
    for row, (z,) in enumerate(POINTS):
        surface = along(z, lambda t: float(t > 1.5), measure=lambda t: np.sqrt(1 + t * t))
        assert surface - exact.hidden_weight(POINTS)[row] > 0.1
        diffusion = KT * (1 + 0.5 * along(z, lambda t: t * t, measure=lambda t: np.sqrt(1 + t * t)))
        assert diffusion - exact.diffusion(POINTS)[row, 0, 0] > 0.3
