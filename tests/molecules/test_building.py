"""Molecules from structure and force-field files, checked against OpenMM, and what a mistake is told."""

from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import openmm
import pytest
from openmm import app
from openmm.unit import md_unit_system, molar, nanometers

from micromacro.cases.alanine import DATA, IMPLICIT
from micromacro.errors import InputError
from micromacro.molecules.building import MoleculeSettings, build_molecular_system, relaxed
from micromacro.molecules.forces import CONSTRAINTS, ForceSettings, create_forces
from micromacro.molecules.positions import check_rebuilding
from micromacro.molecules.structures import read_structures
from micromacro.molecules.vibrations import constrained_pairs, fastest_period

FILES = tuple(DATA / f"alanine_dipeptide_{name}.pdb" for name in IMPLICIT)
PRMTOP = Path(__file__).parents[1] / "data" / "alanine_dipeptide.prmtop"
FF96 = ForceSettings(("amber96.xml",))
OBC2 = replace(FF96, implicit_solvent="OBC2")
STRUCTURES = read_structures(FILES)
VACUUM = MoleculeSettings(FILES[:1], FF96)


def context(system: openmm.System) -> openmm.Context:
    return openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))


def energies(system: openmm.System) -> np.ndarray:
    """Of all conformers in kJ/mol, by OpenMM."""
    there, found = context(system), []
    for positions in STRUCTURES.positions:
        there.setPositions(positions)
        found.append(there.getState(energy=True).getPotentialEnergy().value_in_unit_system(md_unit_system))
    return np.array(found)


def refused(settings: MoleculeSettings) -> str:
    with pytest.raises(InputError) as caught:
        build_molecular_system(settings, source="case.toml")
    text = str(caught.value)
    assert text.startswith("case.toml: system.")
    assert "\n" not in text
    return text.removeprefix("case.toml: system.")


def with_forces(**changes) -> MoleculeSettings:
    return replace(VACUUM, forces=ForceSettings(**changes))


def test_a_molecule_is_what_openmm_makes_of_it():
    system = build_molecular_system(replace(VACUUM, structure=FILES))
    forces = openmm.XmlSerializer.deserialize(system.forces)
    own = app.ForceField("amber96.xml").createSystem(STRUCTURES.topology, constraints=app.HBonds)
    np.testing.assert_allclose(energies(forces), energies(own), atol=1e-8)
    assert (system.atoms, system.dimension, system.initial.shape) == (22, 66, (5, 66))
    assert (system.temperature, system.friction, system.time_step) == (300.0, 1.0, 0.002)
    assert [str(atom) for atom in system.topology.atoms][8] == "ALA2-CA"
    np.testing.assert_array_equal(system.solute, np.arange(22))
    assert not any(isinstance(force, openmm.CMMotionRemover) for force in forces.getForces())
    assert forces.getNumConstraints() == 12


def test_starting_structures_satisfy_constraints_and_stay_where_they_are():
    system = build_molecular_system(replace(VACUUM, structure=FILES))
    forces = openmm.XmlSerializer.deserialize(system.forces)
    positions = system.initial.reshape(5, 22, 3)
    for index in range(forces.getNumConstraints()):
        first, second, length = forces.getConstraintParameters(index)
        found = np.linalg.norm(positions[:, first] - positions[:, second], axis=1)
        np.testing.assert_allclose(found, length.value_in_unit_system(md_unit_system), rtol=1e-7)
    assert np.abs(positions - STRUCTURES.positions).max() < 0.002


def test_internal_coordinates_rebuild_every_start():
    system = build_molecular_system(replace(VACUUM, structure=FILES), ((4, 6, 8, 14), (6, 8, 14, 16)))
    check_rebuilding(system, "coarse.kind")
    assert {"torsion 4-6-8-14", "torsion 16-14-8-6"} <= set(system.internal.names)
    observed = jax.vmap(system.observe)(jnp.asarray(system.initial))
    assert observed.shape == (5, 66 - 6 - 12)


def test_a_clash_is_relaxed_until_dynamics_can_start():
    positions = STRUCTURES.positions[0].copy()
    positions[18:] += 0.9 * (positions[5] - positions[18])
    forces = create_forces(FF96, STRUCTURES)
    before, after = context(forces), context(forces)
    before.setPositions(positions)
    after.setPositions(relaxed(forces, positions))
    first, last = (
        np.linalg.norm(one.getState(forces=True).getForces(asNumpy=True).value_in_unit_system(md_unit_system), axis=1)
        for one in (before, after)
    )
    assert first.max() > 1e5
    assert last.max() < 3000


# ---- where forces come from


def test_the_three_sources_of_forces_agree(tmp_path):
    (tmp_path / "system.xml").write_text(openmm.XmlSerializer.serialize(create_forces(FF96, STRUCTURES)))
    expected = energies(create_forces(FF96, STRUCTURES))
    for settings in (ForceSettings(prmtop=PRMTOP), ForceSettings(system=tmp_path / "system.xml")):
        forces = create_forces(settings, STRUCTURES)
        np.testing.assert_allclose(energies(forces), expected, atol=1e-4)
        assert forces.getNumConstraints() == 12
    solvated = create_forces(ForceSettings(prmtop=PRMTOP, implicit_solvent="OBC2"), STRUCTURES)
    np.testing.assert_allclose(energies(solvated), energies(create_forces(OBC2, STRUCTURES)), atol=1e-4)


def test_the_native_solvent_has_the_energies_of_the_custom_one():
    field = app.ForceField("amber96.xml", "implicit/obc2.xml")
    custom = field.createSystem(STRUCTURES.topology, constraints=app.HBonds)
    for settings in (OBC2, ForceSettings(("amber96.xml", "implicit/obc2.xml"))):
        native = create_forces(settings, STRUCTURES)
        kinds = {type(force) for force in native.getForces()}
        assert openmm.GBSAOBCForce in kinds
        assert openmm.CustomGBForce not in kinds
        np.testing.assert_allclose(energies(native), energies(custom), atol=1e-4)


def test_the_solvent_of_amber96_obc_is_native_but_has_other_radii():
    other = create_forces(ForceSettings(("amber96.xml", "amber96_obc.xml")), STRUCTURES)
    assert openmm.GBSAOBCForce in {type(force) for force in other.getForces()}
    difference = energies(other) - energies(create_forces(OBC2, STRUCTURES))
    assert 1.0 < np.ptp(difference) < 5.0


def test_other_solvents_are_those_of_openmm():
    field = app.ForceField("amber96.xml", "implicit/gbn2.xml")
    expected = field.createSystem(STRUCTURES.topology, constraints=app.HBonds)
    forces = create_forces(replace(FF96, implicit_solvent="GBn2"), STRUCTURES)
    np.testing.assert_allclose(energies(forces), energies(expected), atol=1e-6)


@pytest.mark.parametrize(("constraints", "count"), [("none", 0), ("hbonds", 12), ("allbonds", 21), ("hangles", 30)])
def test_constraints_are_those_asked_for(constraints, count):
    assert len(constrained_pairs(create_forces(replace(FF96, constraints=constraints), STRUCTURES))) == count


def test_a_peptide_of_the_user_s_own_is_built_from_its_pdb_alone(tmp_path):
    """Two residues more than the built-in one, with hydrogens added by OpenMM."""
    settings = MoleculeSettings((tripeptide(tmp_path),), ForceSettings(("amber14-all.xml",)))
    system = build_molecular_system(settings)
    assert system.atoms == 24
    check_rebuilding(system, "coarse.kind")


def tripeptide(folder: Path) -> Path:
    """Glycine three times, from its heavy atoms in a straight chain."""
    topology, positions = app.Topology(), []
    chain = topology.addChain()
    for index in range(3):
        residue = topology.addResidue("GLY", chain)
        shift, flip = np.array([0.36 * index, 0.0, 0.0]), 1 if index % 2 else -1
        atoms = [("N", "N", (0.0, 0.03, 0)), ("CA", "C", (0.12, -0.05, 0)), ("C", "C", (0.25, 0.03, 0))]
        atoms += [("O", "O", (0.25, 0.15, 0.0))] + ([("OXT", "O", (0.36, -0.03, 0))] if index == 2 else [])
        for name, symbol, place in atoms:
            topology.addAtom(name, app.Element.getBySymbol(symbol), residue)
            positions.append(shift + np.array(place) * [1, flip, 1])
    topology.createStandardBonds()
    modeller = app.Modeller(topology, np.array(positions))
    modeller.addHydrogens(app.ForceField("amber14-all.xml"), platform=openmm.Platform.getPlatformByName("Reference"))
    with (folder / "peptide.pdb").open("w") as file:
        app.PDBFile.writeFile(modeller.topology, modeller.positions, file)
    return folder / "peptide.pdb"


# ---- time steps


def test_the_fastest_vibration_is_that_of_two_masses_on_a_spring():
    system = openmm.System()
    system.addParticle(2.0)
    system.addParticle(3.0)
    bonds = openmm.HarmonicBondForce()
    bonds.addBond(0, 1, 0.1, 1e5)
    system.addForce(bonds)
    assert fastest_period(system) == pytest.approx(2 * np.pi * np.sqrt(1.2 / 1e5))
    system.addConstraint(0, 1, 0.1)
    assert fastest_period(system) == np.inf


def test_the_fastest_bend_is_that_of_normal_modes():
    """Water of stiff constrained bonds: the one mode left is the bend, by the Hessian in internal coordinates."""
    mass, middle, length, angle, stiffness = 1.008, 15.999, 0.09572, 1.82421813, 628.02
    system = openmm.System()
    for one in (mass, middle, mass):
        system.addParticle(one)
    system.addConstraint(0, 1, length)
    system.addConstraint(1, 2, length)
    bends = openmm.HarmonicAngleForce()
    bends.addAngle(0, 1, 2, angle, stiffness)
    system.addForce(bends)
    inverse = 2 / (mass * length**2) + 2 * (1 - np.cos(angle)) / (middle * length**2)
    assert fastest_period(system) == pytest.approx(2 * np.pi / np.sqrt(stiffness * inverse))


@pytest.mark.parametrize(
    ("constraints", "step", "expected"),
    [
        ("none", 0.002, 'time_step must be at most 0.0014 ps, a seventh of the period of the fastest vibration; got '
         '0.002. With constraints = "hbonds" it may be 0.002.'),
        ("hbonds", 0.004, "time_step must be at most 0.0034 ps, a seventh of the period of the fastest vibration; got "
         "0.004."),
    ],
)  # fmt: skip
def test_a_time_step_that_no_constraint_allows_is_refused(constraints, step, expected):
    settings = replace(VACUUM, time_step=step, forces=replace(FF96, constraints=constraints))
    assert refused(settings) == expected


def test_a_time_step_of_one_femtosecond_needs_no_constraints():
    build_molecular_system(replace(VACUUM, time_step=0.001, forces=replace(FF96, constraints="none")))


# ---- mistakes


def changed(folder: Path, change, name: str = "changed.pdb") -> MoleculeSettings:
    """The settings with a PDB whose lines `change` has changed."""
    (folder / name).write_text("".join(change(FILES[0].read_text().splitlines(keepends=True))))
    return replace(VACUUM, structure=(folder / name,))


def test_missing_hydrogens_are_named(tmp_path):
    text = refused(changed(tmp_path, lambda lines: [line for line in lines if "HA  ALA" not in line]))
    assert text.startswith("structure must hold every atom of its residues, hydrogens included; got ValueError: No")
    assert "(ALA)" in text
    assert text.endswith("Add what is missing with openmm.app.Modeller.addHydrogens, or with PDBFixer.")


def test_unknown_residues_are_named(tmp_path):
    other = "HETATM   24 XE   XYZ A   4       9.000   9.000   9.000  1.00  0.00          XE\n"
    text = refused(changed(tmp_path, lambda lines: [*lines[:-1], other]))
    assert text.startswith("structure must hold residues that the force field knows; got ValueError: No template")
    assert "(XYZ)" in text


def test_atoms_on_top_of_each_other_are_refused(tmp_path):
    def merge(lines):
        return [line if i != 15 else line[:30] + lines[5][30:54] + line[54:] for i, line in enumerate(lines)]

    text = refused(changed(tmp_path, merge))
    assert text.startswith("structure must ")
    assert text.endswith("Atoms may overlap: look at the structure, and minimise it with the tool that built it.")


def test_structures_of_different_atoms_are_refused(tmp_path):
    swapped = changed(tmp_path, lambda lines: [*lines[:9], lines[10], lines[9], *lines[11:]]).structure
    assert refused(replace(VACUUM, structure=(*FILES[:1], *swapped))) == (
        "structure must have the same atoms in every file; got atom 9 is HA of ALA 2 in "
        "'alanine_dipeptide_c7eq.pdb' and CB of ALA 2 in 'changed.pdb'. "
        "Write every structure with its atoms in the order of the first."
    )
    fewer = changed(tmp_path, lambda lines: lines[1:], "fewer.pdb").structure
    assert refused(replace(VACUUM, structure=(*FILES[:1], *fewer))) == (
        "structure must have as many atoms in every file; got 22 in 'alanine_dipeptide_c7eq.pdb' and 21 in 'fewer.pdb'."
    )


def test_files_that_are_missing_are_named(tmp_path):
    absent = tmp_path / "absent"
    for settings, key, what in [
        (replace(VACUUM, structure=(absent,)), "structure", "file that exists"),
        (with_forces(prmtop=absent), "prmtop", "file that exists"),
        (with_forces(system=absent), "system", "serialised OpenMM System"),
    ]:
        assert refused(settings) == f"{key} must name a {what}; got 'absent' (no such file)."
    assert refused(with_forces(forcefield=("amber69.xml",))) == (
        "forcefield must name files beside the case file or of OpenMM; got 'amber69.xml' (no such file). "
        "Did you mean 'amber96.xml'?"
    )


# OpenMM leaves a force-field file open that it cannot parse
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("key", ["structure", "forcefield", "prmtop", "system"])
def test_files_that_cannot_be_read_are_named(tmp_path, key):
    path = tmp_path / "broken.txt"
    path.write_text("ATOM  nothing of the kind\n")
    settings = {
        "structure": replace(VACUUM, structure=(path,)),
        "forcefield": with_forces(forcefield=(str(path),)),
        "prmtop": with_forces(prmtop=path),
        "system": with_forces(system=path),
    }[key]
    assert refused(settings).startswith(f"{key} must name ")


def test_a_serialised_object_that_is_no_system_is_refused(tmp_path):
    path = tmp_path / "integrator.xml"
    path.write_text(openmm.XmlSerializer.serialize(openmm.VerletIntegrator(0.001)))
    given = "'integrator.xml' (a VerletIntegrator, which may run a program)"
    expected = f"system must name a serialised OpenMM System; got {given}."
    assert refused(with_forces(system=path)) == expected


def test_a_barostat_is_refused(tmp_path):
    system = create_forces(FF96, STRUCTURES)
    system.addForce(openmm.MonteCarloBarostat(1.0, 300.0))
    (tmp_path / "system.xml").write_text(openmm.XmlSerializer.serialize(system))
    assert "hold no thermostat and no barostat" in refused(with_forces(system=tmp_path / "system.xml"))


def test_a_system_of_another_molecule_is_refused(tmp_path):
    system = create_forces(FF96, STRUCTURES)
    system.addParticle(1.0)
    (tmp_path / "system.xml").write_text(openmm.XmlSerializer.serialize(system))
    assert refused(with_forces(system=tmp_path / "system.xml")) == (
        "system must have as many atoms as the structure; got 23, and 22 in 'structure'."
    )


# ---- solvent with atoms


@pytest.fixture(scope="module")
def solvated(tmp_path_factory) -> Path:
    """The dipeptide among waters and two ions, in a box of 2.4 nm, its first atom on the other side of the wall."""
    path = tmp_path_factory.mktemp("solvated") / "solvated.pdb"
    field = app.ForceField("amber14-all.xml", "amber14/tip3p.xml")
    file = app.PDBFile(str(FILES[0]))
    modeller = app.Modeller(file.topology, file.positions)
    modeller.addSolvent(field, boxSize=openmm.Vec3(2.4, 2.4, 2.4), ionicStrength=0.1 * molar)
    positions = np.array(modeller.positions.value_in_unit_system(md_unit_system))
    positions[:6, 0] -= 2.4
    with path.open("w") as target:
        app.PDBFile.writeFile(modeller.topology, positions * nanometers, target)
    return path


def test_water_and_ions_are_no_solute_and_molecules_are_made_whole(solvated):
    forces = ForceSettings(("amber14-all.xml", "amber14/tip3p.xml"))
    system = build_molecular_system(MoleculeSettings((solvated,), forces))
    np.testing.assert_array_equal(system.solute, np.arange(22))
    assert system.atoms > 1000
    assert system.hidden is None
    check_rebuilding(system, "coarse.kind")
    kinds = openmm.XmlSerializer.deserialize(system.forces)
    (nonbonded,) = (force for force in kinds.getForces() if isinstance(force, openmm.NonbondedForce))
    assert nonbonded.getNonbondedMethod() == openmm.NonbondedForce.PME
    assert nonbonded.getCutoffDistance().value_in_unit_system(md_unit_system) == 1.0
    solute = system.initial[0].reshape(-1, 3)[:22]
    assert np.ptp(solute, axis=0).max() < 1.2


def test_a_box_that_is_too_small_and_one_around_an_implicit_solvent_are_refused(tmp_path):
    def boxed(lines):
        return ["CRYST1   10.000   10.000   10.000  90.00  90.00  90.00 P 1           1\n", *lines]

    small = changed(tmp_path, boxed)
    remedy = "Without a box (no CRYST1 line in the PDB) nothing is cut off."
    assert refused(small) == (f"structure must have a box at least 2 nm wide, twice the cutoff; got 1 nm. {remedy}")
    assert refused(replace(small, forces=OBC2)) == (
        f"structure must have no box where the solvent is implicit; got a box. {remedy}"
    )


def test_water_alone_is_refused(tmp_path):
    path = tmp_path / "water.pdb"
    path.write_text(
        "HETATM    1  O   HOH A   1       0.000   0.000   0.000  1.00  0.00           O\n"
        "HETATM    2  H1  HOH A   1       0.957   0.000   0.000  1.00  0.00           H\n"
        "HETATM    3  H2  HOH A   1      -0.240   0.927   0.000  1.00  0.00           H\n"
    )
    settings = MoleculeSettings((path,), ForceSettings(("tip3p.xml",)))
    assert refused(settings) == "structure must hold a molecule other than water and ions; got none."


def test_every_constraint_of_openmm_has_a_name():
    assert set(CONSTRAINTS) == {"none", "hbonds", "allbonds", "hangles"}
