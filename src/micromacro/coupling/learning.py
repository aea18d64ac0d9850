"""A generator of the windows' pairs; one that nothing will correct is examined first."""

from collections.abc import Callable
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from micromacro.coordinates.coarse import CoarseVariable
from micromacro.coordinates.space import Space
from micromacro.coupling.pairs import Pairs
from micromacro.generators.collapse import CollapseReport, diagnose, require_healthy
from micromacro.generators.completed import CompletedGenerator, other_coordinates, restricted
from micromacro.generators.family import Family
from micromacro.generators.generator import DensityGenerator, Generator

AnyGenerator = Generator | DensityGenerator | CompletedGenerator
"""Of all coordinates, or of those that the coarse variable is not."""


def fit_generator(
    settings: Family,
    pairs: Pairs,
    space: Space,
    coarse: CoarseVariable,
    blur: Float[np.ndarray, "d"],
    key: Key[Array, ""],
    previous: Generator | DensityGenerator | None = None,
    on_chunk: Callable[[int], None] = lambda _: None,
) -> Generator | DensityGenerator:
    """A generator of the pairs, or a previous one trained further.

    Metropolis moves correct one with a density, however wrong. One without must reproduce its training data; where it
    does not, another is trained from the beginning, and that one must.

    **Raises:** `PhysicsError` where a generator without a density has collapsed twice: it names where, and how.
    """
    fit_key, other_key, judge_key = jax.random.split(key, 3)
    data = pairs.q, pairs.z, pairs.weight
    generator = settings.fit(*data, fit_key, state=space, condition=coarse.space, previous=previous, on_chunk=on_chunk)
    if settings.has_density or _report(generator, pairs, coarse, blur, judge_key).passed:
        return generator
    generator = settings.fit(*data, other_key, state=space, condition=coarse.space, on_chunk=on_chunk)
    require_healthy(_report(generator, pairs, coarse, blur, judge_key))
    return generator


def fit_completed(
    settings: Family,
    pairs: Pairs,
    coordinates: tuple[int, ...],
    space: Space,
    coarse: CoarseVariable,
    blur: Float[np.ndarray, "d"],
    key: Key[Array, ""],
    previous: CompletedGenerator | None = None,
    on_chunk: Callable[[int], None] = lambda _: None,
) -> CompletedGenerator:
    """A generator of pairs (q, ξ) that are not blurred, where ξ is some `coordinates` of q: the others are learned."""
    others = other_coordinates(space, coordinates)
    if settings.apart:
        settings = replace(settings, apart=tuple(others.index(index) for index in settings.apart if index in others))
    rest = settings.fit(
        pairs.q[:, list(others)],
        pairs.z,
        pairs.weight,
        key,
        state=restricted(space, others),
        condition=coarse.space,
        previous=None if previous is None else previous.rest,
        on_chunk=on_chunk,
    )
    return CompletedGenerator(rest, jnp.asarray(blur, float), coordinates, space)


def _report(generator: Generator, pairs: Pairs, coarse: CoarseVariable, blur: np.ndarray, key: Array) -> CollapseReport:
    return diagnose(generator, pairs.q, pairs.z, pairs.weight, key, coarse=coarse, blur=blur)
