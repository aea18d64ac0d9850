"""A molecule from its case file to results, against quadrature over its two torsions."""

import json
from dataclasses import replace

import jax
import jax.numpy as jnp
import mdtraj
import numpy as np
import pytest

from micromacro import stages
from micromacro.cases.case import GeneratorSettings
from micromacro.cases.file import load_case
from micromacro.coupling.moves import to_hidden
from micromacro.errors import InputError
from micromacro.molecules.plumed import PlumedSettings
from micromacro.plumed_export import export_plumed
from micromacro.run import Result, run
from micromacro.store import Store
from tests.molecules import chain

STANDARD_ERRORS = 4.0


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    return load_case(str(chain.write_case(tmp_path_factory.mktemp("chain"))))


@pytest.fixture(scope="module")
def coupled(case, tmp_path_factory) -> Result:
    return run(case, tmp_path_factory.mktemp("coupled") / "out")


def test_free_energy_is_that_of_quadrature(coupled):
    surface = coupled.free_energy
    exact, _ = chain.exact(surface.grid.points[:, 0])
    low = exact < 6
    difference = surface.free_energy[low] - exact[low]
    difference -= difference.mean()
    # neighbouring cells share their errors, so that the largest of all is that of about as many as there are windows
    assert np.sqrt(np.mean(difference**2)) < 2 * np.sqrt(np.mean(surface.stderr[low] ** 2))
    assert np.max(np.abs(difference) / surface.stderr[low]) < STANDARD_ERRORS + 1


def test_hidden_well_has_its_weight_at_every_value(coupled):
    closed = coupled.closure
    _, weight = chain.exact(closed.z[:, 0])
    found, error = closed.observables["second"], closed.observables_stderr["second"]
    assert np.mean(np.abs(found - weight)) < 0.06
    assert np.max(np.abs(found - weight) / error) < STANDARD_ERRORS


def test_generator_is_accepted_and_checks_pass_but_that_of_its_proportions(coupled):
    assert coupled.summary["rounds"][-1]["acceptance"] > 0.3
    failed = {name for name, row in coupled.summary["consistency"].items() if row["passed"] is False}
    # after one round the generator still has the proportions of its training data: half and half
    assert failed <= {"conditionals"}
    assert coupled.summary["platform"] == "Reference"


@pytest.mark.slow
def test_windows_alone_are_wrong_and_say_so(case, tmp_path):
    short = replace(case, couple=replace(case.couple, rounds=1), close=replace(case.close, bursts=0))
    alone = run(short, tmp_path / "out", method="umbrella")
    assert alone.summary["consistency"]["mixing"]["passed"] is False
    _, weight = chain.exact(alone.closure.z[:, 0])
    # walkers began half and half, and half and half they stay
    assert np.nanmax(np.abs(alone.closure.observables["second"] - weight)) > 0.3
    assert "torsion 4-3-2-1" in " ".join(alone.summary["hidden_barriers"])


def test_lifted_states_are_molecules_at_their_value(coupled):
    lift = coupled.lift(np.array([[1.0], [-2.0]]), 40)
    assert lift.q.shape == (80, chain.ATOMS, 3)
    torsion = mdtraj.compute_dihedrals(mdtraj.Trajectory(lift.q, coupled.case.system.topology), [chain.FIRST])[:, 0]
    np.testing.assert_allclose(torsion, lift.z[:, 0], atol=1e-4)
    assert np.max(np.abs(lift.z - lift.at)) <= 0.01 * 2 * np.pi + 1e-9
    np.testing.assert_allclose(coupled.coarse_values(lift.q), lift.z, atol=1e-9)
    lengths = np.linalg.norm(np.diff(lift.q, axis=1), axis=2)
    assert abs(lengths.mean() - chain.BOND) < 0.002
    raw = coupled.lift(np.array([[1.0]]), 40, exact=False)
    assert raw.q.shape == (40, chain.ATOMS, 3)
    assert np.isfinite(raw.q).all()


def test_resumed_run_is_the_same(coupled, case):
    summary = coupled.path / "summary.json"
    before = json.loads(summary.read_text())
    free_energy = (coupled.path / "free_energy.csv").read_text()
    summary.unlink()
    again = run(case, coupled.path, resume=True)
    assert (coupled.path / "free_energy.csv").read_text() == free_energy
    assert again.summary["force_evaluations"] == before["force_evaluations"]


def test_windows_are_written_for_plumed(coupled, tmp_path):
    inputs = export_plumed(coupled.case, Store(coupled.path), tmp_path, PlumedSettings(names=("phi",)))
    assert len(inputs) == coupled.summary["rounds"][-1]["windows"]
    assert "TORSION ATOMS=1,2,3,4" in inputs[0].read_text()


@pytest.mark.slow
def test_closure_and_passages_where_all_hidden_coordinates_relax(tmp_path):
    case = load_case(str(chain.write_case(tmp_path / "case", barrier=0.3)))
    basins = {"left": (np.array([-2.8]), np.array([-0.8])), "right": (np.array([0.3]), np.array([2.3]))}
    # enough friction that velocities forget at once, and little enough that torsions relax within the series
    system = replace(case.system, friction=5.0)
    case = replace(case, system=system, close=replace(case.close, basins=basins, bursts=4_000_000))
    result = run(case, tmp_path / "out", method="umbrella")
    known = result.closure.finite
    assert known.mean() > 0.9
    assert np.all(result.closure.diffusion[known] > 0)
    (passage,) = result.summary["passages"]
    assert passage["forward_ps"] > 3 * passage["forward_stderr_ps"] > 0
    assert ("factor" in passage) != ("reason" in passage)


@pytest.mark.slow
def test_coarse_variable_of_a_molecule_is_learned(tmp_path):
    path = chain.write_case(tmp_path / "case", barrier=1.0)
    text = path.read_text().replace('kind = "torsion"\natoms = [[0, 1, 2, 3]]', 'kind = "diffusion-map"\npoints = 1000')
    path.write_text(text)
    result = run(load_case(str(path)), tmp_path / "out")
    coarse, system = result.case.coarse, result.case.system
    positions, weight = chain.whole_draws(100_000, np.random.default_rng(1), barrier=1.0)
    value = np.asarray(
        jax.jit(jax.vmap(lambda state: coarse(system.observe(state))))(positions.reshape(len(positions), -1))
    )[:, 0]
    # the value that a bias takes, straight from positions, is the same
    biased = jax.vmap(coarse.components[0])(jnp.asarray(positions[:100]))
    np.testing.assert_allclose(biased, value[:100], atol=1e-8)
    surface = result.free_energy
    z = surface.grid.points[:, 0]
    edges = np.concatenate([z - 0.5 * surface.grid.spacing[0], [z[-1] + 0.5 * surface.grid.spacing[0]]])
    counts, squares = (np.histogram(value, edges, weights=one)[0] for one in (weight, weight**2))
    low = (counts**2 > 400 * squares) & np.isfinite(surface.free_energy)
    assert low.sum() > 0.5 * len(z)
    difference = (surface.free_energy + np.log(np.where(low, counts, 1.0)))[low]
    difference -= difference.mean()
    variance = surface.stderr[low] ** 2 + (squares / np.where(low, counts, 1.0) ** 2)[low]
    assert np.sqrt(np.mean(difference**2)) < 2 * np.sqrt(np.mean(variance))


@pytest.mark.slow
def test_own_frames_of_a_molecule_are_not_simulated(tmp_path):
    rng = np.random.default_rng(0)
    data = 'topology = "plus.pdb"\ntrajectories = ["own.dcd"]'
    path = chain.write_case(tmp_path / "case", more=f"\n[data]\n{data}\n")
    frames = np.array([chain.positions(*torsions) for torsions in chain.draws(3000, rng)])
    mdtraj.Trajectory(frames, mdtraj.load_topology(str(path.parent / "plus.pdb"))).save(str(path.parent / "own.dcd"))
    result = run(
        replace(load_case(str(path)), generator=GeneratorSettings(kind="kernel")), tmp_path / "out", method="data"
    )
    assert result.summary["force_evaluations"] == 0
    assert "no closure: the frames are given data, and no series of ξ was simulated" in result.summary["notes"]
    assert result.summary["passages"] == []
    surface = result.free_energy
    exact, _ = chain.exact(surface.grid.points[:, 0])
    low = (exact < 4) & np.isfinite(surface.free_energy)
    assert low.sum() > 60
    difference = (surface.free_energy - exact)[low]
    difference -= difference.mean()
    assert np.sqrt(np.mean(difference**2)) < 2 * np.sqrt(np.mean(surface.stderr[low] ** 2))


def test_methods_that_need_equations_of_motion_are_refused(case, tmp_path):
    with pytest.raises(InputError, match="micro-macro"):
        run(case, tmp_path / "out", method="micro-macro")


def test_heavy_atoms_alone_are_learned_together():
    case = load_case("alanine-dipeptide-vacuum")
    system = case.system
    family = stages.family_of(replace(case, generator=GeneratorSettings(kind="flow", heavy_atoms=True)))
    elements = [atom.element.symbol for atom in system.topology.atoms]
    apart = {index for index, atom in enumerate(system.internal.placed) if elements[atom] == "H"}
    assert set(family.apart) == apart
    assert len(apart) == 24
    for other in (replace(case, generator=GeneratorSettings(kind="score", heavy_atoms=True)), load_case("half-moon")):
        other = replace(other, generator=replace(other.generator, heavy_atoms=True))
        with pytest.raises(InputError, match="heavy_atoms must be left out but for molecules"):
            stages.family_of(other)


def test_the_coarse_variable_is_held_exactly_in_narrow_windows_or_where_asked_for(case):
    system = case.system
    known = system.internal.index(chain.FIRST)
    narrow, wide = (np.array([share * 2 * np.pi]) for share in (0.02, 0.05))
    assert stages.held_coordinates(case, narrow) == (known,)
    assert stages.held_coordinates(case, wide) is None
    for exact, width, expected in ((True, wide, (known,)), (False, narrow, None)):
        asked = replace(case, generator=replace(case.generator, exact=exact))
        assert stages.held_coordinates(asked, width) == expected
    gan = replace(case, generator=GeneratorSettings(kind="gan", exact=True))
    for other in (gan, replace(load_case("half-moon"), generator=GeneratorSettings(exact=True))):
        with pytest.raises(InputError, match="exact must be left out but for kinds with a density"):
            stages.family_of(other)


def test_states_over_the_seam_can_be_simulated(case):
    system = case.system
    observed = system.observe(jnp.asarray(system.initial[0]))
    turned = observed + jnp.where(jnp.asarray(system.internal.space.periodic), 2 * jnp.pi, 0.0)
    state, reachable = to_hidden(system, turned)
    assert reachable
    np.testing.assert_allclose(system.observe(state), observed, atol=1e-9)
