"""Our diffusion map of the points of a file, timed as the peers are in `benchmarks.peers.spectral_maps`."""

import argparse
import time
from pathlib import Path

import numpy as np

from benchmarks.peers.resident import memory_now, memory_peak
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
    before = memory_now()
    settings = DiffusionMapSettings(components, bandwidth=epsilon, neighbours=neighbours, dense=0, landmarks=None)
    found: DiffusionMap | None = None
    wall, processor = [], []
    for _ in range(asked.repeats):
        start, used = time.perf_counter(), time.process_time()
        found = fit_diffusion_map(points, None, settings)
        wall.append(time.perf_counter() - start)
        processor.append(time.process_time() - used)
    assert found is not None
    peak = memory_peak() - before
    pairs = {"eigenvalues": found.eigenvalues, "eigenvectors": found.eigenvectors, "stationary": found.stationary}
    np.savez(asked.out, wall=wall, processor=processor, peak_kib=peak, **pairs)  # pyright: ignore[reportArgumentType]


if __name__ == "__main__":
    main()
