"""Routes to the closure beyond the projection in a run, and the reduced dynamics judged by the full model."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest

from micromacro.cases.case import BiasSettings, Case, CloseSettings
from micromacro.closures.files import read_closures
from micromacro.coordinates.coarse import CoarseVariable
from micromacro.errors import InputError
from micromacro.run import Result, run
from micromacro.systems.model import StochasticSystem

FAST = 0.05  # time of y
BUDGET = 3_000_000


def drift(q):
    """x in a harmonic well; y relaxes to it."""
    return jnp.stack([-q[0], (q[0] - q[1]) / FAST])


def log_density(q):
    """The stationary density: x has unit variance, and (x, y) is Gaussian."""
    return -0.5 * q @ (PRECISION @ q)


# A S + S Aᵀ + σσᵀ = 0 for A = [[-1, 0], [1/f, -1/f]], σσᵀ = diag(2, 2/f)
COVARIANCE = np.array([[1.0, 1 / (1 + FAST)], [1 / (1 + FAST), 1 + 1 / (1 + FAST)]])
PRECISION = np.linalg.inv(COVARIANCE)


def relaxing_case(**system) -> Case:
    given = {"drift": drift, "log_stationary_density": log_density} | system
    noise = jnp.sqrt(jnp.array([2.0, 2 / FAST]))
    micro = StochasticSystem(
        diffusion=lambda _: noise, dimension=2, initial=np.array([[-1.0, -1.0], [1.0, 1.0]]), time_step=0.005, **given
    )
    coarse = CoarseVariable(lambda q: q[:1], np.array([-3.0]), np.array([3.0]), (False,))
    bias = BiasSettings(windows=8, walkers=24, steps=400)
    close = CloseSettings(bursts=1_000_000, full_model=1_500_000)
    return Case("relaxing", "A linear system", micro, coarse, bias=bias, close=close, budget=BUDGET)


@pytest.fixture(scope="module")
def relaxing(tmp_path_factory):
    return run(relaxing_case(), tmp_path_factory.mktemp("relaxing") / "out", method="umbrella")


def judged(result: Result, name: str) -> dict:
    return result.summary["consistency"][name]


def test_every_route_finds_the_closure(relaxing):
    """x is Markov by itself: b = -x and D = 1 in every limit."""
    assert list(relaxing.closures) == ["projected", "bursts", "learned"]
    for route, table in relaxing.closures.items():
        inner = table.finite & (np.abs(table.z[:, 0]) < 2)
        assert inner.sum() > 50, route
        error = table.drift[inner, 0] + table.z[inner, 0]
        spread = np.hypot(table.drift_stderr[inner, 0], 0.02)
        assert np.mean((error / spread) ** 2) < 3, route
        np.testing.assert_allclose(table.diffusion[inner, 0, 0], 1, atol=0.25, err_msg=route)
    assert judged(relaxing, "closures")["passed"] is True


def test_reduced_and_full_times_agree(relaxing):
    row = judged(relaxing, "dynamics")
    assert row["passed"] is True, row
    ratio = relaxing.summary["reduction"]["agreement"]["projected"]["ratios"]["slowest time scale"]
    assert abs(ratio["ratio"] - 1) < 4 * ratio["stderr"] + 0.05


def test_the_file_the_object_and_reduce_know_the_routes(relaxing):
    assert list(read_closures(relaxing.path / "closure.csv")) == list(relaxing.closures)
    assert relaxing.bursts is not None
    assert relaxing.bursts.study is not None
    smooth = relaxing.smooth_closure("bursts")
    assert abs(float(smooth.drift(jnp.array([0.5]))[0]) + 0.5) < 0.2
    for route in relaxing.closures:
        found = relaxing.reduce(8.0, 400, route=route)
        assert abs(found.z[:, -1].std() - 1) < 0.2, route
    with pytest.raises(InputError, match="no such route"):
        relaxing.reduce(1.0, 2, route="guessed")


def test_the_budget_is_never_exceeded(relaxing):
    stages = relaxing.summary["stages"]
    assert relaxing.summary["force_evaluations"] <= BUDGET
    assert 0 < stages["bursts"]["force_evaluations"] <= 1_000_000
    assert stages["full_model"]["force_evaluations"] > 0


def test_the_report_shows_them(relaxing):
    page = relaxing.write_report().read_text()
    for words in ("Routes to the closure", "short bursts of the full dynamics", "slowest time scale"):
        assert words in page


def test_a_density_that_is_not_that_of_the_dynamics_is_caught(tmp_path):
    """Said to be narrower than it is: F, and with it the starts, contradict the dynamics."""
    case = relaxing_case(log_stationary_density=lambda q: 2 * log_density(q))
    wrong = run(replace(case, close=replace(case.close, bursts=0)), tmp_path / "out", method="umbrella")
    assert judged(wrong, "dynamics")["passed"] is False, judged(wrong, "dynamics")


@pytest.mark.slow
def test_without_bursts_nothing_is_spent_and_the_reason_is_told(tmp_path):
    case = relaxing_case()
    none = run(replace(case, close=CloseSettings(bursts=0, full_model=0)), tmp_path / "out", method="umbrella")
    assert list(none.closures) == ["projected"]
    assert none.summary["reduction"]["reasons"]["bursts"] == "[close] bursts is 0"
    assert none.summary["reduction"]["reasons"]["full_model"] == "[close] full_model is 0"
    assert {"bursts", "full_model"}.isdisjoint(none.summary["stages"])
    with pytest.raises(InputError, match="bursts is 0"):
        none.reduce(1.0, 2, route="bursts")


@pytest.mark.slow
def test_bursts_too_dear_leave_the_dynamics_judged_by_the_full_model(tmp_path):
    case = relaxing_case()
    dear = run(replace(case, close=replace(case.close, bursts=2_000)), tmp_path / "out", method="umbrella")
    assert "bursts" not in dear.closures
    assert judged(dear, "dynamics")["passed"] is True
    assert "slowest time scale" in dear.summary["reduction"]["agreement"]["projected"]["ratios"]


def test_hidden_wells_that_do_not_mix_leave_the_dynamics_unjudged(umbrella):
    row = judged(umbrella, "dynamics")
    assert row["passed"] is None
    assert "no gap" in row["reason"]
    assert "bursts" not in umbrella.summary["stages"]
