"""Harmonic terms of a System, and how fast the fastest of its vibrations is, which bounds the time step."""

import numpy as np
import openmm
from jaxtyping import Float


def fastest_period(system: openmm.System) -> float:
    """The period in ps of the fastest harmonic bond or angle that no constraint holds; infinite without any.

    Each is taken by itself: of a bond the frequency is √(k/μ), of an angle √(k G) with Wilson's G of the bend at the
    bond lengths of the force field.

    Source: Wilson, Decius & Cross, Molecular Vibrations (1955), table VI.
    """
    masses, held = masses_of(system), constrained_pairs(system)
    lengths = _lengths(system)
    squares = [_bond_square(bond, masses) for bond in harmonic_bonds(system) if frozenset(bond[:2]) not in held]
    angles = [angle for angle in harmonic_angles(system) if frozenset((angle[0], angle[2])) not in held]
    squares += [_angle_square(angle, masses, lengths) for angle in angles]
    fastest = max(squares, default=0.0)
    return 2 * np.pi / np.sqrt(fastest) if fastest > 0 else np.inf


def masses_of(system: openmm.System) -> Float[np.ndarray, "atoms"]:
    """The mass of each atom in atomic units."""
    return np.array([system.getParticleMass(index)._value for index in range(system.getNumParticles())])


def constrained_pairs(system: openmm.System) -> set[frozenset[int]]:
    """The pairs of atoms whose distance is constrained."""
    return {frozenset(system.getConstraintParameters(index)[:2]) for index in range(system.getNumConstraints())}


def harmonic_bonds(system: openmm.System) -> list[tuple[int, int, float, float]]:
    """Atoms, length in nm and stiffness in kJ/mol/nm² of every harmonic bond."""
    found = []
    for force in system.getForces():
        if isinstance(force, openmm.HarmonicBondForce):
            for index in range(force.getNumBonds()):
                first, second, length, stiffness = force.getBondParameters(index)
                found.append((first, second, length._value, stiffness._value))
    return found


def harmonic_angles(system: openmm.System) -> list[tuple[int, int, int, float, float]]:
    """Atoms, angle and stiffness in kJ/mol/rad² of every harmonic angle."""
    found = []
    for force in system.getForces():
        if isinstance(force, openmm.HarmonicAngleForce):
            for index in range(force.getNumAngles()):
                first, middle, last, angle, stiffness = force.getAngleParameters(index)
                found.append((first, middle, last, angle._value, stiffness._value))
    return found


def _lengths(system: openmm.System) -> dict[frozenset, float]:
    lengths = {frozenset(bond[:2]): bond[2] for bond in harmonic_bonds(system)}
    for index in range(system.getNumConstraints()):
        first, second, length = system.getConstraintParameters(index)
        lengths[frozenset((first, second))] = length._value
    return lengths


def _bond_square(bond: tuple[int, int, float, float], masses: Float[np.ndarray, "atoms"]) -> float:
    """The squared angular frequency in 1/ps²; nothing where an atom is fixed."""
    first, second, _, stiffness = bond
    if min(masses[first], masses[second]) <= 0:
        return 0.0
    return stiffness * (1 / masses[first] + 1 / masses[second])


def _angle_square(
    angle: tuple[int, int, int, float, float], masses: Float[np.ndarray, "atoms"], lengths: dict[frozenset, float]
) -> float:
    first, middle, last, value, stiffness = angle
    near, far = lengths.get(frozenset((first, middle))), lengths.get(frozenset((middle, last)))
    if near is None or far is None or min(masses[first], masses[middle], masses[last]) <= 0:
        return 0.0
    bend = 1 / near**2 + 1 / far**2 - 2 * np.cos(value) / (near * far)
    return stiffness * (1 / (masses[first] * near**2) + 1 / (masses[last] * far**2) + bend / masses[middle])
