"""Case files of molecules: everything that they may say against mdtraj, and what a mistake is told."""

import shutil

import jax
import jax.numpy as jnp
import mdtraj
import numpy as np
import pytest

from micromacro.cases.alanine import DATA
from micromacro.cases.archive import archive_case, restore_case
from micromacro.cases.case import BiasSettings
from micromacro.cases.file import load_case
from micromacro.coordinates.features import Stack
from micromacro.coordinates.geometry import PositionFunction, Torsion, stacked
from micromacro.errors import InputError
from micromacro.molecules.positions import OfPositions, directly, heavy_atoms
from micromacro.molecules.system import MolecularSystem

CASE = """
[system]
kind = "openmm"
structure = ["c7eq.pdb", "c7ax.pdb"]
forcefield = "amber96.xml"

[coarse]
kind = "torsion"
atoms = [[4, 6, 8, 14]]

[close]
observables = { end_to_end = "system.py:end_to_end" }
"""

SYSTEM = """
import jax.numpy as jnp

def end_to_end(positions):
    return jnp.linalg.norm(positions[18] - positions[1])

def two(positions):
    return jnp.stack([end_to_end(positions), jnp.linalg.norm(positions[5] - positions[15])])

def place(positions):
    return positions[0, 0]
"""

HEAVY = [1, 4, 5, 6, 8, 10, 14, 15, 16, 18]


@pytest.fixture
def molecule(tmp_path):
    """Path of a valid case file of a molecule, with its files beside it."""
    for name in ("c7eq", "c7ax"):
        shutil.copy(DATA / f"alanine_dipeptide_{name}.pdb", tmp_path / f"{name}.pdb")
    (tmp_path / "case.toml").write_text(CASE)
    (tmp_path / "system.py").write_text(SYSTEM)
    return tmp_path / "case.toml"


def with_coarse(path, section: str):
    path.write_text(CASE.replace('kind = "torsion"\natoms = [[4, 6, 8, 14]]', section))
    return path


def values(case) -> np.ndarray:
    """ξ of the starting structures through internal coordinates; checked against ξ of positions."""
    states = jnp.asarray(case.system.initial)
    found = np.asarray(jax.jit(jax.vmap(lambda state: case.coarse(case.system.observe(state))))(states))
    where = states.reshape(len(states), -1, 3)
    direct = np.asarray(jax.vmap(lambda positions: stacked(case.coarse.components, positions))(where))
    np.testing.assert_allclose(case.coarse.difference(found, direct), 0, atol=1e-6)
    return found


def trajectory(case) -> mdtraj.Trajectory:
    return mdtraj.Trajectory(case.system.initial.reshape(-1, 22, 3), case.system.topology)


def message(path, *overrides: str) -> str:
    with pytest.raises(InputError) as caught:
        load_case(path, overrides)
    text = str(caught.value)
    assert "\n" not in text
    return text.replace(str(path), "case.toml")


def test_what_is_left_out_has_the_defaults_of_molecules(molecule):
    case = load_case(molecule)
    assert (case.system.temperature, case.system.friction, case.system.time_step) == (300.0, 1.0, 0.002)
    assert case.bias == BiasSettings(steps=20_000, walkers=8)
    assert case.generator.kind == "flow"
    assert case.coarse.periodic == (True,)
    np.testing.assert_allclose([case.coarse.lower, case.coarse.upper], [[-np.pi], [np.pi]])
    assert case.coarse.components == (Torsion((4, 6, 8, 14)),)
    assert values(case) == pytest.approx(mdtraj.compute_phi(trajectory(case))[1], abs=1e-5)
    assert case.system.internal.index((4, 6, 8, 14)) is not None


def test_observables_are_of_positions(molecule):
    case = load_case(molecule)
    states = jnp.asarray(case.system.initial)
    found = jax.vmap(lambda state: case.close.observables["end_to_end"](case.system.observe(state)))(states)
    np.testing.assert_allclose(found, mdtraj.compute_distances(trajectory(case), [[1, 18]])[:, 0], atol=1e-6)


def test_settings_replace_the_defaults(molecule):
    keys = ["temperature=310.0", "friction=2.0", "time_step=0.001", 'constraints="none"', 'implicit_solvent="OBC2"']
    case = load_case(molecule, [f"system.{key}" for key in keys] + ["bias.walkers=3", "generator.kind=score"])
    assert (case.system.temperature, case.system.friction, case.system.time_step) == (310.0, 2.0, 0.001)
    assert (case.bias.walkers, case.bias.steps, case.generator.kind) == (3, 20_000, "score")
    assert "GBSAOBCForce" in case.system.forces
    assert "Constraint " not in case.system.forces


def test_two_torsions_have_few_walkers_each(molecule):
    case = load_case(molecule, ["coarse.atoms=[[4, 6, 8, 14], [6, 8, 14, 16]]"])
    assert (case.bias.walkers, case.coarse.dimension) == (2, 2)
    expected = np.column_stack([mdtraj.compute_phi(trajectory(case))[1], mdtraj.compute_psi(trajectory(case))[1]])
    np.testing.assert_allclose(values(case), expected, atol=1e-5)


def test_every_geometry_is_that_of_mdtraj(molecule):
    """All kinds at once; of four atoms as one flat list, of all heavy atoms where they are left out."""
    entries = [
        'kind = "torsion", atoms = [6, 8, 14, 16], lower = 0.0',
        'kind = "distance", atoms = [1, 18], lower = 0.2, upper = 1.2',
        'kind = "angle", atoms = [4, 8, 16], lower = 0.5, upper = 3.1',
        'kind = "radius-of-gyration", lower = 0.2, upper = 0.4',
        'kind = "rmsd", lower = 0.0, upper = 0.3, reference = "c7ax.pdb"',
    ]
    section = 'kind = "components"\ncomponents = [' + ", ".join(f"{{ {entry} }}" for entry in entries) + "]"
    case = load_case(with_coarse(molecule, section))
    frames, found = trajectory(case), values(case)
    assert case.coarse.periodic == (True, False, False, False, False)
    psi = np.mod(mdtraj.compute_psi(frames)[1][:, 0], 2 * np.pi)
    distance = mdtraj.compute_distances(frames, [[1, 18]])[:, 0]
    angle = mdtraj.compute_angles(frames, [[4, 8, 16]])[:, 0]
    radius = mdtraj.compute_rg(frames.atom_slice(HEAVY), masses=case.system.masses[HEAVY])
    deviation = mdtraj.rmsd(frames, mdtraj.load(str(molecule.parent / "c7ax.pdb")), atom_indices=HEAVY)
    np.testing.assert_allclose(found, np.column_stack([psi, distance, angle, radius, deviation]), atol=3e-4)


@pytest.mark.parametrize(
    ("section", "size"),
    [
        ('kind = "distance"\natoms = [1, 18]\nlower = 0.2\nupper = 1.2', 1),
        ('kind = "rmsd"\nlower = 0\nupper = 0.3', 1),
        ('kind = "radius-of-gyration"\natoms = [[1, 4, 6], [14, 16, 18]]\nlower = [0, 0]\nupper = [1, 1]', 2),
        ('kind = "angle"\natoms = [[4, 8, 16]]\nlower = 0.5\nupper = 3.1', 1),
    ],
)
def test_every_kind_stands_for_itself(molecule, section, size):
    case = load_case(with_coarse(molecule, section))
    assert values(case).shape == (2, size)
    assert case.coarse.periodic == (False,) * size


def test_deviation_is_from_the_first_structure_by_default(molecule):
    case = load_case(with_coarse(molecule, 'kind = "rmsd"\nlower = 0\nupper = 0.3'))
    first, second = values(case)[:, 0]
    assert first < 1e-4 < 0.05 < second


def test_a_function_of_positions(molecule):
    section = 'function = "system.py:two"\nlower = [0, 0]\nupper = [1, 1]'
    case = load_case(with_coarse(molecule, section))
    assert all(isinstance(component, PositionFunction) for component in case.coarse.components)
    expected = mdtraj.compute_distances(trajectory(case), [[1, 18], [5, 15]])
    np.testing.assert_allclose(values(case), expected, atol=1e-6)


# ---- features


def features_of(path, features: str | None) -> np.ndarray:
    section = 'kind = "diffusion-map"' + (f"\nfeatures = {features}" if features else "")
    case = load_case(with_coarse(path, section))
    observed = jax.vmap(case.system.observe)(jnp.asarray(case.system.initial))
    return np.asarray(jax.jit(jax.vmap(case.coarsen.features))(observed))


def test_features_left_out_are_distances_of_heavy_atoms(molecule):
    case = load_case(molecule)
    np.testing.assert_array_equal(heavy_atoms(case.system), HEAVY)
    pairs = [(a, b) for i, a in enumerate(HEAVY) for b in HEAVY[i + 1 :]]
    expected = mdtraj.compute_distances(trajectory(case), pairs)
    np.testing.assert_allclose(features_of(molecule, None), expected, atol=1e-6)
    np.testing.assert_allclose(features_of(molecule, '[{ kind = "distances" }]'), expected, atol=1e-6)


def test_features_are_of_positions_but_for_those_of_coordinates(molecule):
    entries = [
        '{ kind = "torsions", points = [[4, 6, 8, 14]] }',
        '{ kind = "contacts", radius = 0.5, pairs = [[1, 18]] }',
        '{ kind = "function", function = "system.py:end_to_end" }',
        '{ kind = "state" }',
    ]
    found = features_of(molecule, f"[{', '.join(entries)}]")
    case = load_case(molecule)
    phi, distance = mdtraj.compute_phi(trajectory(case))[1], mdtraj.compute_distances(trajectory(case), [[1, 18]])
    expected = np.concatenate([np.cos(phi), np.sin(phi), 1 / (1 + (distance / 0.5) ** 6), distance], axis=1)
    np.testing.assert_allclose(found[:, :4], expected, atol=1e-5)
    assert found.shape[1] == 4 + case.system.internal.dimension


def test_a_bias_takes_features_of_positions_without_internal_coordinates(molecule):
    system = load_case(molecule).system
    assert isinstance(system, MolecularSystem)
    one, flat = OfPositions(lambda positions: positions[3] - positions[1], system), OfPositions(jnp.sum, system, True)
    features = Stack((one, lambda observed: observed[:2], Stack((lambda observed: flat(observed)[None],))))
    observed = np.asarray(jax.vmap(system.observe)(jnp.asarray(system.initial)))
    positions = np.asarray(jax.vmap(system.internal.decode)(jnp.asarray(observed)))
    found = jax.vmap(directly(features, system))(jnp.asarray(positions))
    np.testing.assert_allclose(found, jax.vmap(features)(jnp.asarray(observed)), atol=1e-9)
    assert directly(one, system) is one.function


# ---- a case kept beside its results


def test_every_file_of_a_molecule_is_kept(molecule, tmp_path):
    (molecule.parent / "own.xml").write_text('<ForceField><Include file="more.xml"/></ForceField>')
    (molecule.parent / "more.xml").write_text("<ForceField></ForceField>")
    overrides = ['system.forcefield=["amber96.xml", "own.xml"]']
    archive_case(molecule, overrides, tmp_path / "out" / "case")
    expected = {"case.json", "case.toml", "c7eq.pdb", "c7ax.pdb", "own.xml", "more.xml", "system.py"}
    assert {path.name for path in (tmp_path / "out" / "case").iterdir()} == expected
    shutil.move(tmp_path / "out", tmp_path / "moved")
    for name in expected - {"case.json"}:
        (tmp_path / name).unlink()
    assert restore_case(tmp_path / "moved" / "case").system.atoms == 22


# ---- mistakes

MISTAKES = {
    "unknown key": (
        "system.structures=a.pdb",
        "command line: system.structures must be a key of [system]; got the unknown key 'structures'. "
        "Did you mean 'structure'?",
    ),
    "key of another kind of system": (
        "system.dimension=66",
        "command line: system.dimension must be a key of [system]; got the unknown key 'dimension'.",
    ),
    "key of another kind of coarse variable": (
        "coarse.reference=c7eq.pdb",
        "command line: coarse.reference must be a key of [coarse]; got the unknown key 'reference'.",
    ),
    "forces twice": (
        "system.prmtop=a.prmtop",
        "command line: system.prmtop must be left out where 'forcefield' describes the forces; got a.prmtop.",
    ),
    "forces not at all": (
        'system={kind="openmm", structure="c7eq.pdb"}',
        "command line: system.forcefield must be given, or 'prmtop' or 'system' instead of it; got nothing.",
    ),
    "constraints of a system that has its own": (
        'system={kind="openmm", structure="c7eq.pdb", system="system.xml", constraints="hbonds"}',
        "command line: system.constraints must be left out where 'system' has its own; got 'hbonds'.",
    ),
    "no such solvent": (
        "system.implicit_solvent=OBC3",
        "command line: system.implicit_solvent must be 'HCT', 'OBC1', 'OBC2', 'GBn' or 'GBn2'; got 'OBC3'.",
    ),
    "no such constraints": (
        "system.constraints=bonds",
        "command line: system.constraints must be 'none', 'hbonds', 'allbonds' or 'hangles'; got 'bonds'.",
    ),
    "negative temperature": (
        "system.temperature=-3",
        "command line: system.temperature must be greater than 0; got -3.",
    ),
    "no such structure": (
        "system.structure=c5.pdb",
        "case.toml: system.structure must name a file that exists; got 'c5.pdb' (no such file).",
    ),
    "structure from the root": (
        "system.structure=/c7eq.pdb",
        "case.toml: system.structure must name a file relative to the case file; got '/c7eq.pdb'.",
    ),
    "no such force field": (
        "system.forcefield=amber96.xm",
        "case.toml: system.forcefield must name files beside the case file or of OpenMM; "
        "got 'amber96.xm' (no such file). Did you mean 'amber96.xml'?",
    ),
    "step that is too long": (
        "system.time_step=0.004",
        "case.toml: system.time_step must be at most 0.0034 ps, a seventh of the period of the fastest vibration; "
        "got 0.004.",
    ),
    "three atoms of a torsion": (
        "coarse.atoms=[[4, 6, 8]]",
        "command line: coarse.atoms must name 4 atoms for each torsion; got [4, 6, 8].",
    ),
    "an atom twice": (
        "coarse.atoms=[[4, 6, 8, 4]]",
        "command line: coarse.atoms must name different atoms; got [4, 6, 8, 4].",
    ),
    "an atom that is not there": (
        "coarse.atoms=[[4, 6, 8, 22]]",
        "case.toml: coarse.atoms must count atoms from 0 to 21, for there are 22; got 22.",
    ),
    "an atom below the first": (
        "coarse.atoms=[[4, 6, 8, -1]]",
        "command line: coarse.atoms[0][3] must be at least 0; got -1.",
    ),
    "half a turn": (
        "coarse.upper=0",
        "command line: coarse.upper must be a full turn, 2π, above 'lower': a torsion is periodic; got 0.0.",
    ),
    "range of another number of components": (
        "coarse.lower=[0, 0]",
        "command line: coarse.lower must have a number for each component (1); got [0.0, 0.0].",
    ),
    "range left out": (
        'coarse={kind="distance", atoms=[1, 18], lower=0.2}',
        "command line: coarse.upper must be given for a coarse variable of kind 'distance'; got nothing.",
    ),
    "range upside down": (
        'coarse={kind="distance", atoms=[1, 18], lower=0.7, upper=0.2}',
        "command line: coarse.upper must be greater than 'lower' (0.7); got 0.2.",
    ),
    "negative distance": (
        'coarse={kind="distance", atoms=[1, 18], lower=-0.7, upper=0.2}',
        "command line: coarse.lower must be 0 or more for a coarse variable of kind 'distance'; got -0.7.",
    ),
    "angle in degrees": (
        'coarse={kind="angle", atoms=[4, 8, 16], lower=30, upper=170}',
        "command line: coarse.upper must be at most π, in radians, for an angle; got 170.0.",
    ),
    "deviation of two atoms": (
        'coarse={kind="rmsd", atoms=[1, 2], lower=0, upper=1}',
        "command line: coarse.atoms must name 3 atoms or more for rmsd; got [1, 2].",
    ),
    "no such reference": (
        'coarse={kind="rmsd", reference="c5.pdb", lower=0, upper=1}',
        "case.toml: coarse.reference must name a file that exists; got 'c5.pdb' (no such file).",
    ),
    "component without atoms": (
        'coarse={kind="components", components=[{kind="torsion"}]}',
        "command line: coarse.components[0].atoms must be given; got nothing.",
    ),
    "component of no kind": (
        'coarse={kind="components", components=[{kind="torsion", atoms=[4, 6, 8, 14]}, {kind="dihedral"}]}',
        "command line: coarse.components[1].kind must be 'torsion', 'distance', 'angle', 'radius-of-gyration' or "
        "'rmsd'; got 'dihedral'.",
    ),
    "unknown key of a component": (
        'coarse={kind="components", components=[{kind="torsion", atom=[4, 6, 8, 14]}]}',
        "command line: coarse.components[0].atom must be a key of [coarse.components.0]; got the unknown key 'atom'. "
        "Did you mean 'atoms'?",
    ),
    "reference of no deviation": (
        'coarse={kind="components", components=[{kind="torsion", atoms=[4, 6, 8, 14], reference="c7eq.pdb"}]}',
        "command line: coarse.components[0].reference must be left out but for kind 'rmsd'; got 'c7eq.pdb'.",
    ),
    "atom of a component that is not there": (
        'coarse={kind="components", components=[{kind="torsion", atoms=[4, 6, 8, 99]}]}',
        "case.toml: coarse.components[0].atoms must count atoms from 0 to 21, for there are 22; got 99.",
    ),
    "function of another shape": (
        'coarse={function="system.py:two", lower=0, upper=1}',
        "case.toml: coarse.function must return shape (1,) or () for an array of shape (22, 3); got shape (2,).",
    ),
    "features of an atom that is not there": (
        'coarse={kind="diffusion-map", features=[{kind="torsions", points=[[0, 1, 2, 30]]}]}',
        "case.toml: coarse.features[0].points must count atoms from 0 to 21, for there are 22; got 30.",
    ),
    "features in the plane": (
        'coarse={kind="diffusion-map", features=[{kind="distances", spatial_dimension=2}]}',
        "case.toml: coarse.features[0].spatial_dimension must be 3 for the atoms of a molecule; got 2.",
    ),
    "observable of another shape": (
        "close.observables.end_to_end=system.py:two",
        "case.toml: close.observables.end_to_end must return shape () for an array of shape (22, 3); got shape (2,).",
    ),
    "basin of another dimension": (
        "close.basins.left=[[0, 0], [1, 1]]",
        "command line: close.basins.left must be two corners of 1 numbers each; got [[0.0, 0.0], [1.0, 1.0]].",
    ),
}


@pytest.mark.parametrize(("override", "expected"), MISTAKES.values(), ids=MISTAKES.keys())
def test_mistake_gets_one_message(molecule, override, expected):
    assert message(molecule, override).startswith(expected)


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ('coarse={function="system.py:place", lower=-1, upper=1}', "coarse.function"),
        ("close.observables.end_to_end=system.py:place", "close.observables.end_to_end"),
    ],
)
def test_a_function_that_sees_where_the_molecule_lies_is_refused(molecule, override, key):
    expected = f"case.toml: {key} must be a function that does not change when the molecule is moved and turned; got "
    assert message(molecule, override).startswith(expected)
