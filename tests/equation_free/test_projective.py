"""Orders of convergence of projective integration, its costs, and its error bars."""

import numpy as np
import pytest

from micromacro.equation_free.projective import forward_euler, integrate, midpoint
from micromacro.equation_free.time_stepper import StepperSettings
from micromacro.errors import InputError
from micromacro.systems.slow_fast import coarse_mean


def logistic(z, time):
    """The flow of z' = z (1 - z)."""
    grown = z * np.exp(time)
    return grown / (1 - z + grown)


@pytest.mark.parametrize(("scheme", "order"), [(forward_euler, 1), (midpoint, 2)])
@pytest.mark.parametrize("healing", [0.0, 1e-4])
def test_order_of_convergence(known, scheme, order, healing):
    stepper = known(logistic, healing=healing, horizon=1e-4)
    errors = []
    for steps in (10, 20, 40):
        found = integrate(stepper, np.array([0.1]), 3.0, steps, scheme=scheme)
        errors.append(abs(found.z[-1, 0] - logistic(0.1, 3.0)))
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    np.testing.assert_allclose(orders, order, atol=0.2)


def test_a_lifting_that_is_off_at_first_costs_only_its_healing(known):
    """A transient that dies in the healing moves z once and for all: it must not add up."""
    healing = 1e-3

    def shaken(z, time):
        return logistic(z, time) + 0.01 * (1 - np.exp(-time / (healing / 20)))

    found = integrate(known(shaken, healing=healing, horizon=1e-3), np.array([0.1]), 3.0, 40)
    assert abs(found.z[-1, 0] - logistic(0.1, 3.0)) < 0.012


def test_cost_and_times(known):
    advanced = []
    found = integrate(known(logistic, horizon=0.01), np.array([0.5]), 1.0, 5, advance=advanced.append)
    assert found.force_evaluations == 5 * 2 * 10
    assert sum(advanced) == 5
    np.testing.assert_allclose(found.times, np.linspace(0, 1, 6))


@pytest.mark.parametrize(("scheme", "steps"), [(forward_euler, 11), (midpoint, 6)])
def test_steps_shorter_than_their_bursts_are_refused(known, scheme, steps):
    with pytest.raises(InputError, match="for its bursts"):
        integrate(known(logistic, horizon=0.1), np.array([0.5]), 1.0, steps, scheme=scheme)


def test_stiff_pair_against_its_exact_means_within_the_error_bars(stepper_of, stiff):
    """ε = 10⁻³; beside the noise, the midpoint rule's own error and that of the micro time step, 0.02 s in w."""
    stepper = stepper_of(stiff, StepperSettings(3e-3, 3e-3, 400))
    start = np.array([0.8, 0.4])
    paths = [integrate(stepper, start, 1.0, 5, seed=seed) for seed in range(6)]
    ends = np.stack([path.z[-1] for path in paths])
    stated = np.stack([path.stderr[-1] for path in paths]).mean(axis=0)
    assert (abs(ends.mean(0) - coarse_mean(start, paths[0].times)[-1]) < 4 * stated / np.sqrt(6) + 0.025).all()
    # errors decay on the way, which the stated ones leave out
    spread = ends.std(axis=0, ddof=1)
    assert (spread < 2 * stated).all()
    assert (spread > stated / 6).all()
