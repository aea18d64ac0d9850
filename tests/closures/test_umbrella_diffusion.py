"""Diffusion from umbrella windows against systems whose friction is known, and what must not be believed."""

import numpy as np
import pytest

from micromacro.closures.langevin_correlation import Correlation, correlation_of, decorrelation_time, relaxation_times
from micromacro.closures.langevin_plan import plan_series
from micromacro.closures.umbrella_diffusion import umbrella_diffusion
from micromacro.coordinates.coarse import CoarseVariable
from micromacro.errors import InputError
from tests.closures.inertial import linear, simulate

LINE = CoarseVariable(lambda q: q[:1], np.array([-50.0]), np.array([50.0]), (False,))
PLANE = CoarseVariable(lambda q: q[:2], np.array([-50.0, -50.0]), np.array([50.0, 50.0]), (False, False))
CIRCLE = CoarseVariable(lambda q: q[:1], np.array([-np.pi]), np.array([np.pi]), (True,))


def overdamped(windows, *, frames=1000, interval=0.2, seed=0, walkers=16):
    return linear(np.eye(1), np.eye(1), (windows, walkers), interval=interval, frames=frames, seed=seed)


def at_zero(windows, d=1):
    return np.zeros((windows, d))


def assert_within_errors(scores, windows):
    """Mean and spread of z-scores of independent windows, those of 16 groups a little wide."""
    assert np.all(np.abs(scores.mean(axis=0)) < 3.5 * 1.15 / np.sqrt(windows)), scores.mean(axis=0)
    assert np.all(scores.std(axis=0) < 1.15 + 3 / np.sqrt(2 * windows)), scores.std(axis=0)
    assert np.all(scores.std(axis=0) > 1 - 3 / np.sqrt(2 * windows)), scores.std(axis=0)


@pytest.mark.parametrize(("friction", "stiffness"), [(8.0, 4.0), (1.0, 25.0), (0.5, 100.0)])
def test_integral_of_a_damped_oscillation_is_the_friction(friction, stiffness):
    r"""$\int C = (kT/k) mγ/k$ at every damping, though areas cancel; $2\int C^2 = τ + 1/γ$; D = kT/γ."""
    dt = 0.05 / np.sqrt(stiffness)
    t = dt * np.arange(int(60 * max(1 / friction, friction / stiffness) / dt))
    root = np.sqrt(complex(friction**2 / 4 - stiffness))
    shape = np.exp(-friction * t / 2) * (np.cosh(root * t) + friction / 2 / root * np.sinh(root * t))
    values = np.broadcast_to(np.real(shape)[None, :, None, None] / stiffness, (3, len(t), 1, 1))
    correlation = Correlation(np.array(values), dt, np.array([[np.sqrt(stiffness)]]))
    time = relaxation_times(correlation, len(t) - 1)[0]
    assert time == pytest.approx(friction / stiffness, rel=2e-3)
    assert correlation.variance[0, 0, 0] / time == pytest.approx(1 / friction, rel=2e-3)
    assert decorrelation_time(correlation) == pytest.approx(friction / stiffness + 1 / friction, rel=2e-3)


def test_inertial_windows():
    """D = kT/(mγ), the transform of the free velocities, and no memory: overdamped, damped, ringing."""
    friction, stiffness = (np.repeat(values, 12)[:, None] for values in ([10.0, 2.0, 1.0], [10.0, 25.0, 25.0]))
    start = np.random.default_rng(1).standard_normal((36, 12)) / np.sqrt(stiffness)
    z = simulate(lambda x: -stiffness * x, lambda x: friction, start, step=0.02, frames=1400, interval=3, seed=2)
    found = umbrella_diffusion(z[..., None], at_zero(36), LINE, 0.06)
    assert found.converged.sum() >= 34, found.reasons
    for number in range(3):
        case = np.arange(36) // 12 == number
        own = case & found.converged
        truth = 1 / friction[own, 0]
        assert_within_errors((found.elements[own] - np.log(truth)[:, None] / 2) / found.elements_stderr[own], 12)
        assert np.median(found.ringing_time[own] / truth) == pytest.approx(1, rel=0.3)
        assert np.median(found.memory[own]) < 0.1
        slow = found.rates < 5
        fast = 1 / (found.rates[slow] + friction[case, 0][0])  # of a free particle
        scores = (found.diffusion_at[own][:, slow, 0, 0] - fast) / found.diffusion_at_stderr[own][:, slow, 0, 0]
        assert np.all(np.abs(scores.mean(axis=0)) < 4 * 1.15 / np.sqrt(12)), scores.mean(axis=0)
        assert np.max(found.aliasing[own]) < 0.1


def test_matrix_of_two_variables():
    diffusion, covariance = np.array([[1.0, 0.5], [0.5, 1.0]]), np.array([[1.0, 0.2], [0.2, 0.5]])
    windows = 30
    z = linear(diffusion @ np.linalg.inv(covariance), covariance, (windows, 16), interval=0.15, frames=1200, seed=3)
    found = umbrella_diffusion(z, at_zero(windows, 2), PLANE, 0.15)
    assert found.converged.sum() >= windows - 1, found.reasons
    truth = np.array([0.0, 0.5, np.log(0.75) / 2])
    assert_within_errors((found.elements - truth) / found.elements_stderr, windows)
    np.testing.assert_allclose(found.diffusion.mean(axis=0), diffusion, atol=0.05)
    np.testing.assert_allclose(found.diffusion, np.swapaxes(found.diffusion, 1, 2))
    assert np.median(found.memory) < 0.1  # two rates, and still Markov


def test_few_walkers_are_cut_into_parts():
    z = overdamped(40, frames=4000, walkers=3, seed=4)
    found = umbrella_diffusion(z, at_zero(40), LINE, 0.2)
    assert found.converged.mean() > 0.9
    assert_within_errors(found.elements / found.elements_stderr, 40)


def test_windows_across_the_seam_of_a_circle():
    """Series about ±π, wrapped, give the same as those about zero."""
    z = 0.2 * overdamped(2, frames=600)
    centers = np.array([[0.0], [np.pi - 0.05]])
    wrapped = np.asarray(CIRCLE.wrap(z + centers[None, :, None]))
    found = umbrella_diffusion(wrapped, centers, CIRCLE, 0.2)
    plain = umbrella_diffusion(z, at_zero(2), LINE, 0.2)
    np.testing.assert_allclose(found.diffusion, plain.diffusion, rtol=1e-6)
    np.testing.assert_allclose(found.mean[1, 0], np.asarray(CIRCLE.wrap(centers[1] + plain.mean[1]))[0], atol=1e-9)


def hidden(hidden_mobility, *, frames, seed=5, windows=16):
    """x of V = x²/2 + (x - y)²/2 + y²/2 with mobility 1, y unseen; and the D at zero frequency."""
    stiffness = np.array([[2.0, -1.0], [-1.0, 2.0]])
    covariance, rates = np.linalg.inv(stiffness), np.diag([1.0, hidden_mobility]) @ stiffness
    z = linear(rates, covariance, (windows, 16), interval=0.1, frames=frames, seed=seed)[..., :1]
    return z, covariance[0, 0] ** 2 / (np.linalg.inv(rates) @ covariance)[0, 0]


def test_slow_hidden_coordinate_that_relaxes_counts_as_friction_and_is_told():
    z, diffusion = hidden(0.2, frames=4000)
    found = umbrella_diffusion(z, at_zero(16), LINE, 0.1)
    assert found.converged.all(), found.reasons
    assert diffusion < 0.5
    assert_within_errors((found.elements - np.log(diffusion) / 2) / found.elements_stderr, 16)
    assert np.median(found.memory) > 0.3
    quick = umbrella_diffusion(hidden(5.0, frames=2000)[0], at_zero(16), LINE, 0.1)
    assert np.median(quick.memory) < 0.1


def test_diffusion_at_rates_of_an_overdamped_particle_with_memory():
    """D(s) = 1/(1 + c/(s + μc')) for x coupled to a hidden y, c its stiffness, μc' its rate at fixed x."""
    z, diffusion = hidden(0.2, frames=4000)
    found = umbrella_diffusion(z, at_zero(16), LINE, 0.1)
    truth = 1 / (1 + 0.5 / (found.rates + 0.2 * 2))
    assert pytest.approx(diffusion) == 1 / (1 + 0.5 / 0.4)
    slow = found.rates < 2
    scores = (found.diffusion_at[:, slow, 0, 0] - truth[slow]) / found.diffusion_at_stderr[:, slow, 0, 0]
    assert np.all(np.abs(scores.mean(axis=0)) < 1), scores.mean(axis=0)
    assert truth[slow][-1] > 1.5 * truth[0]


@pytest.mark.parametrize("hidden_mobility", [0.02, 0.001])
def test_hidden_coordinate_slower_than_the_series_is_convicted(hidden_mobility):
    """Slow as a tenth of a series, and slower than all of it: where it just stays, the walkers' means tell."""
    found = umbrella_diffusion(hidden(hidden_mobility, frames=2000)[0], at_zero(16), LINE, 0.1)
    assert found.converged.sum() == 0, found.reasons


def test_frames_too_far_apart_are_caught():
    found = umbrella_diffusion(overdamped(8, interval=1.5), at_zero(8), LINE, 1.5)
    assert not found.converged.any()
    assert all("more often" in reason for reason in found.reasons)
    z = overdamped(8, interval=0.2)
    wrong = umbrella_diffusion(z, at_zero(8), LINE, 0.4)
    right = umbrella_diffusion(z, at_zero(8), LINE, 0.2)
    np.testing.assert_allclose(wrong.diffusion, right.diffusion / 2)  # the interval is believed: it sets the unit


def test_longest_interval_would_have_done():
    """τ/4 to τ: the trapezoids of an exponential are off by (interval/τ)²/12."""
    found = umbrella_diffusion(overdamped(8, interval=0.05, frames=4000), at_zero(8), LINE, 0.05)
    assert 0.25 <= np.median(found.longest_interval) <= 1.0


def test_plan_of_series():
    pilot = umbrella_diffusion(overdamped(12, interval=0.1, frames=1000), at_zero(12), LINE, 0.1)
    plan = plan_series(pilot, 1000 * 0.1 * 16, 0.01, 16, relative_stderr=0.05)
    assert plan.reason == "the standard error asked for"
    assert plan.relative_stderr == pytest.approx(0.05, rel=0.05)
    longer = umbrella_diffusion(
        overdamped(12, interval=0.01 * plan.interval, frames=plan.frames, seed=6),
        at_zero(12),
        LINE,
        0.01 * plan.interval,
    )
    assert np.sqrt(np.mean(longer.relative_stderr**2)) == pytest.approx(0.05, rel=0.3)
    short = plan_series(pilot, 1000 * 0.1 * 16, 0.01, 16, relative_stderr=0.05, most_steps=50_000)
    assert short.steps <= 50_000
    assert short.relative_stderr > 0.05
    assert short.reason == "the steps that may be spent"


def test_unusable_input():
    z = overdamped(2, frames=200)
    with pytest.raises(InputError, match="dt must be positive"):
        umbrella_diffusion(z, at_zero(2), LINE, 0.0)
    with pytest.raises(InputError, match="series must be at least 64 frames"):
        umbrella_diffusion(z[:40], at_zero(2), LINE, 0.2)
    broken = z.copy()
    broken[3, 1, 2] = np.nan
    with pytest.raises(InputError, match="finite"):
        umbrella_diffusion(broken, at_zero(2), LINE, 0.2)


def test_correlation_is_about_the_mean_of_all_walkers():
    """Walkers stuck in two places are correlated for ever."""
    z = 0.1 * overdamped(1, frames=500)[:, 0]
    z[:, ::2] += 1.0
    correlation = correlation_of(z, 0.2)
    assert correlation.values[0, -1, 0, 0] == pytest.approx(0.25, rel=0.1)
