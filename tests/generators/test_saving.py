"""Files of generators: what is read back is what was written, and what was forged is refused and never run."""

import json

import jax
import numpy as np
import pytest
import safetensors.numpy

from micromacro.coordinates.space import Space
from micromacro.errors import StoreError
from micromacro.generators.kinds import KINDS
from micromacro.generators.saving import HEADER, arrays_of, describe, load_generator, restore, save_generator
from micromacro.generators.score import ScoreSettings


@pytest.fixture(scope="module")
def generator():
    rng = np.random.default_rng(0)
    z = rng.uniform(-1, 1, (400, 1))
    q = np.column_stack([z[:, 0] + rng.normal(size=400), rng.uniform(0, 1, 400)])
    state = Space((-np.inf, 0.0), (np.inf, 1.0), (False, False))
    settings = ScoreSettings(width=8, depth=1, training_steps=250, batch_size=32)
    return settings.fit(q, z, np.ones(400), jax.random.key(0), state=state)


def forged(generator, **changes):
    return json.loads(json.dumps(describe(generator))) | changes


def test_a_file_gives_back_the_generator(generator, tmp_path):
    save_generator(generator, tmp_path / "one.safetensors")
    again = load_generator(tmp_path / "one.safetensors")
    assert again.settings == generator.settings
    assert again.state == generator.state
    assert again.condition == generator.condition
    known, found = arrays_of(generator), arrays_of(again)
    assert known.keys() == found.keys()
    assert all(np.array_equal(known[name], found[name]) for name in known)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_describes_itself_in_json(kind, generator):
    settings = KINDS[kind]()
    skeleton = settings.skeleton(generator.state, generator.condition, ())
    assert json.loads(json.dumps(describe(skeleton)))["kind"] == kind


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"format": 2}, "format must be 1", id="format"),
        pytest.param({"kind": "os.system"}, "kind must be one of score", id="kind"),
        pytest.param({"settings": {"command": "rm"}}, "cannot be read", id="setting"),
        pytest.param({"settings": {"width": "wide"}}, "cannot be read", id="type"),
        pytest.param({"settings": {"width": 10**12, "depth": 1}}, "at most 1,000,000", id="size"),
        pytest.param({"state": {"lower": [0], "upper": [0], "periodic": [False]}}, "cannot be read", id="space"),
        pytest.param({"circles": [1]}, "by the settings", id="circle"),
    ],
)
def test_a_forged_description_is_refused(generator, changes, message):
    with pytest.raises(StoreError, match=message):
        restore(forged(generator, **changes), arrays_of(generator))


def test_arrays_that_are_not_those_of_the_settings_are_refused(generator):
    arrays = arrays_of(generator)
    name = next(iter(arrays))
    with pytest.raises(StoreError, match=rf"array {name} must be"):
        restore(describe(generator), arrays | {name: arrays[name].astype(float)})
    with pytest.raises(StoreError, match="differ"):
        restore(describe(generator), arrays | {"more": np.zeros(3)})


def test_a_file_that_is_no_generator_is_refused(tmp_path):
    other = tmp_path / "other.safetensors"
    safetensors.numpy.save_file({"a": np.zeros(3)}, other)
    with pytest.raises(StoreError, match="holds arrays but no generator"):
        load_generator(other)
    safetensors.numpy.save_file({"a": np.zeros(3)}, other, {HEADER: "{"})
    with pytest.raises(StoreError, match=r"other\.safetensors"):
        load_generator(other)
    other.write_bytes(b"not a file of arrays")
    with pytest.raises(StoreError, match="holds no generator"):
        load_generator(other)
    with pytest.raises(StoreError, match="holds no generator"):
        load_generator(tmp_path / "missing.safetensors")
