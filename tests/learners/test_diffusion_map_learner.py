"""Every option of the diffusion-map learner on a curved band: along it, differentiable, and the same when read back."""

import json
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from micromacro.errors import InputError
from micromacro.learners.diffusion_map import DiffusionMapLearner
from micromacro.learners.learner import Learned, TrainingData
from micromacro.learners.metrics import rank_correlation
from micromacro.learners.saving import arrays_of, describe, restore

KEY = jax.random.key(0)
STEP = 1e-4
OPTIONS = {
    "slowest mode of few": DiffusionMapLearner(alpha=0.5, points=200, surrogate=False),
    "landmarks": DiffusionMapLearner(landmarks=50, surrogate=False),
    "variable": DiffusionMapLearner(kernel="variable", surrogate=False),
    "mahalanobis": DiffusionMapLearner(kernel="mahalanobis", landmarks=80, surrogate=False),
    "surrogate": DiffusionMapLearner(landmarks=50, surrogate=True),
}


@dataclass(frozen=True)
class Band:
    """`angle` along the band of each point, and the points as data."""

    angle: np.ndarray
    data: TrainingData


@pytest.fixture(scope="module")
def band() -> Band:
    """A third of a circle, broad by a tenth; noise across it is half that along it."""
    rng = np.random.default_rng(0)
    angle, radius = rng.uniform(-1.0, 1.0, 350), 1 + 0.05 * rng.normal(size=350)
    points = radius[:, None] * np.stack([np.sin(angle), np.cos(angle)], axis=1)
    along = np.stack([np.cos(angle), -np.sin(angle)], axis=1)
    across = np.stack([np.sin(angle), np.cos(angle)], axis=1)
    metric = along[:, :, None] * along[:, None] + 2 * across[:, :, None] * across[:, None]
    return Band(angle, TrainingData(points, np.ones(350), metric))


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=[pytest.mark.slow] if name == "surrogate" else []) for name in OPTIONS],
)
def found(request, band) -> tuple[str, Learned]:
    return request.param, OPTIONS[request.param].fit(band.data, KEY)


def test_every_option_grows_along_the_band(found, band):
    values = np.asarray(jax.jit(jax.vmap(found[1]))(band.data.features))[:, 0]
    assert abs(rank_correlation(values, band.angle, np.ones(350))) > 0.98


def test_derivatives_are_those_of_central_differences(found, band):
    """Gradients, and products of the Hessian with a vector."""
    _, learned = found
    points = jnp.asarray(band.data.features[:12])
    direction = jnp.array([0.6, -0.8])

    def value(point):
        return learned(point)[0]

    @jax.jit
    def compared(point):
        slope = jax.grad(value)
        curved = jax.jvp(slope, (point,), (direction,))[1]
        moved = STEP * jnp.eye(2)
        differences = jnp.stack([(value(point + one) - value(point - one)) / (2 * STEP) for one in moved])
        bent = (slope(point + STEP * direction) - slope(point - STEP * direction)) / (2 * STEP)
        return slope(point), differences, curved, bent

    slopes, differences, curved, bent = (np.asarray(part) for part in jax.vmap(compared)(points))
    np.testing.assert_allclose(slopes, differences, atol=1e-5 * np.abs(slopes).max())
    np.testing.assert_allclose(curved, bent, atol=1e-4 * max(np.abs(curved).max(), np.abs(slopes).max()))
    assert np.linalg.norm(slopes, axis=1).min() > 0


def test_every_option_is_read_back_with_the_same_values_and_gradients(found, band):
    _, learned = found
    arrays = {name: array.copy() for name, array in arrays_of(learned).items()}
    again = restore(json.loads(json.dumps(describe(learned))), arrays)
    points = band.data.features[:100]
    for derive in (lambda one: one, jax.jacfwd):
        first, second = (np.asarray(jax.jit(jax.vmap(derive(one)))(points)) for one in (learned, again))
        np.testing.assert_allclose(second, first, rtol=1e-12, atol=1e-12)
    assert again.diagnostics.error == learned.diagnostics.error


def test_the_error_is_that_of_fewer_points_or_of_the_network(found):
    name, learned = found
    error = learned.diagnostics.error
    assert error is not None
    if name in ("variable", "slowest mode of few"):
        assert error < 0.02
    else:
        assert 0 < error < 0.2
    assert learned.diagnostics.points == (200 if name == "slowest mode of few" else 350)


def test_the_modules_are_those_that_were_asked_for(band):
    name = describe(OPTIONS["landmarks"].fit(band.data, KEY))["module"]["fields"]["coordinate"]["fields"]
    assert name["coordinate"]["class"] == "Turned"


def test_the_mahalanobis_kernel_without_a_metric_is_refused(band):
    plain = TrainingData(band.data.features, band.data.weight)
    with pytest.raises(InputError, match="metric must be given"):
        OPTIONS["mahalanobis"].fit(plain, KEY)


def test_settings_that_make_no_sense_are_refused():
    for wrong in ({"components": 0}, {"components": 11}, {"kernel": "cosine"}):
        with pytest.raises(InputError):
            DiffusionMapLearner(**wrong)
