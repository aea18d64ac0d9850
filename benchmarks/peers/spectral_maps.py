r"""The diffusion map of points by pydiffmap, datafold or scikit-learn: `python -m benchmarks.peers.spectral_maps`.

All make the kernel $e^{-d^2 / 4 \varepsilon}$ with a given ε on the same nearest neighbours, the point itself among
them, joined where one is a neighbour of the other, and ten eigenvectors. datafold's ε is twice
that, and its graph of nearest neighbours is not joined, so its sparse map is another one; scikit-learn's spectral embedding knows no density normalisation, and is given the kernel.
"""

# the peers live in environments of their own
# pyright: reportMissingImports=false

import argparse
import resource
import time
from pathlib import Path

import numpy as np

ALPHA = 0.5


def pydiffmap(points: np.ndarray, neighbours: int, epsilon: float, components: int) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues of the walk and eigenvectors by pydiffmap, whose generator is (P - 1) / ε."""
    from pydiffmap.diffusion_map import DiffusionMap

    found = DiffusionMap.from_sklearn(alpha=ALPHA, k=neighbours, epsilon=epsilon, n_evecs=components).fit(points)
    return 1 + epsilon * found.evals, found.evecs


def datafold(points: np.ndarray, neighbours: int, epsilon: float, components: int) -> tuple[np.ndarray, np.ndarray]:
    """The same by datafold."""
    from datafold.dynfold import DiffusionMaps
    from datafold.pcfold import GaussianKernel
    from datafold.pcfold.distance import SklearnKNN

    distance = None if neighbours == len(points) else SklearnKNN("euclidean", neighbours)
    kernel = GaussianKernel(epsilon=2 * epsilon, distance=distance)
    found = DiffusionMaps(kernel, n_eigenpairs=components + 1, alpha=ALPHA).fit(points)
    return found.eigenvalues_[1:], found.eigenvectors_[:, 1:]


def scikit_learn(points: np.ndarray, neighbours: int, epsilon: float, components: int) -> tuple[np.ndarray, np.ndarray]:
    """Spectral embedding of the same graph without the density normalisation, with its default solver."""
    from sklearn.manifold import spectral_embedding
    from sklearn.neighbors import kneighbors_graph

    graph = kneighbors_graph(points, neighbours, mode="distance", include_self=True)
    graph.data = np.exp(-(graph.data**2) / (4 * epsilon))
    vectors = spectral_embedding(graph.maximum(graph.T), n_components=components, random_state=0)
    return np.full(components, np.nan), vectors


METHODS = {"pydiffmap": pydiffmap, "datafold": datafold, "scikit-learn": scikit_learn}


def main() -> None:
    """Map the points of a file, and write eigenpairs, the seconds of each repeat and the peak of memory."""
    parser = argparse.ArgumentParser()
    parser.add_argument("method", choices=METHODS)
    parser.add_argument("task", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--repeats", type=int, default=1)
    asked = parser.parse_args()
    with np.load(asked.task) as file:
        task = [file["points"], int(file["neighbours"]), float(file["epsilon"]), int(file["components"])]
    METHODS[asked.method](task[0][:: max(1, len(task[0]) // 200)], min(task[1], 64), 100 * task[2], 3)  # imports
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    wall, processor, found = [], [], (np.empty(0), np.empty(0))
    for _ in range(asked.repeats):
        start, used = time.perf_counter(), time.process_time()
        found = METHODS[asked.method](*task)
        wall.append(time.perf_counter() - start)
        processor.append(time.process_time() - used)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    np.savez(asked.out, eigenvalues=found[0], eigenvectors=found[1], wall=wall, processor=processor, peak_kib=peak)


if __name__ == "__main__":
    main()
