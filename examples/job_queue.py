"""Run a case on the nodes of a SLURM or PBS cluster.

`python examples/job_queue.py slurm hidden-barrier runs/hidden --workers 64 --queue normal --hours 12`

This process is client and scheduler, and writes the results: start it where jobs may be submitted from, and where nodes
can reach it. Each job is one worker of one core. `--show` prints the job script and submits nothing.
"""

import argparse
from typing import Any

from dask_jobqueue import PBSCluster, SLURMCluster

import micromacro
from micromacro.cases.file import load_case

QUEUES = {"slurm": SLURMCluster, "pbs": PBSCluster}
ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OPENMM_CPU_THREADS", "NPROC")


def job_cluster(kind: str, *, memory: str, hours: int, queue: str | None = None, host: str | None = None, **site: Any):
    """A scheduler here, and a description of the jobs that are its workers; none is submitted yet.

    **Arguments:**

    - `kind`: `slurm` or `pbs`.
    - `memory`: of a worker, such as `3GB`; `hours`: that its job may last.
    - `queue`: its name; that of the site where left out.
    - `host`: the address that the scheduler listens at; that of this machine's first network where left out.
    - `site`: other settings of dask-jobqueue, such as `account` or `interface`.
    """
    return QUEUES[kind](
        cores=1,
        processes=1,
        memory=memory,
        walltime=f"{hours:02}:00:00",
        queue=queue,
        # rounding changes with the number of threads
        job_script_prologue=[f"export {name}=1" for name in ONE_THREAD],
        # a node without micromacro is told of when its worker starts, not by a task that fails
        worker_extra_args=["--preload", "micromacro.cluster.worker", "--no-dashboard"],
        scheduler_options={"dashboard_address": "127.0.0.1:0"} | ({"host": host} if host else {}),
        **site,
    )


def main() -> None:
    """Submit the jobs, run the case with them, and end them."""
    options = _options()
    site = {name: getattr(options, name) for name in ("account", "interface") if getattr(options, name)}
    with job_cluster(options.kind, memory=options.memory, hours=options.hours, queue=options.queue, **site) as cluster:
        if options.show:
            print(cluster.job_script())
            return
        cluster.scale(options.workers)
        cluster.wait_for_workers(1)
        case = load_case(options.case, [])
        result = micromacro.run(case, options.out, scheduler=cluster.scheduler_address, resume=options.resume)
        print(result.summary["basins"])


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=list(QUEUES))
    parser.add_argument("case", help="a built-in case or the path of a case file")
    parser.add_argument("out", help="folder to write")
    parser.add_argument("--workers", type=int, default=16)
    parser.add_argument("--memory", default="3GB", help="of each worker")
    parser.add_argument("--hours", type=int, default=12, help="that a job may last")
    parser.add_argument("--queue")
    parser.add_argument("--account")
    parser.add_argument("--interface", help="of the network between this machine and the nodes, such as ib0")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--show", action="store_true", help="print the job script, and submit nothing")
    return parser.parse_args()


if __name__ == "__main__":
    main()
