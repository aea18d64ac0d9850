"""What a process does besides reading: writes outside of its folder, programs, connections, pickles."""

import os
import sys
from pathlib import Path

from micromacro.molecules import trial_reading

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CHANGES: dict[str, dict[int, int | None]] = {
    "os.mkdir": {0: 2},
    "os.rename": {0: 2, 1: 3},
    "os.remove": {0: 1},
    "os.rmdir": {0: 1},
    "os.link": {0: 2, 1: 3},
    "os.symlink": {0: None, 1: 2},
    "os.truncate": {0: None},
    "os.chmod": {0: 2},
    "shutil.rmtree": {0: 1},
}
"""Which arguments of an event are paths, and which the open folder that each is relative to."""
FORBIDDEN = ("pickle.find_class", "os.system", "subprocess.Popen", "socket.connect", "socket.bind", "urllib.Request")

OWN = trial_reading.__file__
"""A program of the library itself."""


ASKING = ("fc-list", "lscpu")
"""Programs that matplotlib and joblib ask for the fonts and the cores of the machine."""


def _is_known(command: object) -> bool:
    words = [str(word) for word in command] if isinstance(command, (list, tuple)) else [str(command)]
    return OWN in words or words[0] in ASKING


class Watch:
    """Notes by Python's audit events what happens while it is on.

    **Arguments:**

    - `allowed`: folders that may be written.
    """

    def __init__(self, *allowed: Path):
        self.allowed = [str(folder.resolve()) for folder in allowed]
        self.found: list[str] = []
        self.on = False
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple) -> None:
        if not self.on:
            return
        if event in FORBIDDEN and not (event == "subprocess.Popen" and _is_known(arguments[1])):
            self.found.append(f"{event} {str(arguments)[:80]}")
        elif event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITING:
            self._check(arguments[0])
        elif event in CHANGES:
            for path, folder in CHANGES[event].items():
                within = arguments[folder] if folder is not None and folder < len(arguments) else None
                self._check(arguments[path], within)

    def _check(self, path: object, folder: object = None) -> None:
        if not isinstance(path, (str, bytes, os.PathLike)):
            return
        begin = os.readlink(f"/proc/self/fd/{folder}") if isinstance(folder, int) and folder >= 0 else ""
        # where it is really written: links are followed
        place = os.path.realpath(os.path.join(begin, os.fsdecode(path)))
        if place != os.devnull and not any(place == one or place.startswith(f"{one}/") for one in self.allowed):
            self.found.append(f"wrote {place}")


def contents(folder: Path) -> dict[str, bytes]:
    """What lies in a folder that must not change."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
