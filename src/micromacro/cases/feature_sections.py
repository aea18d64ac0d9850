"""The entries of `features` in `[coarse]`: what may stand there, and the feature map that they make."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Annotated, Literal, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from pydantic import Field, model_validator

from micromacro.cases.functions import Checked
from micromacro.cases.section import Count, Integer, Natural, Positive, Reference, Section, problem
from micromacro.coordinates.features import (
    Angles,
    Contacts,
    Distances,
    FermiSwitch,
    Function,
    RationalSwitch,
    Stack,
    Torsions,
    WholeState,
)
from micromacro.errors import InputError

KEY = "coarse.features"
FeatureMap: TypeAlias = Callable

Pair = Annotated[list[Natural], Field(min_length=2, max_length=2)]
Four = Annotated[list[Natural], Field(min_length=4, max_length=4)]
Pairs = Annotated[list[Pair], Field(min_length=1)]


class StateFeatures(Section):
    """`{ kind = "state" }`: the observed state as it is."""

    kind: Literal["state"]


class DistanceFeatures(Section):
    """`{ kind = "distances", pairs = [[0, 1]] }`: distances of pairs of points, all where pairs are left out."""

    kind: Literal["distances"]
    pairs: Pairs | None = None
    spatial_dimension: Count = 3


class TorsionFeatures(Section):
    """`{ kind = "torsions", points = [[0, 1, 2, 3]] }`: cosine and sine of torsions."""

    kind: Literal["torsions"]
    points: Annotated[list[Four], Field(min_length=1)]


class ContactFeatures(Section):
    """`{ kind = "contacts", radius = 0.45 }`: contacts of pairs of points, rational unless `steepness` is given."""

    kind: Literal["contacts"]
    radius: Positive
    power: Annotated[Integer, Field(ge=2)] | None = None
    steepness: Positive | None = None
    pairs: Pairs | None = None
    spatial_dimension: Count = 3

    @model_validator(mode="after")
    def _one_switch(self):
        if self.power is not None and self.steepness is not None:
            raise problem("power", "be left out where 'steepness' makes the switch a Fermi function", self.power)
        return self


class AngleFeatures(Section):
    """`{ kind = "angles", coordinates = [0] }`: cosine and sine of coordinates, all where they are left out."""

    kind: Literal["angles"]
    coordinates: Annotated[list[Natural], Field(min_length=1)] | None = None


class FunctionFeatures(Section):
    """`{ kind = "function", function = "system.py:features" }`: features of the user's own."""

    kind: Literal["function"]
    function: Reference


FEATURES: dict[str, type[Section]] = {
    "state": StateFeatures,
    "distances": DistanceFeatures,
    "torsions": TorsionFeatures,
    "contacts": ContactFeatures,
    "angles": AngleFeatures,
    "function": FunctionFeatures,
}
"""The model of each kind of entry."""

FeatureSection = Annotated[
    StateFeatures | DistanceFeatures | TorsionFeatures | ContactFeatures | AngleFeatures | FunctionFeatures,
    Field(discriminator="kind"),
]


def build_features(
    sections: Sequence[Section],
    find: Callable[[str, str], Checked],
    observed: Float[np.ndarray, "n Y"],
    *,
    source: str = "",
    key: str | None = None,
) -> FeatureMap:
    """The feature map of the entries, `(Y,)` to `(F,)`, traced and tried at observed states.

    **Arguments:**

    - `find`: from a reference and the key where it stands to the user's function.
    - `observed`: the observed initial states.
    - `source`: the case file, for messages.
    - `key`: of a single entry, where it stands; its place in the list where left out.

    **Raises:** `InputError` for an entry that does not fit the state, and for features that are not finite there.
    """
    keys = [key or f"{KEY}[{index}]" for index in range(len(sections))]
    maps = tuple(_build(section, own, find, observed, source) for section, own in zip(sections, keys, strict=True))
    features = maps[0] if len(maps) == 1 else Stack(maps)
    Checked(features, KEY, source).finite(observed)
    return features


def _build(section: Section, key: str, find: Callable, observed: np.ndarray, source: str) -> FeatureMap:
    if isinstance(section, FunctionFeatures):
        function = find(section.function, f"{key}.function")
        function = replace(function, function=Function(function.function))
        function.vector(observed.shape[1:])
        function.finite(observed)
        return function.function
    try:
        features = _known(section)
        jax.eval_shape(features, jax.ShapeDtypeStruct(observed.shape[1:], jnp.float64))
    except InputError as error:
        name = f"{key}.{error.parameter}"
        raise InputError(name, error.requirement, error.given, source=source or None) from error
    return features


def _known(section: Section) -> FeatureMap:
    """The map of an entry that names no function of the user."""
    if isinstance(section, DistanceFeatures):
        return Distances(_tuples(section.pairs), section.spatial_dimension)
    if isinstance(section, TorsionFeatures):
        return Torsions(tuple((a, b, c, d) for a, b, c, d in section.points))
    if isinstance(section, ContactFeatures):
        if section.steepness is None:
            switch = RationalSwitch(section.radius, section.power or 6)
        else:
            switch = FermiSwitch(section.radius, section.steepness)
        return Contacts(switch, _tuples(section.pairs), section.spatial_dimension)
    if isinstance(section, AngleFeatures):
        return Angles(None if section.coordinates is None else tuple(section.coordinates))
    return WholeState()


def _tuples(pairs: list[list[int]] | None) -> tuple[tuple[int, int], ...] | None:
    return None if pairs is None else tuple((first, second) for first, second in pairs)
