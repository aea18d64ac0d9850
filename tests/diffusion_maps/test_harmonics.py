"""Geometric harmonics against closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import ive

from micromacro.diffusion_maps.harmonics import GeometricHarmonics, HarmonicsSettings, fit_harmonics
from micromacro.errors import InputError


def over(found: GeometricHarmonics, points) -> np.ndarray:
    return np.asarray(jax.jit(jax.vmap(found))(jnp.asarray(points)))


def circle(n: int, radius: float = 1.0, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    angle = 2 * np.pi * (np.arange(n) + shift) / n
    return angle, radius * np.column_stack([np.cos(angle), np.sin(angle)])


@pytest.mark.parametrize("frequency", [1, 4])
def test_fourier_modes_of_a_circle_extend_into_the_plane_by_bessel_functions(frequency):
    angle, points = circle(100)
    bandwidth = 0.3
    found = fit_harmonics(points, np.cos(frequency * angle)[:, None], HarmonicsSettings(bandwidth, delta=1e-8))
    for radius in (0.6, 1.0, 1.5):
        other, at = circle(37, radius, 0.3)
        # exp(-|x - y|²/4ε) on circles of radii r and 1 has the eigenvalues e^{-(r² + 1)/4ε} I_k(r/2ε)
        fading = np.exp(-((radius - 1) ** 2) / (4 * bandwidth))
        known = fading * ive(frequency, radius / (2 * bandwidth)) / ive(frequency, 1 / (2 * bandwidth))
        assert over(found, at)[:, 0] == pytest.approx(known * np.cos(frequency * other), abs=1e-6)


def test_the_number_kept_is_that_of_the_known_spectrum():
    angle, points = circle(100)
    bandwidth, delta = 0.3, 1e-4
    known = ive(np.arange(50), 1 / (2 * bandwidth))
    count = np.sum(known / known[0] >= delta)
    found = fit_harmonics(points, np.cos(angle)[:, None], HarmonicsSettings(bandwidth, delta))
    assert found.kept == 2 * count - 1


def test_a_mode_beyond_the_truncation_is_not_extended():
    angle, points = circle(100)
    found = fit_harmonics(points, np.cos(12 * angle)[:, None], HarmonicsSettings(0.3, delta=1e-3))
    assert np.abs(over(found, points)).max() < 1e-6
    assert found.error[0] > 0.9


def test_the_error_on_an_interval_falls_with_delta_and_is_the_one_reported():
    rng = np.random.default_rng(0)
    points, new = rng.uniform(-1, 1, (300, 1)), rng.uniform(-0.98, 0.98, (400, 1))

    def known(x):
        return np.column_stack([np.sin(6 * x[:, 0]), np.exp(x[:, 0])])

    errors = []
    for delta in (1e-2, 1e-4, 1e-8):
        found = fit_harmonics(points, known(points), HarmonicsSettings(0.05, delta))
        error = np.sqrt(np.mean((over(found, new) - known(new)) ** 2, axis=0)) / known(points).std(axis=0)
        assert np.all((np.asarray(found.error) > error / 3) & (np.asarray(found.error) < 3 * error + 1e-9))
        errors.append(error.max())
    assert errors[1] < errors[0] / 4
    assert errors[2] < errors[1] / 20


@pytest.mark.slow
def test_the_bandwidth_found_is_near_the_best_in_noise():
    rng = np.random.default_rng(1)
    points, new = rng.uniform(-1, 1, (300, 2)), rng.uniform(-1, 1, (500, 2))

    def known(x):
        return np.sin(3 * x[:, :1] + x[:, 1:])

    values = known(points) + 0.1 * rng.standard_normal((300, 1))

    def error(bandwidth) -> float:
        found = fit_harmonics(points, values, HarmonicsSettings(bandwidth))
        return float(np.sqrt(np.mean((over(found, new) - known(new)) ** 2)))

    alone = error(None)
    assert alone < 1.5 * min(error(bandwidth) for bandwidth in (0.02, 0.1, 0.5, 2.0))
    assert error(0.02) > 2 * alone


def test_noise_is_told_by_the_error():
    rng = np.random.default_rng(2)
    points = rng.uniform(-1, 1, (300, 1))
    found = fit_harmonics(points, rng.standard_normal((300, 1)))
    assert found.error[0] > 0.9


def test_landmarks_do_as_well_where_the_function_is_smooth():
    rng = np.random.default_rng(3)
    points, new = rng.uniform(-1, 1, (1500, 2)), rng.uniform(-0.95, 0.95, (200, 2))

    def known(x):
        return np.cos(2 * x[:, :1]) * x[:, 1:]

    found = fit_harmonics(points, known(points), HarmonicsSettings(0.3, 1e-6, landmarks=250))
    assert found.points.shape == (250, 2)
    assert np.abs(over(found, new) - known(new)).max() < 1e-2
    assert np.mean(np.asarray(jax.vmap(found.support)(jnp.asarray(points)))) == 1.0


def test_weights_decide_where_the_error_lies():
    points = np.linspace(-1, 1, 200)[:, None]
    kink = np.abs(points)
    settings = HarmonicsSettings(0.1, 1e-3)
    heavy = np.where(points[:, 0] < 0, 1.0, 1e-3)
    even, left = (over(fit_harmonics(points, kink, settings, weight), points) for weight in (None, heavy))
    side = points[:, 0] < -0.02
    assert np.abs((left - kink)[side]).mean() < 0.8 * np.abs((even - kink)[side]).mean()


def test_points_without_weight_do_not_count():
    rng = np.random.default_rng(4)
    points = rng.uniform(-1, 1, (150, 1))
    weight = np.where(points[:, 0] < 0.3, 1.0, 0.0)
    values = np.where(weight[:, None] > 0, points**2, 1e6)
    found = fit_harmonics(points, values, HarmonicsSettings(0.1), weight)
    inside = np.linspace(-0.9, 0.2, 20)[:, None]
    assert over(found, inside) == pytest.approx(inside**2, abs=1e-3)
    assert not found.support(jnp.array([0.8]))


def test_a_circle_has_no_cut():
    angle = np.random.default_rng(5).uniform(-np.pi, np.pi, 200)
    points, values = np.column_stack([angle, np.cos(angle)]), np.sin(angle)[:, None]
    found = fit_harmonics(points, values, HarmonicsSettings(0.3, periods=(2 * np.pi, np.inf)))
    below, above = over(found, [[-np.pi, -1.0], [np.pi, -1.0]])
    assert below == pytest.approx(above, abs=1e-10)
    assert above == pytest.approx(0.0, abs=1e-3)


def test_derivatives_are_those_of_finite_differences():
    rng = np.random.default_rng(6)
    points = rng.uniform(-1, 1, (120, 2))
    found = fit_harmonics(points, np.sin(points), HarmonicsSettings(0.3))
    at, step = jnp.array([0.2, -0.4]), 1e-5
    shifts = step * jnp.eye(2)
    slope = np.stack([(found(at + h) - found(at - h)) / (2 * step) for h in shifts], axis=-1)
    assert np.asarray(jax.jacfwd(found)(at)) == pytest.approx(slope, abs=1e-7)
    assert slope == pytest.approx(np.diag(np.cos(at)), abs=1e-2)
    hessian = jax.hessian(found)(at)
    gradient = jax.jacfwd(found)
    known = np.stack([(gradient(at + h) - gradient(at - h)) / (2 * step) for h in shifts], axis=-1)
    assert np.asarray(hessian) == pytest.approx(known, abs=1e-5)


def test_beyond_the_data_it_is_flagged_and_returns_to_the_mean():
    _, points = circle(80)
    found = fit_harmonics(points, points + 5.0, HarmonicsSettings(0.1))
    near, far = jnp.array([0.98, 0.1]), jnp.array([0.0, 0.0])
    assert found.support(near)
    assert not found.support(far)
    assert not found.support(jnp.array([2.0, 0.0]))
    assert over(found, [[30.0, 0.0]]) == pytest.approx(np.array([[5.0, 5.0]]), abs=1e-9)


@pytest.mark.parametrize(
    ("points", "values", "settings", "parameter"),
    [
        (np.zeros((4, 1)), np.zeros((4, 1)), HarmonicsSettings(), "points"),
        (np.full((20, 1), np.nan), np.zeros((20, 1)), HarmonicsSettings(), "points and values"),
        (np.eye(20), np.zeros((20, 1)), HarmonicsSettings(delta=0.0), "delta"),
        (np.eye(20), np.zeros((20, 1)), HarmonicsSettings(bandwidth=-1.0), "bandwidth"),
        (np.eye(20), np.zeros((20, 1)), HarmonicsSettings(periods=(1.0,)), "periods"),
    ],
)
def test_what_cannot_be_extended_is_refused(points, values, settings, parameter):
    with pytest.raises(InputError) as caught:
        fit_harmonics(points, values, settings)
    assert caught.value.parameter == parameter
