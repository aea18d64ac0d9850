"""Who has a folder of results: looked at without touching anything."""

import os
import re
from pathlib import Path

from micromacro.watching.untrusted import open_to_read, read_bytes, text

LOCK, OWNER = ".lock", ".owner"


def is_held(out: Path) -> bool | None:
    """Whether a run has the lock of a folder, where this machine can tell.

    A lock that others may share is tried for an instant on what is there: nothing is made or changed.
    """
    try:
        import fcntl

        with open_to_read(out / LOCK) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            return False
    except (OSError, ImportError):
        return None


def last_owner(out: Path) -> tuple[int, str] | None:
    """Process and machine of the run that had the lock last."""
    found = re.fullmatch(rb"process (\d{1,10}) on (.{1,200})\n?", read_bytes(out / OWNER, 300))
    return None if found is None else (int(found[1]), text(os.fsdecode(found[2])) or "?")
