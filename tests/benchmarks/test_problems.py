"""The laws that generators are judged on: densities against quadrature, draws against densities, what is held out."""

import numpy as np
import pytest

from benchmarks.problems import PROBLEMS

# cells each way of the midpoint rule, and what it holds: where a density jumps, a share of a cell only
CELLS = dict.fromkeys(PROBLEMS, 200) | {"two-moons": 1200}
TOLERANCE = dict.fromkeys(PROBLEMS, 1e-6) | {"two-moons": 6e-3}
WAVES = np.array([[1, 0], [0, 1], [1, 1], [1, -1], [2, 1], [4, -3]])
# its draws take long
LONG = {"muller-brown": pytest.mark.slow}
ALL = [pytest.param(name, marks=LONG.get(name, ())) for name in PROBLEMS]
PLANE = [one for one in ALL if "bath" not in str(one.values[0])]


@pytest.fixture(scope="module", params=ALL)
def problem(request):
    return PROBLEMS[request.param]()


@pytest.fixture(scope="module", params=PLANE)
def plane(request):
    return PROBLEMS[request.param]()


def grid_of(problem, z):
    """Midpoints `(n, 2)` over all that the density reaches, their density and the area of a cell."""
    draws = problem.truth(z, 20_000, np.random.default_rng(0))
    low, high = draws.min(axis=0), draws.max(axis=0)
    low, high = low - 0.4 * (high - low), high + 0.4 * (high - low)
    if problem.state.circles or np.isfinite(problem.state.lower).all():
        low, high = (np.array(ends) for ends in (problem.state.lower, problem.state.upper))
    cells = CELLS[problem.name]
    width = (high - low) / cells
    axes = [start + step * (np.arange(cells) + 0.5) for start, step in zip(low, width, strict=True)]
    nodes = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
    return nodes, np.exp(problem.log_density(nodes, z)), width.prod()


def waves(q):
    """Averages of these fix a law: cosines and sines of whole multiples, which also a torus knows."""
    phase = q[:, :2] @ WAVES.T
    return np.hstack([np.cos(phase), np.sin(phase)])


def test_the_density_integrates_to_one_and_the_draws_are_its_own(plane):
    for z in plane.held_out[::3]:
        nodes, density, area = grid_of(plane, z)
        assert abs(density.sum() * area - 1) < TOLERANCE[plane.name]
        exact = density @ waves(nodes) * area
        drawn = waves(plane.truth(z, 100_000, np.random.default_rng(1)))
        error = drawn.std(axis=0) / np.sqrt(len(drawn))
        assert np.all(np.abs(drawn.mean(axis=0) - exact) < 4 * error + TOLERANCE[plane.name])


def test_the_mean_log_density_of_the_draws_is_minus_their_entropy(plane):
    z = plane.held_out[1]
    _, density, area = grid_of(plane, z)
    exact = np.sum(density * np.log(np.maximum(density, 1e-300))) * area
    logs = plane.log_density(plane.truth(z, 50_000, np.random.default_rng(2)), z)
    assert abs(logs.mean() - exact) < 4 * logs.std() / np.sqrt(len(logs)) + 5 * TOLERANCE[plane.name]


@pytest.mark.parametrize("dimension", [20, 60])
def test_a_bath_adds_the_entropy_of_its_gaussians(dimension):
    bath, base = PROBLEMS[f"hidden-barrier-bath-{dimension}"](), PROBLEMS["hidden-barrier"]()
    z = bath.held_out[2]
    draws = bath.truth(z, 50_000, np.random.default_rng(3))
    logs = bath.log_density(draws, z) - base.log_density(draws[:, :2], z)
    deviations = 0.3 + 0.3 * np.mod(0.5 + 0.6180339887 * np.arange(dimension - 2), 1.0)
    exact = -np.sum(np.log(deviations * np.sqrt(2 * np.pi * np.e)))
    assert abs(logs.mean() - exact) < 4 * np.sqrt((dimension - 2) / 2 / len(logs))


def test_a_training_state_ranks_anywhere_among_exact_draws(problem):
    q, z = problem.pairs(400, np.random.default_rng(4))
    rng, among = np.random.default_rng(5), 9
    others = np.stack([problem.truth(condition, among, rng) for condition in z])
    ranks = np.sum(others[:, :, 1] < q[:, None, 1], axis=1)
    expected = len(q) / (among + 1)
    chi_squared = np.sum((np.bincount(ranks, minlength=among + 1) - expected) ** 2) / expected
    assert chi_squared < among + 4 * np.sqrt(2 * among)


def test_no_training_pair_is_near_a_held_out_condition(problem):
    _, z = problem.pairs(20_000, np.random.default_rng(6))
    distance = np.abs(np.asarray(problem.condition.difference(z[:, None], problem.held_out)))
    assert np.all(np.any(distance >= problem.gap, axis=2))
    assert np.any(np.all(distance < 2 * problem.gap, axis=2))  # but no further away than said
    _, all_of_them = problem.joint(20_000, np.random.default_rng(6))
    assert not problem.far(all_of_them).all()


def test_shapes_and_seeds(problem):
    q, z = problem.pairs(1000, np.random.default_rng(7))
    assert q.shape == (1000, problem.dimension)
    assert z.shape == (1000, problem.condition.dimension)
    np.testing.assert_array_equal(q, problem.pairs(1000, np.random.default_rng(7))[0])
    draws = problem.truth(problem.held_out[1], 500, np.random.default_rng(8))
    assert draws.shape == (500, problem.dimension)
    assert np.all(np.isfinite(problem.log_density(draws, problem.held_out[1])))
