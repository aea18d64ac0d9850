"""Geometric quantities against mdtraj, their gradients against finite differences."""

import jax
import jax.numpy as jnp
import mdtraj
import numpy as np
import pytest

from micromacro.coordinates.geometry import (
    Angle,
    Distance,
    PositionFunction,
    RadiusOfGyration,
    RootMeanSquareDeviation,
    Torsion,
    stacked,
)
from micromacro.errors import InputError

RNG = np.random.default_rng(5)
FRAMES = 0.3 * RNG.normal(size=(40, 7, 3))
REFERENCE = 0.3 * RNG.normal(size=(5, 3))
MASSES = RNG.uniform(1, 16, 5)
SOME = (6, 0, 3, 2, 5)
ALL = [
    Torsion((4, 1, 0, 6)),
    Distance((2, 5)),
    Angle((3, 0, 5)),
    RadiusOfGyration(SOME, tuple(MASSES)),
    RootMeanSquareDeviation(SOME, REFERENCE),
    PositionFunction(lambda x: jnp.sin(x[0] @ x[1]), 1.5),
]


def by_mdtraj(component):
    frames = mdtraj.Trajectory(FRAMES.astype(np.float32), None)
    if isinstance(component, Torsion):
        return mdtraj.compute_dihedrals(frames, [component.atoms], periodic=False)[:, 0]
    if isinstance(component, Distance):
        return mdtraj.compute_distances(frames, [component.atoms], periodic=False)[:, 0]
    if isinstance(component, Angle):
        return mdtraj.compute_angles(frames, [component.atoms], periodic=False)[:, 0]
    chosen = mdtraj.Trajectory(FRAMES[:, SOME].astype(np.float32), None)
    if isinstance(component, RadiusOfGyration):
        # mdtraj weighs by masses about the unweighted mean; ours is about the weighted one
        x = FRAMES[:, SOME]
        centre = np.average(x, axis=1, weights=MASSES)[:, None]
        return np.sqrt(np.average(np.sum((x - centre) ** 2, axis=2), axis=1, weights=MASSES))
    return mdtraj.rmsd(chosen, mdtraj.Trajectory(REFERENCE[None].astype(np.float32), None))


@pytest.mark.parametrize("component", ALL[:5], ids=lambda component: type(component).__name__)
def test_values_are_those_of_mdtraj(component):
    np.testing.assert_allclose(jax.jit(jax.vmap(component))(FRAMES), by_mdtraj(component), atol=3e-6)


def test_equal_weights_are_the_radius_of_mdtraj():
    frames = mdtraj.Trajectory(FRAMES.astype(np.float32), None)
    radius = jax.vmap(RadiusOfGyration(tuple(range(7))))(FRAMES)
    np.testing.assert_allclose(radius, mdtraj.compute_rg(frames, np.ones(7)), atol=1e-6)


@pytest.mark.parametrize("component", ALL, ids=lambda component: type(component).__name__)
def test_first_and_second_derivatives(component):
    positions, step = jnp.asarray(FRAMES[0]), 1e-5
    direction = jnp.asarray(RNG.normal(size=positions.shape))
    gradient = jax.jit(jax.grad(component))
    ahead, behind = positions + step * direction, positions - step * direction
    slope = (component(ahead) - component(behind)) / (2 * step)
    np.testing.assert_allclose(jnp.sum(gradient(positions) * direction), slope, rtol=1e-6, atol=1e-9)
    second = jax.jvp(gradient, (positions,), (direction,))[1]
    np.testing.assert_allclose(second, (gradient(ahead) - gradient(behind)) / (2 * step), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("component", ALL[:5], ids=lambda component: type(component).__name__)
def test_rigid_motion_changes_nothing(component):
    rotation = np.linalg.qr(RNG.normal(size=(3, 3)))[0]
    rotation *= np.sign(np.linalg.det(rotation))
    moved = FRAMES @ rotation.T + RNG.normal(size=3)
    np.testing.assert_allclose(jax.jit(jax.vmap(component))(moved), jax.jit(jax.vmap(component))(FRAMES), atol=1e-9)


def test_mirror_images():
    mirror = FRAMES * np.array([1.0, 1.0, -1.0])
    np.testing.assert_allclose(jax.vmap(ALL[0])(mirror), -jax.vmap(ALL[0])(FRAMES), atol=1e-12)
    deviation = jax.jit(jax.vmap(RootMeanSquareDeviation(SOME, FRAMES[0][list(SOME)])))
    assert deviation(FRAMES[:1])[0] < 1e-6 < 0.01 < deviation(mirror[:1])[0]


def test_torsion_of_known_sign_and_range():
    def at(angle):
        return jnp.array([[0, 1.0, 0], [0, 0, 0], [1.0, 0, 0], [1.0, jnp.cos(angle), jnp.sin(angle)]])

    torsion = Torsion((0, 1, 2, 3))
    np.testing.assert_allclose(torsion(at(0.7)), 0.7, atol=1e-12)
    assert torsion(jnp.array([[0, 1.0, 0], [0, 0, 0], [1.0, 0, 0], [1.0, -1.0, 0]])) == -np.pi


def test_gradients_are_finite_where_lengths_vanish():
    straight = jnp.array([[0, 0, 0], [1.0, 0, 0], [2.0, 0, 0]])
    assert np.all(np.isfinite(jax.grad(Angle((0, 1, 2)))(straight)))
    assert np.all(
        np.isfinite(
            jax.grad(RootMeanSquareDeviation(SOME, REFERENCE))(jnp.zeros((7, 3)).at[np.array(SOME)].set(REFERENCE))
        )
    )


def test_deviation_of_planar_structures():
    """Two smaller eigenvalues coincide for regular planar structures."""
    square = np.array([[1, 1, 0], [1, -1, 0], [-1, -1, 0], [-1, 1, 0]], float)
    deviation = RootMeanSquareDeviation((0, 1, 2, 3), square)
    hessian = jax.jit(jax.hessian(lambda x: deviation(x) ** 2))(jnp.asarray(1.1 * square))
    assert np.all(np.isfinite(hessian))


def test_lists_and_arrays_are_accepted_and_hashed():
    assert Torsion([4, 6, 8, 14]) == Torsion(np.array([4, 6, 8, 14]))
    assert len({*ALL, RootMeanSquareDeviation(list(SOME), REFERENCE.tolist())}) == len(ALL)
    assert [component.period for component in ALL] == [2 * np.pi, *[np.inf] * 4, 1.5]
    assert stacked(tuple(ALL), jnp.asarray(FRAMES[0])).shape == (6,)


@pytest.mark.parametrize(
    "build",
    [
        lambda: Torsion((0, 1, 2)),
        lambda: Torsion((0, 1, 2, 2)),
        lambda: Distance((-1, 2)),
        lambda: Angle((0, 1, 2, 3)),
        lambda: RadiusOfGyration(()),
        lambda: RadiusOfGyration((0, 1), (1.0,)),
        lambda: RootMeanSquareDeviation((0, 1), np.zeros((2, 3))),
        lambda: RootMeanSquareDeviation((0, 1, 2), np.zeros((2, 3))),
    ],
)
def test_what_makes_no_sense_is_refused(build):
    with pytest.raises(InputError):
        build()
