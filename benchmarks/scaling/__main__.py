"""Strong and weak scaling: `python -m benchmarks.scaling`, or `make bench-scaling`.

1. Strong scaling: cycles of a run of the alanine dipeptide with its default budget and with a larger one, and of a
   large batch of an equation in dimension 20, by one worker and by two of `micromacro run --workers`, one core each,
   in alternation.
2. The overhead of client and scheduler, by tasks of no work: for real workers, and for many in one process.
3. Weak scaling up to 1,000 workers, simulated by discrete events with the task times and the overhead that were
   measured; held against real calls of two workers, and of workers in one process that only wait.

Exits 1 where two workers are not `--required` times as fast as one.
"""

import argparse

WORKLOADS = ("dipeptide", "longer", "equation")
MOST_BYTES = 200_000_000
"""Sent and returned in one call by which overhead is measured."""


def main() -> None:
    """Measure and print."""
    options = _options()
    # worker processes import this file too: JAX must not count cores there before they have theirs
    from benchmarks.scaling import overhead, strong, weak
    from benchmarks.scaling.workloads import baths, dipeptide

    makers = {
        "dipeptide": dipeptide,
        "longer": lambda: dipeptide(options.longer),
        "equation": lambda: baths(options.walkers),
    }
    workloads = [makers[name]() for name in options.workloads]
    measured, fine = {}, True
    print("strong scaling, from one worker to two")
    for workload in workloads:
        measured[workload.name] = strong.measure(workload, options.seconds, options.repeats)
        fine &= strong.table(measured[workload.name], options.required)
    for workload in [] if options.strong_only else workloads:
        calls = measured[workload.name].calls
        sizes = int(calls[2][0].sent), int(calls[2][0].returned)
        tasks = min(options.tasks, max(2 * overhead.FEW_TASKS, MOST_BYTES // sum(sizes)))
        found = overhead.measure(*sizes, [1, 2], options.many, tasks, options.overhead_repeats)
        grown = overhead.grown(found, 2, options.many)
        print("the simulation held against real calls:")
        for count in (1, 2):
            weak.held_against(workload.name, calls[count], count, found[count])
        weak.validate_resting(options.many, sizes, found, options.waiting, options.overhead_repeats)
        recorded = [duration for call in calls[2] for duration in call.durations]
        windows_per_task = workload.windows * len(calls[2]) / len(recorded)
        name = f"{workload.name}, cycles of {workload.schedule.frames * workload.schedule.interval:,} steps"
        weak.table(name, recorded, options.per_worker, windows_per_task, grown)
    if not fine:
        raise SystemExit(f"\ntwo workers are less than {options.required} times as fast as one")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workloads", nargs="+", choices=WORKLOADS, default=list(WORKLOADS))
    parser.add_argument("--walkers", type=int, default=2048, help="of each window of the equation")
    parser.add_argument("--seconds", type=float, default=4.0, help="of calls by one worker in each repeat, about")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--overhead-repeats", type=int, default=3)
    parser.add_argument("--required", type=float, default=1.8, help="ratio of one worker to two")
    parser.add_argument("--many", type=int, nargs="+", default=[25, 50, 100], help="workers in one process")
    parser.add_argument("--tasks", type=int, default=200, help="of no work, in one call")
    parser.add_argument("--waiting", type=float, default=2.0, help="seconds of tasks that only wait")
    parser.add_argument("--per-worker", type=int, default=2, help="tasks of a worker in one call")
    parser.add_argument("--longer", type=int, default=30, help="times the default budget of the dipeptide")
    parser.add_argument("--strong-only", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
