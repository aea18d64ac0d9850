"""Feature maps of a case file: built as written, refused by the key that is wrong."""

import jax.numpy as jnp
import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from micromacro.cases.feature_sections import FeatureSection, build_features
from micromacro.cases.functions import Checked
from micromacro.coordinates.features import Contacts, FermiSwitch, RationalSwitch
from micromacro.errors import InputError

OBSERVED = np.random.default_rng(0).normal(size=(3, 12))
SECTIONS: TypeAdapter = TypeAdapter(list[FeatureSection])
FUNCTIONS = {
    "own.py:square": lambda q: q**2,
    "own.py:energy": lambda q: jnp.sum(q),
    "own.py:numpy": lambda q: np.sin(float(q[0])),
    "own.py:pole": lambda q: q / 0.0,
}


def find(reference: str, key: str) -> Checked:
    return Checked(FUNCTIONS[reference], key, "case.toml")


def build(*entries: dict):
    return build_features(SECTIONS.validate_python(list(entries)), find, OBSERVED, source="case.toml")


@pytest.mark.parametrize(
    ("entry", "size"),
    [
        ({"kind": "state"}, 12),
        ({"kind": "distances"}, 6),
        ({"kind": "distances", "pairs": [[0, 5]], "spatial_dimension": 2}, 1),
        ({"kind": "torsions", "points": [[0, 1, 2, 3]]}, 2),
        ({"kind": "contacts", "radius": 1.0}, 6),
        ({"kind": "contacts", "radius": 1.0, "steepness": 5.0, "pairs": [[0, 1]]}, 1),
        ({"kind": "angles"}, 24),
        ({"kind": "angles", "coordinates": [2]}, 2),
        ({"kind": "function", "function": "own.py:square"}, 12),
        ({"kind": "function", "function": "own.py:energy"}, 1),
    ],
)
def test_every_kind_is_built(entry, size):
    assert build(entry)(jnp.asarray(OBSERVED[0])).shape == (size,)
    assert build({"kind": "state"}, entry)(jnp.asarray(OBSERVED[0])).shape == (size + 12,)


def test_the_switch_is_what_was_asked_for():
    assert build({"kind": "contacts", "radius": 2.0, "power": 8}) == Contacts(RationalSwitch(2.0, 8))
    assert build({"kind": "contacts", "radius": 2.0, "steepness": 3.0}) == Contacts(FermiSwitch(2.0, 3.0))


@pytest.mark.parametrize(
    ("entry", "key"),
    [
        ({"kind": "distances", "pairs": [[0, 9]]}, "coarse.features[0].pairs"),
        ({"kind": "distances", "pairs": [[1, 1]]}, "coarse.features[0].pairs"),
        ({"kind": "distances", "spatial_dimension": 5}, "coarse.features[0].spatial_dimension"),
        ({"kind": "torsions", "points": [[0, 1, 2, 4]]}, "coarse.features[0].points"),
        ({"kind": "angles", "coordinates": [12]}, "coarse.features[0].coordinates"),
        ({"kind": "function", "function": "own.py:numpy"}, "coarse.features[0].function"),
        ({"kind": "function", "function": "own.py:pole"}, "coarse.features[0].function"),
    ],
)
def test_an_entry_that_does_not_fit_the_state_is_refused_by_its_key(entry, key):
    with pytest.raises(InputError, match=r"^case.toml: ") as refused:
        build(entry)
    assert refused.value.parameter == key


@pytest.mark.parametrize(
    "entry",
    [
        {"kind": "dihedrals"},
        {"kind": "state", "pairs": [[0, 1]]},
        {"kind": "distances", "pairs": []},
        {"kind": "distances", "pairs": [[0, 1, 2]]},
        {"kind": "torsions"},
        {"kind": "contacts", "radius": -1.0},
        {"kind": "contacts", "radius": 1.0, "power": 6, "steepness": 2.0},
        {"kind": "function", "function": "own.square"},
    ],
)
def test_what_no_kind_has_is_refused(entry):
    with pytest.raises(ValidationError):
        build(entry)
