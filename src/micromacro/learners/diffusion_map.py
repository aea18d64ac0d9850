"""Coordinates by a diffusion map: its slowest independent modes, extended by Nyström's formula."""

from dataclasses import dataclass
from typing import ClassVar

import jax
import numpy as np
from jaxtyping import Array, Int, Key

from micromacro.diffusion_maps.diffusion_map import DiffusionMap, DiffusionMapSettings, fit_diffusion_map
from micromacro.diffusion_maps.nystrom import nystrom_extension
from micromacro.errors import InputError
from micromacro.learners.choosing import choose_points
from micromacro.learners.finishing import finish
from micromacro.learners.learner import Diagnostics, Learned, TrainingData


@dataclass(frozen=True)
class DiffusionMapLearner:
    """Settings of coordinates by a diffusion map.

    **Arguments:**

    - `components`: how many coordinates.
    - `points`: that the map is made of, and that a coordinate sums over.
    - `modes`: that are looked at.
    - `alpha`, `bandwidth`: as in `DiffusionMapSettings`.
    """

    kind: ClassVar[str] = "diffusion-map"
    needs_series: ClassVar[bool] = False

    components: int = 1
    points: int = 3000
    modes: int = 10
    alpha: float = 0.5
    bandwidth: float | None = None

    def __post_init__(self):
        if not 1 <= self.components <= self.modes:
            raise InputError("components", f"be from 1 to the {self.modes} modes", self.components)

    def fit(self, data: TrainingData, key: Key[Array, ""]) -> Learned:
        """The slowest modes of the map of weighted points, by the arc length.

        Time scales are not known: the eigenvalues are those of the random walk on the points.

        **Raises:** `InputError` for less than two points of positive weight.
        """
        rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
        rows = choose_points(data.weight, self.points, rng)
        metric = None if data.metric is None else data.metric[rows]
        found = fit_diffusion_map(data.features[rows], data.weight[rows], self.settings, metric=metric)
        chosen = leading(found, self.components)
        extension = nystrom_extension(found, self.components)
        diagnostics = Diagnostics(found.eigenvalues, None, chosen, len(rows))
        return finish(extension, data, diagnostics, rng)

    @property
    def settings(self) -> DiffusionMapSettings:
        """Those of the map."""
        return DiffusionMapSettings(components=self.modes, alpha=self.alpha, bandwidth=self.bandwidth)


def leading(found: DiffusionMap, components: int) -> Int[np.ndarray, "d"]:
    """The slowest modes, by index.

    **Raises:** `InputError` where the map has fewer.
    """
    if components > len(found.eigenvalues):
        raise InputError("components", f"be {len(found.eigenvalues)} or less, as the map has", components)
    return np.arange(components)
