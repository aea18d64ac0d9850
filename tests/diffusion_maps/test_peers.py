"""The same map as pydiffmap and datafold find on the same kernel; the data are described beside them."""

from pathlib import Path

import numpy as np
import pytest

from micromacro.diffusion_maps.diffusion_map import DiffusionMapSettings, fit_diffusion_map

DATA = Path(__file__).parents[1] / "data" / "diffusion_maps_of_peers.npz"


@pytest.mark.parametrize(("peer", "neighbours"), [("pydiffmap", 24), ("pydiffmap", 300), ("datafold", 300)])
def test_agrees_with_peers(peer, neighbours):
    with np.load(DATA) as file:
        points, bandwidth = file["points"], float(file["epsilon"])
        values, vectors = (file[f"{peer}_{neighbours}_{name}"] for name in ("eigenvalues", "eigenvectors"))
    dense = 300 if neighbours == 300 else 0
    settings = DiffusionMapSettings(components=5, bandwidth=bandwidth, neighbours=neighbours, dense=dense)
    found = fit_diffusion_map(points, None, settings)
    vectors = vectors / np.sqrt(found.stationary @ vectors**2)
    vectors *= np.sign(np.sum(vectors * found.eigenvectors, axis=0))
    np.testing.assert_allclose(found.eigenvalues, values, atol=1e-6)
    np.testing.assert_allclose(found.eigenvectors, vectors, atol=1e-6)


def test_another_bandwidth_does_not_agree():
    with np.load(DATA) as file:
        points, bandwidth, values = file["points"], float(file["epsilon"]), file["pydiffmap_24_eigenvalues"]
    found = fit_diffusion_map(points, None, DiffusionMapSettings(components=5, bandwidth=2 * bandwidth))
    assert np.abs(found.eigenvalues - values).max() > 0.01
