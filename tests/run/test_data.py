"""A run on trajectories that exist: from a case file to F, lifting and checks, without dynamics."""

import mdtraj
import numpy as np
import pytest

from micromacro.cases.file import load_case
from micromacro.errors import InputError
from micromacro.molecules.colvar import write_colvar
from micromacro.run import run

CASE = """
[system]
kind = "overdamped"
potential = "system.py:potential"
dimension = 3
initial = [[-1.0, -0.8, 0.0], [1.0, 0.8, 0.0]]

[coarse]
function = "system.py:coarse"
lower = [-1.6]
upper = [1.6]

[generator]
kind = "kernel"

[close]
bursts = 0
full_model = 0

[data]
topology = "top.pdb"
trajectories = [{trajectories}]
colvar = [{colvar}]
coarse = ["x"]
windows = [{windows}]
"""
SYSTEM = """
def potential(q):
    return 3 * (q[0] ** 2 - 1) ** 2 + 8 * (q[1] - q[0]) ** 2 + 8 * q[2] ** 2

def coarse(q):
    return q[:1]
"""
FINE = np.linspace(-2.2, 2.2, 4401)
CENTERS = np.linspace(-1.6, 1.6, 11)


def free_energy(x):
    return 3 * (x**2 - 1) ** 2


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    topology = mdtraj.Topology()
    topology.add_atom("C", mdtraj.element.carbon, topology.add_residue("UNK", topology.add_chain()))
    mdtraj.Trajectory(np.zeros((1, 1, 3)), topology).save_pdb(str(folder / "top.pdb"))
    for number, center in enumerate(CENTERS):
        density = np.exp(-free_energy(FINE) - 20 * (FINE - center) ** 2)
        x = np.interp(rng.uniform(size=1200), np.cumsum(density) / density.sum(), FINE)
        noise = rng.normal(scale=0.25, size=(1200, 2))
        positions = np.stack([x, x + noise[:, 0], noise[:, 1]], axis=1)[:, None]
        mdtraj.Trajectory(positions, topology).save_dcd(str(folder / f"{number}.dcd"))
        rows = np.stack([np.arange(1200.0), x, 20 * (x - center) ** 2], axis=1)
        write_colvar(folder / f"COLVAR{number}", ["time", "x", "restraint.bias"], rows)
    several = range(len(CENTERS))
    text = CASE.format(
        trajectories=", ".join(f'"{n}.dcd"' for n in several),
        colvar=", ".join(f'"COLVAR{n}"' for n in several),
        windows=", ".join(f"{{ at = {c}, kappa = 40.0 }}" for c in CENTERS),
    )
    (folder / "case.toml").write_text(text, encoding="utf-8")
    (folder / "system.py").write_text(SYSTEM, encoding="utf-8")
    return load_case(str(folder / "case.toml"))


def test_from_files_to_results(case, tmp_path):
    result = run(case, tmp_path / "out", method="data")
    surface = result.free_energy
    exact = free_energy(surface.grid.points[:, 0])
    known = np.isfinite(surface.free_energy) & (exact < 6)
    assert known.sum() > 0.95 * np.sum(exact < 6)
    assert np.std((surface.free_energy - exact)[known]) < 0.3
    assert result.summary["stages"]["data"]["force_evaluations"] == 0
    assert result.summary["stages"]["learn_1"]["force_evaluations"] == 0
    checks = result.summary["consistency"]
    assert checks["overlap"]["passed"]
    assert checks["restriction"]["passed"]
    assert checks["effective_sample_size"]["value"] > 600
    assert "given data" in checks["free_energy"]["reason"]
    assert any("nothing was simulated" in note for note in result.summary["notes"])
    lifted = result.lift(np.array([[0.5]]), 200)
    assert lifted.q[:, 1].mean() == pytest.approx(0.5, abs=0.1)
    assert result.lift(np.array([[0.5]]), 200, exact=False).q[:, 1].mean() == pytest.approx(0.5, abs=0.1)


def test_a_case_without_data(tmp_path):
    with pytest.raises(InputError, match=r"have a \[data\] section"):
        run(load_case("hidden-barrier"), tmp_path / "out", method="data")
