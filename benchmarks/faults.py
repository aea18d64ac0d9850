"""A fault campaign: `python -m benchmarks.faults [--kills 200]`, or `make faults`.

Small runs are killed, starved and damaged in every way, told to go on, and compared bit by bit with one that was left
alone. Four things must hold: the result is the same; nothing that was finished is done again; every stage that was
finished can be read after every kill; every message ends with a remedy, and following it leads to the same result.
Exits 1 where one does not.
"""

import argparse
import json
import os
import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import zarr
from zarr.storage import ZipStore

from micromacro.errors import StoreError
from micromacro.store import Store

SYSTEM = """
import jax.numpy as jnp


def potential(q):
    return 3 * (q[0] ** 2 - 1) ** 2 + 6 * (q[1] ** 2 - 1) ** 2 + q[0] * q[1]


def drift(q):
    return jnp.array([q[1] - q[0], -q[1]])


def diffusion(q):
    return jnp.array([0.1, 1.0])


def coarse(q):
    return q[:1]
"""
COARSE = """
[coarse]
kind = "function"
function = "system.py:coarse"
lower = [-1.6]
upper = [1.6]

[generator]
training_steps = 200
"""
CASES = {
    "coupled": f"""
title = "Two wells and a hidden barrier"
[system]
kind = "overdamped"
potential = "system.py:potential"
dimension = 2
initial = [[-1.0, -1.0], [1.0, 1.0]]
{COARSE}
[bias]
windows = 12
steps = 1500
walkers = 32
[couple]
rounds = 2
[close]
bursts = 400000
full_model = 400000
""",
    "long-run": f"""
title = "A driven linear system"
[system]
kind = "sde"
drift = "system.py:drift"
diffusion = "system.py:diffusion"
dimension = 2
initial = [[0.0, 0.0]]
time_step = 1e-2
{COARSE}
[bias]
windows = 8
steps = 3000
walkers = 32
[close]
bursts = 400000
full_model = 400000
""",
}
SECONDS_TO_LIVE = 7.0
MOST_SECONDS = 900
WORDS_OF_REMEDY = ("--resume", "Delete", "Free some space", "Wait", "another OUT")


@dataclass
class Findings:
    """What was tried, and what went wrong."""

    tried: Counter = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def expect(self, holds: bool, what: str) -> None:
        """Note what does not hold."""
        if not holds:
            self.wrong.append(what)
            print(f"WRONG: {what}", flush=True)


@dataclass(frozen=True)
class Subject:
    """A case of which the result is known."""

    name: str
    file: Path
    reference: Path

    def command(self, out: Path, *more: str) -> list[str]:
        """What a user would type, after the name of the program."""
        return ["run", str(self.file), "-o", str(out), "--resume", *more]


def program(*arguments: str) -> list[str]:
    """The command line of micromacro in this environment."""
    return [sys.executable, "-c", "from micromacro.cli.main import main; main()", *arguments]


def environment(folder: Path) -> dict[str, str]:
    """Compiled programs are kept from run to run, or kills would mostly hit the compiler."""
    kept = {"JAX_COMPILATION_CACHE_DIR": str(folder / "compiled"), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    return os.environ | kept


def started(folder: Path, arguments: list[str]) -> subprocess.Popen:
    """A run of its own session, whose messages are kept."""
    return subprocess.Popen(
        program(*arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(folder),
        start_new_session=True,
    )


def finished(folder: Path, arguments: list[str]) -> subprocess.CompletedProcess:
    """A run that is left alone."""
    process = started(folder, arguments)
    out, err = process.communicate(timeout=MOST_SECONDS)
    return subprocess.CompletedProcess(arguments, process.returncode, out, err)


def subjects(folder: Path) -> list[Subject]:
    """Every case, run once without a fault."""
    found = []
    for name, text in CASES.items():
        case = folder / name
        case.mkdir()
        (case / "case.toml").write_text(text)
        (case / "system.py").write_text(SYSTEM)
        subject = Subject(name, case / "case.toml", folder / f"{name}-reference")
        done = finished(folder, subject.command(subject.reference))
        if done.returncode:
            raise SystemExit(f"the run without a fault failed: {done.stderr}")
        found.append(subject)
    return found


def same_result(out: Path, reference: Path) -> str | None:
    """Where two results differ, if they do; wall times and what follows from them aside."""
    for name in ("free_energy.csv", "closure.csv"):
        if (out / name).read_bytes() != (reference / name).read_bytes():
            return name
    first, second = (_timeless(json.loads((one / "summary.json").read_text())) for one in (out, reference))
    if first != second:
        return "summary.json"
    if set(Store(out).names) != set(Store(reference).names):
        return f"the stages {sorted(set(Store(out).names) ^ set(Store(reference).names))}"
    for stage in Store(reference).names:
        one, other = Store(out).read(stage), Store(reference).read(stage)
        if not one.identical(other.assign_attrs(wall_seconds=one.attrs["wall_seconds"])):
            return f"stage {stage}"
    return None


def _timeless(summary: object) -> object:
    if isinstance(summary, dict):
        return {key: _timeless(value) for key, value in summary.items() if key != "wall_seconds"}
    return summary


@dataclass
class Kept:
    """What a folder holds after a kill: stages by the time of their writing, and answers of the one under way."""

    stages: dict[str, int]
    under_way: str
    answers: dict[str, list[tuple]]

    @classmethod
    def of(cls, out: Path) -> "Kept":
        """Read, as a stranger would, with zarr alone where that does."""
        store = out / "store"
        stages = {entry.stem: entry.stat().st_mtime_ns for entry in store.glob("*.zarr")}
        answers: dict[str, list[tuple]] = {}
        for folder in store.glob(".*.parts"):
            name = folder.name.removeprefix(".").removesuffix(".parts")
            answers[name] = [answer for file in sorted(folder.glob("*.zip")) for answer in _answers(file)]
        writing = [entry.name.removeprefix(".").removesuffix(".partial") for entry in store.glob(".*.partial")]
        under_way = next((name for name in [*writing, *answers] if name not in stages), "between stages")
        return cls(stages, under_way, answers)

    def lost(self, before: "Kept") -> list[str]:
        """What was finished before and is not there any more, or was done again."""
        wrong = [f"stage {name}" for name, when in before.stages.items() if self.stages.get(name) != when]
        for name, answers in self.answers.items():
            wrong += [f"{answer} of {name} done twice" for answer, count in Counter(answers).items() if count > 1]
        for name, answers in before.answers.items():
            if name not in self.stages:
                wrong += [f"{answer} of {name}" for answer in set(answers) - set(self.answers.get(name, []))]
        return wrong


def _answers(file: Path) -> list[tuple]:
    with ZipStore(file, mode="r") as store:
        answers: list = zarr.open_group(store, mode="r").attrs["answers"]  # type: ignore[assignment]
        return [tuple(answer) for answer in answers]


def killed_until_done(
    folder: Path, subject: Subject, out: Path, rng: random.Random, findings: Findings, most: int
) -> int:
    """Kill a run at random instants and let it go on, `most` times at most, then to its end; how often it was."""
    before, kills = Kept({}, "", {}), 0
    while kills < most:
        process = started(folder, subject.command(out))
        _await_begin(process, out)
        time.sleep(rng.uniform(0, SECONDS_TO_LIVE))
        alive = process.poll() is None
        _kill_group(process, signal.SIGKILL)
        process.communicate()
        if not alive:
            findings.expect(process.returncode == 0, f"{subject.name} ended by itself with {process.returncode}")
            break
        kills += 1
        now = Kept.of(out)
        findings.tried[f"{subject.name}: killed in {now.under_way}"] += 1
        findings.expect(not now.lost(before), f"{subject.name}: lost {now.lost(before)[:3]}")
        _expect_readable(out, findings)
        _shuffle_times(out, rng)
        before = Kept.of(out)
    _expect_same(folder, subject, out, findings, "killed")
    return kills


def _kill_group(process: subprocess.Popen, number: int) -> None:
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        process.poll()


def _await_begin(process: subprocess.Popen, out: Path) -> None:
    """Until the run has its folder: kills before that teach nothing."""
    owner = out / ".owner"
    while process.poll() is None:
        if owner.exists() and f"process {process.pid} " in owner.read_text():
            return
        time.sleep(0.02)


def _shuffle_times(out: Path, rng: random.Random) -> None:
    """Files from the past and the future, as after a clock that jumped."""
    for entry in (out / "store").glob("*.zarr"):
        moment = time.time() + rng.uniform(-1e8, 1e8)
        os.utime(entry, (moment, moment))


def _expect_readable(out: Path, findings: Findings) -> None:
    for name in Store(out).names:
        try:
            Store(out).read(name)
        except StoreError as error:
            findings.expect(False, f"unreadable after a kill: {error}")


def _expect_same(folder: Path, subject: Subject, out: Path, findings: Findings, what: str) -> None:
    done = finished(folder, subject.command(out))
    findings.expect(done.returncode == 0, f"{subject.name}, {what}: did not go on: {done.stderr[-500:]}")
    if done.returncode == 0:
        differs = same_result(out, subject.reference)
        findings.expect(differs is None, f"{subject.name}, {what}: another result in {differs}")


def _expect_message(done: subprocess.CompletedProcess, findings: Findings, what: str) -> str:
    """The one message of a run that ended with 2; it must have a remedy."""
    findings.expect(done.returncode == 2, f"{what}: exit code {done.returncode}, {done.stderr[-300:]}")
    findings.expect("Traceback" not in done.stderr, f"{what}: a traceback, {done.stderr[-500:]}")
    message = next((line for line in done.stderr.splitlines() if line.startswith("Error: ")), "")
    findings.expect(any(word in message for word in WORDS_OF_REMEDY), f"{what}: no remedy in {message!r}")
    return message


def kill_often(folder: Path, all_subjects: list[Subject], kills: int, rng: random.Random, findings: Findings) -> None:
    """So many kills, two runs at a time."""

    def one(first: int, seed: float) -> None:
        own, left, number = random.Random(seed), kills // 2, first
        while left > 0:
            subject, out = all_subjects[number // 2 % len(all_subjects)], folder / f"killed-{number}"
            left -= killed_until_done(folder, subject, out, own, findings, left)
            shutil.rmtree(out, ignore_errors=True)
            number += 2

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(one, (0, 3), (rng.random(), rng.random())))


def kill_workers(folder: Path, subject: Subject, kills: int, rng: random.Random, findings: Findings) -> None:
    """Workers of a local cluster die or freeze while the run goes on."""
    out, done, number = folder / "workers", 0, 0
    while done < kills:
        shutil.rmtree(out, ignore_errors=True)
        process = started(folder, subject.command(out, "--workers", "2", "--task-timeout", "20", "--quiet"))
        while process.poll() is None:
            time.sleep(rng.uniform(1.0, 4.0))
            workers = _workers_of(process.pid)
            if workers and done < kills:
                freeze = number % 5 == 4
                rng.choice(workers).send_signal(signal.SIGSTOP if freeze else signal.SIGKILL)
                findings.tried[f"worker {'frozen' if freeze else 'killed'}"] += 1
                done, number = done + 1, number + 1
        _, err = process.communicate()
        findings.expect(process.returncode == 0, f"workers killed: exit code {process.returncode}: {err[-500:]}")
        if process.returncode == 0:
            differs = same_result(out, subject.reference)
            findings.expect(differs is None, f"workers killed: another result in {differs}")


def _workers_of(pid: int) -> list[psutil.Process]:
    try:
        children = psutil.Process(pid).children(recursive=True)
        return [child for child in children if "spawn_main" in " ".join(child.cmdline())]
    except psutil.Error:
        return []


def fill_disk(folder: Path, subject: Subject, sizes: list[int], findings: Findings) -> None:
    """Run on small file systems until each is full; make room, and go on."""
    mount = folder / "disk"
    mount.mkdir()
    for size in sizes:
        made = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}k", "tmpfs", str(mount)], capture_output=True, text=True
        )
        if made.returncode:
            findings.expect(False, f"no small file system could be mounted, which needs root: {made.stderr.strip()}")
            return
        try:
            findings.tried["disk full"] += 1
            message = _expect_message(finished(folder, subject.command(mount / "out")), findings, f"disk of {size} kB")
            findings.expect("No space left" in message, f"disk of {size} kB: no word of the disk in {message!r}")
            subprocess.run(["mount", "-o", "remount,size=512m", str(mount)], check=True)
            _expect_same(folder, subject, mount / "out", findings, f"disk of {size} kB")
        finally:
            subprocess.run(["umount", str(mount)], check=True)


def damage(folder: Path, subject: Subject, times: int, rng: random.Random, findings: Findings) -> None:
    """Truncate or flip files of stages and of journals; do what the message says."""
    for number in range(times):
        out = folder / f"damaged-{number}"
        journal = number % 2 == 0
        if journal:
            _killed_with_answers(folder, subject, out, rng)
        else:
            shutil.copytree(subject.reference, out)
            (out / "summary.json").unlink()
        files = [file for file in (out / "store").rglob("*") if file.is_file() and file.stat().st_size > 0]
        files = [file for file in files if (".parts" in str(file)) == journal and ".zarr" in str(file)]
        victim = rng.choice(sorted(files))
        content = bytearray(victim.read_bytes())
        if rng.random() < 0.5:
            content = content[: rng.randrange(len(content))]
        else:
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        victim.write_bytes(bytes(content))
        findings.tried["answer damaged" if journal else "stage damaged"] += 1
        done = finished(folder, subject.command(out))
        while done.returncode == 2:
            message = _expect_message(done, findings, f"{victim.relative_to(out)} damaged")
            named = re.search(r"Delete (\S+)", message)
            if named is None:
                break
            target = Path(named[1])
            shutil.rmtree(target) if target.is_dir() else target.unlink()
            done = finished(folder, subject.command(out))
        # a flipped bit in the free space of an archive changes nothing
        _expect_same(folder, subject, out, findings, f"{victim.relative_to(out)} damaged")
        shutil.rmtree(out)


def _killed_with_answers(folder: Path, subject: Subject, out: Path, rng: random.Random) -> None:
    """A run killed while the journal of a stage holds answers."""
    while not Kept.of(out).answers:
        process = started(folder, subject.command(out))
        _await_begin(process, out)
        time.sleep(rng.uniform(0, SECONDS_TO_LIVE))
        _kill_group(process, signal.SIGKILL)
        process.communicate()
        if (out / "summary.json").exists():
            shutil.rmtree(out)


def interrupt(folder: Path, subject: Subject, times: int, rng: random.Random, findings: Findings) -> None:
    """Ctrl-C and SIGTERM: the message says what to type, and typing it leads to the result."""
    for number in range(times):
        out = folder / f"interrupted-{number}"
        kind, code = ((signal.SIGINT, 130), (signal.SIGTERM, 143))[number % 2]
        more = ("--workers", "2") if number % 4 >= 2 else ()
        process = started(folder, subject.command(out, *more, "--quiet"))
        _await_begin(process, out)
        time.sleep(rng.uniform(0, SECONDS_TO_LIVE))
        # as a terminal does, to all processes that were started from it
        _kill_group(process, kind)
        began = time.monotonic()
        _, err = process.communicate(timeout=120)
        took = time.monotonic() - began
        if process.returncode != 0:
            findings.tried[f"{kind.name} {' '.join(more)}".strip()] += 1
            findings.expect(process.returncode == code, f"{kind.name}: exit code {process.returncode}: {err[-300:]}")
            findings.expect("Traceback" not in err, f"{kind.name}: a traceback: {err[-500:]}")
            findings.expect(took < 15, f"{kind.name}: ended after {took:.0f} s only")
            typed = re.search(r"To go on: micromacro (.+)", err)
            findings.expect(typed is not None, f"{kind.name}: does not say how to go on: {err[-300:]}")
            if typed is not None:
                done = finished(folder, shlex.split(typed[1]))
                findings.expect(done.returncode == 0, f"{kind.name}: what it says does not work: {done.stderr[-300:]}")
        _expect_same(folder, subject, out, findings, kind.name)
        shutil.rmtree(out)


def main() -> None:
    """Print what was tried, and fail where something did not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--worker-kills", type=int, default=20)
    parser.add_argument("--disks", type=int, nargs="*", default=[40, 200, 1000, 3000], help="kB")
    parser.add_argument("--damages", type=int, default=20)
    parser.add_argument("--interrupts", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    findings, rng, began = Findings(), random.Random(options.seed), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="micromacro-faults-") as name:
        folder = Path(name)
        known = subjects(folder)
        print(f"runs without a fault done after {time.monotonic() - began:.0f} s", flush=True)
        steps: list[tuple[str, Callable[[], None]]] = [
            ("kills", lambda: kill_often(folder, known, options.kills, rng, findings)),
            ("worker kills", lambda: kill_workers(folder, known[0], options.worker_kills, rng, findings)),
            ("full disks", lambda: fill_disk(folder, known[0], options.disks, findings)),
            ("damaged files", lambda: damage(folder, known[0], options.damages, rng, findings)),
            ("interrupts", lambda: interrupt(folder, known[0], options.interrupts, rng, findings)),
        ]
        for what, step in steps:
            step()
            print(f"{what} done after {time.monotonic() - began:.0f} s", flush=True)
    for what, count in sorted(findings.tried.items()):
        print(f"{count:5d}  {what}")
    print(f"{findings.tried.total()} faults, {len(findings.wrong)} wrong")
    sys.exit(1 if findings.wrong else 0)


if __name__ == "__main__":
    main()
