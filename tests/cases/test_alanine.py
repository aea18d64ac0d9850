"""Alanine dipeptide: its conformers and observables, against mdtraj and the force field."""

import jax
import jax.numpy as jnp
import mdtraj
import numpy as np
import openmm
import pytest
from openmm.unit import md_unit_system

from micromacro.cases.alanine import ALANINE_CONSTRUCTORS, IMPLICIT, PHI, PSI, alanine_dipeptide
from micromacro.cases.builtin import BUILTIN_DESCRIPTIONS
from micromacro.cases.file import load_case
from micromacro.molecules.positions import heavy_atoms

CASE = load_case("alanine-dipeptide-implicit-phi-psi")
FRAMES = mdtraj.Trajectory(CASE.system.initial.reshape(-1, 22, 3), CASE.system.topology)

DEGREES = {"c7eq": (-74, 75), "c5": (-148, 160), "c7ax": (62, -66), "alpha_right": (-62, -49), "alpha_left": (43, 59)}


def energies(system) -> np.ndarray:
    """Of the starting structures in kJ/mol."""
    forces = openmm.XmlSerializer.deserialize(system.forces)
    platform = openmm.Platform.getPlatformByName("Reference")
    context, found = openmm.Context(forces, openmm.VerletIntegrator(0.001), platform), []
    for state in system.initial:
        context.setPositions(state.reshape(-1, 3))
        found.append(context.getState(energy=True).getPotentialEnergy().value_in_unit_system(md_unit_system))
    return np.array(found)


def observed(name: str) -> np.ndarray:
    states = jnp.asarray(CASE.system.initial)
    return np.asarray(jax.vmap(lambda state: CASE.close.observables[name](CASE.system.observe(state)))(states))


def test_every_case_of_the_table_has_a_constructor():
    assert set(ALANINE_CONSTRUCTORS) == {name for name in BUILTIN_DESCRIPTIONS if name.startswith("alanine")}


def test_torsions_are_those_of_mdtraj():
    """Its atoms for φ and ψ are ours."""
    assert mdtraj.compute_phi(FRAMES)[0].tolist() == [list(PHI)]
    assert mdtraj.compute_psi(FRAMES)[0].tolist() == [list(PSI)]


def test_every_start_is_in_its_basin():
    found = np.degrees(np.column_stack([mdtraj.compute_phi(FRAMES)[1], mdtraj.compute_psi(FRAMES)[1]]))
    np.testing.assert_allclose(found, [DEGREES[name] for name in IMPLICIT], atol=3)


def test_every_start_is_the_natural_enantiomer_with_trans_peptide_bonds():
    """CORN: seen from the hydrogen the carbonyl, the side chain and the nitrogen follow one another clockwise."""
    nitrogen, carbonyl, side, middle = (FRAMES.xyz[:, index] for index in (6, 14, 10, 8))
    normal = np.cross(nitrogen - middle, carbonyl - middle)
    assert (np.sum(normal * (side - middle), axis=1) > 0).all()
    omega = mdtraj.compute_dihedrals(FRAMES, [[1, 4, 6, 8], [8, 14, 16, 18]])
    assert (np.abs(omega) > np.radians(170)).all()


def test_energies_in_vacuum_are_in_the_order_that_is_known():
    """C7eq lies lowest, C7ax 11.8 kJ/mol of free energy above it; energies differ by a few kJ/mol from that."""
    vacuum = energies(alanine_dipeptide(None))
    assert vacuum[0] == vacuum.min()
    assert 4.0 < vacuum[2] - vacuum[0] < 12.0
    solvated = energies(alanine_dipeptide("OBC2"))
    assert (solvated[:3] < vacuum - 30).all()


def test_the_coupling_is_that_of_mdtraj():
    expected = mdtraj.compute_J3_HN_HA(FRAMES, model="Bax2007")[1][:, 0]
    np.testing.assert_allclose(observed("coupling_h_ha"), expected, atol=1e-4)


def test_the_dipole_moment_is_that_of_the_charges():
    forces = openmm.XmlSerializer.deserialize(CASE.system.forces)
    (charged,) = (force for force in forces.getForces() if isinstance(force, openmm.NonbondedForce))
    parameters = [charged.getParticleParameters(index)[0] for index in range(22)]
    charges = np.array([charge.value_in_unit_system(md_unit_system) for charge in parameters])
    assert charges.sum() == pytest.approx(0, abs=1e-6)
    expected = np.linalg.norm(mdtraj.dipole_moments(FRAMES, charges), axis=1)
    np.testing.assert_allclose(observed("dipole"), expected, atol=1e-5)


def test_the_other_observables():
    phi, psi = mdtraj.compute_phi(FRAMES)[1][:, 0], mdtraj.compute_psi(FRAMES)[1][:, 0]
    np.testing.assert_array_equal(observed("positive_phi"), np.where(phi > 0, 1.0, 0.0))
    np.testing.assert_allclose(observed("cos_psi"), np.cos(psi), atol=1e-5)
    np.testing.assert_allclose(observed("sin_psi"), np.sin(psi), atol=1e-5)
    np.testing.assert_allclose(observed("end_to_end"), mdtraj.compute_distances(FRAMES, [[1, 18]])[:, 0], atol=1e-6)


def test_basins_are_told_apart_by_phi():
    lower, upper = CASE.close.basins["C7ax"]
    inside = [(lower <= z).all() and (z <= upper).all() for z in np.radians(list(DEGREES.values()))]
    assert inside == [False, False, True, False, True]
    assert not load_case("alanine-dipeptide-vacuum-psi").close.basins


def test_the_learned_case_sees_distances_of_heavy_atoms():
    case = load_case("alanine-dipeptide-learned", ["coarse.points=500"])
    assert case.coarsen.points == 500
    heavy = heavy_atoms(case.system)
    state = jnp.asarray(case.system.initial[0])
    distances = case.coarsen.features(case.system.observe(state))
    where = np.asarray(state).reshape(-1, 3)[heavy]
    expected = [np.linalg.norm(where[a] - where[b]) for a in range(10) for b in range(a + 1, 10)]
    np.testing.assert_allclose(distances, expected, atol=1e-7)
