"""Small runs that several tests look at: each is computed once."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest

from micromacro.cases.case import BiasSettings, Case, CloseSettings, CoupleSettings, GeneratorSettings
from micromacro.cases.file import load_case
from micromacro.coordinates.coarse import CoarseVariable
from micromacro.run import run
from micromacro.systems.model import OverdampedSystem


def small_hidden_barrier(**settings) -> Case:
    case = replace(
        load_case("hidden-barrier"),
        bias=BiasSettings(windows=16, walkers=24, steps=400),
        generator=GeneratorSettings(width=48, training_steps=750),
        couple=CoupleSettings(rounds=2, cycles=30),
        budget=2_000_000,
    )
    return replace(case, **settings)


def ring_potential(q):
    """A periodic angle q1 with two wells, coupled to a bath q2."""
    return 2.0 * jnp.cos(2 * q[0]) + 0.5 * jnp.sin(q[0]) + 4.0 * (q[1] - jnp.cos(q[0])) ** 2


def ring_case() -> Case:
    system = OverdampedSystem(ring_potential, 2, np.array([[1.5, 0.0], [-1.5, 0.0]]))
    coarse = CoarseVariable(lambda q: q[:1], np.array([-np.pi]), np.array([np.pi]), (True,))
    return Case(
        "ring",
        "A periodic angle",
        system,
        coarse,
        bias=BiasSettings(windows=16, walkers=16, steps=600),
        generator=GeneratorSettings(width=48, training_steps=500),
        couple=CoupleSettings(rounds=1, cycles=10),
        close=CloseSettings({"bath": lambda q: q[1]}, bursts=0, full_model=0),
    )


@pytest.fixture(scope="session")
def coupled(tmp_path_factory):
    return run(small_hidden_barrier(), tmp_path_factory.mktemp("coupled") / "out")


@pytest.fixture(scope="session")
def umbrella(tmp_path_factory):
    return run(small_hidden_barrier(), tmp_path_factory.mktemp("umbrella") / "out", method="umbrella")


@pytest.fixture(scope="session")
def ring(tmp_path_factory):
    return run(ring_case(), tmp_path_factory.mktemp("ring") / "out")
