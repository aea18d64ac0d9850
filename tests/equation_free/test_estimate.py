"""Jackknife estimates and their test against zero."""

import numpy as np
import pytest

from micromacro.equation_free.estimate import Estimate, significance
from micromacro.errors import InputError


def of_groups(groups: np.ndarray) -> Estimate:
    """The mean over groups `(groups, m)`."""
    return Estimate(groups.mean(axis=0), np.stack([np.delete(groups, row, 0).mean(0) for row in range(len(groups))]))


def test_covariance_of_a_mean_is_that_of_the_groups_over_their_number():
    groups = np.random.default_rng(0).standard_normal((20, 3)) @ np.array([[1, 0, 0], [0.5, 2, 0], [0, 0, 3]])
    np.testing.assert_allclose(of_groups(groups).covariance, np.cov(groups.T) / 20, rtol=1e-10)


def test_functions_carry_their_errors():
    estimate = of_groups(1 + 0.01 * np.random.default_rng(1).standard_normal((20, 1)))
    np.testing.assert_allclose(estimate.map(lambda x: x**3).stderr, 3 * estimate.value**2 * estimate.stderr, rtol=1e-2)


@pytest.mark.parametrize("count", [1, 3])
def test_level_is_kept_where_the_truth_is_zero(count):
    rng = np.random.default_rng(count)
    passed = [
        significance(of_groups(rng.standard_normal((20, count))), level=0.9, tolerance=1e-9).zero for _ in range(400)
    ]
    assert abs(np.mean(passed) - 0.9) < 3.5 * np.sqrt(0.09 / 400)


def test_components_without_noise_must_be_zero_to_the_tolerance():
    still = Estimate(np.array([0.0, 1e-3]), np.tile([0.0, 1e-3], (20, 1)))
    assert not significance(still, level=0.95, tolerance=1e-4).zero
    assert significance(still, level=0.95, tolerance=1e-2).zero
    assert not significance(still, level=0.95, tolerance=1e-2).noisy


def test_too_few_groups():
    with pytest.raises(InputError, match="at least 12"):
        significance(of_groups(np.random.default_rng(2).standard_normal((10, 6))), level=0.95, tolerance=1e-9)
