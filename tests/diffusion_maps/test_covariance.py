"""Noise covariances against closed forms, and the bias of their inverses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from micromacro.diffusion_maps.covariance import burst_covariances, metric_of, noise_covariances, noise_rank
from micromacro.errors import InputError

TRUE = np.array([[2.0, 0.6], [0.6, 0.5]])


def wishart(points: int, copies: int, lag: float = 0.2) -> np.ndarray:
    noise = np.random.default_rng(0).standard_normal((points, copies, 2))
    return burst_covariances(noise @ np.linalg.cholesky(TRUE * lag).T + 3.0, lag)


def test_known_diffusion_of_polar_coordinates():
    def features(state):
        return state[0] * jnp.stack([jnp.cos(state[1]), jnp.sin(state[1])])

    states = np.array([[1.0, 0.3], [2.5, -1.0]])
    r, phi = states.T
    along = np.stack([np.cos(phi), np.sin(phi)], axis=1)
    across = np.stack([-np.sin(phi), np.cos(phi)], axis=1)
    expected = 0.04 * along[:, :, None] * along[:, None] + (0.3 * r[:, None, None]) ** 2 * (
        across[:, :, None] * across[:, None]
    )
    for diffusion in (lambda _state: jnp.array([0.2, 0.3]), lambda _state: jnp.diag(jnp.array([0.2, 0.3]))):
        np.testing.assert_allclose(noise_covariances(states, diffusion, features), expected, atol=1e-14)


def test_burst_covariance_is_unbiased_per_unit_time():
    found = wishart(4000, 10)
    error = found.std(axis=0) / np.sqrt(4000)
    assert np.all(np.abs(found.mean(axis=0) - TRUE) < 4 * error)


def test_inverse_of_few_copies_is_unbiased_and_would_not_be_so_as_it_comes():
    covariances, inverse = wishart(20_000, 12), np.linalg.inv(TRUE)
    corrected, raw = metric_of(covariances, copies=12), metric_of(covariances)
    error = corrected.std(axis=0) / np.sqrt(20_000)
    assert np.all(np.abs(corrected.mean(axis=0) - inverse) < 4 * error)
    assert raw.mean(axis=0)[0, 0] > 1.2 * inverse[0, 0]


def test_rank_deficient_noise_measures_hidden_distance():
    rng = np.random.default_rng(1)
    jacobian, sigma = rng.standard_normal((5, 2)), np.array([0.1, 3.0])
    covariance = ((jacobian * sigma) @ (jacobian * sigma).T)[None]
    assert noise_rank(covariance, 1e-5) == 2
    hidden = rng.standard_normal(2)
    moved = jacobian @ hidden
    for outside in (0.0, 1.0):
        metric = metric_of(covariance, outside=outside)[0]
        np.testing.assert_allclose(moved @ metric @ moved, np.sum((hidden / sigma) ** 2), rtol=1e-8)
    np.testing.assert_allclose(
        metric_of(covariance, outside=0.0)[0], np.linalg.pinv(covariance[0], rcond=1e-10), rtol=1e-6, atol=1e-8
    )


def test_fold_is_seen_only_outside_the_tangent_plane():
    covariance = np.diag([1.0, 0.0])[None]
    apart = np.array([0.0, 2.0])
    assert apart @ metric_of(covariance, outside=0.0)[0] @ apart == 0
    assert apart @ metric_of(covariance)[0] @ apart == pytest.approx(4.0)


@pytest.mark.parametrize(
    ("options", "words"),
    [({"copies": 4}, "copies"), ({"rank": 3}, "rank"), ({"rank": 0}, "rank")],
)
def test_what_cannot_be_inverted_is_refused(options, words):
    with pytest.raises(InputError, match=words):
        metric_of(wishart(3, 5), **options)


def test_bursts_that_say_nothing_are_refused():
    with pytest.raises(InputError, match="copies"):
        burst_covariances(np.zeros((2, 1, 2)), 0.1)
    with pytest.raises(InputError, match="lag"):
        burst_covariances(np.zeros((2, 3, 2)), 0.0)
    with pytest.raises(InputError, match="finite"):
        burst_covariances(np.full((2, 3, 2), np.nan), 0.1)
    with pytest.raises(InputError, match="some noise"):
        metric_of(burst_covariances(np.zeros((2, 5, 2)), 0.1))


def test_jacobian_is_that_of_features_and_observation():
    jacobian = jax.jacfwd(lambda state: jnp.sin(state) * state[0])(jnp.array([0.4, 1.0]))
    found = noise_covariances(np.array([[0.4, 1.0]]), jnp.ones_like, lambda state: jnp.sin(state) * state[0])
    np.testing.assert_allclose(found[0], jacobian @ jacobian.T, atol=1e-14)
