"""How far runs of alanine dipeptide are from reference free energies, and what they cost.

python -m benchmarks.alanine_dipeptide OUT [OUT ...]

The reference was made by other code: `tests/data/alanine_dipeptide/README.md`.
"""

import json
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from scipy.interpolate import RegularGridInterpolator
from scipy.stats import rankdata

from micromacro.cases.alanine import PHI, PSI
from micromacro.cases.archive import restore_case
from micromacro.coordinates.geometry import Torsion
from micromacro.run import Result

REFERENCE = Path(__file__).parent.parent / "tests" / "data" / "alanine_dipeptide"
HIGHEST = 10.0
"""In kT: how far up the surfaces are compared."""
RANKED, BINS = 20_000, 72
SURE = (0.02, 0.98)
"""Between these, the probability of the hidden state is compared."""


def reference(solvent: str, kind: str) -> np.ndarray:
    """The columns of a table, angles in radians."""
    table = np.genfromtxt(REFERENCE / f"{solvent}_{kind}.csv", delimiter=",", skip_header=1)
    angles = 2 if kind == "phi_psi" else 1
    table[:, :angles] = np.radians(table[:, :angles])
    return table


def at(points: np.ndarray, z: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Values on a grid over full turns, interpolated linearly at other points."""
    d = z.shape[1]
    axes = [np.unique(np.round(column, 9)) for column in z.T]
    grid = values.reshape([len(axis) for axis in axes])
    for axis in range(d):
        grid = np.concatenate([np.take(grid, [-1], axis), grid, np.take(grid, [0], axis)], axis)
    wide = [np.concatenate([[a[-1] - 2 * np.pi], a, [a[0] + 2 * np.pi]]) for a in axes]
    return RegularGridInterpolator(wide, grid, bounds_error=False)(points)


def surface_error(z: np.ndarray, energy: np.ndarray, table: np.ndarray) -> tuple[float, float, int]:
    """The rms and the largest difference in kT where the reference is low, its mean taken out; cells that lack F."""
    points, known = table[:, : z.shape[1]], table[:, z.shape[1]]
    low = np.nan_to_num(known, nan=np.inf) < HIGHEST
    difference = (at(points, z, energy) - known)[low]
    found = np.isfinite(difference)
    difference = difference[found] - difference[found].mean()
    return float(np.sqrt(np.mean(difference**2))), float(np.abs(difference).max()), int(np.sum(~found))


def basin_difference(phi: np.ndarray, energy: np.ndarray) -> float:
    """F of 0 < φ < 2 minus F of φ < 0, in kT, from F along φ."""
    weight = np.exp(-(energy - np.nanmin(energy)))
    right, left = (phi > 0) & (phi < 2), phi < 0
    return float(-np.log(np.nansum(weight[right]) / np.nansum(weight[left])))


def along_phi(z: np.ndarray, energy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """F along the first of one or two angles."""
    if z.shape[1] == 1:
        return z[:, 0], energy
    phi = np.unique(np.round(z[:, 0], 9))
    weight = np.exp(-np.nan_to_num(energy - np.nanmin(energy), nan=np.inf)).reshape(len(phi), -1)
    with np.errstate(divide="ignore"):
        return phi, -np.log(weight.sum(axis=1))


def judge(out: Path) -> dict[str, float]:
    """The figures of one run."""
    summary = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    name = summary["case"]
    return (judge_learned(out) if name.endswith("learned") else judge_known(out, name)) | _costs(summary)


def judge_learned(out: Path) -> dict[str, float]:
    """How a learned coordinate goes with φ and ψ, and F along φ by the weights of its states.

    Ranks are of states drawn evenly in ξ; angles are counted from where F along them is highest.
    """
    result = Result.load(out, restore_case(out / "case"))
    position, coarse = (result.record[name].to_numpy() for name in ("position", "coarse"))
    weight, flat = (result.record[name].to_numpy() for name in ("log_weight", "flat_weight"))
    weight = np.exp(weight - weight.max())
    rng = np.random.default_rng(0)
    even = rng.choice(len(flat), RANKED, p=flat / flat.sum())
    angles = {}
    for name, atoms in (("φ", PHI), ("ψ", PSI)):
        torsion = jax.jit(jax.vmap(Torsion(atoms)))
        angles[name] = np.asarray(torsion(jnp.asarray(position.reshape(len(position), -1, 3))))
    figures = {}
    for name, kind in (("φ", "phi"), ("ψ", "psi")):
        known = reference("vacuum", kind)
        turned = np.mod(angles[name] - known[np.nanargmax(known[:, 1]), 0], 2 * np.pi)
        correlation = np.corrcoef(rankdata(coarse[even, 0]), rankdata(turned[even]))[0, 1]
        figures[f"|rank correlation| of ξ and {name}"] = abs(float(correlation))
    known = reference("vacuum", "phi")
    edges = np.linspace(-np.pi, np.pi, BINS + 1)
    with np.errstate(divide="ignore"):
        energy = -np.log(np.histogram(angles["φ"], edges, weights=weight)[0])
    middle = 0.5 * (edges[1:] + edges[:-1])
    energy = np.where(np.isfinite(energy), energy, np.nan)
    rms, largest, missing = surface_error(middle[:, None], energy, known)
    own = basin_difference(angles["φ"], -np.log(weight))
    return figures | {
        "F along φ, rms (kT)": rms,
        "F along φ, largest (kT)": largest,
        "F along φ, points without": missing,
        "ΔF of C7ax (kT)": own,
        "ΔF error (kT)": own - basin_difference(known[:, 0], known[:, 1]),
    }


def judge_known(out: Path, name: str) -> dict[str, float]:
    """F along torsions, and what else there is to compare."""
    solvent = "implicit" if "implicit" in name else "vacuum"
    kind = "phi_psi" if "phi-psi" in name else "psi" if "psi" in name else "phi"
    table = np.genfromtxt(out / "free_energy.csv", delimiter=",", names=True)
    z = np.stack([table[column] for column in table.dtype.names or () if column.startswith("z")], axis=1)
    energy = table["free_energy_kT"]
    rms, largest, missing = surface_error(z, energy, reference(solvent, kind))
    figures = {"F, rms (kT)": rms, "F, largest (kT)": largest, "F, cells without": missing}
    if kind == "psi":
        hidden = reference(solvent, "hidden_phi")
        closure = np.genfromtxt(out / "closure.csv", delimiter=",", names=True)
        found = at(hidden[:, :1], closure["z1"][:, None], closure["positive_phi"])
        between = (hidden[:, 1] > SURE[0]) & (hidden[:, 1] < SURE[1])
        error = np.abs(found - hidden[:, 1])
        figures |= {"P(φ>0|ψ), mean error": float(error[between].mean()), "P(φ>0|ψ), largest": float(error.max())}
    else:
        known = reference(solvent, "phi")
        own = basin_difference(*along_phi(z, energy))
        figures |= {"ΔF of C7ax (kT)": own, "ΔF error (kT)": own - basin_difference(known[:, 0], known[:, 1])}
    return figures


def _costs(summary: dict) -> dict[str, float]:
    rounds = summary["rounds"]
    return {
        "acceptance": rounds[-1]["acceptance"] if rounds and rounds[-1]["acceptance"] is not None else np.nan,
        "force evaluations": summary["force_evaluations"],
        "wall seconds": summary["wall_seconds"],
    }


def main(outs: list[str]) -> None:
    """Print the figures of each run, and which checks failed."""
    for out in map(Path, outs):
        summary = json.loads((out / "summary.json").read_text(encoding="utf-8"))
        print(f"{out}: {summary['case']}, method {summary['method']}, seed {summary['seed']}")
        for words, value in judge(out).items():
            print(f"  {words:<32}{value:.4g}" if abs(value) < 1e4 else f"  {words:<32}{value:,.0f}")
        failed = [name for name, row in summary["consistency"].items() if row["passed"] is False]
        print(f"  {'failed checks':<32}{', '.join(failed) or 'none'}")


if __name__ == "__main__":
    main(sys.argv[1:])
