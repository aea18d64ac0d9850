"""Our generators beside what a user would pick instead: `python -m benchmarks.compare_peers [--problems a,b]`.

All see the same pairs on the same machine, one after the other, each in a process of its own, and are judged by the
same classifier on the same held-out conditions. Seconds of training include compilation, not the start of Python.
The peers, in `benchmarks/peers`, run in an environment of their own: `make bench-peers` builds it. They see angles as
numbers, and are told the bounds of a state where they can be.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from benchmarks.judging import judged_draws, told_apart
from benchmarks.problems import PROBLEMS, Problem

PEERS_PYTHON = Path(".venv-peers/bin/python")
OURS = ("score", "flow", "matching", "gan")
MODULES = {
    "sbi-nsf": "simulation_based",
    "sbi-maf": "simulation_based",
    "sbi-score": "simulation_based",
    "sbi-flow-matching": "simulation_based",
    "gensbi-flow": "gensbi_flow",
    "torch-wgan-gp": "wasserstein",
}
PAIRS_SEED = 1


@dataclass(frozen=True)
class Outcome:
    """What one method came to on one problem; accuracies by held-out condition, seconds for 10,000 draws of one."""

    problem: str
    method: str
    training_seconds: float
    accuracy: list[float]
    sampling_seconds: float
    sampling_cold_seconds: float


def write_task(problem: Problem, count: int, path: Path) -> None:
    """What every method is given."""
    q, z = problem.pairs(count, np.random.default_rng(PAIRS_SEED))
    lower, upper = np.asarray(problem.state.lower), np.asarray(problem.state.upper)
    np.savez(path, q=q, z=z, held_out=problem.held_out, lower=lower, upper=upper, problem=np.array(problem.name))


def command(method: str, task: Path, out: Path, asked: argparse.Namespace) -> list[str]:
    """The process of one method."""
    peer = method in MODULES
    python = str(PEERS_PYTHON) if peer else sys.executable
    module = f"benchmarks.peers.{MODULES[method]}" if peer else "benchmarks.own"
    words = [python, "-m", module, method, str(task), str(out), "--seed", str(asked.seed)]
    words += ["--seconds", str(asked.seconds)] if peer else []
    return words if asked.effort is None else [*words, "--effort", str(asked.effort)]


def run(problem: Problem, method: str, task: Path, asked: argparse.Namespace) -> Outcome | None:
    """Train and judge one method; nothing where its process failed or took longer than it may."""
    out = task.with_name(f"{method}.npz")
    environment = os.environ | {"PYTHONWARNINGS": "ignore"}
    try:
        done = subprocess.run(
            command(method, task, out, asked), capture_output=True, text=True, timeout=asked.limit, env=environment
        )
    except subprocess.TimeoutExpired:
        print(f"{problem.name:24}{method:20}not done within {asked.limit:.0f} s", flush=True)
        return None
    if done.returncode:
        print(f"{problem.name:24}{method:20}failed: {' '.join(done.stderr.splitlines()[-1:])}", flush=True)
        return None
    with np.load(out) as file:
        accuracy = told_apart(problem, file["states"][:, : judged_draws(problem)], processes=asked.processes)
        seconds = [float(file[f"{name}_seconds"]) for name in ("training", "sampling", "sampling_cold")]
    return Outcome(problem.name, method, seconds[0], accuracy, seconds[1], seconds[2])


def table(outcomes: list[Outcome]) -> None:
    """The figures of one problem, and how much longer each took to train than the fastest of ours as accurate as it."""
    print(f"\n{'problem':24}{'method':20}{'train s':>9}{'C2ST':>7}{'worst':>7}{'10k s':>8}{'cold s':>8}{'ratio':>9}")
    for one in outcomes:
        mean = np.mean(one.accuracy)
        as_good = [
            other.training_seconds
            for other in outcomes
            if other.method not in MODULES and np.mean(other.accuracy) <= mean
        ]
        peer = one.method in MODULES
        ratio = f"{one.training_seconds / min(as_good):.1f}" if peer and as_good else ("none" if peer else "")
        line = f"{one.problem:24}{one.method:20}{one.training_seconds:9.1f}{mean:7.3f}{max(one.accuracy):7.3f}"
        print(f"{line}{one.sampling_seconds:8.2f}{one.sampling_cold_seconds:8.2f}{ratio:>9}", flush=True)


def options() -> argparse.Namespace:
    """What was asked for on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--problems", default="hidden-barrier,two-moons")
    parser.add_argument("--methods", default=",".join((*OURS, *MODULES)))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=600.0, help="of training, for peers that know no end")
    parser.add_argument("--limit", type=float, default=3600.0, help="seconds after which a method is given up")
    parser.add_argument("--pairs", type=int, help="fewer pairs than the problem says, for a trial")
    parser.add_argument("--effort", type=int, help="epochs or steps instead of each method's own choice, for a trial")
    parser.add_argument("--processes", type=int, default=2, help="classifiers that run at once")
    parser.add_argument("--json", type=Path, help="where to write every figure")
    return parser.parse_args()


def main() -> None:
    """Run all methods on each problem and print its table."""
    asked, outcomes = options(), []
    for name in asked.problems.split(","):
        problem = PROBLEMS[name]()
        with tempfile.TemporaryDirectory() as folder:
            task = Path(folder) / "task.npz"
            write_task(problem, asked.pairs or problem.pair_count, task)
            found = [run(problem, method, task, asked) for method in asked.methods.split(",")]
        outcomes += [one for one in found if one]
        table([one for one in found if one])
        if asked.json:
            asked.json.write_text(json.dumps([asdict(one) for one in outcomes], indent=1))


if __name__ == "__main__":
    main()
