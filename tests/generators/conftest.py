"""Laws with known conditionals, and the generators that are to learn them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import equinox as eqx
import jax
import numpy as np
import pytest

from micromacro import records
from micromacro.coordinates.coarse import CoarseVariable
from micromacro.generators.score import ScoreSettings

PAIRS = 20_000


@dataclass(frozen=True)
class Law:
    """A joint law of (q, z), q of two coordinates: the second has two wells whose proportions depend on z.

    `draw`: rng to pairs `(n, 2)`, `(n, 1)`; `upper` the share of the second well, `center` and `width` of the first
    coordinate, at a coarse value; `box` `(2, 2)`: low and high ends of all that matters, relative to z in the first.
    """

    coarse: CoarseVariable
    draw: Callable
    upper: Callable
    center: Callable
    width: float
    box: np.ndarray
    attached: np.ndarray | None = None
    period: np.ndarray | None = None
    values: tuple[float, ...] = (-1.2, -0.3, 0.9)

    def log_density(self, q, z):
        """The exact log-density at states `(n, 2)`, given one z."""
        offset = (q[:, 0] - self.center(z)) / self.width
        return log_wells(q[:, 1], z, self.upper(z)) - 0.5 * offset**2 - 0.5 * np.log(2 * np.pi * self.width**2)


def _wells(z, upper, rng):
    sign = np.where(rng.random(len(z)) < upper(z[:, 0]), 1, -1)
    return sign + 0.3 * np.sin(z[:, 0]) + 0.25 * rng.normal(size=len(z))


def log_wells(y, z, upper):
    """The log-density of the second coordinate."""
    center, width = 0.3 * np.sin(z), 0.25
    one, other = (np.exp(-0.5 * ((y - sign - center) / width) ** 2) for sign in (1, -1))
    return np.log(upper * one + (1 - upper) * other) - 0.5 * np.log(2 * np.pi * width**2)


def bounded_law() -> Law:
    def upper(z):
        return 0.5 + 0.2 * z

    def draw(rng):
        z = rng.uniform(-1.8, 1.8, (PAIRS, 1))
        return np.column_stack([0.5 * z[:, 0] + 0.1 * rng.normal(size=PAIRS), _wells(z, upper, rng)]), z

    coarse = CoarseVariable(lambda q: 2 * q[:1], np.array([-1.8]), np.array([1.8]), (False,))
    return Law(coarse, draw, upper, lambda z: 0.5 * z, 0.1, np.array([[-0.75, -2.7], [0.75, 2.7]]))


def periodic_law() -> Law:
    """The first coordinate is an angle, and the coarse variable itself; it runs over many periods in the data."""

    def upper(z):
        return 0.5 + 0.3 * np.cos(z)

    def draw(rng):
        z = rng.uniform(-np.pi, np.pi, (PAIRS, 1))
        angle = z[:, 0] + 0.2 * rng.normal(size=PAIRS) + 2 * np.pi * rng.integers(-3, 4, PAIRS)
        return np.column_stack([angle, _wells(z, upper, rng)]), z

    coarse = CoarseVariable(lambda q: q[:1], np.array([-np.pi]), np.array([np.pi]), (True,))
    box = np.array([[-1.5, -2.7], [1.5, 2.7]])
    attached, period = np.array([[1.0], [0.0]]), np.array([2 * np.pi, np.inf])
    return Law(coarse, draw, upper, lambda z: z, 0.2, box, attached, period, (-3.1, 0.4, 3.0))


LAWS = {"bounded": bounded_law, "periodic": periodic_law}


@dataclass(frozen=True)
class Kind:
    """A kind of generator: small settings for it, whether it has a density, how it is written and read."""

    settings: Any
    has_density: bool
    write: Callable = field(default=records.generator_record)
    read: Callable = field(default=records.read_generator)


# a new kind of generator inherits every test of test_laws.py by entering here
KINDS = {"score": Kind(ScoreSettings(width=32, training_steps=1000, batch_size=256), has_density=True)}
WITH_DENSITY = [name for name, kind in KINDS.items() if kind.has_density]


@eqx.filter_jit
def draw(generator, z, keys):
    """States `(z, keys, 2)`."""
    return jax.vmap(jax.vmap(generator.sample, in_axes=(None, 0)), in_axes=(0, None))(z, keys)


@eqx.filter_jit
def draw_with_density(generator, z, keys):
    """A `Draw` of each key given one z."""
    return jax.vmap(generator.sample_and_log_prob, in_axes=(None, 0))(z, keys)


@eqx.filter_jit
def draw_weighted(generator, z, keys):
    """The same, with the density along the way that led to each."""
    return jax.vmap(generator.weighted_sample, in_axes=(None, 0))(z, keys)


@eqx.filter_jit
def evaluate(generator, q, z):
    """Log-densities of many states given one z, and whether the sampler can make them."""
    return jax.vmap(generator.log_prob, in_axes=(0, None))(q, z)


@dataclass(frozen=True)
class Fitted:
    """A kind of generator fitted to a law, `fit` to do so again, and its methods in batches."""

    kind: Kind
    law: Law
    generator: Any
    fit: Callable
    draw: Callable
    draw_with_density: Callable
    draw_weighted: Callable
    evaluate: Callable


@pytest.fixture(scope="session")
def fitted_once():
    """Trains each kind of generator on each law at most once."""
    known = {}

    def fitted(kind_name, law_name):
        if (kind_name, law_name) not in known:
            kind, law = KINDS[kind_name], LAWS[law_name]()

            def fit(key, q, z):
                weight = np.ones(len(q))
                return kind.settings.fit(q, z, weight, law.coarse, key, attached=law.attached, period=law.period)

            pairs = law.draw(np.random.default_rng(1))
            known[kind_name, law_name] = Fitted(
                kind, law, fit(jax.random.key(1), *pairs), fit, draw, draw_with_density, draw_weighted, evaluate
            )
        return known[kind_name, law_name]

    return fitted


@pytest.fixture(scope="session", params=[(kind, law) for kind in KINDS for law in LAWS], ids="-".join)
def fitted(request, fitted_once):
    return fitted_once(*request.param)


@pytest.fixture(scope="session", params=[(kind, law) for kind in WITH_DENSITY for law in LAWS], ids="-".join)
def dense(request, fitted_once):
    return fitted_once(*request.param)
