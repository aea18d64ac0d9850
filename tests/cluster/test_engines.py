"""Engines on a cluster: the numbers of this process, bit for bit, however many workers there are."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from micromacro.cases.file import load_case
from micromacro.closures import effective_members
from micromacro.closures.effective import EffectiveSettings, fit_effective_dynamics
from micromacro.closures.snapshots import SnapshotPairs
from micromacro.journal import Journal
from micromacro.sampling import openmm_tasks
from micromacro.sampling.engine import JaxEngine
from micromacro.sampling.openmm_engine import OpenMMEngine
from micromacro.sampling.table import zero_table
from micromacro.sampling.threads import Threads
from micromacro.sampling.tuning import first_tuning
from micromacro.sampling.windows import Windows

SYSTEM = """
import jax.numpy as jnp

def potential(q):
    return (q[0] ** 2 - 1) ** 2 + 2 * (q[1] - jnp.sin(q[0])) ** 2

def coarse(q):
    return q[:1]
"""
CASE = """
[system]
kind = "overdamped"
potential = "system.py:potential"
dimension = 2
initial = [[-1.0, 0.0], [1.0, 0.0]]

[coarse]
kind = "function"
function = "system.py:coarse"
lower = [-1.8]
upper = [1.8]
"""


@pytest.fixture(scope="module")
def wells(tmp_path_factory):
    """A user's own case, whose functions no worker could import by their name."""
    folder = tmp_path_factory.mktemp("wells")
    (folder / "system.py").write_text(SYSTEM)
    (folder / "case.toml").write_text(CASE)
    return load_case(folder / "case.toml", [])


def equal(first, second) -> None:
    for one, other in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        np.testing.assert_array_equal(one, other)


def test_walkers_of_equations_do_the_same_in_threads_and_on_a_cluster(cluster, wells):
    bias = zero_table(wells.coarse, 20)
    windows = Windows(jnp.linspace(-1.5, 1.5, 6)[:, None], jnp.array([40.0]), bias)
    found = []
    for one in (None, cluster):
        engine = JaxEngine(wells.system, wells.coarse, cluster=one)
        begun = engine.start(windows, jnp.zeros((6, 64, 2)))
        advanced = engine.advance(windows, first_tuning(6, 2), begun, jax.random.key(0), 3, 1000)
        moved = engine.trajectories(np.zeros((900, 2)), 1e-3, 400, jax.random.key(1), save_every=100)
        found.append((advanced, moved, engine.evaluations))
    equal(*found)


def test_walkers_of_a_molecule_do_the_same_in_this_process_and_on_a_cluster(cluster, monkeypatch):
    monkeypatch.setattr(openmm_tasks, "LEAST_WORK", 200)
    case = load_case("alanine-dipeptide-vacuum", [])
    windows = Windows(jnp.array([[-1.5], [1.0]]), jnp.array([50.0]), zero_table(case.coarse, 20))
    positions = jnp.asarray(np.broadcast_to(case.system.initial[0], (2, 2, case.system.initial.shape[1])))
    found = []
    for settings in ({"workers": 1}, {"cluster": cluster}):
        engine = OpenMMEngine(case.system, case.coarse, platform="Reference", **settings)
        begun = engine.start(windows, positions)
        found.append(engine.advance(windows, first_tuning(2, 1), begun, jax.random.key(0), 2, 10))
    equal(*found)


def pairs_of(case) -> SnapshotPairs:
    """Of an Ornstein–Uhlenbeck process along the coarse variable."""
    rng = np.random.default_rng(0)
    start = rng.uniform(-1.5, 1.5, (2000, 1))
    return SnapshotPairs.between(case.coarse, start, 0.7 * start + 0.5 * rng.standard_normal(start.shape), 0.3)


def test_independent_trainings_do_the_same_in_threads_and_on_a_cluster(cluster, wells):
    pairs, settings = pairs_of(wells), EffectiveSettings(training_steps=250)
    found = []
    for one in (None, cluster):
        engine = JaxEngine(wells.system, wells.coarse, cluster=one)
        done = []
        fit = fit_effective_dynamics(wells.coarse, pairs, settings, jax.random.key(0), done.append, engine.recorder)
        found.append((fit.training.model, fit.training.loss, fit.training.validation))
        assert sorted(done) == [62, 62, 63, 63]
    equal(*found)


def test_trainings_that_a_kill_has_left_done_are_not_done_again(wells, tmp_path, monkeypatch):
    pairs, settings = pairs_of(wells), EffectiveSettings(training_steps=250)
    engine = JaxEngine(wells.system, wells.coarse)
    train, learned, allowed = effective_members.train, [], 2

    def counted(*arguments):
        learned.append(len(arguments[5]))
        if len(learned) > allowed:
            raise KeyboardInterrupt
        return train(*arguments)

    def fit():
        with Journal(tmp_path / "parts") as journal, engine.keeping(journal):
            key = jax.random.key(0)
            return fit_effective_dynamics(wells.coarse, pairs, settings, key, recorder=engine.recorder)

    monkeypatch.setattr(effective_members, "train", counted)
    monkeypatch.setattr(engine, "recorder", lambda make: engine._recorder.beside(Threads(make(), 1)))
    with pytest.raises(KeyboardInterrupt):
        fit()
    learned.clear()
    found = fit()
    assert learned == [2, 2]
    monkeypatch.setattr(effective_members, "train", train)
    whole = fit_effective_dynamics(wells.coarse, pairs, settings, jax.random.key(0))
    equal(found.training.model, whole.training.model)
