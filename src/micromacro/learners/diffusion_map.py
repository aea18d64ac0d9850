"""Coordinates by a diffusion map: its slowest independent modes, extended beyond the points of the map."""

from dataclasses import dataclass, replace
from typing import ClassVar

import jax
import numpy as np
from jaxtyping import Array, Int, Key

from micromacro.diffusion_maps.diffusion_map import DiffusionMap, DiffusionMapSettings, fit_diffusion_map
from micromacro.diffusion_maps.independent import independent_coordinates
from micromacro.diffusion_maps.mahalanobis import MahalanobisMap, MahalanobisSettings, fit_mahalanobis_map
from micromacro.diffusion_maps.nystrom import Extension, extension_error, nystrom_extension
from micromacro.errors import InputError
from micromacro.learners.choosing import choose_points
from micromacro.learners.finishing import finish
from micromacro.learners.learner import Diagnostics, Learned, TrainingData
from micromacro.learners.surrogate import Surrogate, SurrogateSettings, fit_surrogate

KERNELS = ("gaussian", "variable", "mahalanobis")
LARGEST_ERROR = 0.02
"""Of the extension on landmarks at the points of the map, in standard deviations, that needs no surrogate."""


@dataclass(frozen=True)
class DiffusionMapLearner:
    """Settings of coordinates by a diffusion map.

    **Arguments:**

    - `components`: how many coordinates.
    - `points`: that the map is made of at most; `None` for all.
    - `modes`: among which independent ones are looked for.
    - `kernel`: `gaussian`, of one bandwidth; `variable`, wider where points are few; `mahalanobis`, in the metric of
      the noise.
    - `alpha`, `bandwidth`, `neighbours`: as in `DiffusionMapSettings`.
    - `landmarks`: points that a coordinate sums over.
    - `surrogate`: a network in place of that sum; `None` where landmarks leave an error of more than two per cent and
      the network's is smaller.
    """

    kind: ClassVar[str] = "diffusion-map"
    needs_series: ClassVar[bool] = False

    components: int = 1
    points: int | None = None
    modes: int = 10
    kernel: str = "gaussian"
    alpha: float = 0.5
    bandwidth: float | None = None
    neighbours: int = 64
    landmarks: int = 300
    surrogate: bool | None = None

    def __post_init__(self):
        if not 1 <= self.components <= self.modes:
            raise InputError("components", f"be from 1 to the {self.modes} modes", self.components)
        if self.kernel not in KERNELS:
            raise InputError("kernel", f"be one of {', '.join(KERNELS)}", repr(self.kernel))

    def fit(self, data: TrainingData, key: Key[Array, ""]) -> Learned:
        """The slowest independent modes of the map of weighted points, by the arc length.

        Time scales are not known: the eigenvalues are those of the random walk on the points.

        **Raises:** `InputError` for less than two points of positive weight, for a map with fewer independent modes
        than components, and for the Mahalanobis kernel without a metric.
        """
        for_points, for_surrogate = jax.random.split(key)
        rng = np.random.default_rng(np.asarray(jax.random.key_data(for_points)))
        rows = choose_points(data.weight, self.points or len(data.weight), rng)
        found = self._map(data, rows)
        chosen = independent_modes(found, self.components)
        extension, error = self._extension(with_modes(found, chosen), for_surrogate)
        diagnostics = Diagnostics(found.eigenvalues, None, chosen, len(rows), error)
        return finish(extension, data, diagnostics, rng)

    def _map(self, data: TrainingData, rows: np.ndarray) -> DiffusionMap | MahalanobisMap:
        features, weight = data.features[rows], data.weight[rows]
        if self.kernel == "mahalanobis":
            if data.metric is None:
                raise InputError("metric", "be given for the Mahalanobis kernel", "none")
            settings = MahalanobisSettings(self.modes, self.alpha, self.bandwidth)
            return fit_mahalanobis_map(features, data.metric[rows], weight, settings)
        plain = DiffusionMapSettings(
            self.modes, self.alpha, self.bandwidth, variable=self.kernel == "variable", neighbours=self.neighbours
        )
        return fit_diffusion_map(features, weight, plain)

    def _extension(
        self, found: DiffusionMap | MahalanobisMap, key: Key[Array, ""]
    ) -> tuple[Extension | Surrogate, float]:
        """The coordinates anywhere, and their error at the points of the map in standard deviations."""
        few = nystrom_extension(found, self.components, self.landmarks)
        error = float(extension_error(few, found).max())
        if self.surrogate is False or (self.surrogate is None and error <= LARGEST_ERROR):
            return few, error
        whole = nystrom_extension(found, self.components)
        network = fit_surrogate(whole, found.points, SurrogateSettings(), key)
        of_network = float(np.max(network.error))
        return (network, of_network) if self.surrogate or of_network < error else (few, error)


def independent_modes(found: DiffusionMap | MahalanobisMap, components: int) -> Int[np.ndarray, "d"]:
    """The slowest modes that are no functions of one another, by index.

    **Raises:** `InputError` where the map has fewer.
    """
    if components == 1:
        return np.arange(1)
    chosen = independent_coordinates(found.eigenvectors, found.stationary).chosen
    if components > len(chosen):
        raise InputError("components", f"be {len(chosen)} or less, the independent modes of the map", components)
    return chosen[:components]


def with_modes(found: DiffusionMap | MahalanobisMap, chosen: Int[np.ndarray, "d"]) -> DiffusionMap | MahalanobisMap:
    """The map with some of its modes alone."""
    kept = {"eigenvectors": found.eigenvectors[:, chosen], "eigenvalues": found.eigenvalues[chosen]}
    if isinstance(found, MahalanobisMap):
        return replace(found, **kept, landmark_modes=found.landmark_modes[:, chosen])
    return replace(found, **kept)
