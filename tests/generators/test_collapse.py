"""Generators that have collapsed are caught, each by its own figure; a perfect one passes."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from micromacro.coordinates.space import Space
from micromacro.errors import InputError, PhysicsError
from micromacro.generators.collapse import diagnose, require_healthy
from micromacro.generators.generator import Generator
from micromacro.generators.representation import fit_representation

BLUR, SPREAD = 0.05, 0.25
CONDITION = Space((-1.0,), (1.0,), (False,))


class Physics(eqx.Module):
    """The exact law, or a ruined one: x about z, y in one of two wells; with an angle that z turns where `circle`."""

    representation: object
    smaller: float = 0.3
    shrink: float = 1.0
    shift: float = 0.0
    constant: bool = False
    circle: bool = False

    def draw(self, z, key):
        return self.representation.encode(self.state(z, key), z).state

    def state(self, z, key):
        well_key, noise_key = jax.random.split(key)
        noise = self.shrink * jax.random.normal(noise_key, (3,)) * (0.0 if self.constant else 1.0)
        well = jnp.where(jax.random.uniform(well_key) < self.smaller, 1.0, -1.0)
        x, y = z[0] + self.shift * BLUR + BLUR * noise[0], well + SPREAD * noise[1]
        if not self.circle:
            return jnp.stack([x, y])
        angle = jnp.pi * well / 2 + jnp.pi * z[0] + 0.4 * noise[2]
        return jnp.stack([x, jnp.mod(angle + jnp.pi, 2 * jnp.pi) - jnp.pi])


@pytest.fixture(scope="module", params=[False, True], ids=["plane", "circle"])
def problem(request):
    """Pairs, and the function of what is wrong to the generator."""
    rng = np.random.default_rng(0)
    circle = request.param
    state = Space((-np.inf, -np.pi), (np.inf, np.pi), (False, True)) if circle else Space.unbounded(2)
    z = rng.uniform(-1, 1, (8000, 1))
    exact = Physics(None, circle=circle)
    q = np.asarray(jax.jit(jax.vmap(exact.state))(jnp.asarray(z), jax.random.split(jax.random.key(0), len(z))))
    representation = fit_representation(q, z, np.ones(len(z)), state, CONDITION, rng)
    assert representation.layout.circles == (1 if circle else 0)

    def generator(**wrong):
        return Generator(representation, Physics(representation, circle=circle, **wrong), None)

    return q, z, generator


def first_coordinate(q):
    return q[:1]


def examined(problem, seed=0, conditions=3, **wrong):
    q, z, generator = problem
    blur = np.array([BLUR])
    key = jax.random.key(seed)
    return diagnose(
        generator(**wrong), q, z, np.ones(len(q)), key, coarse=first_coordinate, blur=blur, conditions=conditions
    )


@pytest.mark.parametrize("seed", range(3))
def test_a_perfect_generator_passes(problem, seed):
    report = examined(problem, seed)
    assert report.failures == ()
    require_healthy(report)
    for one in report.conditions:
        assert abs(one.coverage.coverage - one.coverage.expected) < 0.1
        np.testing.assert_allclose(one.label_bias, 0, atol=0.3)
        np.testing.assert_allclose(one.deviation_ratio, 1, atol=0.25)


def test_a_forgotten_well_is_named(problem):
    report = examined(problem, smaller=0.0)
    assert not report.passed
    for one in report.conditions:
        assert any("a mode that holds 0.3" in text or "a mode that holds 0.2" in text for text in one.failures)
    with pytest.raises(PhysicsError, match=r"At z = \(-0\.\d+\) .*\(generator, 3 of 3 conditions\).*another seed"):
        require_healthy(report)


def test_a_constant_fails_in_every_way(problem):
    sentences = " ".join(examined(problem, constant=True, smaller=0.0).failures)
    for words in ("draws cover 0.0", "a mode that holds", "represented coordinate 0 deviates by 0.0"):
        assert words in sentences


def test_draws_that_shrink_are_named(problem):
    report = examined(problem, shrink=0.4)
    assert all("represented coordinate 0 deviates by 0." in " ".join(one.failures) for one in report.conditions)


def test_draws_beside_their_condition_are_named(problem):
    report = examined(problem, shift=2.0)
    assert all("the coarse variable 0 of draws is off by +" in " ".join(one.failures) for one in report.conditions)
    assert all("; at most 0.5 is allowed." in " ".join(one.failures) for one in report.conditions)


def test_draws_that_ignore_a_blur_scatter_too_far(problem):
    report = examined(problem, shrink=2.5)
    assert all("scatters 2." in " ".join(one.failures) for one in report.conditions)


def test_draws_that_are_not_finite_are_named(problem):
    report = examined(problem, shift=float("nan"))
    assert report.failures[0].endswith("a share 1 of the draws is not finite.")


def test_weights_say_what_the_data_are(problem):
    """Where one well has no weight, to forget it is right; where it has all, wrong."""
    q, z, generator = problem
    one_well = generator(smaller=0.0)
    # on the circle the wells turn with z
    center = np.pi * z[:, 0] if generator().state.periodic[1] else 0.0
    upper = np.sin(q[:, 1] - center) > 0 if generator().state.periodic[1] else q[:, 1] > 0
    for weight, passed in ((1.0 - upper, True), (upper * 1.0, False)):
        assert diagnose(one_well, q, z, weight, jax.random.key(0), conditions=2).passed == passed


def test_too_few_states_are_no_reference(problem):
    q, z, generator = problem
    with pytest.raises(InputError, match=r"q must hold at least 50 different states.*got 1"):
        diagnose(generator(), np.ones_like(q), z, np.ones(len(q)), jax.random.key(0))
