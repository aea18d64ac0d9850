"""What a report shows of a molecule: its atoms, conformers lifted at a few coarse values, hidden angles there."""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True)
class LiftedConformers:
    """Structures drawn at one coarse value.

    **Arguments:**

    - `z`: the coarse value, `(d,)`.
    - `positions`: corrected by the physics, `(m, atoms, 3)` in nm.
    - `raw_positions`: of the generator alone, `(k, atoms, 3)` in nm, or `None`.
    """

    z: Float[np.ndarray, "d"]
    positions: Float[np.ndarray, "m atoms 3"]
    raw_positions: Float[np.ndarray, "k atoms 3"] | None = None


@dataclass(frozen=True)
class AngleDraws:
    """One angle at one coarse value, in radians: corrected by the physics `(m,)`, of the generator alone `(k,)`."""

    exact: Float[np.ndarray, "m"]
    raw: Float[np.ndarray, "k"] | None = None


@dataclass(frozen=True)
class MoleculeData:
    """The molecule of a run; positions are those of the solute where there is a solvent.

    **Arguments:**

    - `atom_names`, `elements`, `residue_names`, `residue_numbers`: one an atom, as a PDB file has them.
    - `bonds`: pairs of atoms, counted from 0.
    - `conformers`: one a shown coarse value.
    - `angles`: name to the draws of that angle, one a shown coarse value, in the order of `conformers`.
    - `coarse_is_angle`: whether each coarse variable is an angle in radians; `()`: those periodic over 2π are.
    - `units`: of coarse variables, by their names; those left out have none.
    """

    atom_names: tuple[str, ...]
    elements: tuple[str, ...]
    residue_names: tuple[str, ...]
    residue_numbers: tuple[int, ...]
    bonds: tuple[tuple[int, int], ...]
    conformers: tuple[LiftedConformers, ...] = ()
    angles: dict[str, tuple[AngleDraws, ...]] = field(default_factory=dict)
    coarse_is_angle: tuple[bool, ...] = ()
    units: dict[str, str] = field(default_factory=dict)

    @property
    def heavy(self) -> np.ndarray:
        """Which atoms are no hydrogens, `(atoms,)`."""
        return np.array([element.upper() not in ("H", "D") for element in self.elements])
