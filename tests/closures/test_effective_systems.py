"""Learned closures of the reference systems, each against the exact answer of this route at its lag.

Starts are lifted exactly and uniformly over the range, then healed; figures are printed, `-s` shows them.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from micromacro.closures.effective import EffectiveSettings, fit_effective_dynamics
from micromacro.closures.grid import uniform_grid
from micromacro.closures.snapshots import SnapshotPairs
from micromacro.coordinates.coarse import CoarseVariable
from micromacro.sampling.euler_maruyama import simulate
from micromacro.systems.multiplicative import multiplicative_closure
from micromacro.systems.slow_manifold import closure_at_lag, quadratic_slow_manifold
from micromacro.systems.three_atom import three_atom

SEEDS = (0, 1, 2)


@dataclass(frozen=True)
class Burst:
    """How the pairs of one system are made: `count` walkers, steps of healing, steps of a lag."""

    count: int
    healing: int
    steps: int


def pairs_of(reference, burst: Burst, seed: int) -> tuple[CoarseVariable, SnapshotPairs]:
    """Walkers from exact conditional states, uniform over the range and a tenth beyond; the angle counts its turns."""
    ends = np.array(reference.lower), np.array(reference.upper)
    coarse = CoarseVariable(reference.coarse, *ends, reference.periodic)
    system, rng = reference.system, np.random.default_rng(seed)
    beyond = np.where(reference.periodic, 0, 0.05) * coarse.range
    z = rng.uniform(coarse.lower - beyond, coarse.upper + beyond, (burst.count, 1))
    observed = np.stack([reference.exact.sample_conditional(one, 1, rng)[0] for one in z])
    state = np.asarray(jax.vmap(system.hidden)(jnp.asarray(observed)))
    keys = jax.random.split(jax.random.key(seed))
    healed = simulate(system.drift, system.diffusion, state, system.time_step, burst.healing, keys[0]).final
    after = simulate(system.drift, system.diffusion, healed, system.time_step, burst.steps, keys[1]).final
    start, end = (
        np.asarray(jax.vmap(lambda q: reference.coarse(system.observe(q)))(jnp.asarray(one, float)))
        for one in (healed, after)
    )
    cost = burst.count * (burst.healing + burst.steps)
    lag, ones = burst.steps * system.time_step, np.ones(burst.count)
    return coarse, SnapshotPairs(start, end - start, lag, ones, np.arange(burst.count), cost)


def judge(name, reference, burst, drift, diffusion):
    """Mean squared z-scores of b and D over the grid, averaged over seeds, and the largest errors, relative."""
    scores, errors = [], []
    for seed in SEEDS:
        coarse, pairs = pairs_of(reference, burst, seed)
        fit = fit_effective_dynamics(coarse, pairs, EffectiveSettings(), jax.random.key(seed))
        table = fit.table(uniform_grid(coarse, (100,)))
        b, D = table.drift[:, 0] - drift(table.z), table.diffusion[:, 0, 0] - diffusion(table.z)
        scores.append(
            (np.mean((b / table.drift_stderr[:, 0]) ** 2), np.mean((D / table.diffusion_stderr[:, 0, 0]) ** 2))
        )
        relative = np.stack([b / np.ptp(drift(table.z)), D / diffusion(table.z)])
        errors.append((*np.sqrt(np.mean(relative**2, axis=1)), *np.abs(relative).max(axis=1)))
        assert table.finite.all()
        assert fit.residual_check.passed, fit.residual_check.reason
    score, error = np.mean(scores, axis=0), np.max(errors, axis=0)
    print(f"{name}: {burst.count} pairs, lag {pairs.lag:.4g}, {fit.force_evaluations:.3g} force evaluations a fit")
    print(f"  mean squared z of b {score[0]:.2f}, of D {score[1]:.2f}; largest of {len(SEEDS)} seeds, over the grid:")
    print(f"  b off by {error[0]:.3f} of its range (root mean square), {error[2]:.3f} (anywhere)")
    print(f"  D off by {error[1]:.3f} of itself (root mean square), {error[3]:.3f} (anywhere)")
    return score, error


@pytest.mark.slow
def test_quadratic_slow_manifold_is_that_of_its_lag_and_nearly_the_homogenised_one():
    rate, diffusion = closure_at_lag(0.4)
    reference = quadratic_slow_manifold()
    score, error = judge(
        "slow manifold",
        reference,
        Burst(100_000, 0, 200),
        lambda z: -rate * z[:, 0],
        lambda z: np.full(len(z), diffusion),
    )
    assert ((score > 0.4) & (score < 1.6)).all()
    assert error[:2].max() < 0.05
    assert rate == pytest.approx(1, abs=0.02)


@pytest.mark.slow
def test_multiplicative_closure():
    reference = multiplicative_closure(0.01)
    score, error = judge(
        "multiplicative closure",
        reference,
        Burst(60_000, 50, 300),
        lambda z: reference.exact.drift(z)[:, 0],
        lambda z: reference.exact.diffusion(z)[:, 0, 0],
    )
    assert ((score > 0.4) & (score < 1.6)).all()
    assert error[:2].max() < 0.05


@pytest.mark.slow
def test_three_atom_molecule():
    reference = three_atom()
    score, error = judge(
        "three-atom molecule",
        reference,
        Burst(100_000, 0, 20),
        lambda z: reference.exact.drift(z)[:, 0],
        lambda z: reference.exact.diffusion(z)[:, 0, 0],
    )
    assert ((score > 0.4) & (score < 1.6)).all()
    assert error[:2].max() < 0.05
