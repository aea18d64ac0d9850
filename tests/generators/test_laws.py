"""The laws that every conditional generator obeys, whatever it is made of. The registry is in `conftest.py`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from micromacro.generators.saving import load_generator, save_generator
from micromacro.sampling.proposal import ConditionalProposal
from tests.generators.conftest import KINDS, drift

GRID = 61, 121
DRAWS = GRID[0] * GRID[1]  # as many as points of quadrature: one compilation serves both
STANDARD_ERRORS = 4.5
# what a small network, trained for seconds, is allowed to miss of the law: share of a well, location in widths
SHARE, LOCATION = 0.06, 0.35


def midpoints(low, high, count):
    return low + (high - low) * (np.arange(count) + 0.5) / count


@pytest.fixture(scope="module")
def drawn(fitted):
    """Draws `(values, DRAWS, 2)` at each coarse value of the law."""
    z = jnp.array(fitted.law.values)
    return np.asarray(fitted.draw(fitted.generator, z, jax.random.split(jax.random.key(5), DRAWS)), float)


@pytest.fixture(scope="module")
def dense_draws(dense):
    """A `Draw` of each key at each coarse value of the law."""
    keys = jax.random.split(jax.random.key(6), DRAWS)
    return [dense.draw_with_density(dense.generator, jnp.array(value), keys) for value in dense.law.values]


@pytest.fixture(scope="module")
def densities(dense):
    """For each coarse value: log-density, whether solved, and points on a grid over the box; and the cell's area."""
    law = dense.law
    axes = [midpoints(*law.box[:, axis], count) for axis, count in enumerate(GRID)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 2)
    found = []
    for value in law.values:
        points = grid + np.array([law.center(np.array(value)), 0.0])
        log_prob, solved = dense.evaluate(dense.generator, jnp.asarray(points), jnp.array(value))
        found.append((np.asarray(log_prob, float), np.asarray(solved), points))
    return found, float(np.prod([axis[1] - axis[0] for axis in axes]))


def test_a_draw_is_one_state_and_its_key_decides_it(fitted):
    z = jnp.array(fitted.law.values[0])
    one, again, other = fitted.draw(fitted.generator, z[None], jax.vmap(jax.random.key)(jnp.array([3, 3, 4])))[0]
    assert fitted.generator.sample(z, jax.random.key(3)).shape == (2,)
    assert np.array_equal(one, again)
    assert not np.allclose(one, other)


def test_a_batch_is_what_its_members_are(fitted, drawn):
    keys = jax.random.split(jax.random.key(5), DRAWS)
    for column, value in enumerate(fitted.law.values):
        z = jnp.array([value])
        alone = np.stack([fitted.draw(fitted.generator, z, keys[row : row + 1])[0, 0] for row in (0, 7, DRAWS - 1)])
        np.testing.assert_allclose(alone, drawn[column, [0, 7, DRAWS - 1]], rtol=2e-3, atol=2e-4)


def test_draws_follow_the_condition(fitted, drawn):
    law = fitted.law
    for values, q in zip(law.values, drawn, strict=True):
        z = np.array(values)
        offset = (q[:, 0] - law.center(z)) / law.width
        assert abs(offset.mean()) < LOCATION * fitted.allowance
        assert 0.75 < offset.std() < 1.3 * fitted.allowance
        # on a circle the far side between the wells is half a turn away
        well = np.sin(q[:, 1] - drift(z)) > 0 if law.state.periodic[1] else q[:, 1] - drift(z) > 0
        assert abs(well.mean() - law.upper(z)) < SHARE * fitted.allowance
    shares = [np.mean(q[:, 1] > 0) for q in drawn]
    assert np.ptp(shares) > 0.2  # one answer for every condition would not do


def test_the_same_key_fits_the_same_generator_and_another_another(fitted):
    pairs = fitted.law.draw(np.random.default_rng(1))
    again = fitted.fit(jax.random.key(1), *pairs)
    known, found = (jax.tree.leaves(one) for one in (fitted.generator, again))
    assert all(np.array_equal(a, b) for a, b in zip(known, found, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_doubled_rows_are_doubled_weights(kind, fitted_once):
    """And both move the share of a well from u to 2u / (1 + u)."""
    once = fitted_once(kind, "bounded")
    q, z = once.law.draw(np.random.default_rng(2))
    favoured = q[:, 1] > drift(z)
    rows = np.concatenate([np.arange(len(q)), np.flatnonzero(favoured)])
    doubled = once.fit(jax.random.key(2), q[rows], z[rows])
    weighted = once.fit(jax.random.key(3), q, z, 1.0 + favoured)
    values, keys = jnp.array(once.law.values), jax.random.split(jax.random.key(5), DRAWS)
    first, second = (np.asarray(once.draw(one, values, keys), float) for one in (doubled, weighted))
    for value, a, b in zip(np.array(once.law.values), first, second, strict=True):
        upper = once.law.upper(value)
        shares = [np.mean(q[:, 1] > drift(value)) for q in (a, b)]
        assert abs(shares[0] - shares[1]) < SHARE * once.allowance
        assert max(abs(share - 2 * upper / (1 + upper)) for share in shares) < SHARE * once.allowance


def test_a_stored_generator_draws_the_same(fitted, drawn, tmp_path):
    save_generator(fitted.generator, tmp_path / "generator.safetensors")
    stored = load_generator(tmp_path / "generator.safetensors")
    assert stored.settings == fitted.settings
    keys = jax.random.split(jax.random.key(5), DRAWS)
    assert np.array_equal(fitted.draw(stored, jnp.array(fitted.law.values), keys), drawn)


def test_only_a_generator_with_a_density_is_a_proposal(fitted):
    assert isinstance(fitted.generator, ConditionalProposal) == fitted.settings.has_density


def test_the_density_integrates_to_the_share_of_draws_that_it_knows(dense_draws, densities):
    """One, but for what the sampler cannot invert: there draws are not valid, and states have no density."""
    found, area = densities
    for draws, (log_prob, _, _) in zip(dense_draws, found, strict=True):
        valid, integral = float(draws.valid.mean()), np.exp(log_prob).sum() * area
        # the edges of what has a density are cut by the cells of quadrature
        assert abs(integral - valid) < STANDARD_ERRORS * np.sqrt(valid * (1 - valid) / DRAWS) + 5e-3
        assert valid > 0.85


def test_weights_of_draws_are_those_of_the_density_along_their_way(dense):
    """Importance sampling of the exact law: weights average to one whether or not the sampler can be inverted."""
    keys = jax.random.split(jax.random.key(6), DRAWS)
    for value in dense.law.values:
        z = jnp.array(value)
        draws = dense.draw_weighted(dense.generator, z, keys)
        assert draws.valid.mean() > 0.99
        states = np.asarray(draws.state, float)
        weight = np.where(draws.valid, np.exp(dense.law.log_density(states, np.array(value)) - draws.log_prob), 0.0)
        assert abs(weight.mean() - 1) < STANDARD_ERRORS * weight.std() / np.sqrt(DRAWS)
        assert weight.std() < 2
        log_prob, solved = dense.evaluate(dense.generator, jnp.asarray(states), z)
        np.testing.assert_allclose(log_prob[solved], draws.log_prob[solved], atol=0.02)


def test_draws_follow_their_density(dense, dense_draws, densities):
    found, area = densities
    for value, draws, (log_prob, _, points) in zip(dense.law.values, dense_draws, found, strict=True):
        states, center = np.asarray(draws.state, float)[np.asarray(draws.valid)], dense.law.center(np.array(value))
        share = np.exp(log_prob) * area
        for function in (
            lambda q: q[:, 0],
            lambda q: q[:, 1] > 0,
            lambda q: (q[:, 1] ** 2 - 1) ** 2,
            lambda q, center=center: (q[:, 0] - center) ** 2,
            lambda q: np.cos(6 * q[:, 1]),
            lambda q: q[:, 0] * q[:, 1],
        ):
            seen, expected = function(states), share @ function(points) / share.sum()
            assert abs(seen.mean() - expected) < STANDARD_ERRORS * seen.std() / np.sqrt(len(seen)) + 5e-3


def test_the_density_of_a_draw_is_the_density_of_its_state(dense, dense_draws):
    draws, z = dense_draws[1], jnp.array(dense.law.values[1])
    states = dense.draw(dense.generator, z[None], jax.random.split(jax.random.key(6), DRAWS))[0]
    log_prob, solved = dense.evaluate(dense.generator, draws.state.astype(float), z)
    np.testing.assert_allclose(states, draws.state, atol=2e-3)
    np.testing.assert_allclose(log_prob[draws.valid], draws.log_prob[draws.valid], atol=2e-3)
    assert np.all(solved | ~draws.valid)


def test_the_density_repeats_over_the_period_of_a_coordinate(dense, dense_draws):
    law, draws = dense.law, dense_draws[0]
    turns = np.where(law.state.periodic, 5 * law.state.range, 0.0)
    log_prob, solved = dense.evaluate(dense.generator, draws.state.astype(float) + turns, jnp.array(law.values[0]))
    both = np.asarray(solved & draws.valid)
    assert both.mean() > 0.85
    np.testing.assert_allclose(log_prob[both], draws.log_prob[both], atol=2e-2)
