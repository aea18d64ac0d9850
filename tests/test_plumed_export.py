from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

from micromacro.cases.file import load_case
from micromacro.coupling.rounds import Round
from micromacro.errors import InputError, StoreError
from micromacro.molecules.colvar import read_colvar
from micromacro.molecules.plumed import PlumedSettings
from micromacro.plumed_export import export_plumed
from micromacro.records import round_record
from micromacro.sampling.engine import Tuning
from micromacro.sampling.production import Frames
from micromacro.sampling.table import zero_table
from micromacro.sampling.windows import Windows
from micromacro.store import Store


@pytest.fixture(scope="module")
def case():
    return load_case("alanine-dipeptide-vacuum")


def stored(case, store, name, centers):
    windows = Windows(jnp.asarray(centers)[:, None], jnp.array([40.0]), zero_table(case.coarse, 60))
    empty = np.zeros((2, len(centers), 1, 1))
    frames = Frames(empty, empty, empty[..., 0], np.ones(len(centers)))
    tuning = Tuning(jnp.ones(len(centers)), jnp.ones((len(centers), 1, 1)))
    store.write(name, round_record(windows, Round(frames, empty[-1], tuning, None, None, None)))


def test_last_windows_and_pooled_frames(case, tmp_path):
    store = Store(tmp_path)
    with pytest.raises(StoreError, match="holds no windows"):
        export_plumed(case, store, tmp_path / "plumed")
    stored(case, store, "bias", [0.0])
    stored(case, store, "round_2", [-1.0, 1.0])
    z, log_weight = np.random.default_rng(0).normal(size=(2, 20))
    store.write("close", xr.Dataset({"coarse": (("n", "d"), z[:, None]), "log_weight": ("n", log_weight)}))
    first, second = export_plumed(case, store, tmp_path / "plumed", PlumedSettings(names=("phi",), interval=100))
    text = second.read_text(encoding="utf-8")
    assert "phi: TORSION ATOMS=5,7,9,15 NOPBC\n" in text
    assert f"RESTRAINT ARG=phi AT=1.0 KAPPA={40 * case.system.kT!r}\n" in text
    assert "AT=-1.0" in first.read_text(encoding="utf-8")
    assert (tmp_path / "plumed" / "flattening.grid").exists()
    pooled = read_colvar(tmp_path / "plumed" / "pooled.colvar")
    assert pooled.names == ("time", "phi", "log_weight")
    assert np.array_equal(pooled.values[:, 1:], np.stack([z, log_weight], axis=1))
    assert pooled.domain("phi") == (-np.pi, np.pi)


def test_a_case_without_a_molecule(case, tmp_path):
    with pytest.raises(InputError, match=r"system\.kind must be openmm"):
        export_plumed(load_case("hidden-barrier"), Store(tmp_path), tmp_path)
    stored(case, Store(tmp_path), "bias", [0.0])
    with pytest.raises(InputError, match="be made of torsions, distances"):
        export_plumed(replace(case, coarse=replace(case.coarse, components=())), Store(tmp_path), tmp_path)
