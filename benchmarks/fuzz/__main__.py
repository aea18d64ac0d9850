"""Hostile input: `python -m benchmarks.fuzz --case-files 10000 --stores 1000 --seed 0`.

Case files, data files and results with things changed in them, made by hypothesis, are given to the library and to the
command line. Each must be refused with one message, or be accepted, within a time limit. Prints a table and exits 1
where an input ended in a traceback, took too long, ended the process, unpickled something, ran a program, or wrote a
file outside of its folder.
"""

import argparse
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from pathlib import Path
from typing import IO

from benchmarks.fuzz.stores import make_run

LONGEST = 120.0
"""Seconds for one input; compiling takes most of them."""
CHUNK = 250
"""Inputs of one process."""
CASE_SHARES = {"bytes": 0.15, "own": 0.4, "sde": 0.15, "learned": 0.15, "molecule": 0.15}
BAD = ("traceback", "no message", "hang", "crash", "outside")
SHOWN = 20


def fuzz_kind(kind: str, count: int, seed: int, run: Path, longest: float = LONGEST) -> tuple[Counter, list[str]]:
    """How inputs of one kind ended, and what should not have been; a process that hangs or ends is begun anew."""
    ends, wrong, part = Counter(), [], 0
    while (left := count - sum(ends.values())) > 0:
        before = sum(ends.values())
        _one_process(kind, min(left, CHUNK), seed * 10_000 + part, run, longest, ends, wrong)
        if sum(ends.values()) == before:
            raise SystemExit(f"{kind}: a worker tried nothing; see its messages above.")
        part += 1
    return ends, wrong


def _one_process(kind: str, count: int, seed: int, run: Path, longest: float, ends: Counter, wrong: list[str]) -> None:
    with tempfile.TemporaryDirectory(prefix="micromacro-fuzz-") as folder:
        command = [sys.executable, "-m", "benchmarks.fuzz.worker", kind, str(count), str(seed), folder, str(run)]
        environment = os.environ | {"MPLBACKEND": "Agg", "JAX_PLATFORMS": "cpu", "NO_COLOR": "1"}
        environment["MPLCONFIGDIR"] = f"{folder}/matplotlib"
        worker = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, env=environment, text=True)
        assert worker.stdout is not None
        lines: queue.Queue[str | None] = queue.Queue()
        passing = threading.Thread(target=_pass_on, args=(worker.stdout, lines), daemon=True)
        passing.start()
        begun = None
        while True:
            try:
                line = lines.get(timeout=longest)
            except queue.Empty:
                worker.kill()
                _note("hang", begun or "before the first input", ends, wrong)
                break
            if line is None:
                if begun is not None:
                    _note("crash", f"exit code {worker.wait()}: {begun}", ends, wrong)
                break
            found = json.loads(line) if line.startswith("{") else {"printed": line}
            begun = found["what"] if "begin" in found else None if "end" in found else begun
            if "end" in found:
                _judge(found, ends, wrong)
        worker.wait()
        passing.join()
        worker.stdout.close()


def _pass_on(printed: IO[str], lines: queue.Queue) -> None:
    for line in printed:
        lines.put(line)
    lines.put(None)


def _judge(found: dict, ends: Counter, wrong: list[str]) -> None:
    if found["how"] in ("accepted", "refused") and not found["wrong"]:
        ends[found["how"]] += 1
        return
    how = "outside" if found["wrong"] else found["how"]
    _note(how, f"{found['what']}\n    {found['message']} {found['wrong'] or ''}", ends, wrong)


def _note(how: str, what: str, ends: Counter, wrong: list[str]) -> None:
    ends[how] += 1
    wrong.append(f"{how}: {what}")


def shares(count: int) -> dict[str, int]:
    """How many case files of each kind."""
    found = {kind: int(share * count) for kind, share in CASE_SHARES.items()}
    return found | {"own": found["own"] + count - sum(found.values())}


def print_table(rows: dict[str, Counter]) -> None:
    """One row per kind of input."""
    print(f"{'kind':<12}{'inputs':>8}{'refused':>9}{'accepted':>10}" + "".join(f"{name:>12}" for name in BAD))
    for kind, ends in rows.items():
        good = f"{kind:<12}{sum(ends.values()):>8}{ends['refused']:>9}{ends['accepted']:>10}"
        print(good + "".join(f"{ends[name]:>12}" for name in BAD), flush=True)


def main() -> None:
    """What the module says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case-files", type=int, default=10_000)
    parser.add_argument("--commands", type=int, default=300, help="case files given to 'micromacro run'")
    parser.add_argument("--data-files", type=int, default=2000)
    parser.add_argument("--stores", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--run", type=Path, help="the OUT of an intact run; one is made where left out")
    given = parser.parse_args()
    wanted = {**shares(given.case_files), "commands": given.commands, "data": given.data_files, "stores": given.stores}
    rows, wrong = {}, []
    with tempfile.TemporaryDirectory(prefix="micromacro-fuzz-run-") as folder:
        run = (given.run or make_run(Path(folder))).resolve()
        for kind, count in wanted.items():
            if count:
                rows[kind], found = fuzz_kind(kind, count, given.seed, run)
                wrong += [f"{kind}: {one}" for one in found]
                print_table({kind: rows[kind]})
    print()
    print_table(rows)
    if wrong:
        print("\n" + "\n".join(wrong[:SHOWN]))
        raise SystemExit(f"\n{len(wrong)} inputs ended as none may")
    print("\nno traceback, no hang, nothing written outside")


if __name__ == "__main__":
    main()
