"""Data files as strangers write them: structures, force fields, trajectories, tables and arrays."""

import struct
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import mdtraj
import numpy as np
import openmm
from hypothesis import strategies as st

from micromacro.cases.alanine import DATA

PDB = DATA / "alanine_dipeptide_c7eq.pdb"
FORCEFIELD = b"""<ForceField>
 <AtomTypes><Type name="X" class="X" element="C" mass="12"/></AtomTypes>
 <Residues><Residue name="ACE"><Atom name="C" type="X"/></Residue></Residues>
</ForceField>"""
BOMB = b"""<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">""" + b"".join(
    b'<!ENTITY %c "%s">' % (98 + k, (b"&%c;" % (97 + k)) * 10) for k in range(9)
)
COLVAR = b"#! FIELDS time phi metad.bias\n#! SET min_phi -pi\n#! SET max_phi pi\n" + b"".join(
    b" %d 0.1 %d.5\n" % (time, time) for time in range(6)
)
WRITTEN = (".dcd", ".xtc", ".trr", ".nc", ".xyz", ".pdb", ".mdcrd", ".gro")


def seeds(folder: Path) -> dict[str, bytes]:
    """Valid files by their names, which are then damaged."""
    walk = mdtraj.load(str(PDB))
    walk = mdtraj.join([walk] * 6)
    walk.time = np.arange(6.0)
    found = {"structure.pdb": PDB.read_bytes(), "forces.xml": FORCEFIELD, "COLVAR": COLVAR, "system.xml": _system()}
    for ending in WRITTEN:
        path = folder / f"walk{ending}"
        walk.save(str(path))
        found[path.name] = path.read_bytes()
    found["weights.npy"] = _npy(np.ones(6))
    found["weights.txt"] = b"1.0\n" * 6
    return found


def _system() -> bytes:
    system = openmm.System()
    for _ in range(22):
        system.addParticle(12.0)
    bonds = openmm.HarmonicBondForce()
    bonds.addBond(0, 1, 0.1, 1000.0)
    system.addForce(bonds)
    return openmm.XmlSerializer.serialize(system).encode()


def _npy(array: np.ndarray) -> bytes:
    out = BytesIO()
    np.save(out, array, allow_pickle=True)
    return out.getvalue()


def _npz(array: np.ndarray) -> bytes:
    out = BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("q.npy", _npy(array))
    return out.getvalue()


def _claims(shape: str, kind: str = "<f8") -> bytes:
    header = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}".encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header


class Dangerous:
    """Unpickled it would call a function; nothing of the kind may happen."""

    def __reduce__(self) -> tuple[Callable, tuple]:
        """What unpickling calls."""
        return print, ("UNPICKLED",)


CRAFTED: dict[str, tuple[bytes, ...]] = {
    "forces.xml": (
        BOMB + b"]><ForceField>&j;</ForceField>",
        b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><ForceField>&a;</ForceField>',
        b"<ForceField><InitializationScript>print('EXECUTED')</InitializationScript></ForceField>",
        b"<ForceField><Script>print('EXECUTED')</Script></ForceField>",
        b'<ForceField><Include file="/etc/passwd"/></ForceField>',
        b'<ForceField><Include file="../outside/secret.txt"/></ForceField>',
        b'<ForceField><Include file="forces.xml"/></ForceField>',
        b'<ForceField><Include file="pipe"/></ForceField>',
        b"<ForceField><NonbondedForce coulomb14scale='1' lj14scale='1' useDispersionCorrection='print(1)'/>"
        b"</ForceField>",
        b"<a>" * 100_000,
        b"<a>" * 50 + b"</a>" * 50,
        b'<?xml version="1.0" encoding="no-such"?><ForceField/>',
    ),
    "system.xml": (
        BOMB + b"]><System>&j;</System>",
        b'<?xml version="1.0" ?><System openmmVersion="8" type="System" version="1"><Particles><Particle mass="1"/>'
        b'</Particles><Constraints/><Forces><Force type="PythonForce" function="80049512000000000000008c085f" '
        b'version="2"/>'
        b"</Forces></System>",
        b'<System type="System" version="1"><Forces><Force type="TorchForce" file="x.pt"/></Forces></System>',
        b'<Force type="HarmonicBondForce" version="2"><Bonds/></Force>',
        b"<a>" * 100_000,
        b"<System/>",
        b"",
        _system().replace(b'mass="12"', b'mass="nan"'),
        _system().replace(b'mass="12"', b'mass="-1"'),
        _system().replace(b'k="1000"', b'k="1e999"'),
        _system().replace(b'p2="1"', b'p2="999999999"'),
    ),
    "structure.pdb": (
        b"HETATM" + b"9" * 1000,
        b"ATOM  " + b"*" * 74 + b"\n",
        b"CRYST1    0.000    0.000    0.000  90.00  90.00  90.00 P 1           1\n" + PDB.read_bytes(),
        b"CRYST1   20.000   20.000   20.000   0.00   0.00   0.00 P 1           1\n" + PDB.read_bytes(),
        b"MODEL        1\n" * 1000,
        PDB.read_bytes().replace(b"0.", b"n."),
        b"\n" * 100_000,
    ),
    "weights.npy": (
        _npy(np.array([Dangerous()], object)),
        _npz(np.ones((3, 2))),
        _npz(np.array([Dangerous()], object)),
        _claims("(1000000000000,)"),
        _claims("(" + "9" * 4000 + ",)"),
        _claims("(-5,)"),
        _claims("(6,)", "|O"),
        _claims("(6,)", "<U9999999"),
        _claims("(" + "1," * 50 + ")"),
        _claims("()"),
        b"PK\x03\x04" + b"\0" * 60,
    ),
    "COLVAR": (
        b"#! FIELDS time phi\n 0 pi/0\n",
        b"#! FIELDS\n",
        b"#! FIELDS time time\n",
        b"#! FIELDS time phi\n 0 nan\n",
        b"#! FIELDS time " + b" ".join(b"c%d" % k for k in range(50_000)) + b"\n",
        b"0 1\n" * 3,
        b"#! FIELDS time phi metad.bias\n" + b"1 1e999 1\n",
    ),
    "weights.txt": (b"1e400\n" * 6, b"1 2\n3 4\n", b"\0\n", b"x" * 100_000),
}


def _dcd(atoms: int, frames: int) -> bytes:
    """A DCD file whose header claims so much and that holds none of it."""
    head = struct.pack("<i4s9if10ii", 84, b"CORD", frames, 0, 1, frames, 0, 0, 0, 0, 0, 1.0, *([0] * 9), 24, 84)
    title = struct.pack("<ii80si", 84, 1, b" " * 80, 84)
    return head + title + struct.pack("<iii", 4, atoms, 4)


CRAFTED["walk.dcd"] = (_dcd(22, 2**31 - 1), _dcd(2**31 - 1, 1), _dcd(-1, 1), _dcd(0, 1), _dcd(10**8, 6))
CRAFTED["walk.h5"] = (b"\x89HDF\r\n\x1a\n" + b"\0" * 100,)
CRAFTED["walk.tng"] = (b"\x01" * 200, b"\0" * 200)
CRAFTED["walk.xtc"] = (
    struct.pack(">iiif", 1995, 2**31 - 1, 0, 0.0) + b"\0" * 100,
    struct.pack(">iiif", 1995, 22, 0, 0.0) + struct.pack(">9f", *([1.0] * 9)) + struct.pack(">i", 22) + b"\xff" * 100,
    struct.pack(">iiif", 1995, -22, 0, 0.0) + b"\xff" * 100,
)


@st.composite
def damaged_files(draw: st.DrawFn, valid: dict[str, bytes]) -> tuple[str, bytes]:
    """A name and what is in the file: a crafted one, or a valid one cut off, changed or swapped with another."""
    name = draw(st.sampled_from(sorted({*valid, *CRAFTED})))
    if name in CRAFTED and (name not in valid or draw(st.integers(0, 2)) == 0):
        return name, draw(st.sampled_from(CRAFTED[name]))
    content = bytearray(valid[name])
    action = draw(st.sampled_from(["cut", "flip", "flip", "header", "swap", "append", "repeat"]))
    if action == "cut":
        return name, bytes(content[: draw(st.integers(0, len(content)))])
    if action == "swap":
        return name, valid[draw(st.sampled_from(sorted(valid)))]
    if action == "append":
        return name, bytes(content) + draw(st.binary(max_size=100))
    if action == "repeat":
        return name, bytes(content) * draw(st.integers(2, 5))
    end = min(120, len(content)) if action == "header" else len(content)
    for _ in range(draw(st.integers(1, 8))):
        content[draw(st.integers(0, end - 1))] = draw(st.integers(0, 255))
    return name, bytes(content)
