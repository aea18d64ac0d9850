"""Laws that every reference system obeys; a new one inherits them by entering `REFERENCES`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from micromacro.systems.curved_levels import curved_level_sets
from micromacro.systems.half_moon import half_moon, half_moon_confined
from micromacro.systems.hidden_barrier import hidden_barrier, hidden_barrier_bath
from micromacro.systems.model import OverdampedSystem
from micromacro.systems.muller_brown import muller_brown
from micromacro.systems.multiplicative import multiplicative_closure
from micromacro.systems.noisy_fold import noisy_fold
from micromacro.systems.rotated_barrier import rotated_barrier
from micromacro.systems.slow_fast import slow_fast
from micromacro.systems.slow_manifold import quadratic_slow_manifold
from micromacro.systems.three_atom import three_atom
from micromacro.systems.two_coarse import two_coarse_variables

REFERENCES = {
    "hidden-barrier": hidden_barrier(),
    "hidden-barrier-bath": hidden_barrier_bath(5),
    "rotated-barrier": rotated_barrier(4),
    "half-moon": half_moon(),
    "half-moon-confined": half_moon_confined(),
    "muller-brown-x": muller_brown(),
    "muller-brown-y": muller_brown(10.0, "y"),
    "three-atom": three_atom(),
    "quadratic-slow-manifold": quadratic_slow_manifold(),
    "multiplicative-closure": multiplicative_closure(),
    "curved-level-sets": curved_level_sets(),
    "two-coarse-variables": two_coarse_variables(),
    "slow-fast": slow_fast(),
    "noisy-fold": noisy_fold(),
}
# The reduced equation of the multiplicative closure carries a flux: no detailed balance there.
WITH_FREE_ENERGY = [
    name for name, item in REFERENCES.items() if item.exact.free_energy and name != "multiplicative-closure"
]
OVERDAMPED = [name for name, item in REFERENCES.items() if isinstance(item.system, OverdampedSystem)]
WITH_DENSITY = [name for name, item in REFERENCES.items() if item.system.has_density]
DRAWS = 20_000


def coarse_values(reference, count: int) -> np.ndarray:
    """Values inside the range, `(count, d)`, on no special line."""
    shares = np.random.default_rng(3).uniform(0.03, 0.97, (count, len(reference.lower)))
    return np.array(reference.lower) + shares * (np.array(reference.upper) - np.array(reference.lower))


@pytest.mark.parametrize("name", REFERENCES)
def test_answers_have_the_shapes_they_promise(name):
    reference = REFERENCES[name]
    z, exact = coarse_values(reference, 5), reference.exact
    d, size = z.shape[1], reference.system.observe(jnp.asarray(reference.system.initial[0])).shape[0]
    shapes = {
        "free_energy": (5,),
        "hidden_weight": (5,),
        "conditional_mean": (5, size),
        "conditional_variance": (5, size),
        "drift": (5, d),
        "diffusion": (5, d, d),
    }
    for answer, shape in shapes.items():
        function = getattr(exact, answer)
        if function is not None:
            found = function(z)
            assert found.shape == shape, answer
            assert np.isfinite(found).all(), answer
    assert exact.sample_conditional(z[0], 7, np.random.default_rng(0)).shape == (7, size)


@pytest.mark.parametrize("name", REFERENCES)
def test_exact_draws_lie_on_their_level_set_with_the_exact_moments(name):
    reference = REFERENCES[name]
    z = coarse_values(reference, 2)
    mean, variance = reference.exact.conditional_mean(z), reference.exact.conditional_variance(z)
    for row, at in enumerate(z):
        draws = reference.exact.sample_conditional(at, DRAWS, np.random.default_rng(row))
        np.testing.assert_allclose(jax.vmap(reference.coarse)(draws), np.tile(at, (DRAWS, 1)), atol=1e-9)
        square = (draws - mean[row]) ** 2
        assert (abs(draws.mean(0) - mean[row]) <= 4.5 * draws.std(0) / np.sqrt(DRAWS) + 1e-9).all()
        assert (abs(square.mean(0) - variance[row]) <= 4.5 * square.std(0) / np.sqrt(DRAWS) + 1e-9).all()


@pytest.mark.parametrize("name", [name for name in REFERENCES if REFERENCES[name].exact.hidden_weight])
def test_hidden_weight_is_that_of_exact_draws(name):
    reference = REFERENCES[name]
    z = coarse_values(reference, 3)
    weight = reference.exact.hidden_weight(z)
    for row, at in enumerate(z):
        draws = reference.exact.sample_conditional(at, DRAWS, np.random.default_rng(row))
        found = np.asarray(jax.vmap(reference.exact.hidden_indicator)(draws)).mean()
        assert abs(found - weight[row]) < 4 * np.sqrt(weight[row] * (1 - weight[row]) / DRAWS)


@pytest.mark.parametrize("name", WITH_FREE_ENERGY)
def test_drift_diffusion_and_free_energy_obey_detailed_balance(name):
    """b = -D ∇F + ∇·D with F in kT, by central differences.

    It holds for the projected closure of reversible dynamics in any dimension, and of any dynamics in one.
    """
    reference = REFERENCES[name]
    z, exact = coarse_values(reference, 6), reference.exact
    steps = 1e-4 * (np.array(reference.upper) - np.array(reference.lower)) * np.eye(z.shape[1])
    slope = np.stack([(exact.free_energy(z + h) - exact.free_energy(z - h)) / (2 * h.sum()) for h in steps], axis=1)
    change = np.stack([(exact.diffusion(z + h) - exact.diffusion(z - h)) / (2 * h.sum()) for h in steps], axis=1)
    expected = -np.einsum("nab,nb->na", exact.diffusion(z), slope) + np.einsum("nbab->na", change)
    np.testing.assert_allclose(exact.drift(z), expected, rtol=1e-5, atol=1e-6 * abs(expected).max())


@pytest.mark.parametrize("name", OVERDAMPED)
def test_gradient_of_the_potential_is_its_finite_difference(name):
    system = REFERENCES[name].system
    point = system.initial[0] + 0.05 * np.random.default_rng(5).standard_normal(system.dimension)
    steps = 1e-5 * np.eye(system.dimension)
    potential = jax.jit(jax.vmap(system.potential))
    found = (potential(point + steps) - potential(point - steps)) / 2e-5
    expected = -jax.jit(system.drift)(point) / system.mobility
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("name", WITH_DENSITY)
def test_log_density_is_stationary_under_the_dynamics(name):
    r"""The Fokker-Planck residual per density, ∇·b + b·∇ℓ - ½ σ² (∇²ℓ + |∇ℓ|²), vanishes (σ is constant)."""
    system = REFERENCES[name].system

    def residual(state):
        drift, slope = system.drift(state), jax.grad(system.log_density)(state)
        half_square = system.diffusion(state) ** 2 / 2
        curvature = jnp.diagonal(jax.hessian(system.log_density)(state))
        divergence = jnp.trace(jax.jacobian(system.drift)(state))
        spreading = half_square @ (curvature + slope**2)
        return jnp.stack([divergence, drift @ slope, -spreading])

    starts = system.initial + 0.03 * np.random.default_rng(7).standard_normal(system.initial.shape)
    terms = np.asarray(jax.jit(jax.vmap(residual))(starts))
    assert (abs(terms.sum(axis=1)) < 1e-9 * abs(terms).max(axis=1) + 1e-12).all()


@pytest.mark.parametrize("name", REFERENCES)
def test_hidden_inverts_observe(name):
    system = REFERENCES[name].system
    for start in system.initial:
        np.testing.assert_allclose(system.hidden(system.observe(jnp.asarray(start))), start, atol=1e-12)


@pytest.mark.parametrize("name", REFERENCES)
def test_starts_and_the_whole_range_are_within_reach(name):
    """Starting points have moderate energy, and F varies by less than 30 kT over the range."""
    reference = REFERENCES[name]
    if reference.exact.free_energy is not None:
        axes = [np.linspace(low, high, 21) for low, high in zip(reference.lower, reference.upper, strict=True)]
        grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(axes))
        free_energy = reference.exact.free_energy(grid)
        assert np.ptp(free_energy) < 30
    if reference.system.has_density:
        densities = [float(reference.system.log_density(jnp.asarray(q))) for q in reference.system.initial]
        assert np.ptp(densities) < 12


@pytest.mark.parametrize("name", [name for name in REFERENCES if REFERENCES[name].exact.sample_stationary])
def test_draws_of_the_whole_law_have_the_exact_free_energy(name):
    reference = REFERENCES[name]
    draws = reference.exact.sample_stationary(100 * DRAWS // 4, np.random.default_rng(1))
    z = np.asarray(jax.jit(jax.vmap(reference.coarse))(draws))[:, 0]
    edges = np.linspace(reference.lower[0], reference.upper[0], 41)
    counts = np.histogram(z, edges)[0]
    inner = np.linspace(edges[:-1], edges[1:], 17)
    density = np.exp(-reference.exact.free_energy(inner.reshape(-1, 1))).reshape(inner.shape)
    expected = np.trapezoid(density, axis=0)
    expected *= counts.sum() / expected.sum()
    often = expected > 100
    deviation = (counts - expected)[often] / np.sqrt(expected[often])
    assert often.sum() > 20
    assert np.sum(deviation**2) < often.sum() + 4.5 * np.sqrt(2 * often.sum())
