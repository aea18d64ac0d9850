"""One MALA step against its written-out densities, and long chains against quadrature."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from micromacro.errors import PhysicsError
from micromacro.sampling.engine import JaxEngine, Tuning
from micromacro.sampling.mala import Walker, mala_step
from micromacro.sampling.production import run_chunks
from micromacro.sampling.seeding import no_windows


def evaluator(log_target):
    """Position to walker, for a target without coarse variable."""

    def evaluate(position):
        value, gradient = jax.value_and_grad(log_target)(position)
        return Walker(position, position[:1], value, value, gradient)

    return evaluate


def log_normal_density(x, mean, covariance):
    delta = x - mean
    return -0.5 * delta @ np.linalg.solve(covariance, delta) - 0.5 * np.linalg.slogdet(2 * np.pi * covariance)[1]


def bent(x):
    return -((x[0] ** 2 - 1) ** 2) - 0.7 * (x[1] - x[0] ** 2) ** 2 - 0.3 * x[2] ** 4 + 0.2 * x[0] * x[2]


def run(known, potential, coarse, initial, tuning, *, chains, frames, interval, seed=0):
    """Frames `(frames, chains, D)` of chains that start at `initial`, the first fifth of them dropped."""
    engine = JaxEngine(known.system(potential, initial), coarse)
    windows = no_windows(coarse, 1)
    start = jnp.asarray(np.resize(np.atleast_2d(initial), (1, chains, len(tuning[1]))))
    tuning = Tuning(jnp.array([tuning[0]]), jnp.asarray(tuning[1])[None])
    _, saved = engine.advance(
        windows, tuning, engine.start(windows, start), jax.random.key(seed), frames * 5 // 4, interval
    )
    return np.asarray(saved.position)[frames // 4 :, 0], float(saved.acceptance[0])


def test_the_acceptance_is_that_of_the_proposal_densities():
    rng = np.random.default_rng(0)
    evaluate = evaluator(bent)
    step = jax.jit(partial(mala_step, evaluate))
    seen = []
    for _ in range(40):
        x, noise = rng.normal(size=3), rng.normal(size=3)
        scale = np.linalg.cholesky(np.cov(rng.normal(size=(3, 6))))
        h = rng.uniform(0.05, 0.8)
        covariance = h * scale @ scale.T

        def mean(q, scale=scale, h=h):
            return q + h / 2 * scale @ scale.T @ np.asarray(jax.grad(bent)(jnp.asarray(q)))

        y = mean(x) + np.sqrt(h) * scale @ noise
        ratio = float(bent(y) - bent(x))
        ratio += log_normal_density(x, mean(y), covariance) - log_normal_density(y, mean(x), covariance)
        walker = evaluate(jnp.asarray(x))
        margin = 1e-9 * (1 + abs(ratio))
        for log_uniform, expected in ((ratio - margin, True), (ratio + margin, False)):
            moved, accepted = step(walker, h, jnp.asarray(scale), jnp.asarray(noise), log_uniform)
            assert bool(accepted) is expected
            np.testing.assert_allclose(moved.position, y if expected else x, rtol=1e-10, atol=1e-10)
            reached = evaluate(moved.position)
            np.testing.assert_allclose(moved.log_target, reached.log_target, rtol=1e-10, atol=1e-10)
            np.testing.assert_allclose(moved.gradient, reached.gradient, rtol=1e-8, atol=1e-8)
        seen.append(ratio)
    # points where either sign matters
    assert min(seen) < -0.5
    assert max(seen) > 0.5


@pytest.mark.parametrize(
    "potential",
    [
        lambda q: jnp.where(q[0] > 0.5, jnp.nan, 0.5 * q @ q),
        lambda q: jnp.where(q[0] > 0.5, jnp.inf, 0.5 * q @ q),
        lambda q: jnp.where(q[0] > 0.5, -jnp.inf, 0.5 * q @ q),
    ],
    ids=["nan", "infinite energy", "bottomless"],
)
def test_a_proposal_that_is_not_finite_is_rejected(known, potential):
    coarse = known.coarse_variable([-2.0], [2.0], (False,))
    position, acceptance = run(
        known, potential, coarse, [[0.0, 0.0]], (1.0, np.eye(2)), chains=64, frames=400, interval=5
    )
    assert np.isfinite(position).all()
    assert position[..., 0].max() <= 0.5
    assert acceptance > 0.3
    # what is left is the normal cut at one half: its mean is -phi(1/2)/Phi(1/2)
    z = known.z_scores(position, [-0.35206533 / 0.69146246, 0.0])
    assert np.abs(z).max() < 4


def test_a_proposal_with_a_finite_energy_but_no_gradient_is_rejected():
    def evaluate(position):
        gradient = jnp.where(position > 0.1, jnp.nan, 0.0)
        return Walker(position, position, jnp.zeros(()), jnp.zeros(()), gradient)

    walker = evaluate(jnp.zeros(1))
    for noise, expected in ((1.0, False), (-1.0, True)):
        moved, accepted = mala_step(evaluate, walker, jnp.ones(()), jnp.eye(1), jnp.array([noise]), jnp.array(-1e-9))
        assert bool(accepted) is expected
        assert np.isfinite(moved.gradient).all()


@pytest.mark.parametrize("preconditioned", [False, True])
def test_an_anisotropic_gaussian_has_its_moments(known, preconditioned):
    covariance = np.array([[1.0, 0.5, 0.0], [0.5, 0.5, -0.1], [0.0, -0.1, 0.2]])
    precision, mean = np.linalg.inv(covariance), np.array([1.0, -0.5, 2.0])
    scale = np.linalg.cholesky(covariance) if preconditioned else np.eye(3)
    position, acceptance = run(
        known,
        lambda q: 0.5 * (q - mean) @ precision @ (q - mean),
        known.coarse_variable([-3.0], [3.0], (False,)),
        mean[None],
        (1.9 if preconditioned else 0.25, scale),
        chains=100,
        frames=400,
        interval=8,
    )
    assert 0.3 < acceptance < 0.95
    squares = (position - mean)[..., :, None] * (position - mean)[..., None, :]
    assert np.abs(known.z_scores(position, mean)).max() < 4
    assert np.abs(known.z_scores(squares, covariance)).max() < 4
    # the bound means something: two per cent of the largest variance would be seen
    spread = squares.mean(axis=0).std(axis=0, ddof=1) / 10
    assert spread[0, 0] < 0.01 if preconditioned else 0.03


def test_a_double_well_has_the_moments_of_quadrature(known):
    position, acceptance = run(
        known,
        lambda q: 2 * (q[0] ** 2 - 1) ** 2 + 0.5 * q[0],
        known.coarse_variable([-2.0], [2.0], (False,)),
        [[-1.0], [1.0]],
        (0.5, np.eye(1)),
        chains=200,
        frames=400,
        interval=10,
    )
    assert 0.3 < acceptance < 0.95

    def powers(x):
        return np.stack([x, x**2, x**3, x**4, np.where(x > 0, 1.0, 0.0)], axis=-1)

    exact = known.line_average(known.quartic_log, powers)
    assert np.abs(known.z_scores(powers(position[..., 0]), exact)).max() < 4
    error = powers(position[..., 0]).mean(axis=0).std(axis=0, ddof=1) / np.sqrt(200)
    assert error.max() < 0.02


def test_without_the_correction_the_same_bounds_convict_the_step(known):
    """Unadjusted Langevin steps of this size are biased: the tests above would see it."""
    rng = np.random.default_rng(0)
    x, h, kept = np.resize([-1.0, 1.0], 200), 0.06, []
    for step in range(4000):
        x = x - h / 2 * (8 * x * (x**2 - 1) + 0.5) + np.sqrt(h) * rng.normal(size=200)
        if step >= 800 and step % 10 == 0:
            kept.append(x)
    values = np.array(kept)[..., None] ** 2
    assert np.abs(known.z_scores(values, known.line_average(known.quartic_log, lambda x: x[:, None] ** 2))).max() > 8


def test_a_start_without_energy_raises_and_names_window_and_step(known):
    coarse = known.coarse_variable([-2.0], [2.0], (False,))
    engine = JaxEngine(known.system(lambda q: jnp.sqrt(1.5 - q[0]) + 0.5 * q @ q, [[0.0, 0.0]]), coarse)
    windows = no_windows(coarse, 3)
    start = np.zeros((3, 4, 2))
    start[1, 2, 0] = 1.75
    walkers = engine.start(windows, jnp.asarray(start))
    tuning = Tuning(jnp.full(3, 0.01), jnp.broadcast_to(jnp.eye(2), (3, 2, 2)))
    with pytest.raises(PhysicsError, match=r"walker 2 .* q = \[1\.75 .* \(window 1, z = \[0\.0\], step 20\)"):
        run_chunks(engine, windows, walkers, tuning, jax.random.key(0), chunks=1, frames=4, interval=5)
