"""The OpenMM engine: what it samples, counts and repeats, and what happens when a walker or a worker fails."""

import importlib.util
import os
import sys
from dataclasses import replace

import jax
import jax.numpy as jnp
import mdtraj
import numpy as np
import openmm
import pytest
from openmm import unit

from micromacro.coordinates.coarse import CoarseVariable
from micromacro.coordinates.geometry import PositionFunction, Torsion
from micromacro.errors import InputError, PhysicsError
from micromacro.molecules.internal_coordinates import build_internal_coordinates
from micromacro.molecules.system import MolecularSystem
from micromacro.sampling import openmm_tasks
from micromacro.sampling.engine import Engine
from micromacro.sampling.openmm_engine import OpenMMEngine
from micromacro.sampling.openmm_platform import measured_platform, measured_speeds
from micromacro.sampling.production import run_chunks
from micromacro.sampling.seeding import no_windows
from micromacro.sampling.table import zero_table
from micromacro.sampling.tuning import check_finite, first_tuning
from micromacro.sampling.windows import Windows

BONDS = np.array([[0, 1], [1, 2], [2, 3]])
START = np.array([[0.05, 0.14, 0.0], [0, 0, 0], [0.15, 0, 0], [0.2, 0.05, 0.13]])
TORSION = Torsion((0, 1, 2, 3))
BARRIER = 4.0  # kJ/mol


def chain_forces(constraints=0):
    """Four atoms whose bonds and angles do not know of the torsion: its density is a closed form."""
    system = openmm.System()
    for _ in range(4):
        system.addParticle(12.0)
    bonds, angles, torsion = openmm.HarmonicBondForce(), openmm.HarmonicAngleForce(), openmm.PeriodicTorsionForce()
    for number, (first, second) in enumerate(BONDS):
        if number < constraints:
            system.addConstraint(first, second, 0.15)
        else:
            bonds.addBond(first, second, 0.15, 5e4)
    for atoms in ((0, 1, 2), (1, 2, 3)):
        angles.addAngle(*atoms, 1.9, 300.0)
    torsion.addTorsion(0, 1, 2, 3, 2, 0.7, BARRIER / 2)
    for force in (bonds, angles, torsion):
        system.addForce(force)
    return system


def chain(forces=None, start=START):
    atoms = len(start)
    topology = mdtraj.Topology()
    residue = topology.add_residue("CHN", topology.add_chain())
    for number in range(atoms):
        topology.add_atom(f"C{number}", mdtraj.element.carbon, residue)
    internal = build_internal_coordinates(BONDS, np.full(4, 12.0), START, np.zeros((0, 2), int), np.zeros(0))
    text = openmm.XmlSerializer.serialize(forces or chain_forces())
    return MolecularSystem(
        topology,
        text,
        start.reshape(1, -1),
        internal,
        np.full(atoms, 12.0),
        np.arange(4),
        friction=20.0,
        time_step=0.004,
    )


def salt():
    """The chain among ions on a lattice in a periodic box, with particle-mesh Ewald."""
    places = np.stack(np.meshgrid(*[0.25 + 0.5 * np.arange(4)] * 3, indexing="ij"), -1).reshape(-1, 3)
    places = places[np.linalg.norm(places - START.mean(axis=0), axis=1) > 0.4]
    forces = chain_forces()
    forces.setDefaultPeriodicBoxVectors(*(2.0 * np.eye(3)))
    pairs = openmm.NonbondedForce()
    pairs.setNonbondedMethod(openmm.NonbondedForce.PME)
    pairs.setCutoffDistance(0.9)
    for _ in START:
        pairs.addParticle(0.0, 0.3, 0.1)
    for number, _ in enumerate(places):
        forces.addParticle(12.0)
        pairs.addParticle(0.5 * (-1) ** number, 0.35, 0.5)
    for first in range(4):
        for second in range(first):
            pairs.addException(first, second, 0.0, 0.1, 0.0)
    forces.addForce(pairs)
    return chain(forces, np.concatenate([START, places]))


def coarse_variable(component=TORSION):
    return CoarseVariable(lambda u: u[-1:], np.array([-np.pi]), np.array([np.pi]), (True,), (component,))


def windows_at(centers, stiffness, flattening=None):
    centers = jnp.atleast_2d(jnp.asarray(centers, float)).T
    return Windows(centers, jnp.array([stiffness]), flattening or zero_table(coarse_variable(), 24))


def advance(engine, windows, walkers, frames, interval, seed=0):
    tuning = first_tuning(windows.count, 12)
    return engine.advance(windows, tuning, walkers, jax.random.key(seed), frames, interval)


def started(engine, windows, walkers):
    start = jnp.asarray(engine.system.initial[0])
    return engine.start(windows, jnp.broadcast_to(start, (windows.count, walkers, len(start))))


@pytest.fixture
def engine():
    return OpenMMEngine(chain(), coarse_variable(), workers=1, platform="Reference")


def test_it_is_an_engine(engine):
    assert isinstance(engine, Engine)
    assert (engine.workers, engine.platform) == (1, "Reference")


def averages(windows, window, kT, barrier=BARRIER):
    """⟨cos φ⟩ and ⟨sin φ⟩ in a window by the trapezoid rule; the density of φ is that of its own energies."""
    z = np.linspace(-np.pi, np.pi, 4001)[:-1]
    delta = (z - float(windows.centers[window, 0]) + np.pi) % (2 * np.pi) - np.pi
    own = barrier / 2 * (1 + np.cos(2 * z - 0.7)) / kT
    flattening = jax.vmap(windows.flattening)(jnp.asarray(z)[:, None])
    weight = np.exp(-own - 0.5 * float(windows.stiffness[0]) * delta**2 + np.asarray(flattening))
    return np.array([weight @ np.cos(z), weight @ np.sin(z)]) / weight.sum()


def test_windows_sample_their_density(known, engine):
    """Against quadrature, at the seam too and with a flattening; without one of its parts it is another density."""
    flattening = known.table_of(engine.coarse, 24, lambda z: 0.8 * np.sin(z[:, 0] + 0.3))
    windows = windows_at([-1.0, np.pi, 2.0], 2.0, flattening)
    walkers, _ = advance(engine, windows, started(engine, windows, 24), 1, 500)
    _, saved = advance(engine, windows, walkers, 40, 40, seed=1)
    phi = np.asarray(saved.coarse)[..., 0]
    bare = windows_at([-1.0, np.pi, 2.0], 2.0)
    wrong = []
    for window in range(3):
        values = np.stack([np.cos(phi[:, window]), np.sin(phi[:, window])], axis=-1)
        assert np.all(np.abs(known.z_scores(values, averages(windows, window, engine.system.kT))) < 4)
        wrong.append(known.z_scores(values, averages(bare, window, engine.system.kT)))
        wrong.append(known.z_scores(values, averages(windows, window, engine.system.kT, barrier=0.0)))
    assert np.abs(wrong[::2]).max() > 6
    assert np.abs(wrong[1::2]).max() > 6


def test_saved_values_belong_to_the_saved_positions(engine):
    windows = windows_at([0.5, 1.0], 10.0)
    walkers, saved = advance(engine, windows, started(engine, windows, 3), 4, 5)
    positions = saved.position.reshape(-1, 12)
    np.testing.assert_allclose(engine.log_density(positions), saved.log_density.reshape(-1), rtol=1e-12)
    z = jax.vmap(TORSION)(positions.reshape(-1, 4, 3))
    np.testing.assert_allclose(saved.coarse.reshape(-1), z, atol=1e-12)
    np.testing.assert_array_equal(walkers.position, saved.position[-1])
    again = engine.start(windows, walkers.position)
    np.testing.assert_allclose(walkers.log_target, again.log_target, rtol=1e-12)
    bias = 5.0 * (np.asarray(walkers.coarse)[..., 0] - np.array([[0.5], [1.0]])) ** 2
    np.testing.assert_allclose(walkers.log_density - walkers.log_target, bias, rtol=1e-9)
    assert saved.acceptance.tolist() == [1.0, 1.0]


def test_energies_are_those_of_openmm(engine):
    states = START.reshape(1, -1) + 0.01 * np.random.default_rng(0).normal(size=(5, 12))
    context = openmm.Context(chain_forces(), openmm.VerletIntegrator(0.001))
    expected = []
    for state in states:
        context.setPositions(state.reshape(4, 3))
        expected.append(context.getState(energy=True).getPotentialEnergy() / unit.kilojoule_per_mole)
    np.testing.assert_allclose(engine.log_density(jnp.asarray(states)) * -engine.system.kT, expected, rtol=1e-5)


def test_every_evaluation_is_counted_once(engine):
    windows = windows_at([0.0, 1.0, 2.0], 4.0)
    walkers = started(engine, windows, 4)
    assert engine.evaluations == 12
    walkers, _ = advance(engine, windows, walkers, 2, 5)
    assert engine.evaluations == 12 + 120
    engine.log_density(walkers.position[0])
    assert engine.evaluations == 136
    engine.exchange(windows, walkers, jax.random.key(0), even=True)
    assert engine.evaluations == 136
    engine.minimised(np.asarray(walkers.position[0]), iterations=10)
    # the start and at least one step of each
    assert engine.evaluations >= 136 + 8


def test_minimised_states_are_lower_and_near_a_minimum(engine):
    walkers, _ = advance(engine, no_windows(engine.coarse, 1), started(engine, no_windows(engine.coarse, 1), 6), 1, 300)
    states = np.array(walkers.position[0])
    states[2] = np.nan
    found = engine.minimised(states, tolerance=0.01, iterations=1000)
    energies = -engine.system.kT * np.asarray(engine.log_density(jnp.asarray(found)))
    fine = np.arange(6) != 2
    np.testing.assert_allclose(energies[fine], 0.0, atol=1e-4)
    assert np.isnan(energies[2])
    assert np.isnan(found[2]).all()


def test_a_function_moves_as_the_torsion_that_it_is(known, engine):
    """The same seeds: the same trajectory, to rounding, whether OpenMM or JAX evaluates the bias."""
    function = OpenMMEngine(
        engine.system, coarse_variable(PositionFunction(TORSION, TORSION.period)), workers=1, platform="Reference"
    )
    first = known.table_of(engine.coarse, 24, lambda z: 3 * np.cos(z[:, 0]))
    second = known.table_of(engine.coarse, 24, lambda z: 5 * np.sin(2 * z[:, 0]))
    for table in (zero_table(engine.coarse, 24), first, second):
        windows = windows_at([0.5, -3.0], 30.0, table)
        runs = [advance(one, windows, started(one, windows, 2), 2, 25)[1] for one in (engine, function)]
        np.testing.assert_allclose(runs[0].position, runs[1].position, atol=1e-7)
        control = windows_at([0.7, -3.0], 30.0, table)
        other = advance(engine, control, started(engine, control, 2), 2, 25)[1]
        assert np.max(np.abs(other.position - runs[0].position)) > 1e-4


def test_a_variable_without_components_is_biased_through_what_is_observed(engine):
    observed = CoarseVariable(lambda u: u[-1:], np.array([-np.pi]), np.array([np.pi]), (True,))
    other = OpenMMEngine(engine.system, observed, workers=1, platform="Reference")
    windows = windows_at([0.5], 30.0)
    runs = [advance(one, windows, started(one, windows, 1), 1, 25)[1] for one in (engine, other)]
    np.testing.assert_allclose(runs[0].position, runs[1].position, atol=1e-7)
    np.testing.assert_allclose(runs[0].coarse, runs[1].coarse, atol=1e-6)


def test_the_result_depends_on_the_key_and_not_on_the_workers(engine, monkeypatch):
    monkeypatch.setattr(openmm_tasks, "LEAST_WORK", 200)
    windows = windows_at([0.0, 1.0, 2.0], 10.0)
    two = OpenMMEngine(engine.system, engine.coarse, workers=2, platform="Reference")
    walkers = started(engine, windows, 3)
    broken = walkers._replace(position=walkers.position.at[1, 1, 0].set(jnp.nan))
    alone, _ = advance(engine, windows, broken, 2, 20)
    for _ in range(2):  # a worker that has already worked gives the same
        together, _ = advance(two, windows, broken, 2, 20)
        np.testing.assert_array_equal(alone.position, together.position)
        np.testing.assert_array_equal(alone.log_target, together.log_target)
    assert np.isnan(alone.log_target).sum() == 1
    with pytest.raises(PhysicsError, match=r"walker 1.*window 1"):
        check_finite(together, windows, 40)
    untouched, _ = advance(engine, windows, walkers, 2, 20)
    others = np.ones((3, 3), bool)
    others[1, 1] = False
    np.testing.assert_array_equal(np.asarray(untouched.position)[others], np.asarray(alone.position)[others])
    different, _ = advance(engine, windows, walkers, 2, 20, seed=1)
    assert np.all(np.abs(different.position - untouched.position).max(axis=-1) > 1e-6)
    processes = two._pool._processes
    processes[0].kill()
    with pytest.raises(PhysicsError, match="worker process ended"):
        advance(two, windows, walkers, 2, 20)
    again, _ = advance(two, windows, walkers, 2, 20)
    np.testing.assert_array_equal(again.position, untouched.position)
    processes = two._pool._processes
    two.close()
    assert all(process.poll() is not None for process in processes)


def test_ewald_sums_use_one_thread_unless_the_user_says_otherwise(monkeypatch):
    """Their rounding depends on it: seen in a box of 721 atoms, not in the salt of these tests."""
    for given, kept in ((None, "1"), ("3", "3")):
        monkeypatch.setenv("OPENMM_CPU_THREADS", given) if given else monkeypatch.delenv(
            "OPENMM_CPU_THREADS", raising=False
        )
        OpenMMEngine(chain(), coarse_variable(), workers=1, platform="Reference")
        assert os.environ["OPENMM_CPU_THREADS"] == kept


@pytest.mark.slow
def test_workers_do_not_matter_on_the_cpu_platform_and_in_a_periodic_box(monkeypatch):
    monkeypatch.setattr(openmm_tasks, "LEAST_WORK", 200)
    windows, found = windows_at([0.5, 2.0], 10.0), []
    for count in (1, 2):
        engine = OpenMMEngine(salt(), coarse_variable(), workers=count, platform="CPU")
        found.append([advance(engine, windows, started(engine, windows, 2), 2, 30)[0].position for _ in range(2)])
        engine.close()
    for other in (found[0][1], *found[1]):
        np.testing.assert_array_equal(found[0][0], other)


@pytest.mark.slow
def test_functions_of_files_reach_the_workers(engine, tmp_path):
    """A user's function, of a module that no other process could import by its name."""
    file = tmp_path / "bias.py"
    file.write_text(
        "import jax.numpy as jnp\nSCALE = 1.5\ndef length(x):\n    return SCALE * jnp.linalg.norm(x[0] - x[3])\n"
    )
    spec = importlib.util.spec_from_file_location("loaded_apart_bias", file)
    module = importlib.util.module_from_spec(spec)
    sys.modules[module.__name__] = module
    spec.loader.exec_module(module)
    coarse = CoarseVariable(
        lambda u: u[:1], np.array([0.2]), np.array([0.9]), (False,), (PositionFunction(module.length),)
    )
    windows = Windows(jnp.array([[0.3], [0.6]]), jnp.array([500.0]), zero_table(coarse, 10))
    one, two = (OpenMMEngine(engine.system, coarse, workers=count, platform="Reference") for count in (1, 2))
    runs = [advance(each, windows, started(each, windows, 2), 1, 50)[0] for each in (one, two)]
    two.close()
    np.testing.assert_allclose(runs[0].position, runs[1].position, atol=1e-9)
    lengths = np.linalg.norm(np.diff(runs[0].position.reshape(4, 4, 3)[:, ::3], axis=1), axis=-1)[:, 0]
    np.testing.assert_allclose(runs[1].coarse.ravel(), 1.5 * lengths)


def test_exchange_swaps_whole_walkers(engine):
    windows = windows_at([0.5, 0.5, 2.0, -1.0], 10.0)
    walkers, _ = advance(engine, windows, started(engine, windows, 5), 1, 30)
    swapped, accepted = engine.exchange(windows, walkers, jax.random.key(3), even=True)
    # equal windows always swap, and far ones do not
    assert accepted[:2].tolist() == [1.0, 1.0]
    assert accepted[2] == accepted[3] < 1.0
    np.testing.assert_array_equal(swapped.position[:2], walkers.position[jnp.array([1, 0])])
    again = engine.start(windows, swapped.position)
    for name in ("coarse", "log_density", "log_target"):
        np.testing.assert_allclose(getattr(swapped, name), getattr(again, name), rtol=1e-9)


def test_chunks_run_through_it(engine):
    windows = windows_at([0.5, 1.5], 10.0)
    _, frames = run_chunks(
        engine,
        windows,
        started(engine, windows, 2),
        first_tuning(2, 12),
        jax.random.key(0),
        chunks=2,
        frames=2,
        interval=5,
        exchange=True,
    )
    assert frames.position.shape == (4, 2, 2, 12)


def test_constraints_hold_from_starts_that_break_them():
    engine = OpenMMEngine(chain(chain_forces(constraints=2)), coarse_variable(), workers=1, platform="Reference")
    windows = windows_at([0.5], 10.0)
    assert abs(np.linalg.norm(START[1] - START[0]) - 0.15) > 1e-3
    walkers, _ = advance(engine, windows, started(engine, windows, 4), 1, 50)
    positions = np.asarray(walkers.position).reshape(4, 4, 3)
    lengths = np.linalg.norm(positions[:, [1, 2]] - positions[:, [0, 1]], axis=-1)
    np.testing.assert_allclose(lengths, 0.15, rtol=1e-5)


def test_the_fastest_platform_is_chosen():
    system = chain()
    name = measured_platform(system, 2)
    speeds = measured_speeds(system)
    assert {"Reference", "CPU"} <= set(speeds)
    assert speeds[name] == max(speeds.values())
    assert measured_platform(system, 2) == name


def test_a_barostat_is_refused():
    forces = chain_forces()
    forces.addForce(openmm.MonteCarloBarostat(1.0, 300.0))
    with pytest.raises(InputError, match="barostat"):
        OpenMMEngine(chain(forces), coarse_variable(), workers=1, platform="Reference")


def test_seeds_are_fixed_and_never_zero():
    assert openmm_tasks.seeds(np.array([1, 2], np.uint32), 3) == openmm_tasks.seeds(np.array([1, 2], np.uint32), 3)
    assert openmm_tasks.seeds(np.array([1, 2], np.uint32), 3) != openmm_tasks.seeds(np.array([2, 1], np.uint32), 3)
    assert min(openmm_tasks.seeds(np.array([0], np.uint32), 1000)) > 0


def test_tasks_cover_all_walkers_and_are_neither_many_nor_tiny():
    for walkers, atoms, steps in ((1, 22, 10), (1536, 22, 10), (1536, 22, 1000), (1000, 5000, 1)):
        parts = openmm_tasks.slices(walkers, atoms, steps)
        assert [index for part in parts for index in range(part.start, part.stop)] == list(range(walkers))
        assert len(parts) <= openmm_tasks.MOST_TASKS
    assert len(openmm_tasks.slices(1536, 22, 10)) == 9


def soft_centre():
    """An atom with four others about it, so soft that it turns into its mirror image all the time."""
    bonds = np.array([[0, 1], [0, 2], [0, 3], [0, 4]])
    masses = np.array([12.0, 10.0, 14.0, 16.0, 18.0])
    corners = 0.15 / np.sqrt(3) * np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])
    start = np.concatenate([np.zeros((1, 3)), corners])
    system, lengths, angles = openmm.System(), openmm.HarmonicBondForce(), openmm.HarmonicAngleForce()
    for mass in masses:
        system.addParticle(mass)
    for first, second in bonds:
        lengths.addBond(first, second, 0.15, 5e4)
    for first in range(1, 5):
        for second in range(first + 1, 5):
            angles.addAngle(first, 0, second, 1.91, 10.0)
    for force in (lengths, angles):
        system.addForce(force)
    topology = mdtraj.Topology()
    residue = topology.add_residue("CTR", topology.add_chain())
    for number in range(5):
        topology.add_atom(f"C{number}", mdtraj.element.carbon, residue)
    internal = build_internal_coordinates(bonds, masses, start, np.zeros((0, 2), int), np.zeros(0))
    forces = openmm.XmlSerializer.serialize(system)
    return MolecularSystem(
        topology, forces, start.reshape(1, -1), internal, masses, np.arange(5), friction=20.0, time_step=0.004
    )


def handedness(states):
    """The signed volume of three of the bonds about the centre."""
    arms = states.reshape(*states.shape[:-1], 5, 3)
    return np.linalg.det(arms[..., 1:4, :] - arms[..., :1, :]) / 0.15**3


def test_a_centre_keeps_its_chirality_and_its_law_otherwise(monkeypatch):
    system = soft_centre()
    engine = OpenMMEngine(system, coarse_variable(PositionFunction(lambda x: x[1, 0])), workers=1, platform="Reference")
    windows = no_windows(engine.coarse, 1)
    walkers = engine.start(windows, jnp.asarray(np.tile(system.initial[0], (1, 24, 1))))
    _, kept = run_chunks(
        engine, windows, walkers, first_tuning(1, 1), jax.random.key(0), chunks=80, frames=3, interval=25
    )
    monkeypatch.setattr(MolecularSystem, "mirrored", lambda _, states: np.zeros(len(states), bool))
    _, free = run_chunks(
        engine, windows, walkers, first_tuning(1, 1), jax.random.key(1), chunks=80, frames=3, interval=25
    )
    own = np.sign(handedness(system.initial[0]))
    observed = np.asarray(jax.vmap(system.observe)(jnp.asarray(kept.position.reshape(-1, system.dimension))))
    space = system.internal.space
    assert np.all((observed >= space.lower) & (observed <= space.upper))
    assert np.mean(np.sign(handedness(free.position)) != own) > 0.1
    # what a mirror does not change has the same mean, by walkers that are independent of one another
    sizes = [
        np.linalg.norm(part.position[20:, 0, :, 3:6] - part.position[20:, 0, :, 6:9], axis=-1) for part in (kept, free)
    ]
    averages = [size.mean(axis=0) for size in sizes]
    error = np.sqrt(sum(one.var(ddof=1) / len(one) for one in averages))
    assert abs(averages[0].mean() - averages[1].mean()) < 4 * error


def test_a_walker_that_flies_apart_is_told_and_not_put_back():
    system = replace(soft_centre(), time_step=0.03)
    engine = OpenMMEngine(system, coarse_variable(PositionFunction(lambda x: x[1, 0])), workers=1, platform="Reference")
    windows = no_windows(engine.coarse, 1)
    walkers = engine.start(windows, jnp.asarray(np.tile(system.initial[0], (1, 8, 1))))
    with pytest.raises(PhysicsError, match="not finite"):
        run_chunks(engine, windows, walkers, first_tuning(1, 1), jax.random.key(0), chunks=40, frames=5, interval=10)
    engine.close()


def test_a_bias_that_turns_most_walkers_over_is_told(monkeypatch):
    engine = OpenMMEngine(soft_centre(), coarse_variable(PositionFunction(lambda x: x[1, 0])), workers=1)
    windows = no_windows(engine.coarse, 1)
    walkers = engine.start(windows, jnp.asarray(np.tile(engine.system.initial[0], (1, 8, 1))))
    monkeypatch.setattr(MolecularSystem, "mirrored", lambda _, states: np.ones(len(states), bool))
    with pytest.raises(PhysicsError, match="more than half of the walkers turned into their mirror images"):
        engine.advance(windows, first_tuning(1, 1), walkers, jax.random.key(0), 1, 10)
    engine.close()
