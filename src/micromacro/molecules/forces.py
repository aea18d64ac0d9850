"""The forces of a molecule: an OpenMM System from force-field files, an Amber topology, or a serialised System.

Without a box no interaction is cut off; with one, electrostatics are by particle-mesh Ewald and Lennard-Jones forces
end at 1 nm. Waters are rigid unless nothing is constrained. The centre of mass is left free.
"""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import openmm
from openmm import app
from openmm.app.internal.customgbforces import GBSAOBC2Force

from micromacro.errors import InputError
from micromacro.molecules.structures import Structures
from micromacro.molecules.xml_files import MissingFileError, forcefield_paths, system_text
from micromacro.reading import MOST_TEXT_BYTES, why_unreadable

CUTOFF = 1.0
"""In nm, of interactions in a box."""

CONSTRAINTS = {"none": None, "hbonds": app.HBonds, "allbonds": app.AllBonds, "hangles": app.HAngles}
SOLVENTS = {"HCT": app.HCT, "OBC1": app.OBC1, "OBC2": app.OBC2, "GBn": app.GBn, "GBn2": app.GBn2}
"""Implicit solvents by the names that OpenMM has for them."""
SOLVENT_DIELECTRIC = 78.5
"""Of implicit water, as in OpenMM's files and Amber."""
NATIVE = "OBC2"
SOLVENT_FILES = {f"implicit/{name.lower()}.xml": name for name in SOLVENTS}


@dataclass(frozen=True)
class ForceSettings:
    """What describes the forces: exactly one of `forcefield`, `prmtop` and `system`.

    **Arguments:**

    - `forcefield`: names of OpenMM's XML files, or paths of others.
    - `prmtop`: an Amber topology.
    - `system`: a serialised OpenMM System; its constraints are its own.
    - `implicit_solvent`: HCT, OBC1, OBC2, GBn or GBn2, with `forcefield` or `prmtop`.
    - `constraints`: none, hbonds, allbonds or hangles; hbonds where left out.
    """

    forcefield: tuple[str, ...] = ()
    prmtop: Path | None = None
    system: Path | None = None
    implicit_solvent: str | None = None
    constraints: str | None = None


def create_forces(settings: ForceSettings, structures: Structures, source: str | None = None) -> openmm.System:
    """The OpenMM System of the structures.

    **Raises:** `InputError` that names the key, for files that are missing or cannot be read, atoms that the force
    field does not know, and a box that is too small or stands beside an implicit solvent.
    """
    check_box(settings, structures, source)
    if settings.system is not None:
        system = _deserialised(settings.system, source)
    elif settings.prmtop is not None:
        system = _from_prmtop(settings, structures, source)
    else:
        system = _from_forcefield(settings, structures, source)
    atoms = structures.topology.getNumAtoms()
    if system.getNumParticles() != atoms:
        key = "system.prmtop" if settings.prmtop else "system.system"
        given = f"{system.getNumParticles()}, and {atoms} in 'structure'"
        raise InputError(key, "have as many atoms as the structure", given, source=source)
    _refuse_baths(system, source)
    return without_centring(system)


def check_box(settings: ForceSettings, structures: Structures, source: str | None) -> None:
    """Refuse a box that is too small for the cutoff, and one around an implicit solvent."""
    if structures.box is None or settings.system is not None:
        return
    remedy = "Without a box (no CRYST1 line in the PDB) nothing is cut off."
    if implicit_solvent(settings):
        requirement = "have no box where the solvent is implicit"
        raise InputError("system.structure", requirement, "a box", source=source, remedy=remedy)
    shortest = min(structures.box[axis, axis] for axis in range(3))
    if shortest < 2 * CUTOFF:
        requirement = f"have a box at least {2 * CUTOFF:g} nm wide, twice the cutoff"
        raise InputError("system.structure", requirement, f"{shortest:g} nm", source=source, remedy=remedy)


def implicit_solvent(settings: ForceSettings) -> str | None:
    """The implicit solvent, by its own key or by a file `implicit/….xml` of OpenMM."""
    named = [SOLVENT_FILES[name] for name in settings.forcefield if name in SOLVENT_FILES]
    return settings.implicit_solvent or (named[0] if named else None)


def without_centring(system: openmm.System) -> openmm.System:
    """The System, less every force that moves the centre of mass."""
    for index in reversed(range(system.getNumForces())):
        if isinstance(system.getForce(index), openmm.CMMotionRemover):
            system.removeForce(index)
    return system


def _options(settings: ForceSettings, structures: Structures) -> dict:
    options = {
        "constraints": CONSTRAINTS[settings.constraints or "hbonds"],
        "rigidWater": settings.constraints != "none",
        "removeCMMotion": False,
        "nonbondedMethod": app.NoCutoff,
    }
    if structures.box is not None:
        options |= {"nonbondedMethod": app.PME, "nonbondedCutoff": CUTOFF}
    return options


def _from_forcefield(settings: ForceSettings, structures: Structures, source: str | None) -> openmm.System:
    solvent = implicit_solvent(settings)
    files = [name for name in settings.forcefield if name not in SOLVENT_FILES]
    if solvent and solvent != NATIVE:
        files.append(f"implicit/{solvent.lower()}.xml")
    field = _read_forcefield(files, source)
    try:
        system = field.createSystem(structures.topology, **_options(settings, structures))
    except Exception as error:
        raise _unknown_residue(error, source) from error
    return with_native_solvent(system, structures.topology) if solvent == NATIVE else system


def with_native_solvent(system: openmm.System, topology: app.Topology) -> openmm.System:
    """The System with the OBC2 solvent of OpenMM's `implicit/obc2.xml`, as its own force instead of a custom one.

    The energies are the same; steps are many times faster.

    Source: Onufriev, Bashford & Case, Proteins 55, 383 (2004), model II; radii mbondi2.
    """
    (nonbonded,) = (force for force in system.getForces() if isinstance(force, openmm.NonbondedForce))
    nonbonded.setReactionFieldDielectric(1.0)
    solvent = openmm.GBSAOBCForce()
    solvent.setNonbondedMethod(openmm.GBSAOBCForce.NoCutoff)
    solvent.setSolventDielectric(SOLVENT_DIELECTRIC)
    for index, (radius, scale) in enumerate(GBSAOBC2Force.getStandardParameters(topology)):
        solvent.addParticle(nonbonded.getParticleParameters(index)[0], radius, scale)
    system.addForce(solvent)
    return system


def _read_forcefield(files: Sequence[str], source: str | None) -> app.ForceField:
    key = "system.forcefield"
    try:
        paths = forcefield_paths(files, key, source)
    except MissingFileError as error:
        near = difflib.get_close_matches(error.name, known_forcefields(), n=1)
        raise MissingFileError(error.name, key, source, f"Did you mean '{near[0]}'?" if near else None) from error
    try:
        return app.ForceField(*paths)
    except Exception as error:
        requirement = "name force-field files that can be read"
        raise InputError(key, requirement, shown(error), source=source) from error


def known_forcefields() -> list[str]:
    """The names of the force-field files that OpenMM ships."""
    folder = Path(app.__file__).parent / "data"
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.xml"))


def _unknown_residue(error: Exception, source: str | None) -> InputError:
    message = str(error)
    if "addHydrogens" in message or ("missing" in message and " H atom" in message):
        requirement = "hold every atom of its residues, hydrogens included"
        remedy = "Add what is missing with openmm.app.Modeller.addHydrogens, or with PDBFixer."
    elif "No template found" in message or "Multiple" in message:
        requirement = "hold residues that the force field knows"
        remedy = "Add a force-field file that has them, or give 'prmtop' or 'system' instead of 'forcefield'."
    else:
        requirement, remedy = "fit the force field", None
    return InputError("system.structure", requirement, shown(error), source=source, remedy=remedy)


def _from_prmtop(settings: ForceSettings, structures: Structures, source: str | None) -> openmm.System:
    path, solvent, key = settings.prmtop, settings.implicit_solvent, "system.prmtop"
    assert path is not None
    _check_file(path, key, source)
    try:
        topology = app.AmberPrmtopFile(str(path), periodicBoxVectors=structures.topology.getPeriodicBoxVectors())
        return topology.createSystem(
            **_options(settings, structures), implicitSolvent=SOLVENTS[solvent] if solvent else None
        )
    except Exception as error:
        raise InputError(key, "name an Amber topology that can be read", shown(error), source=source) from error


def _deserialised(path: Path, source: str | None) -> openmm.System:
    key = "system.system"
    text = system_text(path, key, source)
    try:
        system = openmm.XmlSerializer.deserialize(text)
    except Exception as error:
        raise InputError(key, "name a serialised OpenMM System", shown(error), source=source) from error
    if not isinstance(system, openmm.System):
        given = f"a {type(system).__name__} in '{path.name}'"
        raise InputError(key, "name a serialised OpenMM System", given, source=source)
    return system


def _check_file(path: Path, key: str, source: str | None) -> None:
    if (reason := why_unreadable(path, MOST_TEXT_BYTES)) is not None:
        raise InputError(key, "name a file that exists", f"'{path.name}' ({reason})", source=source)


def _refuse_baths(system: openmm.System, source: str | None) -> None:
    """Refuse forces that change the ensemble: it is canonical at the temperature of the case."""
    for force in system.getForces():
        name = type(force).__name__
        if name.endswith(("Barostat", "Thermostat")):
            requirement = "hold no thermostat and no barostat: runs are at constant volume and 'temperature'"
            raise InputError("system.system", requirement, name, source=source, remedy="Remove it from the System.")


def shown(error: Exception) -> str:
    """An error in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}".rstrip(". ")
