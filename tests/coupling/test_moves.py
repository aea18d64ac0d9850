"""The generator move leaves the density of a window as it is, however wrong the generator: and wrong moves are caught.

Walkers begin at exact draws of their window. Every move that is right keeps them so; means over the moves of a walker
are compared with quadrature, with standard errors between walkers, which are independent.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from micromacro.coordinates.coarse import CoarseVariable
from micromacro.coupling import moves
from micromacro.coupling.moves import GeneratorMoves
from micromacro.coupling.pairs import blurred_pairs
from micromacro.generators.score import ScoreSettings
from micromacro.systems.model import identity

MOVES = 15
STANDARD_ERRORS = 4.5
CAUGHT = 10.0


def after_moves(problem, generator, walkers, count=MOVES, seed=0):
    """Positions after each move `(moves, windows, walkers, 2)` and whether each was accepted."""
    start = problem.engine.start(problem.windows, problem.start(walkers, np.random.default_rng(seed)))
    move, positions, accepted, current = GeneratorMoves(problem.engine), [], [], start
    for number in range(count):
        current, info = move(generator, problem.windows, current, jax.random.key(100 + number))
        positions.append(np.asarray(current.position))
        accepted.append(np.asarray(info.accepted))
    return np.stack(positions), np.stack(accepted)


@pytest.mark.parametrize(
    ("upper", "width", "shift"),
    [
        pytest.param(0.8, (0.3, 0.35), 0.0, id="wrong proportions"),
        pytest.param(0.05, (0.15, 0.15), 0.1, id="too narrow and beside"),
        pytest.param(0.5, (0.8, 0.9), 0.3, id="too wide"),
    ],
)
def test_moves_of_a_wrong_generator_keep_the_window(barrier, proposals, upper, width, shift):
    frames, accepted = after_moves(barrier, proposals.wells(upper, width, shift), 4000)
    assert accepted.mean(axis=(0, 2)).min() > 0.02
    assert barrier.deviations(frames).max() < STANDARD_ERRORS


def test_moves_of_a_generator_with_holes_keep_the_window(barrier, proposals):
    """What has no density is neither entered nor left."""
    frames, _ = after_moves(barrier, proposals.partial(), 4000)
    assert barrier.deviations(frames).max() < STANDARD_ERRORS
    hole = frames[..., 1] <= -1
    assert 0.1 < hole.mean() < 0.9
    assert np.all(hole == hole[:1])
    walkers = barrier.engine.start(barrier.windows, jnp.asarray(frames[-1]))
    _, info = GeneratorMoves(barrier.engine)(proposals.partial(), barrier.windows, walkers, jax.random.key(0))
    assert np.array_equal(info.log_weight_before == np.inf, hole[-1])


@pytest.mark.parametrize("lie", ["proportions", "width", "nothing of where it stands"])
def test_a_ratio_that_is_wrong_is_caught(barrier, proposals, lie):
    true = proposals.wells(0.8)
    said = proposals.wells(0.5) if lie == "proportions" else proposals.wells(0.8, (0.5, 0.35))
    wrong = {
        "proportions": proposals.lying(true, said),
        "width": proposals.lying(true, said),
        "nothing of where it stands": proposals.lying(true, true, "nothing"),
    }[lie]
    frames, _ = after_moves(barrier, wrong, 4000)
    assert barrier.deviations(frames).max() > CAUGHT


def test_moves_through_an_observation_keep_the_window(moon, proposals):
    frames, accepted = after_moves(moon, proposals.crescent(), 4000)
    assert accepted.mean() > 0.3
    assert moon.deviations(frames).max() < STANDARD_ERRORS


def test_the_volume_of_the_observation_left_out_is_caught(moon, proposals, monkeypatch):
    monkeypatch.setattr(moves, "log_volume", lambda system, state: jnp.zeros(()))
    frames, _ = after_moves(moon, proposals.crescent(), 4000)
    assert moon.deviations(frames).max() > CAUGHT


def test_the_volume_is_that_of_the_observation(moon):
    system = moon.engine.system
    states = jnp.array([[1.3, 0.9], [3.0, 1.4]])
    np.testing.assert_allclose([moves.log_volume(system, x) for x in states], np.log(states[:, 0]), rtol=1e-9)


def test_the_hidden_state_of_an_observation_leads_back_or_is_refused(moon):
    system = moon.engine.system
    state, reachable = moves.to_hidden(system, system.observe(jnp.array([2.0, 1.2])))
    assert reachable
    np.testing.assert_allclose(state, [2.0, 1.2], rtol=1e-9)
    _, reachable = moves.to_hidden(system, jnp.array([jnp.nan, 1.0]))
    assert not reachable


@pytest.mark.parametrize("broken", ["not valid", "not finite"])
def test_a_proposal_that_is_not_usable_is_rejected(barrier, proposals, broken):
    class Broken(proposals.wells):
        def sample_and_log_prob(self, z, key):
            draw = super().sample_and_log_prob(z, key)
            if broken == "not valid":
                return draw._replace(valid=jnp.asarray(False))
            return draw._replace(state=draw.state * jnp.nan)

    walkers = barrier.engine.start(barrier.windows, barrier.start(20, np.random.default_rng(0)))
    moved, info = GeneratorMoves(barrier.engine)(Broken(), barrier.windows, walkers, jax.random.key(0))
    assert not info.accepted.any()
    assert np.all(info.log_weight == -np.inf)
    assert np.all(np.isfinite(info.log_weight_before))
    assert np.array_equal(moved.position, walkers.position)


def test_a_move_reports_the_weights_of_both_states_and_costs_one_evaluation(barrier, proposals):
    generator, walkers = (
        proposals.wells(),
        barrier.engine.start(barrier.windows, barrier.start(50, np.random.default_rng(0))),
    )
    spent = barrier.engine.evaluations
    moved, info = GeneratorMoves(barrier.engine)(generator, barrier.windows, walkers, jax.random.key(0))
    assert barrier.engine.evaluations - spent == 150
    log_prob = jax.vmap(jax.vmap(generator.log_prob, in_axes=(0, None)))
    for walker, weight in ((walkers, info.log_weight_before), (moved, info.log_weight)):
        expected = walker.log_target - log_prob(walker.position, barrier.windows.centers)[0]
        known = info.accepted if walker is moved else np.ones_like(info.accepted)
        np.testing.assert_allclose(np.asarray(weight)[known], np.asarray(expected)[known], rtol=1e-9)


def test_a_key_decides_a_move_and_walkers_have_numbers_of_their_own(barrier, proposals):
    start = jnp.broadcast_to(barrier.start(1, np.random.default_rng(0)), (3, 200, 2))
    walkers, move = barrier.engine.start(barrier.windows, start), GeneratorMoves(barrier.engine)
    one, again, other = (move(proposals.wells(), barrier.windows, walkers, jax.random.key(k))[0] for k in (1, 1, 2))
    assert np.array_equal(one.position, again.position)
    assert not np.array_equal(one.position, other.position)
    moved = np.asarray(one.position)[np.any(np.asarray(one.position) != start, axis=-1)]
    assert len(np.unique(moved[:, 0])) == len(moved) > 50


@pytest.fixture(scope="module")
def trained(barrier):
    """A score generator of the windows, trained on data with the wrong share of the upper well."""
    rng = np.random.default_rng(3)
    x = rng.uniform(-1.8, 1.8, 12_000)
    y = np.where(rng.random(len(x)) < 0.8, 1, -1) + 0.12 * rng.normal(size=len(x))
    coarse = CoarseVariable(barrier.coarse.function, np.array([-1.8]), np.array([1.8]), (False,))
    pairs = blurred_pairs(np.stack([x, y], axis=1), x[:, None], coarse, np.array([0.25]), rng)
    settings = ScoreSettings(width=32, training_steps=1000, batch_size=256)
    return settings.fit(pairs.q, pairs.z, pairs.weight, jax.random.key(0), condition=coarse.space)


@pytest.mark.slow
def test_moves_of_a_trained_generator_keep_the_window(barrier, trained):
    """Single precision, an inverse by iteration, and training data with the wrong wells: the window stays as it is."""
    assert barrier.engine.system.observe is identity
    frames, accepted = after_moves(barrier, trained, 1500, count=8)
    assert accepted.mean() > 0.2
    assert barrier.deviations(frames).max() < STANDARD_ERRORS
    raw = jax.vmap(trained.sample, in_axes=(None, 0))(
        barrier.windows.centers[1], jax.random.split(jax.random.key(5), 500)
    )
    assert np.mean(raw[:, 1] > 0) > barrier.exact()[1, 0] + 0.15
