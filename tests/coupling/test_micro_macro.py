"""The micro–macro chain samples the whole Boltzmann distribution, whatever F̂ and generator; a wrong ratio is caught.

Chains begin at exact draws of the extended state (q, z). Moves that are right keep them so: means over the frames of a
walker are compared with quadrature, with standard errors between walkers, which are independent.
"""

from dataclasses import dataclass, replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array
from scipy import stats

from micromacro.coordinates.coarse import CoarseVariable
from micromacro.coupling import chains, micro_macro
from micromacro.coupling.chains import MicroMacro
from micromacro.coupling.macro import MacroDensity, blurred_density
from micromacro.coupling.micro_macro import ChainState, CycleInfo, LocalTuning, MicroMacroSettings
from micromacro.errors import InputError
from micromacro.estimates.surface import FreeEnergySurface, coarse_grid
from micromacro.sampling.engine import JaxEngine
from micromacro.sampling.production import Frames
from micromacro.sampling.proposal import Draw
from micromacro.systems.model import OverdampedSystem

WALKERS, CYCLES = 4000, 12
STANDARD_ERRORS, CAUGHT = 4.5, 10.0
TUNING = LocalTuning(jnp.asarray(0.02), jnp.eye(2))
SETTINGS = MicroMacroSettings(macro_steps=10, local_steps=2)


class Wells(eqx.Module):
    """A Gaussian in x about z, and a mixture of two in y about ±1, with proportions and widths of one's choice.

    The density is known where y is above `hole` alone; it lies where `said` is not `upper`; `anywhere` on a circle in
    x, instead of about z.
    """

    upper: Array
    width: Array
    hole: Array
    said: Array
    anywhere: bool = eqx.field(static=True)

    def __init__(self, upper=0.5, width=(0.2, 0.25), hole=-np.inf, said=None, anywhere=False):
        self.anywhere = anywhere
        said = upper if said is None else said
        self.upper, self.width, self.hole, self.said = (jnp.asarray(part, float) for part in (upper, width, hole, said))

    def sample(self, z, key):
        place, well, noise = jax.random.split(key, 3)
        sign = jnp.where(jax.random.uniform(well) < self.upper, 1.0, -1.0)
        state = jnp.stack([z[0], sign]) + self.width * jax.random.normal(noise, (2,))
        x = jax.random.uniform(place, (), minval=-np.pi, maxval=np.pi)
        return jnp.stack([x, state[1]]) if self.anywhere else state

    def log_prob(self, q, z):
        width = jnp.stack([np.sqrt(2 * np.pi), self.width[1]]) if self.anywhere else self.width
        offset = jnp.zeros(()) if self.anywhere else q[0] - z[0]
        noise = [jnp.stack([offset, q[1] - y]) / width for y in (1.0, -1.0)]
        shares = jnp.log(jnp.stack([self.said, 1 - self.said]))
        total = jnp.logaddexp(*(share - 0.5 * jnp.sum(one**2) for share, one in zip(shares, noise, strict=True)))
        return total - jnp.log(2 * np.pi * jnp.prod(width)), q[1] > self.hole

    def sample_and_log_prob(self, z, key):
        state = self.sample(z, key)
        return Draw(state, *self.log_prob(state, z))

    def weighted_sample(self, z, key):
        return self.sample_and_log_prob(z, key)


@dataclass(frozen=True)
class Problem:
    """A system in the plane with ξ = x, its weights on a grid, and functions of q to average.

    `grid` `(n, 2)` of states, `share` `(n,)` their probability, `macro` the density of z that follows from it.
    """

    sampler: MicroMacro
    grid: np.ndarray
    share: np.ndarray
    macro: MacroDensity
    functions: dict

    def start(self, rng, walkers=WALKERS):
        """Exact draws."""
        spacing = np.array([np.diff(np.unique(axis))[0] for axis in self.grid.T])
        states = self.grid[rng.choice(len(self.grid), walkers, p=self.share)]
        return jnp.asarray(states + spacing * (rng.random((walkers, 2)) - 0.5))

    def after(self, generator, macro=None, sampler=None, seed=0):
        """Chains from exact draws."""
        sampler = sampler or self.sampler
        start = self.start(np.random.default_rng(seed))
        return sampler.sample(generator, macro or self.macro, TUNING, start, jax.random.key(seed), frames=CYCLES)

    def lifts(self):
        """A sampler of its own, without local moves: compiled anew, so that what was replaced counts."""
        return MicroMacro(self.sampler.engine, MicroMacroSettings(macro_steps=10, local_steps=0))

    def deviations(self, found):
        """How many standard errors the averages of independent walkers are from the truth; those of z - ξ come last."""
        position = found.frames.position[:, 0]
        pairs = [(function(position), self.share @ function(self.grid)) for function in self.functions.values()]
        shift = np.asarray(self.macro.space.difference(found.coarse, found.frames.coarse[:, 0]))[..., 0]
        half = self.macro.space.period[0] / 2 / float(self.macro.blur[0])
        variance = float(self.macro.blur[0]) ** 2 * stats.truncnorm(-half, half).var()
        errors = []
        for values, exact in [*pairs, (shift, 0.0), (shift**2, variance)]:
            means = values.mean(axis=0)
            errors.append(abs(means.mean() - exact) / (means.std() / np.sqrt(len(means))))
        return np.array(errors)


def wells_potential(q):  # two wells in x of unequal depth, two hidden ones in y that x tilts
    return 2.5 * (q[0] ** 2 - 1) ** 2 + 0.4 * q[0] + 8 * (q[1] ** 2 - 1) ** 2 + 0.8 * q[0] * q[1]


def ring_potential(q):  # the same on a circle in x
    return 1.5 * jnp.cos(2 * q[0]) + 0.5 * jnp.sin(q[0]) + 8 * (q[1] ** 2 - 1) ** 2 + 0.8 * jnp.sin(q[0]) * q[1]


def problem(potential, coarse, x, functions, blur):
    system, y = OverdampedSystem(potential, 2, np.array([[-1.0, 1.0], [1.0, -1.0]])), np.linspace(-2, 2, 401)
    density = jax.jit(
        lambda x: jnp.exp(jax.vmap(jax.vmap(system.log_density))(jnp.stack(jnp.meshgrid(x, y, indexing="ij"), -1)))
    )
    weight = np.asarray(density(x)).ravel()
    cells = coarse_grid(coarse, 20)
    free_energy = -np.log(np.asarray(density(cells.points[:, 0])).sum(axis=1))
    macro = blurred_density(coarse, FreeEnergySurface(cells, free_energy, free_energy), np.array([blur]))
    grid = np.stack(np.meshgrid(x, y, indexing="ij"), -1).reshape(-1, 2)
    return Problem(MicroMacro(JaxEngine(system, coarse), SETTINGS), grid, weight / weight.sum(), macro, functions)


@pytest.fixture(scope="module")
def wells():
    coarse = CoarseVariable(lambda q: q[:1], np.array([-1.8]), np.array([1.8]), (False,))
    functions = {
        "x": lambda q: q[..., 0],
        "spread": lambda q: (np.abs(q[..., 0]) - 1) ** 2,
        "upper": lambda q: (q[..., 1] > 0) * 1.0,
        "width": lambda q: (np.abs(q[..., 1]) - 1) ** 2,
        "product": lambda q: q[..., 0] * q[..., 1],
    }
    return problem(wells_potential, coarse, np.linspace(-2.4, 2.4, 481), functions, 0.2)


@pytest.fixture(scope="module")
def ring():
    """A circle in x, with a blur so wide that its cut half a period away is felt."""
    coarse = CoarseVariable(lambda q: q[:1], np.array([-np.pi]), np.array([np.pi]), (True,))
    functions = {
        "cos": lambda q: np.cos(q[..., 0]),
        "sin": lambda q: np.sin(q[..., 0]),
        "upper": lambda q: (q[..., 1] > 0) * 1.0,
        "product": lambda q: np.sin(q[..., 0]) * q[..., 1],
    }
    return problem(ring_potential, coarse, np.linspace(-np.pi, np.pi, 480, endpoint=False), functions, 1.3)


GENERATORS = [
    pytest.param(Wells(), id="near"),
    pytest.param(Wells(upper=0.9), id="wrong proportions"),
    pytest.param(Wells(width=(0.1, 0.15)), id="too narrow"),
    pytest.param(Wells(width=(0.5, 0.6)), id="too wide"),
    pytest.param(Wells(hole=-1.0), id="unknown below -1"),
]


@pytest.mark.parametrize("generator", GENERATORS)
def test_the_generator_does_not_move_the_answer(wells, generator):
    found = wells.after(generator)
    assert found.micro > 0.02
    assert wells.deviations(found).max() < STANDARD_ERRORS


def tilted(density, slope):
    """The same density with a wrong free energy: a slope added to F̂."""
    table = density.free_energy
    added = slope * jnp.arange(table.coefficients.shape[0]) * table.spacing[0]
    return replace(density, free_energy=replace(table, coefficients=table.coefficients + added))


@pytest.mark.parametrize("kind", ["tilted", "flat", "in a box"])
def test_the_macroscopic_free_energy_does_not_move_the_answer(wells, kind):
    density = wells.macro
    flat = replace(density.free_energy, coefficients=0 * density.free_energy.coefficients)
    wrong = {
        "tilted": tilted(density, 1.5),
        "flat": replace(density, free_energy=flat),
        "in a box": replace(density, lower=jnp.array([-1.2]), upper=jnp.array([1.0])),
    }[kind]
    found = wells.after(Wells(), wrong)
    assert found.micro > 0.02
    assert wells.deviations(found).max() < STANDARD_ERRORS


@pytest.mark.parametrize("upper", [0.5, 0.85])
def test_a_periodic_coarse_variable(ring, upper):
    found = ring.after(Wells(upper, anywhere=True))
    assert found.micro > 0.05
    assert ring.deviations(found).max() < STANDARD_ERRORS


@pytest.mark.slow
def test_one_macroscopic_step_is_delayed_acceptance(wells):
    sampler = MicroMacro(wells.sampler.engine, MicroMacroSettings(macro_steps=1, local_steps=0))
    assert wells.deviations(wells.after(Wells(), sampler=sampler)).max() < STANDARD_ERRORS


OMITTED = {
    "the density of z": ("log_proposal", lambda macro, z, log_prob: log_prob),
    "the blur": ("log_target", lambda macro, walker, z: walker.log_density),
    "the density of the generator": ("log_proposal", lambda macro, z, log_prob: macro.log_density(z)),
}
LATER = [pytest.param(name, marks=pytest.mark.slow) for name in OMITTED][2:]


@pytest.mark.parametrize("factor", [*list(OMITTED)[:2], *LATER])
def test_a_factor_left_out_of_the_ratio_is_caught(wells, monkeypatch, factor):
    monkeypatch.setattr(micro_macro, *OMITTED[factor])
    found = wells.after(Wells(0.7, (0.35, 0.25)), tilted(wells.macro, 1.0), wells.lifts())
    assert wells.deviations(found)[:-2].max() > CAUGHT


def test_a_density_that_is_not_that_of_the_draws_is_caught(wells):
    assert wells.deviations(wells.after(Wells(0.85, said=0.5)))[:-2].max() > CAUGHT


@pytest.mark.slow
def test_a_refresh_left_out_is_caught(wells, monkeypatch):
    """Local moves keep π(q) alone: the move after them is right only where z belongs to q again."""

    def stale(engine, generator, macro, tuning, settings, state, key):
        keys = jax.random.split(key)
        state, along, pair = micro_macro.micro_macro_move(engine, generator, macro, 10, state, keys[0])
        walker, local = micro_macro.local_moves(engine, tuning, 10, state.walker, keys[1])
        return ChainState(walker, state.coarse), CycleInfo(along, pair, local)

    monkeypatch.setattr(chains, "cycle", stale)
    wide = Wells(0.5, (0.4, 0.25))
    assert wells.deviations(wells.after(wide, tilted(wells.macro, 1.0), wells.lifts()))[:-2].max() > CAUGHT


def test_moved_chains_and_fresh_draws_have_the_same_law(wells):
    """Ranks of x, of y and of z after the moves among exact draws that nothing moved."""
    found, rng = wells.after(Wells(0.8), seed=3), np.random.default_rng(11)
    exact = np.asarray(wells.start(rng, 50_000))
    blurred = exact[:, 0] + float(wells.macro.blur[0]) * rng.normal(size=len(exact))
    moved = np.asarray(found.last.walker.position)
    pairs = [(moved[:, 0], exact[:, 0]), (moved[:, 1], exact[:, 1]), (found.coarse[-1, :, 0], blurred)]
    assert min(np.asarray(stats.ks_2samp(*pair))[1] for pair in pairs) > 1e-3


def test_chains_from_one_well_reach_the_law(wells):
    """Not only kept: found, from a single state."""
    start = jnp.broadcast_to(jnp.array([1.0, 1.0]), (WALKERS, 2))
    found = wells.sampler.sample(Wells(), wells.macro, TUNING, start, jax.random.key(1), frames=CYCLES, chunks=8)
    position, coarse, log_density = (part[-CYCLES:] for part in list(vars(found.frames).values())[:3])
    later = replace(found, frames=Frames(position, coarse, log_density, np.ones(1)), coarse=found.coarse[-CYCLES:])
    assert wells.deviations(later).max() < STANDARD_ERRORS


def test_the_blurred_density_is_that_of_z(wells):
    """F̂ of the true F of x gives the normalised density of x + s η."""
    z = np.linspace(-1.7, 1.7, 35)
    x, weight = wells.grid[:, 0].reshape(481, -1)[:, 0], wells.share.reshape(481, -1).sum(axis=1)
    exact = -np.log(np.exp(-0.5 * ((z[:, None] - x) / 0.2) ** 2) @ weight)
    found = -np.asarray(jax.vmap(wells.macro.log_density)(jnp.asarray(z)[:, None]))
    np.testing.assert_allclose(found - found.mean(), exact - exact.mean(), atol=0.02)
    assert wells.macro.log_density(jnp.array([2.5])) == -np.inf


def test_cost_and_progress_are_counted(wells):
    engine, done = wells.sampler.engine, []
    before = engine.evaluations
    found = wells.sampler.sample(
        Wells(),
        wells.macro,
        TUNING,
        wells.start(np.random.default_rng(0)),
        jax.random.key(0),
        frames=CYCLES,
        chunks=2,
        advance=done.append,
    )
    assert found.evaluations == engine.evaluations - before == WALKERS * (1 + 2 * CYCLES * 3)
    assert done == [WALKERS * CYCLES] * 2
    assert found.frames.position.shape == (2 * CYCLES, 1, WALKERS, 2)
    assert 0 < found.macro < 1
    assert 0.3 < found.local < 1


def test_settings_are_checked():
    with pytest.raises(InputError, match="macro_steps must be at least 1"):
        MicroMacroSettings(macro_steps=0)
    with pytest.raises(InputError, match="local_steps must be at least 0"):
        MicroMacroSettings(local_steps=-1)
