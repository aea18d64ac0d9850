"""From structure and force-field files to a `MolecularSystem` that is ready to be simulated."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import mdtraj
import numpy as np
import openmm
from jaxtyping import Float, Int
from openmm.unit import md_unit_system

from micromacro.errors import InputError
from micromacro.molecules.chirality import alike_in_chirality
from micromacro.molecules.forces import ForceSettings, create_forces
from micromacro.molecules.internal_coordinates import InternalCoordinates, build_internal_coordinates
from micromacro.molecules.structures import read_structures, solute_atoms
from micromacro.molecules.system import MolecularSystem
from micromacro.molecules.vibrations import (
    constrained_pairs,
    fastest_period,
    harmonic_angles,
    harmonic_bonds,
    masses_of,
)

STEPS_OF_A_PERIOD = 7.0
"""Time steps that the fastest vibration must take: leapfrog turns unstable at π."""

MINIMISER_TOLERANCE = 300
"""In kJ/mol/nm: root-mean-square force at which starting structures count as relaxed, somewhat below that at 300 K."""
MINIMISER_STEPS = 1000
CONSTRAINT_TOLERANCE = 1e-8
LARGEST_FORCE = 1e5
"""In kJ/mol/nm, of a relaxed structure: more means atoms that overlap."""
FEW_ATOMS = 200
CLASHES = "Atoms may overlap: look at the structure, and minimise it with the tool that built it."


@dataclass(frozen=True)
class MoleculeSettings:
    """What describes a molecule.

    **Arguments:**

    - `structure`: PDB or mmCIF files of the known states.
    - `forces`: where its forces come from.
    - `temperature` in K, `friction` in 1/ps, `time_step` in ps.
    """

    structure: tuple[Path, ...]
    forces: ForceSettings
    temperature: float = 300.0
    friction: float = 1.0
    time_step: float = 0.002


def build_molecular_system(
    settings: MoleculeSettings, torsions: Sequence[Sequence[int]] = (), source: str | None = None
) -> MolecularSystem:
    """The molecule, its starting structures relaxed and its constraints satisfied.

    Each structure is minimised until the root-mean-square force falls below 300 kJ/mol/nm, 1000 steps at most: clashes
    go, and a structure that dynamics could start from stays as it is but for its constraints.

    **Arguments:**

    - `torsions`: fours of atoms, counted from 0, that should be internal coordinates: those of the coarse variable.
    - `source`: the case file, for messages.

    **Raises:** `InputError` that names the key which is wrong and, where it can, a remedy.
    """
    structures = read_structures(settings.structure, source)
    system = create_forces(settings.forces, structures, source)
    _check_time_step(settings, system, source)
    topology = with_bonds_of_forces(mdtraj.Topology.from_openmm(structures.topology), system)
    solute = solute_atoms(topology)
    if not len(solute):
        requirement = "hold a molecule other than water and ions"
        raise InputError("system.structure", requirement, "none", source=source)
    initial = np.array([relaxed(system, positions, source) for positions in structures.positions])
    found = MolecularSystem(
        topology=topology,
        forces=openmm.XmlSerializer.serialize(system),
        initial=initial.reshape(len(initial), -1),
        internal=_internal(topology, system, initial[0], solute, torsions),
        masses=masses_of(system),
        solute=solute,
        temperature=settings.temperature,
        friction=settings.friction,
        time_step=settings.time_step,
    )
    alike = alike_in_chirality(found, initial, "system.structure", source)
    return replace(found, initial=alike.reshape(len(alike), -1))


def with_bonds_of_forces(topology: mdtraj.Topology, system: openmm.System) -> mdtraj.Topology:
    """The topology with bonds that the forces have and it has not: PDB files lack those of unusual residues.

    Added are harmonic bonds and constraints that touch an atom without a bond, unless they hold the ends of an angle.
    """
    atoms = list(topology.atoms)
    bonded = {atom.index for bond in topology.bonds for atom in (bond[0], bond[1])}
    pairs = {frozenset(bond[:2]) for bond in harmonic_bonds(system)} | constrained_pairs(system)
    ends = {frozenset((angle[0], angle[2])) for angle in harmonic_angles(system)}
    for first, second in sorted(sorted(pair) for pair in pairs - ends if pair - bonded):
        topology.add_bond(atoms[first], atoms[second])
    return topology


def relaxed(
    system: openmm.System, positions: Float[np.ndarray, "atoms 3"], source: str | None = None
) -> Float[np.ndarray, "atoms 3"]:
    """The positions with constraints satisfied and clashes relaxed, so that dynamics can start; nm."""
    context = _context(system)
    context.setPositions(positions)
    try:
        context.applyConstraints(CONSTRAINT_TOLERANCE)
        _check_energy(context, source)
        openmm.LocalEnergyMinimizer.minimize(context, MINIMISER_TOLERANCE, MINIMISER_STEPS)
        context.applyConstraints(CONSTRAINT_TOLERANCE)
    except openmm.OpenMMException as error:
        requirement = "be structures that dynamics can start from"
        raise InputError("system.structure", requirement, error, source=source, remedy=CLASHES) from error
    _check_forces(context, source)
    return context.getState(positions=True).getPositions(asNumpy=True).value_in_unit_system(md_unit_system)


def _context(system: openmm.System) -> openmm.Context:
    """In double precision for small molecules, where it is also the fastest to start."""
    name = "Reference" if system.getNumParticles() <= FEW_ATOMS else "CPU"
    integrator = openmm.VerletIntegrator(0.001)
    integrator.setConstraintTolerance(CONSTRAINT_TOLERANCE)
    return openmm.Context(system, integrator, openmm.Platform.getPlatformByName(name))


def _check_energy(context: openmm.Context, source: str | None) -> None:
    energy = context.getState(energy=True).getPotentialEnergy().value_in_unit_system(md_unit_system)
    if not np.isfinite(energy):
        requirement = "have a finite energy"
        raise InputError("system.structure", requirement, f"{energy} kJ/mol", source=source, remedy=CLASHES)


def _check_forces(context: openmm.Context, source: str | None) -> None:
    state = context.getState(forces=True)
    forces = state.getForces(asNumpy=True).value_in_unit_system(md_unit_system)
    sizes = np.linalg.norm(forces, axis=1)
    if not sizes.max() < LARGEST_FORCE:
        requirement = f"relax to forces below {LARGEST_FORCE:g} kJ/mol/nm"
        given = f"{sizes.max():.3g} on atom {int(np.argmax(sizes))}"
        raise InputError("system.structure", requirement, given, source=source, remedy=CLASHES)


def _check_time_step(settings: MoleculeSettings, system: openmm.System, source: str | None) -> None:
    longest = fastest_period(system) / STEPS_OF_A_PERIOD
    if settings.time_step > longest:
        remedy = None
        if settings.forces.system is None and settings.forces.constraints in ("none",):
            remedy = 'With constraints = "hbonds" it may be 0.002.'
        requirement = f"be at most {longest:.2g} ps, a seventh of the period of the fastest vibration"
        raise InputError("system.time_step", requirement, settings.time_step, source=source, remedy=remedy)


def _internal(
    topology: mdtraj.Topology,
    system: openmm.System,
    reference: Float[np.ndarray, "atoms 3"],
    solute: Int[np.ndarray, "solute"],
    torsions: Sequence[Sequence[int]],
) -> InternalCoordinates:
    """The internal coordinates of the solute, whose atoms are counted by themselves; of other atoms no torsion."""
    place = {int(atom): index for index, atom in enumerate(solute)}
    bonds = [(place[a.index], place[b.index]) for a, b in topology.bonds if a.index in place and b.index in place]
    held = [system.getConstraintParameters(index) for index in range(system.getNumConstraints())]
    held = [(place[a], place[b], length._value) for a, b, length in held if a in place and b in place]
    inside = [four for four in torsions if place.keys() >= set(four)]
    return build_internal_coordinates(
        np.array(bonds, int).reshape(-1, 2),
        masses_of(system)[solute],
        reference[solute],
        np.array([pair[:2] for pair in held], int).reshape(-1, 2),
        np.array([length for *_, length in held], float),
        torsions=tuple((place[a], place[b], place[c], place[d]) for a, b, c, d in inside),
    )
