"""Data drawn exactly from one particle: F(x) = 4 (x² - 1)² in kT, y and z are normal given x."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import mdtraj
import numpy as np
import pytest

from micromacro.cases.case import Case, CloseSettings, GeneratorSettings
from micromacro.coordinates.coarse import CoarseVariable
from micromacro.coupling.own_data import evened_segment, judging_segment
from micromacro.errors import InputError
from micromacro.molecules.colvar import write_colvar
from micromacro.molecules.data_files import OwnData, Umbrella
from micromacro.molecules.imported import ImportedFrames, read_own_data
from micromacro.own_data import sampled_from_data
from micromacro.progress import Progress
from micromacro.sampling.engine import JaxEngine
from micromacro.stages import Run
from micromacro.store import Store
from micromacro.systems.model import OverdampedSystem

KT = 2.5
HEIGHT, WIDTH = 4.0, 0.2
FINE = np.linspace(-2.2, 2.2, 4401)
FRAMES = 4000


def free_energy(x):
    return HEIGHT * (x**2 - 1) ** 2


def potential(q):
    bath = (q[1] - jnp.sin(2 * q[0])) ** 2 + (q[2] - q[0]) ** 2
    return KT * (HEIGHT * (q[0] ** 2 - 1) ** 2 + 0.5 * bath / WIDTH**2)


def drawn(energy, count, rng, *, width=WIDTH):
    """States with x of density exp(-energy), a bath of `width`; in nm, one particle."""
    density = np.exp(energy.min() - energy)
    x = np.interp(rng.uniform(size=count), np.cumsum(density) / density.sum(), FINE)
    noise = rng.normal(scale=width, size=(count, 2))
    return np.stack([x, np.sin(2 * x) + noise[:, 0], x + noise[:, 1]], axis=1)[:, None]


def imported(positions, log_weight=None, trajectory=None, **others):
    topology = mdtraj.Topology()
    topology.add_atom("C", mdtraj.element.carbon, topology.add_residue("UNK", topology.add_chain()))
    count = len(positions)
    log_weight = np.zeros(count) if log_weight is None else log_weight
    trajectory = np.zeros(count, int) if trajectory is None else trajectory
    sources = tuple(f"run{number}.dcd" for number in range(trajectory.max() + 1))
    return ImportedFrames(positions, log_weight, trajectory, topology, sources=sources, **others)


@pytest.fixture
def run(tmp_path):
    system = OverdampedSystem(potential, dimension=3, initial=np.array([[-1.0, -0.9, -1.0], [1.0, 0.9, 1.0]]), kT=KT)
    coarse = CoarseVariable(lambda q: q[:1], np.array([-1.6]), np.array([1.6]), (False,))
    generator, close = GeneratorSettings(kind="kernel"), CloseSettings(bursts=0, full_model=0)
    case = Case("data", "Data", system, coarse, generator=generator, close=close)
    return Run(case, Store(tmp_path), Progress(quiet=True), JaxEngine(system, coarse))


def error_of(surface, below=8.0):
    """F minus the exact one where that is low, and its standard errors."""
    exact = free_energy(surface.grid.points[:, 0])
    low = np.isfinite(surface.free_energy) & (exact < below)
    assert low.sum() > 0.9 * np.sum(exact < below)
    difference = (surface.free_energy - exact)[low]
    return difference - difference.mean(), surface.stderr[low]


def assert_right(surface, rms, below=8.0):
    difference, stderr = error_of(surface, below)
    assert np.sqrt(np.mean(difference**2)) < rms
    score = np.mean((difference / np.hypot(stderr, 0.02)) ** 2)
    assert 0.3 < score < 2.5


def test_unbiased_frames(run):
    rng = np.random.default_rng(0)
    trajectory = np.repeat([0, 1, 2], FRAMES)
    found = sampled_from_data(run, imported(drawn(free_energy(FINE), 3 * FRAMES, rng), None, trajectory), learn=False)
    assert_right(found.estimate.surface, 0.15, below=3.5)
    assert found.last.weight is None
    assert found.last.frames.position.shape[2] == 9
    assert set(found.start) == {0, 1, 2}
    assert run.engine.evaluations == 0


def test_weights_of_another_ensemble(run):
    """Frames spread evenly over x, of a bath that is too wide: both are put right by their weights."""
    rng = np.random.default_rng(1)
    positions = drawn(np.where(np.abs(FINE) < 1.6, 0.0, 50.0), 5 * FRAMES, rng, width=1.5 * WIDTH)
    bath = positions[:, 0, 1:] - np.stack([np.sin(2 * positions[:, 0, 0]), positions[:, 0, 0]], axis=1)
    excess = np.sum(bath**2, axis=1) * (1 - 1 / 1.5**2) / (2 * WIDTH**2)
    log_weight = -free_energy(positions[:, 0, 0]) - excess
    right = sampled_from_data(run, imported(positions, log_weight), learn=False)
    assert_right(right.estimate.surface, 0.12)
    weight = np.exp(log_weight)
    assert right.last.weight is not None
    assert right.last.weight.sum() == pytest.approx(weight.sum() ** 2 / np.sum(weight**2), rel=1e-6)
    taught = evened_segment(run.case.coarse, right.estimate, rng).frames.position[:, 0, 0]
    assert len(taught) > 1000
    assert bath_of(taught).std() == pytest.approx(WIDTH, rel=0.05)
    assert bath_of(positions[:, 0]).std() > 1.4 * WIDTH


def bath_of(position):
    return position[..., 1] - np.sin(2 * position[..., 0])


def test_generator_learns_from_weighted_frames(run):
    rng = np.random.default_rng(8)
    positions = drawn(np.where(np.abs(FINE) < 1.6, 0.0, 50.0), 2000, rng)
    low = bath_of(positions[:, 0]) < 0
    found = sampled_from_data(run, imported(positions, np.where(low, -3.0, 0.0)))
    assert found.trained is not None
    assert found.generator is not None
    keys = jax.random.split(jax.random.key(0), 1000)
    drawn_at = jax.jit(jax.vmap(partial(found.generator.sample, jnp.array([0.5]))))
    half_normal = WIDTH * np.sqrt(2 / np.pi) * (1 - np.exp(-3)) / (1 + np.exp(-3))
    assert bath_of(np.asarray(drawn_at(keys))).mean() == pytest.approx(half_normal, abs=0.05)


def test_bias_of_colvar_files(run, tmp_path):
    """From files: a static bias along ξ, its value in a column; the wrong sign is wrong."""
    rng = np.random.default_rng(2)
    trajectories, colvars = [], []
    for number in range(2):
        positions = drawn(0.2 * free_energy(FINE), FRAMES, rng)
        x = positions[:, 0, 0]
        trajectory = mdtraj.Trajectory(positions, imported(positions).topology)
        trajectories.append(tmp_path / f"run{number}.dcd")
        trajectory.save(str(trajectories[-1]))
        trajectory[0].save_pdb(str(tmp_path / "top.pdb"), bfactors=None)
        colvars.append(tmp_path / f"COLVAR{number}")
        bias = -0.8 * KT * free_energy(x)
        write_colvar(colvars[-1], ["time", "x", "opes.bias"], np.stack([np.arange(FRAMES), x, bias], axis=1))
    data = OwnData(tmp_path / "top.pdb", tuple(trajectories), tuple(colvars), coarse=("x",))
    frames = read_own_data(data, KT)
    assert_right(sampled_from_data(run, frames, learn=False).estimate.surface, 0.15)
    wrong = sampled_from_data(
        run.within("wrong", run.case), replace(frames, log_weight=-frames.log_weight), learn=False
    )
    assert np.sqrt(np.mean(error_of(wrong.estimate.surface)[0] ** 2)) > 1
    with pytest.raises(InputError, match="data must be as in the run that is resumed"):
        sampled_from_data(run, replace(frames, log_weight=-frames.log_weight), learn=False)
    with pytest.raises(InputError, match=r"have the coarse variables of its frames"):
        sampled_from_data(run, replace(frames, coarse=frames.coarse[::-1]), learn=False)


def windowed(rng, centers, kappas, lengths):
    """Frames of windows, kappa in kJ/mol, and their bias in kJ/mol."""
    parts, bias, umbrellas = [], [], []
    for center, kappa, length in zip(centers, kappas, lengths, strict=True):
        parts.append(drawn(free_energy(FINE) + 0.5 * kappa / KT * (FINE - center) ** 2, length, rng))
        bias.append(0.5 * kappa * (parts[-1][:, 0, 0] - center) ** 2)
        umbrellas.append(Umbrella((float(center),), (float(kappa),)))
    trajectory = np.repeat(np.arange(len(parts)), lengths)
    return imported(np.concatenate(parts), None, trajectory, windows=tuple(umbrellas), bias=np.concatenate(bias))


def test_umbrella_windows_of_unequal_length_and_stiffness(run):
    rng = np.random.default_rng(3)
    centers = np.linspace(-1.6, 1.6, 13)
    kappas = np.where(np.arange(13) % 4 == 1, 150.0, 100.0)
    frames = windowed(rng, centers, kappas, rng.integers(800, 1600, size=13))
    found = sampled_from_data(run, frames, learn=False)
    assert_right(found.estimate.surface, 0.15)
    assert [segment.windows.count for segment in found.segments] == [3, 10]
    assert found.last_states == slice(3, 13)
    assert found.last.first.max() > 0
    alone = sampled_from_data(run.within("again", run.case), replace(frames, windows=(), bias=None), learn=False)
    assert np.sqrt(np.mean(error_of(alone.estimate.surface)[0] ** 2)) > 1


def test_windows_that_are_not_those_of_the_bias(run):
    frames = windowed(np.random.default_rng(4), [-1.0, 1.0], [100.0, 100.0], [500, 500])
    other = (frames.windows[0], Umbrella((1.0,), (50.0,)))
    with pytest.raises(InputError, match=r"data.windows\[1\] must be the bias .* kappa = \[50.0\], off by"):
        sampled_from_data(run, replace(frames, windows=other), learn=False)
    none = (frames.windows[0], Umbrella((1.0,), (0.0,)))
    with pytest.raises(InputError, match=r"data.windows must have 1 numbers 'at' and 1 'kappa' greater than 0"):
        sampled_from_data(run.within("none", run.case), replace(frames, windows=none), learn=False)


def test_frames_of_another_system(run):
    positions = np.zeros((100, 2, 3))
    with pytest.raises(InputError, match=r"have 1 atoms, as the system; got 2\. Choose atoms by"):
        sampled_from_data(run, imported(positions), learn=False)


def test_judging_windows_hold_the_flattened_window(run):
    """In each: ξ about the centre with the blur, and the bath of its own width, whatever the windows of the data."""
    frames = windowed(np.random.default_rng(5), np.linspace(-1.5, 1.5, 11), [100.0] * 11, [1000] * 11)
    found = sampled_from_data(run, frames, learn=False)
    judged = judging_segment(run.case.coarse, found.estimate, found.blur, np.random.default_rng(0))
    delta = (judged.frames.coarse - np.asarray(judged.windows.centers)[:, None])[..., 0] / found.blur
    inner = np.abs(np.asarray(judged.windows.centers)[:, 0]) < 1.3
    assert inner.sum() > 15
    assert delta.mean(axis=(0, 2))[inner] == pytest.approx(0, abs=0.25)
    assert delta.std(axis=(0, 2))[inner] == pytest.approx(1, abs=0.2)
    position = judged.frames.position[:, inner]
    assert bath_of(position).std() == pytest.approx(WIDTH, rel=0.05)
