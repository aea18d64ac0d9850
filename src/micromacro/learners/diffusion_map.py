"""Coordinates by a diffusion map: its slowest independent modes, extended beyond the points of the map."""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from micromacro.diffusion_maps.diffusion_map import DiffusionMap, DiffusionMapSettings, fit_diffusion_map
from micromacro.diffusion_maps.mahalanobis import MahalanobisMap, MahalanobisSettings, fit_mahalanobis_map
from micromacro.diffusion_maps.nystrom import extension_error, nystrom_extension
from micromacro.errors import InputError
from micromacro.learners.choosing import choose_points
from micromacro.learners.finishing import finish
from micromacro.learners.learner import Diagnostics, Learned, TrainingData
from micromacro.learners.modes import Turned, broad_modes, independent_modes, turned_modes, with_modes
from micromacro.learners.smooth_bandwidth import smooth_bandwidth, without_strays
from micromacro.learners.surrogate import Surrogate, SurrogateSettings, fit_surrogate

KERNELS = ("gaussian", "variable", "mahalanobis")
LARGEST_DENSE = 5000
SURROGATE = SurrogateSettings(steps=12_000, jitter=0.2)
FEW = 300
"""Points that are summed over as they are."""
PRECISE, CLOSE = 0.01, 0.05
"""Errors, in standard deviations, of landmarks that a surrogate learns from, and of one that may take their place."""


@dataclass(frozen=True)
class DiffusionMapLearner:
    """Settings of coordinates by a diffusion map.

    **Arguments:**

    - `components`: how many coordinates.
    - `points`: that the map is made of at most; `None` for all.
    - `modes`: among which independent ones are looked for.
    - `kernel`: `gaussian`, of one bandwidth; `variable`, wider where points are few; `mahalanobis`, in the metric of
      the noise.
    - `alpha`, `neighbours`: as in `DiffusionMapSettings`. With α = 1 a coordinate follows the shape of the points,
      whatever their weights, and varies in wells as between them; with α = 1/2 it is the slowest mode, flat in wells.
    - `bandwidth`: ε of the kernel; `None` for one at which the coordinate is smooth enough to be biased along.
    - `landmarks`: points that a coordinate sums over.
    - `surrogate`: a network in place of that sum, many times faster; `None` where its error, on points that it did not
      learn from, is below five per cent of a standard deviation.
    """

    kind: ClassVar[str] = "diffusion-map"
    needs_series: ClassVar[bool] = False
    takes_weights: ClassVar[bool] = True

    components: int = 1
    points: int | None = None
    modes: int = 10
    kernel: str = "gaussian"
    alpha: float = 1.0
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
        bandwidth = self.bandwidth
        if bandwidth is None and self.kernel == "gaussian":
            bandwidth = smooth_bandwidth(data.features[rows], rng)
            rows = rows[without_strays(data.features[rows], bandwidth, rng)]
        found = broad_modes(self._map(data, rows, bandwidth))
        chosen = independent_modes(found, self.components)
        modes, turn = chosen, np.eye(self.components)
        if data.previous is not None:
            modes, turn = turned_modes(found, chosen, data.previous[rows])
        extension, error = self._extension(with_modes(found, modes), turn, for_surrogate)
        diagnostics = Diagnostics(found.eigenvalues, None, chosen, len(rows), error)
        return finish(extension, data, diagnostics, rng)

    def _map(self, data: TrainingData, rows: np.ndarray, bandwidth: float | None) -> DiffusionMap | MahalanobisMap:
        features, weight = data.features[rows], data.weight[rows]
        if self.kernel == "mahalanobis":
            if data.metric is None:
                raise InputError("metric", "be given for the Mahalanobis kernel", "none")
            settings = MahalanobisSettings(self.modes, self.alpha, bandwidth)
            return fit_mahalanobis_map(features, data.metric[rows], weight, settings)
        variable = self.kernel == "variable"
        plain = DiffusionMapSettings(
            self.modes, self.alpha, bandwidth, variable=variable, neighbours=self.neighbours, dense=LARGEST_DENSE
        )
        return fit_diffusion_map(features, weight, plain)

    def _extension(
        self, found: DiffusionMap | MahalanobisMap, turn: Float[np.ndarray, "m d"], key: Key[Array, ""]
    ) -> tuple[Turned | Surrogate, float]:
        """The turned modes anywhere, and their error at the points of the map in standard deviations."""
        few = nystrom_extension(found, len(turn), self.landmarks)
        error = float(extension_error(few, found).max())
        few = Turned(few, jnp.asarray(turn))
        exact = self.landmarks >= len(found.points) and len(found.points) <= FEW
        if self.surrogate is False or (self.surrogate is None and exact):
            return few, error
        precise = error <= PRECISE
        teacher = few if precise else Turned(nystrom_extension(found, len(turn)), jnp.asarray(turn))
        network = fit_surrogate(teacher, found.points, SURROGATE, key)
        of_network = float(np.hypot(np.max(network.error), error if precise else 0.0))
        return (network, of_network) if self.surrogate or of_network <= CLOSE else (few, error)
