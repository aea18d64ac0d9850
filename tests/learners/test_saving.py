"""Learned coordinates stored and read back: the same values, and nothing that was not described."""

import json
from dataclasses import replace

import equinox as eqx
import jax
import numpy as np
import pytest

from micromacro.errors import StoreError
from micromacro.learners.alignment import align
from micromacro.learners.kinds import KINDS, learner
from micromacro.learners.saving import arrays_of, describe, restore

KEY = jax.random.key(0)
QUICK = {
    "diffusion-map": {"points": 150, "bandwidth": 0.2},
    "tica": {"lag": 0.1},
    "vamp": {"lag": 0.1},
    "vampnet": {"lag": 0.1, "training_steps": 100, "width": 8, "depth": 1},
}


def evaluated(coordinate, points: np.ndarray) -> np.ndarray:
    return np.asarray(jax.jit(jax.vmap(coordinate))(points))


def read_back(module):
    """By way of JSON text and of copies of the arrays."""
    arrays = {name: array.copy() for name, array in arrays_of(module).items()}
    return restore(json.loads(json.dumps(describe(module))), arrays)


@pytest.fixture(scope="module")
def fitted(spiral_runs):
    return learner("tica", QUICK["tica"]).fit(spiral_runs.data, KEY)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_the_same_values_after_reading_back(kind, spiral_runs):
    found, points = learner(kind, QUICK[kind]).fit(spiral_runs.data, KEY), spiral_runs.data.features[:200]
    again = read_back(found)
    np.testing.assert_allclose(evaluated(again, points), evaluated(found, points), rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(again.diagnostics.eigenvalues, found.diagnostics.eigenvalues)
    assert (again.diagnostics.time_scales is None) == (kind == "diffusion-map")
    assert again.diagnostics.points == found.diagnostics.points


def test_a_metric_and_an_alignment_are_stored_too(spiral_runs):
    metric = np.broadcast_to(np.diag([2.0, 0.5]), (len(spiral_runs.data.features), 2, 2)).copy()
    data = replace(spiral_runs.data, metric=metric, noise=None)
    found, points = learner("diffusion-map", QUICK["diffusion-map"]).fit(data, KEY), data.features[:200]
    aligned = align(-evaluated(found, points), evaluated(found, points), np.ones(200)).of_coordinate(found)
    again = read_back(aligned)
    np.testing.assert_allclose(evaluated(again, points), evaluated(aligned, points), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(evaluated(again, points), -evaluated(found, points), rtol=1e-12, atol=1e-9)


def test_names_of_arrays_say_where_they_belong(fitted):
    assert "coordinate.scale.knots" in arrays_of(fitted)
    assert "diagnostics.eigenvalues" in arrays_of(fitted)


def test_arrays_that_are_not_those_described_are_refused(fitted):
    description, arrays = describe(fitted), arrays_of(fitted)
    name = "coordinate.scale.knots"
    for wrong in (
        {key: array for key, array in arrays.items() if key != name},
        arrays | {"more": np.zeros(1)},
        arrays | {name: arrays[name][:, :-1]},
        arrays | {name: arrays[name].astype(np.float32)},
    ):
        with pytest.raises(StoreError):
            restore(description, wrong)


def test_descriptions_that_this_version_did_not_write_are_refused(fitted):
    description, arrays = describe(fitted), arrays_of(fitted)
    module = description["module"]
    deep: dict = {"value": 1}
    for _ in range(40):
        deep = {"list": [deep]}
    for wrong in (
        {},
        description | {"format": 0},
        {"format": 1},
        {"format": 1, "module": module | {"class": "Popen"}},
        {"format": 1, "module": module | {"fields": {}}},
        {"format": 1, "module": {"fields": {}}},
        {"format": 1, "module": [1]},
        {"format": 1, "module": deep},
    ):
        with pytest.raises(StoreError):
            restore(wrong, arrays)


def test_a_module_that_cannot_be_made_again_is_not_stored(fitted):
    with pytest.raises(StoreError, match="cannot be stored"):
        describe(lambda q: q)
    with pytest.raises(StoreError, match="cannot be stored"):
        arrays_of(replace(fitted, coordinate=eqx.nn.Identity()))
