from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import mdtraj
import numpy as np
import pytest

import micromacro.molecules
from micromacro.errors import InputError
from micromacro.molecules.internal_coordinates import build_internal_coordinates

DATA = Path(micromacro.molecules.__file__).parent / "data"
CARBON, HYDROGEN = 12.011, 1.008
PHI, PSI = (4, 6, 8, 14), (6, 8, 14, 16)
NONE, NO_LENGTHS = np.zeros((0, 2), int), np.zeros(0)


def distances(positions):
    return np.linalg.norm(positions[..., :, None, :] - positions[..., None, :, :], axis=-1)


def tree(count, seed):
    """A random tree of atoms at random places."""
    rng = np.random.default_rng(seed)
    bonds = np.array([[rng.integers(atom), atom] for atom in range(1, count)], int).reshape(-1, 2)
    return bonds, rng.uniform(1, 20, count), rng.normal(scale=0.1, size=(count, 3))


@pytest.fixture(scope="module")
def dipeptide():
    return mdtraj.load(str(DATA / "alanine_dipeptide_c7eq.pdb"))


@pytest.fixture(scope="module")
def parts(dipeptide):
    """Bonds, masses and positions of alanine dipeptide."""
    bonds = np.array([(bond[0].index, bond[1].index) for bond in dipeptide.topology.bonds])
    masses = np.array([atom.element.mass for atom in dipeptide.topology.atoms])
    return bonds, masses, dipeptide.xyz[0].astype(float)


@pytest.fixture(scope="module")
def to_hydrogens(parts):
    """The bonds to hydrogens of alanine dipeptide, and their lengths."""
    bonds, masses, positions = parts
    pairs = bonds[(masses[bonds] < 2).any(axis=1)]
    return pairs, distances(positions)[pairs[:, 0], pairs[:, 1]]


@pytest.fixture(scope="module")
def free(parts):
    return build_internal_coordinates(*parts, NONE, NO_LENGTHS, (PHI, PSI))


@pytest.fixture(scope="module")
def constrained(parts, to_hydrogens):
    return build_internal_coordinates(*parts, *to_hydrogens, (PHI, PSI))


class Facts(NamedTuple):
    """Of coordinates u `(k, Y)`: positions, the coordinates of these, log J √det Z; and all their slopes along u."""

    positions: np.ndarray
    back: np.ndarray
    log_jacobian: np.ndarray
    slopes: tuple


def facts(internal, u):
    """Compiled once."""

    def maps(one):
        positions = internal.decode(one)
        return positions, internal.encode(positions), internal.log_jacobian(one)

    values, slopes = jax.jit(jax.vmap(lambda one: (maps(one), jax.jacfwd(maps)(one))))(u)
    return Facts(*map(np.asarray, values), slopes=tuple(map(np.asarray, slopes)))


@pytest.fixture(scope="module")
def of_free(free, parts):
    u = shaken(free, parts[2], 50, seed=0)
    return free, u, facts(free, u)


@pytest.fixture(scope="module")
def of_constrained(constrained, parts):
    u = shaken(constrained, parts[2], 50, seed=0)
    return constrained, u, facts(constrained, u)


KINDS = pytest.mark.parametrize("kind", ["free", "constrained"])


def encoded(internal, positions):
    return internal.encode(jnp.asarray(positions))


def shaken(internal, reference, count, seed, spread=0.1):
    """Coordinates like those of a molecule in motion; torsions that are circles anywhere on them."""
    rng = np.random.default_rng(seed)
    low, high = np.asarray(internal.space.lower), np.asarray(internal.space.upper)
    mean = np.asarray(encoded(internal, reference))
    size = spread * np.where(np.isinf(high), 0.05, 1.0)
    values = mean + size * rng.normal(size=(count, len(mean)))
    periodic = np.asarray(internal.space.periodic)
    return jnp.asarray(np.where(periodic, rng.uniform(low, np.where(periodic, high, low + 1), values.shape), values))


@KINDS
def test_shapes_of_a_dipeptide_survive_both_ways(kind, request, to_hydrogens):
    internal, u, found = request.getfixturevalue(f"of_{kind}")
    assert internal.reason == ""
    assert internal.dimension == len(internal.names) == {"free": 60, "constrained": 48}[kind]
    assert found.positions.dtype == np.float64
    assert np.abs(internal.space.difference(found.back, u)).max() < 1e-10
    again = np.asarray(jax.jit(jax.vmap(internal.decode))(found.back))
    assert np.abs(distances(again) - distances(found.positions)).max() < 1e-10
    if kind == "constrained":
        pairs, lengths = to_hydrogens
        assert np.abs(distances(found.positions)[:, pairs[:, 0], pairs[:, 1]] - lengths).max() < 1e-10


@KINDS
def test_slopes_are_finite_and_invert_one_another(kind, request):
    internal, _, found = request.getfixturevalue(f"of_{kind}")
    assert all(np.isfinite(slopes).all() for slopes in found.slopes)
    assert np.abs(found.slopes[1] - np.eye(internal.dimension)).max() < 1e-8


@pytest.mark.parametrize(("count", "seed"), [(2, 1), (3, 1), (4, 1), (5, 2), (30, 1), (30, 2)])
def test_shapes_of_random_trees_survive_both_ways(count, seed):
    bonds, masses, reference = tree(count, seed)
    internal = build_internal_coordinates(bonds, masses, reference, NONE, NO_LENGTHS)
    assert internal.dimension == max(3 * count - 6, count - 1)
    u = encoded(internal, reference)
    positions = np.asarray(jax.jit(internal.decode)(u))
    assert np.abs(distances(positions) - distances(reference)).max() < 1e-10
    assert np.abs(encoded(internal, positions) - u).max() < 1e-10
    # the same shape, not its mirror image
    if count > 3:
        volumes = [np.linalg.det(np.asarray(found - found[0])[1:4]) for found in (positions, reference)]
        assert volumes[0] == pytest.approx(volumes[1], rel=1e-8)


def test_a_ring_is_rebuilt_without_the_bond_that_closes_it():
    angle = np.arange(6) * np.pi / 3
    reference = 0.14 * np.column_stack([np.cos(angle), np.sin(angle), 0.2 * (-1.0) ** np.arange(6)])
    bonds = np.array([[0, 1], [1, 2], [2, 3], [3, 4], [4, 5], [5, 0]])
    internal = build_internal_coordinates(bonds, np.full(6, CARBON), reference, NONE, NO_LENGTHS)
    positions = jax.jit(internal.decode)(encoded(internal, reference))
    assert np.abs(distances(positions) - distances(reference)).max() < 1e-10


def test_the_frame_is_that_of_the_first_three_atoms(of_free):
    internal, _, found = of_free
    first, second, third = np.swapaxes(found.positions, 0, 1)[internal.matrix.atoms[:3]]
    assert np.all(first == 0)
    assert np.all(second[:, 0] > 0)
    assert np.all(second[:, 1:] == 0)
    assert np.all(third[:, 1] > 0)
    assert np.abs(third[:, 2]).max() < 1e-15


@KINDS
def test_rigid_motion_is_not_seen(kind, request, parts):
    internal, positions = request.getfixturevalue(kind), parts[2]
    rotation = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))[0]
    rotation = rotation * np.sign(np.linalg.det(rotation))
    assert np.abs(encoded(internal, positions @ rotation + 5.0) - encoded(internal, positions)).max() < 1e-10


def test_mirror_images_lie_outside(free, constrained, parts):
    positions = parts[2]
    for internal in (free, constrained):
        low, high = np.asarray(internal.space.lower), np.asarray(internal.space.upper)
        both = encoded(internal, positions), encoded(internal, positions * [1.0, 1.0, -1.0])
        inside = [(low < np.asarray(u)) & (np.asarray(u) < high) for u in both]
        assert inside[0].all()
        wrong = [internal.names[index] for index in np.flatnonzero(~inside[1])]
        intervals = [name for name, circle in zip(internal.names, internal.space.periodic, strict=True) if not circle]
        assert set(wrong) == {name for name in intervals if name.startswith("difference")}
        # two at the chiral carbon, two at each of three methyl groups
        assert len(wrong) == 8


def test_swapped_hydrogens_lie_outside(free, parts):
    swapped = parts[2].copy()
    swapped[[11, 12]] = swapped[[12, 11]]
    u = np.asarray(encoded(free, swapped))
    assert (u < free.space.lower).any() or (u > free.space.upper).any()


@pytest.mark.parametrize(("centre", "keeps"), [(14.007, False), (32.06, True)])
def test_of_pyramids_with_three_bonds_only_heavy_ones_keep_their_chirality(centre, keeps):
    reference = 0.1 * np.array([[0, 0, 0], [1, 0, 0.3], [-0.5, 0.9, 0.3], [-0.5, -0.9, 0.3]])
    bonds, masses = np.array([[0, 1], [0, 2], [0, 3]]), np.array([centre, CARBON, CARBON, 15.999])
    space = build_internal_coordinates(bonds, masses, reference, NONE, NO_LENGTHS).space
    assert space.periodic[-1] is not keeps
    assert space.range[-1] == pytest.approx(np.pi if keeps else 2 * np.pi)


def test_planar_centres_and_free_rotations_are_circles_cut_elsewhere(free, parts):
    u = np.asarray(encoded(free, parts[2]))
    space = free.space
    for name, value, low, high in zip(free.names, u, space.lower, space.upper, strict=True):
        preferred = name in {"torsion 4-6-8-14", "torsion 16-14-8-6"}
        if name.startswith("difference"):
            assert min(value - low, high - value) > 0.8
        elif name.startswith("torsion") and not preferred:
            assert min(value - low, high - value) > np.pi / 2 - 1e-9
        elif preferred:
            assert (low, high) == (-np.pi, np.pi)


def test_preferred_torsions_agree_with_mdtraj(of_free, dipeptide):
    free, u, found = of_free
    trajectory = mdtraj.Trajectory(np.asarray(found.positions, np.float32), dipeptide.topology)
    torsions = mdtraj.compute_dihedrals(trajectory, [PHI, PSI])
    own = np.column_stack([u[:, free.index(PHI)], u[:, free.index(PSI)]])
    assert np.abs(np.exp(1j * torsions) - np.exp(1j * own)).max() < 1e-4
    assert free.index(PHI[::-1]) == free.index(PHI)
    assert free.index((4, 6, 8, 10)) is None
    assert free.names[free.index((4, 6))] == "bond 4-6"


def rigid(positions):
    """How positions `(k, n, 3)` change by three shifts and three turns, `(k, 3 n, 6)`."""
    shifts = np.broadcast_to(np.eye(3), (*positions.shape[:2], 3, 3))
    turns = np.cross(np.eye(3), positions[:, :, None])
    return np.concatenate([shifts, np.swapaxes(turns, 2, 3)], axis=3).reshape(len(positions), -1, 6)


def assert_volume(masses, found):
    """log J √det Z is ½ log det of the mass metric over rigid motions and u, but for a constant."""
    shape = found.slopes[0].reshape(len(found.positions), -1, found.slopes[0].shape[-1])
    slopes = np.concatenate([rigid(found.positions), shape], axis=2)
    exact = 0.5 * np.linalg.slogdet(np.swapaxes(slopes, 1, 2) @ (np.repeat(masses, 3)[:, None] * slopes))[1]
    assert np.ptp(exact) > 0.1
    assert np.ptp(found.log_jacobian - exact) < 1e-8


@KINDS
def test_volume_of_a_dipeptide_is_that_of_the_mass_metric(kind, request, parts):
    assert_volume(parts[1], request.getfixturevalue(f"of_{kind}")[2])


def zigzag(count, length=0.1):
    """A chain of atoms bent by right angles in three dimensions."""
    steps = np.eye(3)[np.arange(count - 1) % 3]
    return np.vstack([np.zeros(3), length * np.cumsum(steps, axis=0)])


CHAIN = np.array([[0, 1], [1, 2], [2, 3], [3, 4]])


@pytest.mark.parametrize(
    "pairs",
    [
        [(0, 1), (3, 4)],
        [(0, 1), (1, 2), (2, 3), (3, 4)],
        [(0, 1), (0, 2), (1, 3)],
        [(0, 1), (1, 2), (2, 3), (3, 4), (0, 2), (1, 3), (2, 4)],
    ],
    ids=str,
)
def test_volume_of_a_chain_under_constraints_of_bonds_and_angles(pairs):
    masses, reference = np.array([3.0, 12.0, 1.0, 5.0, 16.0]), zigzag(5)
    pairs = np.array(pairs)
    lengths = distances(reference)[pairs[:, 0], pairs[:, 1]] * 1.03
    internal = build_internal_coordinates(CHAIN, masses, reference, pairs, lengths)
    assert internal.reason == ""
    assert internal.dimension == 9 - len(pairs)
    u = shaken(internal, reference, 10, seed=7, spread=0.3)
    found = facts(internal, u)
    assert np.abs(distances(found.positions)[:, pairs[:, 0], pairs[:, 1]] - lengths).max() < 1e-12
    assert_volume(masses, found)
    assert np.isfinite(np.asarray(jax.jit(jax.grad(internal.log_jacobian))(u[0]))).all()


def test_a_rigid_water_has_no_coordinates():
    reference = np.array([[0.0, 0, 0], [0.0957, 0, 0], [-0.024, 0.0926, 0]])
    pairs = np.array([[0, 1], [0, 2], [1, 2]])
    lengths = distances(reference)[pairs[:, 0], pairs[:, 1]]
    masses = np.array([15.999, HYDROGEN, HYDROGEN])
    internal = build_internal_coordinates(pairs[:2], masses, reference, pairs, lengths)
    assert internal.dimension == 0
    assert encoded(internal, reference).shape == (0,)
    assert np.abs(distances(jax.jit(internal.decode)(jnp.zeros(0))) - distances(reference)).max() < 1e-12
    assert np.isfinite(jax.jit(internal.log_jacobian)(jnp.zeros(0)))


def test_a_lone_atom_stands_at_the_origin():
    internal = build_internal_coordinates(NONE, np.array([CARBON]), np.ones((1, 3)), NONE, NO_LENGTHS)
    assert internal.dimension == 0
    assert np.all(internal.decode(internal.encode(jnp.ones((1, 3)))) == 0)


def test_molecules_apart_are_joined_where_nearest_and_said_to_be_apart():
    reference = np.array([[0.0, 0, 0], [0.1, 0, 0], [0.4, 0.1, 0], [0.5, 0.1, 0.1]])
    internal = build_internal_coordinates(np.array([[0, 1], [2, 3]]), np.ones(4), reference, NONE, NO_LENGTHS)
    assert internal.reason == "the bonds leave 2 molecules apart"
    assert internal.index((1, 2)) is not None


def test_constraints_beside_the_coordinates_give_a_reason(parts):
    bonds, masses, reference = parts
    pairs = np.array([[11, 12]])
    internal = build_internal_coordinates(bonds, masses, reference, pairs, np.array([0.178]))
    assert "[[11, 12]] fix neither a bond nor an angle" in internal.reason


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bonds": np.array([[0, 3]])}, "bonds must name atoms from 0 to 2"),
        ({"constraints": np.array([[0, -1]]), "lengths": np.ones(1)}, "constraints must name atoms from 0 to 2"),
        ({"torsions": ((0, 1, 2, 3),)}, "torsions must name atoms from 0 to 2"),
        ({"constraints": np.array([[0, 1]]), "lengths": np.zeros(1)}, "lengths must be positive"),
    ],
)
def test_what_cannot_be_is_an_error(change, message):
    good = {
        "bonds": np.array([[0, 1], [1, 2]]),
        "masses": np.ones(3),
        "reference": zigzag(3),
        "constraints": NONE,
        "lengths": NO_LENGTHS,
    }
    build_internal_coordinates(**good)
    with pytest.raises(InputError, match=message):
        build_internal_coordinates(**(good | change))


def test_a_straight_angle_is_a_number_with_finite_slopes():
    straight = np.array([[0.0, 0, 0], [0.1, 0, 0], [0.2, 0, 0]])
    internal = build_internal_coordinates(CHAIN[:2], np.ones(3), straight, NONE, NO_LENGTHS)
    assert encoded(internal, straight)[internal.index((0, 1, 2))] == pytest.approx(np.pi)
    assert np.isfinite(np.asarray(jax.jit(jax.jacrev(internal.encode))(jnp.asarray(straight)))).all()


def test_a_bond_that_only_joins_molecules_makes_no_centre_chiral():
    # an amine, which inverts, and a diatomic near it: the shortest bond that joins them is to the nitrogen
    amine = np.array([[0.0, 0.0, 0.0], [0.14, 0.0, 0.05], [-0.07, 0.12, 0.05], [-0.07, -0.12, 0.05]])
    reference = np.concatenate([amine, [[0.0, 0.0, -0.2], [0.0, 0.1, -0.25]]])
    masses = np.array([14.0, 12.0, 12.0, 12.0, 16.0, 16.0])
    bonds = np.array([[0, 1], [0, 2], [0, 3], [4, 5]])
    internal = build_internal_coordinates(bonds, masses, reference, np.zeros((0, 2), int), np.zeros(0))
    assert "2 molecules apart" in internal.reason
    lower, upper = np.array(internal.space.lower), np.array(internal.space.upper)
    turning = np.array([name.startswith(("torsion", "difference")) for name in internal.names])
    assert np.all(upper[turning] - lower[turning] > 6)
