"""Samples in files of other programs, read back by mdtraj and OpenMM."""

import mdtraj
import numpy as np
import pytest
from openmm import app
from openmm.unit import md_unit_system

from micromacro.cases.alanine import DATA
from micromacro.errors import InputError
from micromacro.molecules.writing import write_samples

TOPOLOGY = mdtraj.Topology.from_openmm(app.PDBFile(str(DATA / "alanine_dipeptide_c7eq.pdb")).topology)
SAMPLES = np.random.default_rng(0).normal(size=(5, 22, 3))


@pytest.mark.parametrize(("suffix", "error"), [("pdb", 5.1e-5), ("dcd", 1e-6), ("xtc", 5.1e-4)])
def test_samples_come_back_as_precisely_as_the_format_allows(tmp_path, suffix, error):
    path = tmp_path / f"samples.{suffix}"
    *_, atoms = write_samples(path, SAMPLES, TOPOLOGY)
    back = mdtraj.load(str(path), **({} if suffix == "pdb" else {"top": str(atoms)}))
    assert np.abs(back.xyz - SAMPLES).max() < error
    assert [str(atom) for atom in back.topology.atoms] == [str(atom) for atom in TOPOLOGY.atoms]
    assert back.topology.n_bonds == TOPOLOGY.n_bonds


def test_openmm_reads_the_pdb(tmp_path):
    write_samples(tmp_path / "samples.pdb", SAMPLES, TOPOLOGY)
    file = app.PDBFile(str(tmp_path / "samples.pdb"))
    assert file.getNumFrames() == 5
    third = file.getPositions(asNumpy=True, frame=3).value_in_unit_system(md_unit_system)
    np.testing.assert_allclose(third, SAMPLES[3], atol=5.1e-5)
    app.ForceField("amber96.xml").createSystem(file.topology)


def test_the_box_is_kept(tmp_path):
    box = np.diag([3.0, 4.0, 5.0])
    write_samples(tmp_path / "samples.dcd", SAMPLES, TOPOLOGY, box)
    back = mdtraj.load(str(tmp_path / "samples.dcd"), top=TOPOLOGY)
    np.testing.assert_allclose(back.unitcell_vectors[4], box, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "samples", "expected"),
    [
        ("s.trr", SAMPLES, r"a file of samples must end in \.pdb or \.dcd or \.xtc; got 's\.trr'"),
        ("s.pdb", SAMPLES[:0], "samples must be one or more"),
        ("s.pdb", SAMPLES[:, 1:], "samples must have the 22 atoms of the topology; got 21"),
        ("s.pdb", np.where(np.arange(5)[:, None, None] == 2, np.nan, SAMPLES), "got sample 2 without"),
    ],
)
def test_what_cannot_be_written_is_refused(tmp_path, name, samples, expected):
    with pytest.raises(InputError, match=expected):
        write_samples(tmp_path / name, samples, TOPOLOGY)
    assert not list(tmp_path.iterdir())
