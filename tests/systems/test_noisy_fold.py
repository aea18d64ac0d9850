"""The noisy fold: its averaged force and diffusion against quadrature, its fold against the branch."""

import jax
import numpy as np
import pytest

from micromacro.systems.noisy_fold import VARIANCE, branch, effective_diffusion, fold, noisy_fold

NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(20)
WEIGHTS = WEIGHTS / WEIGHTS.sum()


def force(x: float, y: np.ndarray, parameter: float) -> np.ndarray:
    system = noisy_fold().system
    states = np.stack([np.full_like(y, x), y], axis=-1).reshape(-1, 2)
    return np.asarray(jax.vmap(lambda q: system.drift(q, parameter))(states))[:, 0].reshape(y.shape)


@pytest.mark.parametrize("x", [-0.9, 0.0, 0.577, 1.2])
def test_averaged_force(x):
    average = WEIGHTS @ force(x, np.sqrt(VARIANCE) * NODES, 0.3)
    assert average == pytest.approx(0.3 - branch(np.array([x]))[0], abs=1e-12)
    assert noisy_fold(parameter=0.3).exact.drift(np.array([[x]]))[0, 0] == pytest.approx(average, abs=1e-12)


@pytest.mark.parametrize("x", [0.0, 0.577, 1.2])
def test_effective_diffusion_is_the_integral_of_the_correlation(x):
    """With r = e^(-t/ε) the correlation is a polynomial in r without constant, and D = ε ∫ C(r)/r dr over (0, 1)."""
    roots, shares = np.polynomial.legendre.leggauss(12)
    total = 0.0
    now = np.sqrt(VARIANCE) * NODES
    mean = WEIGHTS @ force(x, now, 0.0)
    for r, share in zip((roots + 1) / 2, shares / 2, strict=True):
        later = r * now[:, None] + np.sqrt(VARIANCE * (1 - r**2)) * NODES
        product = (force(x, now, 0.0) - mean)[:, None] * (force(x, later, 0.0) - mean)
        total += share * (WEIGHTS @ product @ WEIGHTS) / r
    assert effective_diffusion(np.array([x]), 0.01)[0] == pytest.approx(0.01 * total, rel=1e-9)


def test_fold_is_where_the_branch_turns():
    x, parameter = fold()
    near = branch(x + np.array([-1e-4, 0, 1e-4]))
    assert near[1] == pytest.approx(parameter)
    assert near[1] < near[0]
    assert near[1] < near[2]
    assert parameter == pytest.approx(-0.3849, abs=1e-4)
