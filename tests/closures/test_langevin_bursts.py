"""Short bursts of inertial dynamics: ballistic at first, then the diffusion of the windows, or no plateau."""

import numpy as np
import pytest

from micromacro.closures.langevin_bursts import burst_diffusion, burst_paths_of, burst_table
from micromacro.closures.smooth import SmoothSettings, smooth_closure
from micromacro.closures.table import ClosureTable
from micromacro.errors import InputError
from tests.closures.inertial import CIRCLE, Rough, damped, force, scores, simulate


def bursts_of(system, count, *, step, interval, frames, seed):
    start = np.random.default_rng(seed).uniform(-np.pi, np.pi, count)
    z = simulate(force, system.of, start, step=step, frames=frames, interval=interval, seed=seed)
    return burst_paths_of(
        CIRCLE, start[:, None], np.asarray(CIRCLE.wrap(z[..., None])), step * interval, np.arange(count) // 10
    )


def test_bursts_agree_beyond_the_ballistic_time():
    case = damped()
    reference = smooth_closure(case.table, CIRCLE, SmoothSettings(overlap=4.0))
    paths = bursts_of(case.system, 3000, step=0.02, interval=1, frames=100, seed=8)
    found = burst_diffusion(paths, reference)
    assert found.agrees, found.reason
    assert 0.3 < found.plateau[0] < 0.9
    # ballistic: 1 - exp(-γt), γ between 6.7 and 20
    early = found.ratio[found.lags < 0.1]
    assert np.all(early < 0.75)
    assert early[0] == pytest.approx(0.1, abs=0.03)
    table = burst_table(CIRCLE, case.grid, paths, found.plateau, reference)
    exact = case.system.exact(case.grid)
    assert scores(table.drift, exact.drift, table.drift_stderr) < 3
    wrong = case.table
    wrong = ClosureTable(wrong.z, 1.5 * wrong.drift, wrong.drift_stderr, 1.5 * wrong.diffusion, wrong.diffusion_stderr)
    assert not burst_diffusion(paths, smooth_closure(wrong, CIRCLE, SmoothSettings(overlap=4.0))).agrees


def test_bursts_have_no_plateau_where_friction_is_weak():
    case = damped()
    """At friction 1 the particle rolls down its well and up again: no lag at which z alone diffuses."""
    system = Rough(1.0)
    exact = system.exact(case.grid)
    table = ClosureTable(exact.z, exact.drift, case.table.drift_stderr, exact.diffusion, exact.diffusion * 0.05)
    reference = smooth_closure(table, CIRCLE, SmoothSettings(overlap=0.0))
    found = burst_diffusion(bursts_of(system, 2000, step=0.02, interval=2, frames=100, seed=9), reference)
    assert found.plateau is None
    assert found.agrees is None
    assert found.ratio.max() > 1.5


def test_unusable_bursts():
    start, frames = np.zeros((20, 1)), np.zeros((30, 20, 1))
    with pytest.raises(InputError, match="dt must be positive"):
        burst_paths_of(CIRCLE, start, frames, 0.0, np.arange(20))
    frames[3, 2] = np.inf
    with pytest.raises(InputError, match="finite"):
        burst_paths_of(CIRCLE, start, frames, 0.1, np.arange(20))
