"""Noise by bursts against that of the known diffusion."""

import jax
import numpy as np
import pytest

from benchmarks.half_moon_map import draw, half_moon_blind, three_hidden
from micromacro.errors import InputError
from micromacro.learners.local_noise import BurstNoiseSettings, noise_from_bursts, noise_from_model

MOON = half_moon_blind().system
STATES = np.array([[1.2, 0.9], [2.5, 1.0], [3.8, 1.3]])


def bursts(**options):
    return noise_from_bursts(MOON, MOON.observe, STATES, BurstNoiseSettings(**options), jax.random.key(1))


def test_short_bursts_agree_with_the_model():
    """Each entry within 4 standard errors, sqrt((C_ii C_jj + C_ij²) / copies), at a lag where curvature is nothing."""
    copies = 20_000
    found, model = bursts(copies=copies, lag=1e-3), noise_from_model(MOON, MOON.observe, STATES)
    own = np.einsum("nii->ni", model.covariances)
    error = np.sqrt((own[:, :, None] * own[:, None] + model.covariances**2) / copies)
    assert np.all(np.abs(found.covariances - model.covariances) < 4 * error)
    np.testing.assert_allclose(np.linalg.inv(model.covariances), model.metric, rtol=1e-8)


def test_long_bursts_do_not():
    found, model = bursts(copies=20_000, lag=4.0, steps=8), noise_from_model(MOON, MOON.observe, STATES)
    assert found.metric[2].trace() < 0.6 * model.metric[2].trace()


def test_cost_and_repetition():
    first, second = (bursts(copies=10, steps=2) for _ in range(2))
    assert first.evaluations == 3 * 10 * 2
    np.testing.assert_array_equal(first.metric, second.metric)
    assert noise_from_model(MOON, MOON.observe, STATES).evaluations == 0


def test_five_features_of_three_noises_have_rank_three_everywhere():
    blind = three_hidden()
    states = draw(blind, 500, True, np.random.default_rng(0)).states
    covariances = noise_from_model(blind.system, blind.system.observe, states).covariances
    values = np.linalg.eigvalsh(covariances)
    assert np.all(values[:, 1] < 1e-12)
    assert np.all(values[:, 2] > 1e-5)


@pytest.mark.parametrize("options", [{"copies": 1}, {"copies": 4}, {"steps": 0}, {"lag": -1.0}])
def test_settings_out_of_range_are_refused(options):
    with pytest.raises(InputError, match=next(iter(options))):
        bursts(**options)
