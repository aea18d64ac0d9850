"""Jobs of SLURM and PBS as the example makes them: described, not submitted."""

import re
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
from distributed import LocalCluster

from micromacro.cluster.connect import local_cluster

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def example():
    spec = spec_from_file_location("job_queue", ROOT / "examples" / "job_queue.py")
    assert spec
    assert spec.loader
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def script(example, kind: str) -> str:
    with example.job_cluster(kind, memory="3GB", hours=12, queue="normal", host="127.0.0.1") as cluster:
        address = cluster.scheduler_address
        found = cluster.job_script()
    assert address in found
    without_python = re.sub(r"^\S+(?= -m distributed)", "python", found, flags=re.MULTILINE)
    return without_python.replace(address, "tcp://10.0.0.1:8786").replace(" \n", "\n").strip()


@pytest.mark.parametrize(
    ("kind", "directives"),
    [
        ("slurm", ["#SBATCH -p normal", "#SBATCH --cpus-per-task=1", "#SBATCH --mem=3G", "#SBATCH -t 12:00:00"]),
        ("pbs", ["#PBS -q normal", "#PBS -l select=1:ncpus=1:mem=2862MB", "#PBS -l walltime=12:00:00"]),
    ],
)
def test_a_job_is_one_worker_of_one_thread(example, kind, directives):
    lines = script(example, kind).splitlines()
    assert set(directives) <= set(lines)
    assert {"export OMP_NUM_THREADS=1", "export OPENMM_CPU_THREADS=1"} <= set(lines)
    (worker,) = (line for line in lines if "dask_worker" in line)
    for argument in ("--nthreads 1", "--memory-limit 2.79GiB", "--preload micromacro.cluster.worker", "--no-dashboard"):
        assert argument in worker


@pytest.mark.parametrize("kind", ["slurm", "pbs"])
def test_the_documented_script_is_that_of_the_example(example, kind):
    page = (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")
    documented = re.findall(r"```sh\n(#!/usr/bin/env bash\n.*?)```", page, re.DOTALL)
    assert script(example, kind) in [text.strip() for text in documented]


def test_two_clusters_on_one_machine_do_not_want_the_same_port():
    # warnings are errors here
    with LocalCluster(n_workers=0, host="127.0.0.1"), local_cluster(1):
        pass
