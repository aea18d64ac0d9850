"""Feature maps: values against independent formulas, gradients against finite differences, edges without a gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.distance import pdist
from scipy.spatial.transform import Rotation

from micromacro.coordinates.features import (
    Angles,
    Contacts,
    Distances,
    FermiSwitch,
    Function,
    RationalSwitch,
    Stack,
    Torsions,
    WholeState,
)
from micromacro.errors import InputError

STATE = np.random.default_rng(0).normal(size=15)
MAPS = [
    WholeState(),
    Distances(),
    Distances(((0, 2),), 5),
    Contacts(RationalSwitch(1.3)),
    Contacts(RationalSwitch(1.3, 5), ((0, 1), (3, 2))),
    Contacts(FermiSwitch(1.3, 4.0)),
    Torsions(((0, 1, 2, 3), (4, 1, 0, 2))),
    Angles(),
    Angles((3, 1)),
    Function(lambda q: q[0] * q[1]),
    Stack((WholeState(), Angles((0,)))),
]


def four_points(angle: float) -> np.ndarray:
    """Seen along the axis, the far bond turned clockwise by the angle from the near one, which points up."""
    turned = Rotation.from_rotvec(angle * np.array([0, 0, 1.0])).apply([0, 1.0, 0])
    # the viewer stands at z = 0 and looks towards +z, with x to the left: clockwise takes y to -x, x being the left
    return np.concatenate([[0, 1.0, 0], [0, 0, 0], [0, 0, 1.5], turned + np.array([0, 0, 1.5])])


def test_distances_are_those_of_scipy_in_its_order():
    np.testing.assert_allclose(Distances()(jnp.asarray(STATE)), pdist(STATE.reshape(5, 3)), rtol=1e-14)


@pytest.mark.parametrize("angle", [0.0, 0.4, 2.0, -1.3, np.pi])
def test_a_torsion_has_its_angle_and_sign(angle):
    cosine, sine = Torsions(((0, 1, 2, 3),))(jnp.asarray(four_points(angle)))
    np.testing.assert_allclose([cosine, sine], [np.cos(angle), np.sin(angle)], atol=1e-14)


def test_a_torsion_is_that_of_moved_points_and_changes_sign_in_a_mirror():
    torsion, state = Torsions(((0, 1, 2, 3),)), four_points(0.7).reshape(4, 3)
    moved = Rotation.random(rng=np.random.default_rng(1)).apply(state) + np.array([3.0, -1.0, 2.0])
    np.testing.assert_allclose(torsion(jnp.asarray(moved.ravel())), [np.cos(0.7), np.sin(0.7)], atol=1e-13)
    mirrored = state * [1, 1, -1]
    np.testing.assert_allclose(torsion(jnp.asarray(mirrored.ravel())), [np.cos(0.7), -np.sin(0.7)], atol=1e-13)


def test_contacts_are_one_at_touch_half_at_the_radius_and_nothing_far_off():
    for switch in (RationalSwitch(0.5), RationalSwitch(0.5, 7), FermiSwitch(0.5, 30.0)):
        contacts = switch(jnp.array([0.0, 0.25, 1e6]))
        np.testing.assert_allclose(contacts, [1.0, 0.5, 0.0], atol=1e-6)


@pytest.mark.parametrize("features", MAPS, ids=lambda one: type(one).__name__)
def test_gradients_agree_with_finite_differences(features):
    shifts, state = 1e-6 * np.eye(15), jnp.asarray(STATE)
    compiled = jax.jit(jax.vmap(features))
    numerical = (compiled(STATE + shifts) - compiled(STATE - shifts)) / 2e-6
    np.testing.assert_allclose(jax.jit(jax.jacrev(features))(state), numerical.T, atol=1e-8)
    hash(features)


def test_gradients_are_finite_where_points_coincide_or_lie_on_a_line():
    together, line = jnp.ones(12), jnp.arange(12.0)
    contacts = (Contacts(switch) for switch in (RationalSwitch(1.0), RationalSwitch(1.0, 3), FermiSwitch(1.0, 5.0)))
    for features in (Distances(), *contacts, Torsions(((0, 1, 2, 3),))):
        gradient = jax.jit(jax.jacrev(features))
        for state in (together, line):
            assert np.all(np.isfinite(features(state)))
            assert np.all(np.isfinite(gradient(state)))


def test_the_plain_square_root_would_have_no_gradient_there():
    plain = jax.grad(lambda q: jnp.linalg.norm(q[:3] - q[3:]))(jnp.ones(6))
    assert not np.all(np.isfinite(plain))


def test_a_stack_holds_its_parts_in_order():
    stacked = Stack((Angles((0,)), Distances(((0, 1),)), WholeState()))(jnp.asarray(STATE))
    np.testing.assert_allclose(stacked[:2], [np.cos(STATE[0]), np.sin(STATE[0])])
    np.testing.assert_allclose(stacked[3:], STATE)


@pytest.mark.parametrize(
    ("make", "parameter"),
    [
        (lambda: Distances(()), "pairs"),
        (lambda: Distances(((1, 1),)), "pairs"),
        (lambda: Distances(((-1, 1),)), "pairs"),
        (lambda: Distances(((0, 5),))(jnp.asarray(STATE)), "pairs"),
        (lambda: Distances(spatial_dimension=4)(jnp.asarray(STATE)), "spatial_dimension"),
        (lambda: Distances(spatial_dimension=0), "spatial_dimension"),
        (lambda: Distances(spatial_dimension=15)(jnp.asarray(STATE)), "pairs"),
        (lambda: Torsions(((0, 1, 2, 2),)), "points"),
        (lambda: Torsions(((0, 1, 2, 9),))(jnp.asarray(STATE)), "points"),
        (lambda: Angles((15,))(jnp.asarray(STATE)), "coordinates"),
        (lambda: RationalSwitch(0.0), "radius"),
        (lambda: RationalSwitch(1.0, 1), "power"),
        (lambda: FermiSwitch(1.0, -1.0), "steepness"),
        (lambda: Stack(()), "features"),
    ],
)
def test_maps_that_cannot_be_are_refused(make, parameter):
    with pytest.raises(InputError) as refused:
        make()
    assert refused.value.parameter == parameter
