"""Targets whose averages are known, and what a run on them must show."""

from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest

from micromacro.coordinates.coarse import CoarseVariable
from micromacro.sampling.table import fit_table, padded_grid
from micromacro.systems.model import OverdampedSystem


def coarse_variable(lower, upper, periodic, function=None):
    """The first coordinates of the state, over a box."""
    d = len(lower)
    return CoarseVariable(function or (lambda q: q[:d]), np.array(lower, float), np.array(upper, float), periodic)


def system(potential, initial):
    initial = np.atleast_2d(np.asarray(initial, float))
    return OverdampedSystem(potential, initial.shape[1], initial)


def table_of(coarse, points, function, padding=0):
    """`function` of coarse values `(n, d)` as a table over the range."""
    origin, spacing, shape = padded_grid(coarse, points, padding)
    axes = [o + s * np.arange(n) for o, s, n in zip(origin, spacing, shape, strict=True)]
    z = np.stack(np.meshgrid(*axes, indexing="ij"), -1)
    return fit_table(function(z.reshape(-1, len(shape))).reshape(shape), origin, spacing, coarse.periodic)


def z_scores(values, expected):
    """How many standard errors the mean of `values` `(frames, chains, ...)` is off; chains are independent."""
    means = np.mean(values, axis=0)
    return (means.mean(axis=0) - expected) / (means.std(axis=0, ddof=1) / np.sqrt(len(means)))


def line_average(log_density, observable, low=-4.0, high=4.0):
    """The average of `observable` `(n, k)` under an unnormalised log-density on a line, by the trapezoid rule."""
    x = np.linspace(low, high, 20_001)
    logs = log_density(x)
    weight = np.exp(logs - logs.max())
    return weight @ observable(x) / weight.sum()


@pytest.fixture(scope="session")
def known():
    """What the tests of this folder share."""
    return SimpleNamespace(
        coarse_variable=coarse_variable,
        system=system,
        table_of=table_of,
        z_scores=z_scores,
        line_average=line_average,
        quartic=lambda q: 2 * (q[0] ** 2 - 1) ** 2 + 0.5 * q[0] + 2 * jnp.sum((q[1:] - 0.5 * q[0]) ** 2),
        quartic_log=lambda x: -(2 * (x**2 - 1) ** 2 + 0.5 * x),
    )
