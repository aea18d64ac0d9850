"""Hidden barriers: named in the system that has them, with their wells; none where walkers mix."""

import numpy as np
import pytest

from micromacro.learners.hidden_barriers import HiddenBarrier, Well, hidden_barriers
from micromacro.systems.hidden_barrier import WELLS, hidden_barrier

CENTRES = np.array([[-1.0], [0.0], [0.8]])
WALKERS, FRAMES = 8, 150


def umbrella_frames(rng: np.random.Generator, stiffness: float = 40.0) -> tuple[np.ndarray, np.ndarray]:
    """Walkers of the hidden barrier in windows along x, half from either well: `(frames, windows, walkers, 2)`."""
    start = np.broadcast_to(np.arange(WALKERS) % 2, (len(CENTRES), WALKERS))
    state = WELLS[start].copy()
    state[..., 0] = CENTRES
    frames, step = [], 1e-3
    for number in range(20 * (FRAMES + 20)):
        x, y = state[..., 0], state[..., 1]
        force = np.stack(
            [-16 * x * (x**2 - 1) - 1.5 * y - stiffness * (x - CENTRES), -48 * y * (y**2 - 1) - 1.5 * x], axis=-1
        )
        state = state + step * force + np.sqrt(2 * step) * rng.normal(size=state.shape)
        if number >= 400 and number % 20 == 0:
            frames.append(state)
    return np.stack(frames), start


def exact_frames(rng: np.random.Generator) -> np.ndarray:
    """The same windows, but y drawn anew from its law at z in every frame: nothing is hidden."""
    sample = hidden_barrier().exact.sample_conditional
    drawn = [sample(centre, FRAMES * WALKERS, rng).reshape(FRAMES, WALKERS, 2) for centre in CENTRES]
    frames = np.stack(drawn, axis=1)
    frames[..., 0] += 0.1 * rng.normal(size=frames.shape[:-1])
    return frames


def test_the_hidden_barrier_is_named_in_every_window_with_its_wells():
    rng = np.random.default_rng(0)
    frames, start = umbrella_frames(rng)
    found = hidden_barriers(frames, start, CENTRES, rng, names=("x", "y"))
    assert sorted(one.z for one in found) == [tuple(centre) for centre in CENTRES]
    for one in found:
        assert (one.coordinate, one.name) == (1, "y")
        assert one.wells is not None
        low, high = one.wells
        assert low.value == pytest.approx(-1, abs=0.15)
        assert high.value == pytest.approx(1, abs=0.15)
        # nobody crossed: each half of the walkers is where it began
        assert low.share == pytest.approx(0.5, abs=0.02)
        assert low.share + high.share == pytest.approx(1)
    assert [one.rhat for one in found] == sorted((one.rhat for one in found), reverse=True)


def test_none_is_named_where_walkers_mix():
    rng = np.random.default_rng(1)
    start = np.broadcast_to(np.arange(WALKERS) % 2, (len(CENTRES), WALKERS))
    assert hidden_barriers(exact_frames(rng), start, CENTRES, rng) == ()


def test_one_starting_point_is_enough_to_see_walkers_that_disagree():
    rng = np.random.default_rng(2)
    frames, start = umbrella_frames(rng)
    found = hidden_barriers(frames, np.zeros_like(start), CENTRES, rng)
    assert [one.coordinate for one in found] == [1, 1, 1]


def test_a_slow_coordinate_of_one_mode_has_no_wells():
    rng = np.random.default_rng(3)
    path = np.cumsum(0.02 * rng.normal(size=(400, 1, 6, 1)), axis=0) + rng.normal(size=(1, 1, 6, 1))
    blurred = path + rng.normal(size=path.shape)
    (found,) = hidden_barriers(blurred, np.zeros((1, 6), int), np.zeros((1, 1)), rng)
    assert found.wells is None
    assert "no barrier to be seen" in found.sentence


def test_the_sentence_says_where_and_what():
    barrier = HiddenBarrier((0.5,), 1, "y", (Well(-0.98, 0.25), Well(1.02, 0.75)), 3.14159)
    assert barrier.sentence == (
        "At z = 0.5 walkers are stuck in y between -0.98 (25% of the frames) and 1.02 (75%) (R̂ = 3.14)."
    )
    assert HiddenBarrier((0.5, -1.0), 0, "x", None, np.inf).sentence.startswith("At z = (0.5, -1) walkers do not agree")
