"""Classifiers against the best there can be."""

import subprocess
import sys

import numpy as np
import pytest
from scipy.stats import norm

from micromacro.errors import InputError
from micromacro.estimates.classifier import classifier_two_sample


@pytest.mark.parametrize("classifier", ["mlp", "boosting"])
def test_a_shift_is_told_as_well_as_bayes_rule_tells_it(classifier):
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(600, 1)), rng.normal(size=(600, 1)) + 1.5
    found = classifier_two_sample(5 * first, 5 * second, 0, classifier=classifier)
    assert abs(found.accuracy - norm.cdf(0.75)) < 4 * found.stderr
    assert found.accuracy == pytest.approx(found.folds.mean())
    assert found.folds.shape == (5,)


@pytest.mark.parametrize("classifier", ["mlp", "boosting"])
def test_equal_laws_are_not_told_apart_and_the_error_is_honest(classifier):
    z = []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        found = classifier_two_sample(rng.normal(size=(60, 1)), rng.normal(size=(60, 1)), seed, classifier=classifier)
        z.append((found.accuracy - 0.5) / found.stderr)
    assert abs(np.mean(z)) < 4 / np.sqrt(8)
    # the mean square of 8 normals is below 3.27 in 99.9%; the error is rather too large than too small
    assert np.mean(np.square(z)) < 3.27


def test_a_correlation_that_no_coordinate_shows_is_told():
    rng = np.random.default_rng(1)
    first = rng.normal(size=(200, 2))
    second = rng.normal(size=(200, 1)) + 0.2 * rng.normal(size=(200, 2))
    assert classifier_two_sample(first, second, 0, folds=2).accuracy > 0.75


def test_repeats_do_not_give_a_sample_away():
    rng = np.random.default_rng(2)
    first, second = (np.repeat(rng.normal(size=(100, 1)), 4, axis=0) for _ in range(2))
    found = classifier_two_sample(first, second, 0, classifier="boosting")
    assert abs(found.accuracy - 0.5) < 4 * found.stderr
    # as certain as a hundred states allow, not as four hundred
    assert found.stderr >= 0.05
    # the trap: this classifier remembers
    naive = classifier_two_sample(first, second, 0, classifier="boosting", group_repeats=False)
    assert naive.accuracy > 0.7


def test_a_collapsed_generator_is_found_out_or_leaves_a_large_error():
    rng = np.random.default_rng(5)
    reference, draws = rng.normal(size=(250, 1)), np.repeat(rng.normal(size=(5, 1)), 50, axis=0)
    found = classifier_two_sample(reference, draws, 0, classifier="boosting", group_repeats=False)
    assert found.accuracy > 0.9
    assert classifier_two_sample(reference, draws, 0, classifier="boosting").stderr > 0.2


def test_one_seed_one_answer():
    rng = np.random.default_rng(3)
    first, second = rng.normal(size=(20, 1)), rng.normal(size=(20, 1)) + 1.0
    one, again = (classifier_two_sample(first, second, 7, folds=2) for _ in range(2))
    np.testing.assert_array_equal(one.folds, again.folds)


def test_a_coordinate_that_only_the_draws_vary_gives_them_away():
    rng = np.random.default_rng(4)
    first, second = np.ones((200, 1)), 1 + 1e-3 * rng.normal(size=(200, 1))
    found = classifier_two_sample(first, second, 0, classifier="boosting", group_repeats=False)
    assert found.accuracy > 0.9


def test_unequal_or_few_states():
    with pytest.raises(InputError, match="same size"):
        classifier_two_sample(np.zeros((10, 1)), np.zeros((12, 1)), 0)
    with pytest.raises(InputError, match="distinct states"):
        classifier_two_sample(np.zeros((10, 1)), np.ones((10, 1)), 0)
    with pytest.raises(InputError, match="between two"):
        classifier_two_sample(np.zeros((10, 1)), np.arange(10.0)[:, None], 0, folds=1)


def test_the_command_line_does_not_load_it():
    code = "import sys, micromacro.cli.main; print('sklearn' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"
