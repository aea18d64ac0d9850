"""The extension of every kernel: exact at the points, closed form between them, derivatives, far away, landmarks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from micromacro.diffusion_maps.diffusion_map import fit_diffusion_map
from micromacro.diffusion_maps.mahalanobis import MahalanobisSettings, fit_mahalanobis_map
from micromacro.diffusion_maps.nystrom import evaluate, extension_error, nystrom_extension
from micromacro.diffusion_maps.settings import DiffusionMapSettings
from micromacro.errors import InputError

COUNT = 600


def points(bent: bool) -> np.ndarray:
    """Of the unit interval on a line of the plane, evenly spread or with a density that varies sevenfold."""
    x = (np.arange(COUNT) + 0.5) / COUNT
    x = x + 0.12 * np.sin(2 * np.pi * x) if bent else x
    return np.column_stack([0.6 * x, 0.8 * x])


def plain(components=2):
    return fit_diffusion_map(points(False), settings=DiffusionMapSettings(components, 1.0, 2e-4))


def variable(components=2):
    settings = DiffusionMapSettings(components, 1.0, variable=True)
    return fit_diffusion_map(points(True), settings=settings)


def mahalanobis(components=2):
    metric = np.broadcast_to(np.eye(2), (COUNT, 2, 2))
    settings = MahalanobisSettings(components, 1.0, 1e-4, landmarks=300)
    return fit_mahalanobis_map(points(True), metric, settings=settings)


MAPS = {"plain": plain, "variable": variable, "mahalanobis": mahalanobis}


@pytest.fixture(scope="module", params=list(MAPS))
def found(request):
    return MAPS[request.param]()


def test_eigenvectors_come_back_at_the_points(found):
    bound = 2e-2 if getattr(getattr(found, "kernel", None), "scale", None) is not None else 1e-9
    assert np.all(extension_error(nystrom_extension(found, 2), found) < bound)


def test_cosine_between_points(found):
    """Fresh points of the interval, off its ends, where both density and spacing vary."""
    x = np.random.default_rng(0).uniform(0.02, 0.98, 200)
    values = evaluate(nystrom_extension(found, 1), np.column_stack([0.6 * x, 0.8 * x]))[:, 0]
    expected = np.cos(np.pi * x)
    scale = values @ expected / (expected @ expected)
    assert np.sqrt(np.mean((values / scale - expected) ** 2)) < 0.03


def test_gradient_and_hessian_against_differences(found):
    extension = nystrom_extension(found, 2)
    one = jax.jit(lambda at: extension(at))
    gradient, hessian = jax.jit(jax.jacfwd(one)), jax.jit(jax.hessian(one))
    step = 1e-5
    for at in (np.array([0.31, 0.4]), np.array([0.2, 0.28]), np.array([0.62, 0.9])):
        for axis in range(2):
            move = step * np.eye(2)[axis]
            slope = (one(jnp.asarray(at + move)) - one(jnp.asarray(at - move))) / (2 * step)
            bend = (gradient(jnp.asarray(at + move)) - gradient(jnp.asarray(at - move))) / (2 * step)
            first, second = gradient(jnp.asarray(at)), hessian(jnp.asarray(at))
            np.testing.assert_allclose(first[:, axis], slope, rtol=1e-4, atol=1e-6 * (1 + np.abs(first).max()))
            np.testing.assert_allclose(second[:, axis], bend, rtol=1e-4, atol=1e-4 * (1 + np.abs(second).max()))


def test_far_away_it_stays_within_the_data(found):
    extension = nystrom_extension(found, 2)
    far = np.array([[100.0, -300.0], [-1e4, 2.0], [1e6, 1e6]])
    values = evaluate(extension, far)
    slopes = np.asarray(jax.vmap(jax.jacfwd(extension))(jnp.asarray(far)))
    assert np.all(np.isfinite(values))
    assert np.all(np.abs(values) < 1.5 * np.abs(found.eigenvectors).max())
    assert np.all(np.isfinite(slopes))
    assert np.abs(slopes[2]).max() < 1e-6


def test_fewer_landmarks_cost_little_and_their_error_is_told(found):
    errors = {count: extension_error(nystrom_extension(found, 2, count), found)[0] for count in (10, 150)}
    assert errors[150] < 0.03
    assert errors[150] < errors[10]
    assert len(nystrom_extension(found, 2, 150).points) == 150


def test_what_the_map_does_not_have_is_refused():
    found = mahalanobis()
    with pytest.raises(InputError, match="components"):
        nystrom_extension(found, 3)
    with pytest.raises(InputError, match="landmarks"):
        nystrom_extension(found, 2, 0)
