"""What a report shows: plain arrays and dictionaries, everything computed elsewhere."""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from micromacro.closures.lag_study import LagStudy
from micromacro.closures.table import ClosureTable
from micromacro.report.molecule_data import MoleculeData


@dataclass(frozen=True)
class ReportData:
    """The results of one run.

    **Arguments:**

    - `title`: of the case.
    - `summary`: as in `summary.json`.
    - `coarse_names`: `d` names.
    - `lower`, `upper`: the coarse range, `(d,)`.
    - `periodic`: `d` booleans.
    - `z`: centres of the grid `(n, d)`, the last dimension fastest.
    - `free_energy`, `stderr`: `(n,)` in kT, NaN where nothing was sampled.
    - `exact_free_energy`: `(n,)` in kT up to a constant, where it is known.
    - `closure`: on the same grid; `other_closures`: those of other routes, by their names.
    - `lag_study`: of the bursts, where there were any.
    - `exact_drift` `(n, d)`, `exact_diffusion` `(n, d, d)`, `exact_observables` name to `(n,)`: where they are known.
    - `conditional_samples`: for each shown coarse value `z` `(d,)`: draws `(m, Y)`, corrected by the physics, and those
      of the generator alone or `None`.
    - `observed_names`: `Y` names; left out: q1, q2, ….
    - `observed_periods`: `(Y,)`, the period of each observed coordinate, infinite where it has none.
    - `reduced`: `t` `(k,)`, `z` `(N, k, d)`, `stationary_density` `(n,)` or `None`; empty where nothing was simulated.
    - `rounds`: for each round of the loop `round`, `acceptance`, `change_kT`, `windows`.
    - `coarse_cloud`: observed states `(m, Y)` and their learned coarse values `(m, d)`; `None` where ξ was known.
    - `basins`: name to lower and upper corner, both `(d,)`.
    - `molecule`: its atoms and conformers, where the micro model is a molecule.
    """

    title: str
    summary: dict
    coarse_names: list[str]
    lower: Float[np.ndarray, "d"]
    upper: Float[np.ndarray, "d"]
    periodic: tuple[bool, ...]
    z: Float[np.ndarray, "n d"]
    free_energy: Float[np.ndarray, "n"]
    stderr: Float[np.ndarray, "n"]
    closure: ClosureTable | None = None
    other_closures: dict[str, ClosureTable] = field(default_factory=dict)
    lag_study: LagStudy | None = None
    exact_free_energy: Float[np.ndarray, "n"] | None = None
    exact_drift: Float[np.ndarray, "n d"] | None = None
    exact_diffusion: Float[np.ndarray, "n d d"] | None = None
    exact_observables: dict[str, Float[np.ndarray, "n"]] = field(default_factory=dict)
    conditional_samples: list[tuple] = field(default_factory=list)
    observed_names: list[str] | None = None
    observed_periods: Float[np.ndarray, "Y"] | None = None
    reduced: dict = field(default_factory=dict)
    rounds: list[dict] = field(default_factory=list)
    basins: dict[str, tuple] = field(default_factory=dict)
    coarse_cloud: tuple | None = None
    molecule: MoleculeData | None = None

    @property
    def dimension(self) -> int:
        """The number of coarse variables, `d`."""
        return self.z.shape[1]

    @property
    def shape(self) -> tuple[int, ...]:
        """The number of cells of the grid per dimension."""
        return tuple(len(np.unique(np.round(column, 9))) for column in self.z.T)

    @property
    def axes(self) -> list[np.ndarray]:
        """The centres of the cells along each dimension."""
        return [np.unique(np.round(column, 9)) for column in self.z.T]
