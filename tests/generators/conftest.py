"""Laws with known conditionals, and the generators that are to learn them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import equinox as eqx
import jax
import numpy as np
import pytest

from micromacro.coordinates.space import Space
from micromacro.generators.family import Family
from micromacro.generators.flow import FlowSettings
from micromacro.generators.gan import GanSettings
from micromacro.generators.kernel import KernelSettings
from micromacro.generators.matching import MatchingSettings
from micromacro.generators.score import ScoreSettings

PAIRS = 20_000


@dataclass(frozen=True)
class Law:
    """A joint law of (q, z), q of two coordinates: the second has two wells whose proportions depend on z.

    Functions of z take `(..., d)`. `draw`: rng to pairs `(n, 2)`, `(n, d)`; `upper` the share of the second well,
    `center` and `width` of the first coordinate; `wells`: how far from zero the second coordinate's wells are, and
    their width; `box` `(2, 2)`: low and high ends of all that matters, relative to z in the first.
    """

    condition: Space
    draw: Callable
    upper: Callable
    center: Callable
    width: float
    wells: tuple[float, float]
    box: np.ndarray
    state: Space = field(default_factory=lambda: Space.unbounded(2))
    values: tuple[tuple[float, ...], ...] = ((-1.2,), (-0.3,), (0.9,))

    def log_density(self, q, z):
        """The exact log-density at states `(n, 2)`, given one z."""
        offset = (q[:, 0] - self.center(z)) / self.width
        shift = 0.0 if not self.state.periodic[1] else 2 * np.pi * np.arange(-1, 2)
        y = q[:, 1, None] + shift
        return _log_wells(y, z, self.upper(z), *self.wells) - 0.5 * offset**2 - 0.5 * np.log(2 * np.pi * self.width**2)


def drift(z):
    """Where the middle between the wells is."""
    return 0.3 * np.sin(z[..., 0])


def _draw_wells(z, upper, apart, width, rng):
    sign = np.where(rng.random(len(z)) < upper(z), 1, -1)
    return apart * sign + drift(z) + width * rng.normal(size=len(z))


def _log_wells(y, z, upper, apart, width):
    one, other = (np.exp(-0.5 * ((y - sign * apart - drift(z)) / width) ** 2) for sign in (1, -1))
    return np.log((upper * one + (1 - upper) * other).sum(axis=-1)) - 0.5 * np.log(2 * np.pi * width**2)


def bounded_law() -> Law:
    """Everything on the line; the condition bounded."""

    def upper(z):
        return 0.5 + 0.2 * z[..., 0]

    def draw(rng):
        z = rng.uniform(-1.8, 1.8, (PAIRS, 1))
        return np.column_stack([0.5 * z[:, 0] + 0.1 * rng.normal(size=PAIRS), _draw_wells(z, upper, 1, 0.25, rng)]), z

    box = np.array([[-0.75, -2.7], [0.75, 2.7]])
    return Law(Space((-1.8,), (1.8,), (False,)), draw, upper, lambda z: 0.5 * z[..., 0], 0.1, (1, 0.25), box)


def periodic_law() -> Law:
    """The first coordinate is an angle, and the coarse variable itself; it runs over many periods in the data."""

    def upper(z):
        return 0.5 + 0.3 * np.cos(z[..., 0])

    def draw(rng):
        z = rng.uniform(-np.pi, np.pi, (PAIRS, 1))
        angle = z[:, 0] + 0.2 * rng.normal(size=PAIRS) + 2 * np.pi * rng.integers(-3, 4, PAIRS)
        return np.column_stack([angle, _draw_wells(z, upper, 1, 0.25, rng)]), z

    condition = Space((-np.pi,), (np.pi,), (True,))
    state = Space((-np.pi, -np.inf), (np.pi, np.inf), (True, False))
    box, values = np.array([[-1.5, -2.7], [1.5, 2.7]]), ((-3.1,), (0.4,), (3.0,))
    return Law(condition, draw, upper, lambda z: z[..., 0], 0.2, (1, 0.25), box, state, values)


def mixed_law() -> Law:
    """A coordinate between bounds and one all round its circle; two conditions, one of them periodic."""

    def upper(z):
        return 0.5 + 0.3 * np.cos(z[..., 1])

    def center(z):
        return 0.5 + 0.15 * z[..., 0]

    def draw(rng):
        z = rng.uniform([-1, 0], [1, 2 * np.pi], (PAIRS, 2))
        y = _draw_wells(z, upper, 1.6, 0.5, rng)
        return np.column_stack([center(z) + 0.07 * rng.normal(size=PAIRS), y]), z

    condition = Space((-1.0, 0.0), (1.0, 2 * np.pi), (False, True))
    state = Space((0.0, -np.pi), (1.0, np.pi), (False, True))
    box = np.array([[-0.34, -np.pi], [0.34, np.pi]])
    values = (-0.8, 6.2), (0.1, 1.5), (0.9, 3.1)
    return Law(condition, draw, upper, center, 0.07, (1.6, 0.5), box, state, values)


LAWS = {"bounded": bounded_law, "periodic": periodic_law, "mixed": mixed_law}


# a new kind of generator inherits every test of test_laws.py by entering here, with small settings
KINDS: dict[str, Family] = {
    "score": ScoreSettings(width=32, training_steps=3000, batch_size=512, sampler_steps=18),
    "kernel": KernelSettings(),
    "flow": FlowSettings(width=16, layers=1, training_steps=1000, batch_size=256),
    "matching": MatchingSettings(width=32, training_steps=1000, batch_size=256),
    "gan": GanSettings(width=32, training_steps=2500, batch_size=128),
}
WITH_DENSITY = [name for name, settings in KINDS.items() if settings.has_density]
# how much more of a law than others a kind may miss: kernels smooth, and know the proportions of few centres
ALLOWANCE = {"kernel": 2.5, "gan": 2.0}
# each law at least once; the others take minutes
QUICK = {
    ("score", "mixed"),
    ("flow", "periodic"),
    ("gan", "bounded"),
}


def combinations(kinds):
    """Every kind with every law; those that are not quick are marked slow."""
    return [
        pytest.param((kind, law), id=f"{kind}-{law}", marks=[] if (kind, law) in QUICK else pytest.mark.slow)
        for kind in kinds
        for law in LAWS
    ]


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

    settings: Family
    law: Law
    allowance: float
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
            settings, law = KINDS[kind_name], LAWS[law_name]()

            def fit(key, q, z, weight=None):
                weight = np.ones(len(q)) if weight is None else weight
                return settings.fit(q, z, weight, key, state=law.state, condition=law.condition)

            pairs = law.draw(np.random.default_rng(1))
            known[kind_name, law_name] = Fitted(
                settings,
                law,
                ALLOWANCE.get(kind_name, 1.0),
                fit(jax.random.key(1), *pairs),
                fit,
                draw,
                draw_with_density,
                draw_weighted,
                evaluate,
            )
        return known[kind_name, law_name]

    return fitted


@pytest.fixture(scope="session", params=combinations(KINDS))
def fitted(request, fitted_once):
    return fitted_once(*request.param)


@pytest.fixture(scope="session", params=combinations(WITH_DENSITY))
def dense(request, fitted_once):
    return fitted_once(*request.param)
