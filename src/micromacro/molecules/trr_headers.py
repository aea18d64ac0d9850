"""The frames of a TRR file by their headers, looked at before mdtraj, which divides by what stands there.

Source: `trrio.cpp` of GROMACS: each header is big-endian, in the format of XDR.
"""

import struct
from pathlib import Path

MAGIC, VERSION = 1993, b"GMX_trn_file"
HEADER = struct.Struct(">ii i12s 13i")
BLOCKS = ("ir", "e", "box", "vir", "pres", "top", "sym", "x", "v", "f")


def why_damaged(path: Path) -> str | None:
    """What is wrong with the header of a frame; `None` where all of them fit each other and the file.

    The last frame may be cut off, as where a simulation was stopped: mdtraj tells of that.
    """
    size, at, frame = path.stat().st_size, 0, 0
    with path.open("rb") as file:
        while at + HEADER.size <= size:
            file.seek(at)
            length = _length(file.read(HEADER.size))
            if isinstance(length, str):
                return f"frame {frame}: {length}"
            at, frame = at + HEADER.size + length, frame + 1
    return None if frame else "no header of a frame"


def _length(header: bytes) -> int | str:
    """How many bytes follow the header up to the next one, or what is wrong with it."""
    magic, length, characters, version, *numbers = HEADER.unpack(header)
    if (magic, length, characters, version) != (MAGIC, len(VERSION) + 1, len(VERSION), VERSION):
        return "it does not begin as one"
    sizes: dict[str, int] = dict(zip(BLOCKS, numbers, strict=False))
    atoms = numbers[len(BLOCKS)]
    if atoms < 1 or min(sizes.values()) < 0:
        return f"{atoms} atoms and blocks of {min(sizes.values())} bytes or more"
    width = next((sizes[name] / (3 * atoms) for name in ("x", "v", "f") if sizes[name]), sizes["box"] / 9)
    if width not in (4, 8):
        return f"numbers of {width:g} bytes"
    wanted = dict.fromkeys("xvf", 3 * atoms * width) | dict.fromkeys(("box", "vir", "pres"), 9 * width)
    wrong = next((name for name in BLOCKS if sizes[name] not in (0, wanted.get(name, 0))), None)
    if wrong is not None:
        return f"a block {wrong} of {sizes[wrong]} bytes for {atoms} atoms"
    # time and λ
    return sum(sizes.values()) + 2 * int(width)
