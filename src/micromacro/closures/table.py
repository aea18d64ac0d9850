"""The closure as a table: drift, diffusion and observables on the grid, with standard errors; its file."""

import csv
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int
from scipy.ndimage import maximum_filter1d

from micromacro.closures.conditional import REQUIREMENTS, LocalRequirements, conditional_averages
from micromacro.coordinates.coarse import CoarseVariable
from micromacro.errors import InputError
from micromacro.estimates.surface import Grid

AROUND = 2


@dataclass(frozen=True)
class ClosureTable:
    r"""b, D of $dz = b\,dt + \sqrt{2D}\,dW$ (Itô) and conditional averages on a grid; NaN where nothing was sampled.

    **Arguments:**

    - `z`: centres of the cells `(n, d)`.
    - `drift`, `drift_stderr`: `(n, d)`, units of z per time.
    - `diffusion`, `diffusion_stderr`: `(n, d, d)`, squared units of z per time.
    - `observables`, `observables_stderr`: name to `(n,)`.
    """

    z: Float[np.ndarray, "n d"]
    drift: Float[np.ndarray, "n d"]
    drift_stderr: Float[np.ndarray, "n d"]
    diffusion: Float[np.ndarray, "n d d"]
    diffusion_stderr: Float[np.ndarray, "n d d"]
    observables: dict[str, Float[np.ndarray, "n"]] = field(default_factory=dict)
    observables_stderr: dict[str, Float[np.ndarray, "n"]] = field(default_factory=dict)

    @property
    def finite(self) -> np.ndarray:
        """Where both drift and diffusion are known, `(n,)` booleans."""
        return np.asarray(np.isfinite(self.drift).all(axis=1) & np.isfinite(self.diffusion).all(axis=(1, 2)))

    def to_csv(self, path: Path | str) -> None:
        """Writes `z1…,drift1,drift1_stderr,…,diffusion11,diffusion11_stderr,…`, then observables; NaN: empty cells."""
        columns = _columns(self)
        with open(path, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(columns)
            for row in zip(*columns.values(), strict=True):
                writer.writerow("" if np.isnan(value) else repr(float(value)) for value in row)

    @classmethod
    def from_csv(cls, path: Path | str) -> "ClosureTable":
        """Reads what `to_csv` wrote."""
        with open(path, newline="", encoding="utf-8") as file:
            names, *rows = list(csv.reader(file)) or [[]]
        numbers = np.array([[float(cell) if cell else np.nan for cell in row] for row in rows])
        columns = dict(zip(names, numbers.reshape(-1, len(names)).T, strict=True))
        try:
            return _from_columns(columns)
        except KeyError as missing:
            raise InputError("columns", f"include {missing}", ", ".join(names), source=str(path)) from None


def closure_table(
    coarse: CoarseVariable,
    grid: Grid,
    coarse_values: Float[np.ndarray, "n d"],
    drift_terms: Float[np.ndarray, "n d"],
    diffusion_terms: Float[np.ndarray, "n d d"],
    observables: dict[str, Float[np.ndarray, "n"]],
    weights: Float[np.ndarray, "n"],
    clusters: Int[np.ndarray, "n"],
    requirements: LocalRequirements = REQUIREMENTS,
) -> ClosureTable:
    """Conditional averages of the projected terms and of observables, one value per sample each.

    `weights` and `clusters` are those of `conditional_averages`; `drift_terms` and `diffusion_terms` come from
    `projected_terms`.
    """
    d, names = coarse.dimension, list(observables)
    values = np.concatenate(
        [drift_terms, diffusion_terms.reshape(-1, d * d), *(np.reshape(observables[name], (-1, 1)) for name in names)],
        axis=1,
    )
    found = conditional_averages(coarse, grid, coarse_values, values, weights, clusters, requirements)
    stderr = np.hypot(found.stderr, smoothing_bias(grid, found.mean, found.half_width))
    tensors = slice(d, d + d * d)
    return ClosureTable(
        z=grid.points,
        drift=found.mean[:, :d],
        drift_stderr=stderr[:, :d],
        diffusion=found.mean[:, tensors].reshape(-1, d, d),
        diffusion_stderr=stderr[:, tensors].reshape(-1, d, d),
        observables=dict(zip(names, found.mean[:, d + d * d :].T, strict=True)),
        observables_stderr=dict(zip(names, stderr[:, d + d * d :].T, strict=True)),
    )


def smoothing_bias(
    grid: Grid, mean: Float[np.ndarray, "n m"], half_width: Float[np.ndarray, "n"]
) -> Float[np.ndarray, "n m"]:
    r"""What a kernel of `half_width` cells does to averages that curve: $h^2 g''/10$ summed over the axes, `(n, m)`.

    From the second differences of the averages themselves, the largest within `AROUND` cells: where a curve turns, its
    own second difference is zero by chance.
    """
    total = np.zeros_like(mean)
    shaped = mean.reshape(*grid.shape, -1)
    for axis, periodic in enumerate(grid.periodic):
        second = np.abs(np.roll(shaped, 1, axis) + np.roll(shaped, -1, axis) - 2 * shaped)
        if not periodic:
            index = np.clip(np.arange(grid.shape[axis]), 1, grid.shape[axis] - 2)
            second = np.take(second, index, axis=axis)
        mode = "wrap" if periodic else "nearest"
        second = maximum_filter1d(np.nan_to_num(second), 2 * AROUND + 1, axis=axis, mode=mode)
        total += second.reshape(mean.shape)
    return total * np.nan_to_num(half_width[:, None]) ** 2 / 10


def _columns(table: ClosureTable) -> dict[str, Float[np.ndarray, "n"]]:
    """Every column of the file by its name, in order."""
    d = table.z.shape[1]
    columns = {f"z{a + 1}": table.z[:, a] for a in range(d)}
    for a in range(d):
        columns |= _pair(f"drift{a + 1}", table.drift[:, a], table.drift_stderr[:, a])
    for a, b in np.ndindex(d, d):
        columns |= _pair(f"diffusion{a + 1}{b + 1}", table.diffusion[:, a, b], table.diffusion_stderr[:, a, b])
    for name, values in table.observables.items():
        if name in columns:
            raise InputError("close.observables", "not use the name of a column of the closure", repr(name))
        columns |= _pair(name, values, table.observables_stderr[name])
    return columns


def _pair(name: str, values, stderr) -> dict:
    return {name: values, f"{name}_stderr": stderr}


def _from_columns(columns: dict[str, Float[np.ndarray, "n"]]) -> ClosureTable:
    """The table of named columns; whatever is neither z, drift nor diffusion is an observable."""
    d = 1
    while f"z{d + 1}" in columns:
        d += 1
    drift = [f"drift{a + 1}" for a in range(d)]
    diffusion = [f"diffusion{a + 1}{b + 1}" for a, b in np.ndindex(d, d)]
    known = {f"z{a + 1}" for a in range(d)} | {name + end for name in drift + diffusion for end in ("", "_stderr")}
    observables = [name for name in columns if name not in known and f"{name}_stderr" in columns]

    def stacked(names, end=""):
        return np.stack([columns[name + end] for name in names], axis=1)

    return ClosureTable(
        stacked([f"z{a + 1}" for a in range(d)]),
        stacked(drift),
        stacked(drift, "_stderr"),
        stacked(diffusion).reshape(-1, d, d),
        stacked(diffusion, "_stderr").reshape(-1, d, d),
        {name: columns[name] for name in observables},
        {name: columns[f"{name}_stderr"] for name in observables},
    )
