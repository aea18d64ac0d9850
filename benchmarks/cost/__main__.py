"""What a run costs, by its size: `python -m benchmarks.cost`, or `make bench-cost`.

Wall time and memory against the number of windows, of walkers, the dimension and the training points, and memory
against the number of steps; every point in a process of its own. `--walker-steps 1e10` runs a case with so many through
the command line instead, and exits 1 where it needs more memory than `--most-memory` GB.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

from benchmarks.cost.fit import exponent
from benchmarks.cost.process import measured

AXES = {
    "windows": ("run", [10, 30, 100, 300, 1000]),
    "walkers": ("run", [8, 32, 128, 512, 2048]),
    "dimension": ("run", [2, 10, 50, 200, 1000]),
    "points": ("train", [10_000, 100_000, 1_000_000]),
    "steps": ("run", [4_000, 40_000, 400_000]),
}
SMALL = {
    "windows": [5, 10, 20],
    "walkers": [4, 8, 16],
    "dimension": [2, 4, 8],
    "points": [500, 1000, 2000],
    "steps": [200, 400, 800],
}
FLAT = 1.1
"""Peak memory of a hundred times as many steps may be so many times as large."""
WINDOWS, WALKERS = 24, 64
UNCOUNTED = "evaluations"


def main() -> None:
    """Measure what is asked for."""
    options = _options()
    if options.walker_steps:
        _long_run(options)
        return
    for axis in options.axes:
        work, sizes = AXES[axis]
        peaks = _axis(axis, work, SMALL[axis] if options.small else sizes)
        if axis == "steps" and peaks[-1] > FLAT * peaks[0]:
            raise SystemExit(f"\nmemory grows with the number of steps: {peaks[-1] / peaks[0]:.2f} times")


def _axis(axis: str, work: str, sizes: list[int]) -> list[int]:
    """Print the points of one axis and the exponents; peak memory of each point."""
    print(f"\n{axis}")
    found, peaks = [], []
    for size in sizes:
        used = measured([sys.executable, "-m", "benchmarks.cost.point", work, f"--{axis}", str(size)])
        found.append(json.loads(used.output.splitlines()[-1]))
        peaks.append(used.peak)
        seconds = "  ".join(f"{name} {value:.2f}" for name, value in found[-1].items() if name != UNCOUNTED)
        print(f"{size:>10,}: {seconds} s; peak {used.peak / 1e9:.2f} GB", flush=True)
    for name in found[0]:
        if name != UNCOUNTED and all(point.get(name, 0.0) > 0 for point in found):
            print(f"  {name:>16}: exponent {exponent(sizes, [point[name] for point in found])}")
    print(f"  {'peak memory':>16}: exponent {exponent(sizes, peaks)}")
    return peaks


def _long_run(options: argparse.Namespace) -> None:
    """A run through the command line with so many walker-steps: its time, its rate and its memory."""
    # a first stage of half as many steps goes before the round
    steps = int(options.walker_steps / (1.5 * WINDOWS * WALKERS))
    with tempfile.TemporaryDirectory() as folder:
        out = Path(options.output or folder) / "long"
        settings = {"bias.windows": WINDOWS, "bias.walkers": WALKERS, "bias.steps": steps, "couple.rounds": 1}
        settings |= {"close.bursts": 0, "close.full_model": 0}
        command = [str(Path(sys.executable).with_name("micromacro")), "run", "hidden-barrier", "-o", str(out)]
        # the case has a budget of its own
        command += ["--method", "umbrella", "--quiet", "--budget", str(2 * options.walker_steps)]
        command += [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
        print(" ".join(command), flush=True)
        used = measured(command)
        summary = json.loads((out / "summary.json").read_text(encoding="utf-8"))
        stored = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
    evaluations, peak = summary["force_evaluations"], used.peak / 1e9
    for name, cost in summary["stages"].items():
        print(f"{name:>12}: {cost['wall_seconds']:10.1f} s {cost['force_evaluations']:18,} walker-steps")
    print(
        f"{evaluations:,} walker-steps in {used.seconds:,.0f} s: {evaluations / used.seconds:.3g} a second; "
        f"peak {peak:.2f} GB (at most {options.most_memory:g} allowed), {stored / 1e9:.2f} GB on disk"
    )
    if peak > options.most_memory:
        raise SystemExit("too much memory")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--axes", nargs="+", choices=list(AXES), default=list(AXES))
    parser.add_argument("--small", action="store_true", help="tiny sizes, to see that it works")
    parser.add_argument("--walker-steps", type=float, help="of one run through the command line")
    parser.add_argument("--most-memory", type=float, default=2.0, metavar="GB", help="of that run")
    parser.add_argument("-o", "--output", help="folder that keeps that run")
    return parser.parse_args()


if __name__ == "__main__":
    main()
