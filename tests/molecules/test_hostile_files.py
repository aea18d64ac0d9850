"""Molecular files that would run Python, fill the memory or end the process, and are refused instead."""

import struct

import mdtraj
import numpy as np
import openmm
import pytest

from micromacro.cases.alanine import DATA
from micromacro.errors import InputError
from micromacro.molecules.forces import ForceSettings, create_forces
from micromacro.molecules.structures import read_structures
from micromacro.molecules.trajectories import read_topology, read_trajectory, selected_atoms
from micromacro.molecules.xml_files import forcefield_paths, system_text

PDB = DATA / "alanine_dipeptide_c7eq.pdb"
FIELDS = {
    "script": (
        "<ForceField><InitializationScript>import sys; sys.ran = 1</InitializationScript></ForceField>",
        "Python that OpenMM would run",
    ),
    "later script": ("<ForceField><Script>import sys; sys.ran = 1</Script></ForceField>", "Python that OpenMM would"),
    "evaluated": (
        '<ForceField><NonbondedForce useDispersionCorrection="print(1)"/></ForceField>',
        "neither True nor False",
    ),
    "entities": ('<!DOCTYPE x [<!ENTITY a "b">]><ForceField>&a;</ForceField>', "document type"),
    "deep": ("<a>" * 100 + "</a>" * 100, "nested deeper than 64"),
    "include of another folder": ('<ForceField><Include file="../secret.xml"/></ForceField>', "no such file"),
    "include of the root": ('<ForceField><Include file="/etc/passwd"/></ForceField>', "no such file"),
    "no XML": ("<a", "unclosed token"),
}


@pytest.mark.parametrize(("text", "message"), FIELDS.values(), ids=FIELDS.keys())
def test_force_fields_that_are_refused(tmp_path, text, message):
    (tmp_path / "secret.xml").write_text("<ForceField/>")
    (tmp_path / "beside").mkdir()
    path = tmp_path / "beside" / "own.xml"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        create_forces(ForceSettings(forcefield=(str(path),)), read_structures([PDB]))


def test_scripts_of_included_files_are_found(tmp_path):
    (tmp_path / "own.xml").write_text('<ForceField><Include file="other.xml"/></ForceField>')
    (tmp_path / "other.xml").write_text(FIELDS["script"][0])
    with pytest.raises(InputError, match=r"'other\.xml' \(a <InitializationScript>"):
        forcefield_paths([str(tmp_path / "own.xml")], "system.forcefield", None)


def test_a_file_of_the_working_folder_does_not_stand_for_one_of_openmm(tmp_path, monkeypatch):
    (tmp_path / "amber96.xml").write_text(FIELDS["script"][0])
    monkeypatch.chdir(tmp_path)
    (path,) = forcefield_paths(["amber96.xml"], "system.forcefield", None)
    assert not path.startswith(str(tmp_path))


def energy(state):
    return 0.0, np.zeros((1, 3))


def system_with(force: openmm.Force | None) -> str:
    system = openmm.System()
    system.addParticle(1.0)
    if force is not None:
        system.addForce(force)
    return openmm.XmlSerializer.serialize(system)


def test_pickled_functions_in_a_system_are_refused(tmp_path):
    path = tmp_path / "system.xml"
    path.write_text(system_with(openmm.PythonForce(energy)))
    with pytest.raises(InputError, match=r"'system\.xml' \(a PythonForce, which may run a program\)"):
        system_text(path, "system.system", None)


def test_endless_expressions_are_refused(tmp_path):
    path = tmp_path / "system.xml"
    path.write_text(system_with(openmm.CustomExternalForce("(" * 101 + "x" + ")" * 101)))
    with pytest.raises(InputError, match="an expression longer than 5000 or with 100 brackets"):
        system_text(path, "system.system", None)


def test_a_system_is_the_same_when_written_anew(tmp_path):
    path = tmp_path / "system.xml"
    inner = openmm.CustomCVForce("a")
    inner.addCollectiveVariable("a", openmm.HarmonicBondForce())
    path.write_text(system_with(inner))
    again = openmm.XmlSerializer.deserialize(system_text(path, "system.system", None))
    assert openmm.XmlSerializer.serialize(again) == path.read_text()


@pytest.fixture
def walk(tmp_path):
    """Writes six frames in a format; the path, the topology and the atoms."""
    frames = mdtraj.join([mdtraj.load(str(PDB))] * 6)
    frames.time = np.arange(6.0)

    def write(ending: str):
        path = tmp_path / f"walk{ending}"
        frames.save(str(path))
        return path

    return write


def read(path):
    return read_trajectory(path, read_topology(PDB), np.arange(22))


def test_headers_of_trr_are_checked(walk):
    path = walk(".trr")
    assert read(path).total == 6
    content = bytearray(path.read_bytes())
    # the number of atoms of the second frame
    at = len(content) // 6 + struct.calcsize(">ii i12s 10i")
    content[at : at + 4] = struct.pack(">i", 0)
    path.write_bytes(content)
    with pytest.raises(InputError, match="frame 1: 0 atoms"):
        read(path)


def test_xtc_that_ends_the_process_is_a_message(walk):
    path = walk(".xtc")
    content = bytearray(path.read_bytes())
    content[4:8] = struct.pack(">i", 2**31 - 1)
    path.write_bytes(content)
    with pytest.raises(InputError, match="does not begin as one of 22 atoms"):
        read(path)


def test_hdf5_is_refused(tmp_path):
    path = tmp_path / "walk.h5"
    path.write_bytes(b"\x89HDF\r\n\x1a\n")
    with pytest.raises(InputError, match=r"must not be HDF5; got 'walk\.h5'\. Convert it, with mdconvert"):
        read(path)


def test_selections_are_bounded():
    with pytest.raises(InputError, match="at most 1000 characters and 10 brackets"):
        selected_atoms(read_topology(PDB), "(" * 30 + "all" + ")" * 30)
