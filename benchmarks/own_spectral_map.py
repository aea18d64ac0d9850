"""Our diffusion map of the points of a file, timed as the peers are in `benchmarks.peers.spectral_maps`."""

import argparse
import resource
import time
from pathlib import Path

import numpy as np

from micromacro.diffusion_maps.diffusion_map import DiffusionMap, DiffusionMapSettings, fit_diffusion_map


def main() -> None:
    """Map the points, and write eigenpairs, the seconds of each repeat and the peak of memory."""
    parser = argparse.ArgumentParser()
    parser.add_argument("task", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--repeats", type=int, default=1)
    asked = parser.parse_args()
    with np.load(asked.task) as file:
        points, epsilon = file["points"], float(file["epsilon"])
        neighbours, components = int(file["neighbours"]), int(file["components"])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    settings = DiffusionMapSettings(components, bandwidth=epsilon, neighbours=neighbours, dense=0, landmarks=None)
    found: DiffusionMap | None = None
    wall, processor = [], []
    for _ in range(asked.repeats):
        start, used = time.perf_counter(), time.process_time()
        found = fit_diffusion_map(points, None, settings)
        wall.append(time.perf_counter() - start)
        processor.append(time.process_time() - used)
    assert found is not None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    np.savez(
        asked.out, eigenvalues=found.eigenvalues, eigenvectors=found.eigenvectors, stationary=found.stationary, wall=wall,
        processor=processor, peak_kib=peak,
    )  # fmt: skip


if __name__ == "__main__":
    main()
