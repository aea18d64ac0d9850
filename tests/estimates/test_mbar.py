"""MBAR against pymbar, against closed forms, and its errors against many repetitions."""

import warnings
from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logsumexp

from micromacro.estimates.mbar import Bridge, Pool, solve_mbar

REPLICAS = 100


def stderr(solved, state):
    """Of f of one window minus that of the first."""
    return np.sqrt(np.sum((solved.influence[state] - solved.influence[0]) ** 2))


def pymbar_solution(pool, bias, states):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pymbar

        order = np.argsort(pool.state, kind="stable")
        biases = np.asarray(bias(jnp.asarray(pool.coarse[order]))).T
        counts = np.bincount(pool.state, minlength=states)
        solver = pymbar.MBAR(biases, counts, solver_protocol="robust", relative_tolerance=1e-12)
        return solver.f_k, solver.compute_overlap()["matrix"]


@pytest.fixture(scope="module")
def harmonic(known):
    return known.Harmonic(1.0, 6.0, [-2.0, -1.0, 0.0, 1.0, 2.0, 3.0])


def test_the_solution_on_all_samples_is_that_of_pymbar(known, harmonic):
    rng = np.random.default_rng(0)
    pool = known.pool_of(harmonic.draw(rng, 1000, 4))
    # windows of unequal size, in any order; 20,000 and more are thinned before pymbar sees them
    keep = rng.permutation(len(pool.state))
    keep = keep[rng.random(len(keep)) < (1 + pool.state[keep]) / 6]
    pool = Pool(pool.coarse[keep], pool.state[keep], pool.cluster[keep], pool.weight[keep])
    solved = solve_mbar(pool, harmonic.bias, 6)
    free_energy, overlap = pymbar_solution(pool, harmonic.bias, 6)
    np.testing.assert_allclose(solved.free_energy, free_energy - free_energy[0], atol=1e-7)
    np.testing.assert_allclose(solved.overlap, overlap, atol=1e-7)
    np.testing.assert_allclose(solved.overlap.sum(axis=1), 1.0, atol=1e-9)
    np.testing.assert_array_equal(solved.counts, np.bincount(pool.state))
    at = np.array([[-1.5], [0.3], [2.0]])
    biases = np.asarray(harmonic.bias(jnp.asarray(at)))
    expected = logsumexp(solved.free_energy - biases, b=solved.counts, axis=1)
    np.testing.assert_allclose(solved.log_denominator_at(biases), expected, rtol=1e-12)
    np.testing.assert_allclose(solved.responsibilities_at(biases).sum(axis=1), 1.0, rtol=1e-12)
    own = solved.log_denominator_at(np.asarray(harmonic.bias(jnp.asarray(pool.coarse[:5]))))
    np.testing.assert_allclose(solved.log_denominator[:5], own, rtol=1e-9)


@pytest.mark.parametrize("stiffness", [6.0, 40.0], ids=["overlapping", "hardly overlapping"])
def test_thinning_does_not_show_in_the_solution(known, monkeypatch, stiffness):
    monkeypatch.setattr("micromacro.estimates.mbar.THINNED", 1500)
    monkeypatch.setattr("micromacro.estimates.mbar.MOST_ROWS", 5000)
    harmonic = known.Harmonic(1.0, stiffness, np.arange(-2.0, 4.0))
    pool = known.pool_of(harmonic.draw(np.random.default_rng(1), 600, 4))
    solved = solve_mbar(pool, harmonic.bias, 6)
    free_energy, _ = pymbar_solution(pool, harmonic.bias, 6)
    np.testing.assert_allclose(solved.free_energy, free_energy - free_energy[0], atol=1e-6)


def test_many_windows_are_solved_as_few_are(known, harmonic, monkeypatch):
    pool = known.pool_of(harmonic.draw(np.random.default_rng(3), 500, 4))
    few = solve_mbar(pool, harmonic.bias, 6)
    monkeypatch.setattr("micromacro.estimates.mbar.MANY_WINDOWS", 2)
    monkeypatch.setattr("micromacro.estimates.mbar.MOST_NUMBERS", 6 * 700)
    many = solve_mbar(pool, harmonic.bias, 6)
    for one, other in zip(vars(few).values(), vars(many).values(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-8, atol=1e-9)


def test_free_energies_are_the_analytic_ones_with_errors_that_are_small(known, harmonic):
    pool = known.pool_of(harmonic.draw(np.random.default_rng(2), 1000, 20))
    solved = solve_mbar(pool, harmonic.bias, 6)
    error = np.array([stderr(solved, state) for state in range(1, 6)])
    assert np.all(error < 0.04)
    assert np.abs((solved.free_energy - harmonic.free_energy)[1:] / error).max() < 4


@pytest.mark.parametrize(("memory", "frames", "chains"), [(0.9, 100, 20), (0.5, 100, 3)])
def test_standard_errors_are_honest(known, harmonic, memory, frames, chains):
    rng = np.random.default_rng(3)
    z, naive = [], []
    for _ in range(REPLICAS * (2 if chains < 10 else 1)):
        pool = known.pool_of(harmonic.draw(rng, frames, chains, memory))
        solved = solve_mbar(pool, harmonic.bias, 6)
        error = (solved.free_energy - harmonic.free_energy)[5]
        z.append(error / stderr(solved, 5))
        if len(naive) < 3 and memory == 0.9:
            alone = solve_mbar(replace(pool, cluster=np.arange(len(pool.state))), harmonic.bias, 6)
            naive.append(stderr(alone, 5) / stderr(solved, 5))
    if chains == 3:
        # six windows of three chains leave Student's t with at most 12 degrees of freedom, of variance 12/10
        assert known.honest(np.array(z) / np.sqrt(12 / 10))
    else:
        assert known.honest(z)
    if memory == 0.9:
        # what errors from independent samples would make of it: a fourth of the truth, and no longer honest
        assert np.mean(naive) < 0.35
        assert not known.honest(np.array(z) / np.mean(naive))


def test_chains_that_swap_windows_are_one_cluster(known, harmonic):
    """One fluctuation common to all windows of a chain: only errors over whole chains see it."""
    rng = np.random.default_rng(4)
    z, split = [], []
    for _ in range(REPLICAS):
        common = rng.normal(size=(1, 1, 12, 1))
        values = harmonic.means[:, None, None] + harmonic.spread * (
            np.sqrt(0.5) * common + np.sqrt(0.5) * rng.normal(size=(30, 6, 12, 1))
        )
        pool = known.pool_of(values)
        joined = solve_mbar(replace(pool, cluster=pool.cluster % 12), harmonic.bias, 6)
        z.append((joined.free_energy - harmonic.free_energy)[5] / stderr(joined, 5))
        split.append(stderr(solve_mbar(pool, harmonic.bias, 6), 5) / stderr(joined, 5) if len(split) < 3 else split[0])
    # twelve chains: Student's t with 11 degrees of freedom has the variance 11/9
    assert known.honest(np.array(z) / np.sqrt(11 / 9))
    assert np.mean(split) < 0.7


def test_importance_weights_stand_for_the_window(known, harmonic):
    """Samples of a shifted law with weights, against the analytic answer; without the weights it is far off."""
    rng = np.random.default_rng(5)
    z, off = [], []
    for _ in range(REPLICAS):
        values = harmonic.draw(rng, 60, 12) + 0.5 * harmonic.spread * np.arange(6)[:, None, None] / 5
        pool = known.pool_of(values)
        unit = (pool.coarse[:, 0] - harmonic.means[pool.state]) / harmonic.spread
        shift = 0.5 * pool.state / 5
        weighted = replace(pool, weight=np.exp(0.5 * (unit - shift) ** 2 - 0.5 * unit**2))
        solved = solve_mbar(weighted, harmonic.bias, 6)
        z.append((solved.free_energy - harmonic.free_energy)[5] / stderr(solved, 5))
        if len(off) < 3:
            plain = solve_mbar(pool, harmonic.bias, 6)
            off.append((plain.free_energy - harmonic.free_energy)[5] / stderr(plain, 5))
    assert known.honest(z)
    assert np.abs(off).min() > 4


def test_one_window_is_its_own_reference(known):
    harmonic = known.Harmonic(1.0, 4.0, [0.5])
    pool = known.pool_of(harmonic.draw(np.random.default_rng(0), 50, 4))
    solved = solve_mbar(pool, harmonic.bias, 1)
    assert solved.free_energy == [0.0]
    np.testing.assert_allclose(solved.overlap, [[1.0]])
    assert np.all(solved.influence == 0)


# ---- the bridge


class Bridged:
    """Harmonic windows beside normalised Gaussians that are shifted and widened, one for each window."""

    def __init__(self, harmonic, shift, widening):
        self.harmonic, self.shift, self.widening = harmonic, shift, widening

    @property
    def free_energy(self):
        """Absolute: minus the logarithm of the integral of every window's density."""
        h = self.harmonic
        f = h.curvature * h.stiffness * h.centers**2 / (2 * (h.curvature + h.stiffness))
        return f - 0.5 * np.log(2 * np.pi / (h.curvature + h.stiffness))

    def log_target(self, z):
        """Of states `(frames, windows, chains)`."""
        h = self.harmonic
        return -0.5 * h.curvature * z**2 - 0.5 * h.stiffness * (z - h.centers[:, None]) ** 2

    def log_density(self, z):
        h = self.harmonic
        spread = self.widening * h.spread
        unit = (z - h.means[:, None] - self.shift * h.spread) / spread
        return -0.5 * unit**2 - np.log(spread * np.sqrt(2 * np.pi))

    def draws(self, rng, frames, chains):
        h = self.harmonic
        noise = rng.normal(size=(frames, len(h.centers), chains))
        return h.means[:, None] + h.spread * (self.shift + self.widening * noise)

    def bridge(self, chain, draws):
        """Between states of the chains and draws, both `(frames, windows, chains)`."""
        parts = []
        for z, own in ((draws, False), (chain, True)):
            _, windows, chains = z.shape
            state = np.broadcast_to(np.arange(windows)[:, None], z.shape).ravel()
            cluster = np.broadcast_to(np.arange(windows * chains).reshape(windows, chains), z.shape).ravel()
            parts.append(((self.log_target(z) - self.log_density(z)).ravel(), np.full(z.size, own), state, cluster))
        return Bridge(*(np.concatenate(part) for part in zip(*parts, strict=True)))


@pytest.fixture(scope="module")
def bridged(harmonic):
    return Bridged(harmonic, 0.5, 1.2)


def test_every_density_gives_the_same_free_energy_and_more_of_it_than_the_windows(known, harmonic, bridged):
    rng = np.random.default_rng(6)
    z, joint, alone = [], [], []
    for _ in range(REPLICAS):
        chain = harmonic.draw(rng, 40, 12, 0.8)
        pool = known.pool_of(chain)
        bridge = bridged.bridge(chain[::4, ..., 0], bridged.draws(rng, 20, 12))
        solved = solve_mbar(pool, harmonic.bias, 6, bridge)
        mbar = solve_mbar(pool, harmonic.bias, 6)
        joint.append((solved.free_energy - harmonic.free_energy)[5])
        alone.append((mbar.free_energy - harmonic.free_energy)[5])
        z.append(joint[-1] / stderr(solved, 5))
        assert stderr(solved, 5) < stderr(mbar, 5)
    assert known.honest(z)
    # of 100 against 100 replicas; the F-test's 99.9 % point is 1.87
    assert np.mean(np.square(alone)) > 1.87 * np.mean(np.square(joint))


def test_a_density_makes_windows_without_overlap_comparable(known):
    harmonic = known.Harmonic(1.0, 400.0, [-2.0, 0.0, 2.5])
    bridged = Bridged(harmonic, 0.3, 1.1)
    rng = np.random.default_rng(7)
    z = []
    for _ in range(60):
        chain = harmonic.draw(rng, 40, 12)
        solved = solve_mbar(
            known.pool_of(chain), harmonic.bias, 3, bridged.bridge(chain[..., 0], bridged.draws(rng, 40, 12))
        )
        z.append((solved.free_energy - harmonic.free_energy)[2] / stderr(solved, 2))
        assert stderr(solved, 2) < 0.1
    assert known.honest(z)


def test_a_density_that_misses_half_the_mass_stays_right(known, harmonic, bridged):
    """The density ends at the window's mean: half of the chain's states have ratio infinity."""
    rng = np.random.default_rng(8)
    z = []
    for _ in range(REPLICAS):
        chain = harmonic.draw(rng, 40, 12)
        draws = harmonic.means[:, None] + harmonic.spread * np.abs(rng.normal(size=(20, 6, 12)))
        bridge = bridged.bridge(chain[..., 0], draws)
        unit = np.concatenate([draws, chain[..., 0]]) - harmonic.means[:, None]
        log_density = -0.5 * (unit / harmonic.spread) ** 2 + np.log(2 / (harmonic.spread * np.sqrt(2 * np.pi)))
        states = np.concatenate([draws, chain[..., 0]])
        ratio = np.where(unit < 0, np.inf, bridged.log_target(states) - log_density).ravel()
        bridge = replace(bridge, log_ratio=ratio)
        assert 0.3 < np.mean(np.isinf(ratio[bridge.from_window])) < 0.7
        solved = solve_mbar(known.pool_of(chain), harmonic.bias, 6, bridge)
        z.append((solved.free_energy - harmonic.free_energy)[5] / stderr(solved, 5))
    assert known.honest(z)


def test_draws_that_the_physics_forbids_count_as_nothing_of_the_window(known, harmonic, bridged):
    """A third of the density's draws have zero probability in the window: f rises by log(3/2), in all windows alike."""
    rng = np.random.default_rng(9)
    chain = harmonic.draw(rng, 40, 12)
    bridge = bridged.bridge(chain[..., 0], bridged.draws(rng, 40, 12))
    forbidden = ~bridge.from_window & (bridge.state == 5) & (rng.random(len(bridge.state)) < 1 / 3)
    ratio = np.where(forbidden, -np.inf, bridge.log_ratio)
    # where it is allowed the density is thinner by a third: log π/p is larger
    ratio = ratio + np.where(bridge.state == 5, np.log(1.5), 0.0)
    solved = solve_mbar(known.pool_of(chain), harmonic.bias, 6, replace(bridge, log_ratio=ratio))
    error = (solved.free_energy - harmonic.free_energy)[5]
    assert abs(error) < 4 * stderr(solved, 5)
    assert stderr(solved, 5) < 0.1


def test_a_wrong_normalisation_is_convicted(known, harmonic, bridged):
    """The bounds above would see a density of one window that is off by a factor 1.5."""
    rng = np.random.default_rng(10)
    chain = harmonic.draw(rng, 40, 12)
    bridge = bridged.bridge(chain[..., 0], bridged.draws(rng, 40, 12))
    wrong = replace(bridge, log_ratio=bridge.log_ratio + np.where(bridge.state == 5, np.log(1.5), 0.0))
    solved = solve_mbar(known.pool_of(chain), harmonic.bias, 6, wrong)
    assert abs((solved.free_energy - harmonic.free_energy)[5]) > 4 * stderr(solved, 5)


def test_log_odds_add_the_numbers_of_draws():
    bridge = Bridge(
        np.array([0.5, -1.0, 2.0, 0.0, np.inf]),
        np.array([True, True, False, True, True]),
        np.array([0, 0, 0, 1, 1]),
        np.zeros(5, int),
    )
    np.testing.assert_allclose(bridge.log_odds(2)[:3], np.array([0.5, -1.0, 2.0]) + np.log(2))
