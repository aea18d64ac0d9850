"""Every check passes on what is right and fails on what is wrong."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from micromacro.coordinates.coarse import CoarseVariable
from micromacro.coupling import checks
from micromacro.coupling.estimate import Segment, estimate
from micromacro.coupling.weights import GeneratorFreeEnergy
from micromacro.sampling.production import Frames
from micromacro.sampling.table import zero_table
from micromacro.sampling.windows import Windows

CENTERS = np.array([[-0.6], [0.0], [0.6]])
START = np.arange(8) % 2
BLUR = 0.3
COARSE = CoarseVariable(lambda q: q[:1], np.array([-1.0]), np.array([1.0]), (False,))


def observe(state):
    return state


def windows(stiffness=1 / BLUR**2):
    return Windows(jnp.asarray(CENTERS), jnp.array([stiffness]), zero_table(COARSE, 40))


def segment(rng, well=None, exchanged=False, frames=400, width=BLUR):
    """Independent frames of three windows of a flat potential in x; y = ±1 by `well` `(frames, windows, walkers)`."""
    shape = (frames, 3, 8)
    x = CENTERS[None, :, :] + width * rng.normal(size=shape)
    well = np.where(rng.random(shape) < 0.4, 1, -1) if well is None else np.broadcast_to(well, shape)
    position = np.stack([x, well + 0.1 * rng.normal(size=shape)], axis=-1)
    made = Frames(position, x[..., None], -0.5 * rng.normal(size=shape) ** 2, np.full(3, 0.6))
    return Segment(windows(1 / width**2), made, np.zeros(3, int), exchanged)


@pytest.fixture(scope="module")
def good():
    return segment(np.random.default_rng(0))


def test_walkers_that_agree_have_mixed(good):
    check = checks.mixing(observe, good, START)
    assert check.passed is True
    assert check.value < 1.02


def test_walkers_stuck_in_the_wells_where_they_started_have_not(good):
    stuck = segment(np.random.default_rng(1), np.where(START == 0, -1, 1))
    check = checks.mixing(observe, stuck, START)
    assert check.passed is False
    assert check.value > 1.5


def test_one_window_that_is_stuck_is_found_and_named():
    rng = np.random.default_rng(2)
    well = np.where(rng.random((400, 3, 8)) < 0.5, 1, -1)
    well[:, 1] = np.where(START == 0, -1, 1)
    check = checks.mixing(observe, segment(rng, well), START)
    assert check.passed is False
    assert "window 1, z = [0.0]" in check.reason


def test_starting_points_that_disagree_a_little_are_found_together():
    """Each walker jumps, but those from one start are in the upper well for 65 % of the time, the others for 35 %."""
    rng = np.random.default_rng(3)
    well = np.where(rng.random((400, 3, 8)) < np.where(START == 0, 0.2, 0.8), 1, -1)
    assert checks.mixing(observe, segment(rng, well), START).passed is False
    # where replicas were exchanged a walker's window is not its own, and only chains as such are judged
    assert checks.mixing(observe, segment(rng, exchanged=True), START).passed is True


def test_one_starting_point_cannot_show_that_hidden_wells_mix(good):
    check = checks.mixing(observe, good, np.zeros(8, int))
    assert check.passed is None
    drifting = segment(np.random.default_rng(4), np.linspace(-5, 5, 400)[:, None, None])
    assert checks.mixing(observe, drifting, np.zeros(8, int)).passed is False


def test_windows_that_overlap_pass_and_windows_apart_fail(good):
    narrow = segment(np.random.default_rng(5), width=0.05)
    for one, passed in ((good, True), (narrow, False)):
        found = estimate(COARSE, [one], 20)
        assert checks.overlap(found.mbar, slice(0, 3)).passed is passed
    assert checks.overlap(found.mbar, slice(0, 1)).passed is None


def test_the_weakest_link_is_that_of_the_strongest_chain():
    matrix = np.array([[0.6, 0.3, 0.1], [0.3, 0.66, 0.04], [0.1, 0.04, 0.86]])
    value, first, second = checks.weakest_link(matrix)
    assert value == pytest.approx(0.1)
    assert {first, second} == {0, 2}


def test_enough_independent_samples_pass_and_slow_chains_fail(good):
    check = checks.effective_sample_size(observe, good)
    assert check.passed is True
    assert 0.5 * 3200 < check.value <= 3200
    stuck = segment(np.random.default_rng(6), np.where(START == 0, -1, 1))
    assert checks.effective_sample_size(observe, stuck).passed is False


def test_first_frames_that_do_not_count_are_not_judged(good):
    rng = np.random.default_rng(7)
    well = np.where(rng.random((400, 3, 8)) < 0.5, 1, -1)
    well[:200] = np.where(START == 0, -1, 1)
    late = segment(rng, well)
    cut = Segment(late.windows, late.frames, np.full(3, 200))
    assert checks.mixing(observe, late, START).passed is False
    assert checks.mixing(observe, cut, START).passed is True


@pytest.fixture(scope="module")
def joined(good):
    return estimate(COARSE, [good], 20).mbar


@pytest.mark.parametrize(
    ("offset", "passed"),
    [
        pytest.param([0.0, 0.0, 0.0], True, id="equal"),
        pytest.param([5.0, 5.0, 5.0], True, id="equal up to a constant"),
        pytest.param([0.0, 1.0, 0.0], False, id="one window wrong"),
        pytest.param([0.0, np.inf, 0.0], False, id="one window without weight"),
    ],
)
def test_two_routes_to_the_free_energy_of_windows(joined, offset, passed):
    errors = np.full(3, 0.02)
    noise = errors * np.random.default_rng(8).normal(size=3)
    generator = GeneratorFreeEnergy(joined.free_energy + noise + np.array(offset), errors, np.full(3, 0.5))
    check = checks.free_energy(generator, joined, slice(0, 3), 0.1)
    assert check.passed is passed
    if np.inf in offset:
        assert "window 1" in check.reason
        assert check.as_dict()["value"] is None


def test_what_is_allowed_grows_with_the_errors_of_the_two_routes(joined):
    generator = GeneratorFreeEnergy(joined.free_energy + np.array([0.0, 1.0, 0.0]), np.full(3, 0.5), np.full(3, 0.1))
    assert checks.free_energy(generator, joined, slice(0, 3), 0.1).passed is True


@pytest.mark.parametrize(
    ("settings", "restriction", "conditionals"),
    [
        pytest.param({"upper": 0.4, "width": (BLUR, 0.1)}, True, True, id="the law itself"),
        pytest.param({"upper": 0.4, "width": (BLUR, 0.1), "shift": 0.6}, False, False, id="shifted in ξ"),
        pytest.param({"upper": 0.95, "width": (BLUR, 0.1)}, True, False, id="wrong wells"),
        pytest.param({"upper": 0.4, "width": (BLUR, 0.5)}, True, False, id="five times too wide within wells"),
    ],
)
def test_draws_of_the_generator_alone(good, proposals, settings, restriction, conditionals):
    raw = checks.draw_raw(proposals.wells(**settings), COARSE, CENTERS, jax.random.key(0))
    assert raw.observed.shape == (3, checks.COMPARED, 2)
    assert checks.restriction(raw, COARSE, CENTERS, np.array([BLUR])).passed is restriction
    assert checks.conditionals(raw, observe, good, np.random.default_rng(0)).passed is conditionals


def test_raw_draws_are_spread_over_the_inner_windows(proposals):
    centers = np.linspace(-1, 1, 101)[:, None]
    raw = checks.draw_raw(proposals.wells(), COARSE, centers, jax.random.key(0), most_windows=10, draws=8)
    assert len(raw.window) == 10
    assert np.abs(centers[raw.window]).max() < 1
    assert np.diff(raw.window).max() - np.diff(raw.window).min() <= 1
    assert np.abs(raw.coarse - raw.observed[..., :1]).max() < 1e-12


@pytest.mark.parametrize(("make", "ends"), [(checks.at_most, (1.0, 3.0)), (checks.at_least, (3.0, 1.0))])
def test_a_figure_is_held_against_its_threshold(make, ends):
    assert make(ends[0], 2.0).passed is True
    assert make(2.0, 2.0).passed is True
    assert make(ends[1], 2.0).passed is False
    assert make(float("nan"), 2.0).passed is False
    assert checks.not_applicable("why").as_dict() == {"value": None, "threshold": None, "passed": None, "reason": "why"}
