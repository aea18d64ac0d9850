"""The generator's own weights: free energies against closed forms and quadrature, with honest errors."""

import jax
import numpy as np
import pytest

from micromacro.coupling.importance import weighted_draws
from micromacro.coupling.weights import generator_free_energy
from micromacro.errors import PhysicsError

OFFSETS = np.array([-2.0, 0.0, 700.0])


def gaussian_weights(draws, rng, width=0.7):
    """π = e^offset exp(-x²/2 width²) in three windows, p = N(0, 1): f = -offset - log(width √(2π))."""
    x = rng.normal(size=(draws, 3))
    log_p = -0.5 * x**2 - 0.5 * np.log(2 * np.pi)
    return OFFSETS - 0.5 * (x / width) ** 2 - log_p, -OFFSETS - np.log(width * np.sqrt(2 * np.pi))


def test_free_energy_and_its_error_are_those_of_a_gaussian():
    rng = np.random.default_rng(0)
    scores = []
    for _ in range(400):
        log_weight, exact = gaussian_weights(200, rng)
        found = generator_free_energy(log_weight)
        scores.append((found.free_energy - exact) / found.stderr)
    scores = np.array(scores)
    # 1200 scores: their mean within 4.5 / √1200, their standard deviation within 4.5 / √2400 of one
    assert abs(scores.mean()) < 0.13 + 0.05  # the logarithm of a mean is biased by half its variance
    assert abs(scores.std() - 1) < 4.5 / np.sqrt(2 * scores.size)


def test_the_effective_share_of_gaussian_weights():
    """E[w]²/E[w²] with w = exp(-a x²): √(1 + 4a) / (1 + 2a)."""
    found = generator_free_energy(gaussian_weights(200_000, np.random.default_rng(1))[0])
    a = 0.5 * (1 / 0.7**2 - 1)
    np.testing.assert_allclose(found.effective_share, np.sqrt(1 + 4 * a) / (1 + 2 * a), rtol=0.01)


def test_equal_weights_have_no_error():
    found = generator_free_energy(np.full((50, 2), -3.0))
    np.testing.assert_allclose(found.free_energy, 3.0)
    np.testing.assert_allclose(found.stderr, 0.0, atol=1e-7)
    np.testing.assert_allclose(found.effective_share, 1.0)


def test_draws_that_cannot_be_used_count_as_draws_without_weight():
    log_weight = np.zeros((100, 2))
    log_weight[:50, 0] = -np.inf
    found = generator_free_energy(log_weight)
    np.testing.assert_allclose(found.free_energy, [np.log(2), 0.0], atol=1e-12)
    np.testing.assert_allclose(found.stderr[0], 0.1)
    np.testing.assert_allclose(generator_free_energy(log_weight, np.array([0.5, 1.0])).free_energy, 0.0, atol=1e-12)


def test_a_window_without_any_weight_is_infinite_and_worth_nothing():
    found = generator_free_energy(np.stack([np.zeros(10), np.full(10, -np.inf)], axis=1))
    assert found.free_energy[1] == np.inf
    assert found.stderr[1] == np.inf
    np.testing.assert_allclose(found.effective_share, [1.0, 0.0])


@pytest.mark.parametrize("name", ["barrier", "moon"])
def test_draws_weighted_by_the_physics_are_unbiased(name, proposals, request):
    problem = request.getfixturevalue(name)
    generator = proposals.wells() if name == "barrier" else proposals.crescent()
    before = problem.engine.evaluations
    segment, log_weight = weighted_draws(problem.engine, generator, problem.windows, 40, 250, jax.random.key(0))
    windows = problem.windows.count
    assert problem.engine.evaluations - before == 40 * 250 * windows
    assert log_weight.shape == (40, windows, 250)
    found = generator_free_energy(np.moveaxis(log_weight, 1, 2).reshape(-1, windows))
    assert np.all(np.abs(found.free_energy - problem.free_energy) < 4.5 * found.stderr)
    assert found.stderr.max() < 0.1
    share = segment.weight / segment.weight.sum(axis=(0, 2), keepdims=True)
    for function, exact in zip(problem.functions.values(), problem.exact().T, strict=True):
        values = function(segment.frames.position)
        mean = np.sum(share * values, axis=(0, 2))
        error = np.sqrt(np.sum((share * (values - mean[:, None])) ** 2, axis=(0, 2)))
        assert np.all(np.abs(mean - exact) < 4.5 * error)


def test_weights_sum_to_the_effective_number_of_draws(barrier, proposals):
    segment, log_weight = weighted_draws(barrier.engine, proposals.wells(), barrier.windows, 4, 50, jax.random.key(0))
    weight = np.exp(log_weight)
    kish = weight.sum(axis=(0, 2)) ** 2 / np.sum(weight**2, axis=(0, 2))
    np.testing.assert_allclose(segment.weight.sum(axis=(0, 2)), kish, rtol=1e-9)


def test_weights_of_a_lying_density_are_biased(barrier, proposals):
    wrong = proposals.lying(proposals.wells(0.8), proposals.wells(0.5))
    segment, _ = weighted_draws(barrier.engine, wrong, barrier.windows, 20, 250, jax.random.key(0))
    share = segment.weight / segment.weight.sum(axis=(0, 2), keepdims=True)
    upper = np.sum(share * (segment.frames.position[..., 1] > 0), axis=(0, 2))
    assert np.abs(upper - barrier.exact()[:, 0]).max() > 0.15


def test_no_usable_draw_names_the_window(barrier, proposals):
    class Broken(proposals.wells):
        def weighted_sample(self, z, key):
            draw = self.sample_and_log_prob(z, key)
            return draw._replace(valid=z[0] < 0.5)

    with pytest.raises(PhysicsError, match=r"window 2, z = \[0.7\]"):
        weighted_draws(barrier.engine, Broken(), barrier.windows, 2, 10, jax.random.key(0))
