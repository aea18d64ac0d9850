"""Modes of a diffusion map: which of them are coordinates, and how those of two rounds are turned to one another."""

from dataclasses import replace

import equinox as eqx
import numpy as np
from jaxtyping import Array, Float, Int

from micromacro.diffusion_maps.diffusion_map import DiffusionMap
from micromacro.diffusion_maps.independent import independent_coordinates
from micromacro.diffusion_maps.mahalanobis import MahalanobisMap
from micromacro.diffusion_maps.nystrom import Extension
from micromacro.errors import InputError

MIXING, MOST_MIXED = 2.0, 3
"""Rates within this factor mix, and so many modes beside those chosen."""
LEAST_SHARE, TINY = 0.05, 1e-300
"""Of the points, that a coordinate must live on."""
LEAST_SHARED = 0.5
"""Correlation with previous coordinates from which on new ones are turned to them."""


class Turned(eqx.Module):
    """Linear combinations of modes: features `(F,)` to `(d,)`.

    **Arguments:**

    - `modes`: features to `(m,)`; `matrix`: `(m, d)`.
    """

    modes: Extension
    matrix: Float[Array, "m d"]

    def __call__(self, features: Float[Array, "F"]) -> Float[Array, "d"]:
        """The coordinates of one point."""
        return self.modes(features) @ self.matrix


def turned_modes(
    found: DiffusionMap | MahalanobisMap, chosen: Int[np.ndarray, "d"], previous: Float[np.ndarray, "n d"]
) -> tuple[Int[np.ndarray, "m"], Float[np.ndarray, "m d"]]:
    """Modes about as slow as those chosen, and the rotation of them that is most like the previous coordinates.

    Modes of nearly one rate mix at random from one sample to the next; any rotation of them is as slow as another.
    Where the previous coordinates are not among them, those chosen stand.

    **Returns:** indices of the modes, and `(m, d)` with orthonormal columns.
    """
    slow = np.flatnonzero(found.rates[: len(chosen) + MOST_MIXED] <= MIXING * found.rates[chosen[-1]])
    modes = np.union1d(chosen, slow)
    weight = found.stationary[:, None]
    centred = previous - np.sum(weight * previous, axis=0)
    centred = centred / np.sqrt(np.sum(weight * centred**2, axis=0))
    left, shared, right = np.linalg.svd(found.eigenvectors[:, modes].T @ (weight * centred), full_matrices=False)
    if shared.min() < LEAST_SHARED:
        return chosen, np.eye(len(chosen))
    return modes, left @ right


def broad_modes(found: DiffusionMap | MahalanobisMap) -> DiffusionMap | MahalanobisMap:
    r"""The map without modes that live on a few points: a group of strays, such as a walker that was caught, makes one.

    A mode lives on the share $\langle\psi^2\rangle^2 / \langle\psi^4\rangle$ of the points, whatever their weights.
    """
    centred = found.eigenvectors - found.eigenvectors.mean(axis=0)
    share = np.mean(centred**2, axis=0) ** 2 / np.maximum(np.mean(centred**4, axis=0), TINY)
    broad = np.flatnonzero(share >= LEAST_SHARE)
    return with_modes(found, broad) if 0 < len(broad) < len(share) else found


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
    kept = {name: getattr(found, name)[..., chosen] for name in ("eigenvectors", "eigenvalues", "rates")}
    if isinstance(found, MahalanobisMap):
        return replace(found, **kept, landmark_modes=found.landmark_modes[:, chosen])
    return replace(found, **kept)
