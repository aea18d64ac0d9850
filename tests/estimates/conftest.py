"""Samples whose free energies are known, as umbrella windows draw them, and intervals for z-scores."""

from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.signal import lfilter
from scipy.stats import chi2

from micromacro.coordinates.coarse import CoarseVariable
from micromacro.estimates.mbar import Pool
from micromacro.sampling.table import zero_table
from micromacro.sampling.windows import PooledBias, Windows


def coarse_variable(lower, upper, periodic):
    d = len(lower)
    return CoarseVariable(lambda q: q[:d], np.array(lower, float), np.array(upper, float), tuple(periodic))


def pooled_bias(coarse, centers, stiffness):
    """Windows without flattening."""
    stiffness = np.broadcast_to(np.asarray(stiffness, float), (coarse.dimension,))
    return PooledBias((Windows(jnp.asarray(centers), jnp.asarray(stiffness), zero_table(coarse, 20)),), coarse)


def ar1(rng, shape, memory):
    """Stationary unit normals `(frames, ...)` with correlation `memory` between frames."""
    noise = rng.normal(size=shape)
    noise[1:] *= np.sqrt(1 - memory**2)
    return lfilter([1.0], [1.0, -memory], noise, axis=0)


def pool_of(z):
    """The pool of coarse values `(frames, windows, chains, d)`; every chain is a cluster."""
    frames, windows, chains, d = z.shape
    state = np.broadcast_to(np.arange(windows)[:, None], (frames, windows, chains)).ravel()
    cluster = np.broadcast_to(np.arange(windows * chains).reshape(windows, chains), (frames, windows, chains)).ravel()
    return Pool(z.reshape(-1, d), state, cluster, np.ones(len(state)))


class Harmonic:
    """V = a z²/2 under windows of stiffness κ: Gaussian windows, f_k = κ a c_k² / 2(κ + a) up to a constant."""

    def __init__(self, curvature, stiffness, centers):
        self.curvature, self.stiffness, self.centers = curvature, stiffness, np.asarray(centers, float)
        self.coarse = coarse_variable([-4.0], [4.0], [False])
        self.bias = pooled_bias(self.coarse, self.centers[:, None], stiffness)
        self.means = stiffness * self.centers / (stiffness + curvature)
        self.spread = 1 / np.sqrt(stiffness + curvature)

    @property
    def free_energy(self):
        """Of every window, the first zero."""
        f = self.curvature * self.stiffness * self.centers**2 / (2 * (self.curvature + self.stiffness))
        return f - f[0]

    def draw(self, rng, frames, chains, memory=0.0):
        """Coarse values `(frames, windows, chains, 1)` of chains that start in equilibrium."""
        noise = ar1(rng, (frames, len(self.centers), chains), memory)
        return (self.means[:, None] + self.spread * noise)[..., None]


def honest(z, level=1e-3):
    """Whether the mean square of independent z-scores lies where chi-square puts it, at this level."""
    z = np.asarray(z)
    low, high = chi2.ppf([level / 2, 1 - level / 2], len(z)) / len(z)
    return low < np.mean(z**2) < high


@pytest.fixture(scope="session")
def known():
    """What the tests of this folder share."""
    return SimpleNamespace(
        coarse_variable=coarse_variable,
        pooled_bias=pooled_bias,
        ar1=ar1,
        pool_of=pool_of,
        Harmonic=Harmonic,
        honest=honest,
    )
