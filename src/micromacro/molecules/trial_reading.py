"""Reading a compressed trajectory once in a process of its own, because damaged ones end the process that reads them.

The library that unpacks XTC trusts what the file says. The child does nothing else: this file run as a script.
"""

import struct
import subprocess
import sys
from pathlib import Path

FORMATS = (".xtc", ".tng")
XTC_MAGIC = 1995
FRAMES = 500


def why_damaged(path: Path, atoms: int) -> str | None:
    """Why a trajectory of so many atoms cannot be read to its end; `None` where it can."""
    if path.suffix.lower() == ".xtc":
        with path.open("rb") as file:
            head = file.read(8)
        if len(head) < 8 or struct.unpack(">ii", head) != (XTC_MAGIC, atoms):
            return f"a file that does not begin as one of {atoms} atoms"
    # without the folder of this file among those of modules
    command = [sys.executable, "-P", __file__, str(path.resolve())]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode == 0:
        return None
    if done.returncode < 0:
        return f"a file that ended the process which read it (signal {-done.returncode}): it is damaged"
    return (done.stderr.decode(errors="replace").strip().splitlines() or ["no reason"])[-1]


def _read_all(path: str) -> None:
    import mdtraj

    with mdtraj.open(path) as file:
        while len(file.read(n_frames=FRAMES)[0]):
            pass


if __name__ == "__main__":
    _read_all(sys.argv[1])
