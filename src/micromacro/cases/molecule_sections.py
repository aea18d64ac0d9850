"""`[system]` and `[coarse]` of a molecule: what may stand there.

Atoms are counted from 0 in the order of the structure; lengths are in nm, angles in radians, energies in kJ/mol, times
in ps, temperatures in K.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from pydantic import BeforeValidator, Field, model_validator

from micromacro.cases.section import Natural, Number, Numbers, Positive, Section, Text, problem

FULL_TURN = 2 * np.pi
ATOMS_OF = {"torsion": 4, "distance": 2, "angle": 3}
"""How many atoms each kind of geometry takes; the others take any number."""
NAMED = tuple(ATOMS_OF)
SHAPES = ("radius-of-gyration", "rmsd")
GEOMETRIES = (*NAMED, *SHAPES)
LARGEST = {"angle": np.pi, "torsion": np.inf}


def _as_list(value: object) -> object:
    """Let one name stand for a list of one."""
    return [value] if isinstance(value, str) else value


def _as_groups(value: object) -> object:
    """Let one group of atoms stand for a list of one."""
    flat = isinstance(value, list) and value and not any(isinstance(entry, list) for entry in value)
    return [value] if flat else value


Names = Annotated[list[Annotated[Text, Field(min_length=1)]], BeforeValidator(_as_list), Field(min_length=1)]
Group = Annotated[list[Natural], Field(min_length=1)]
Groups = Annotated[list[Group], BeforeValidator(_as_groups), Field(min_length=1)]


class MolecularSection(Section):
    """`[system]` with `kind = "openmm"`."""

    kind: Literal["openmm"]
    structure: Names
    forcefield: Names | None = None
    prmtop: Text | None = None
    system: Text | None = None
    implicit_solvent: Literal["HCT", "OBC1", "OBC2", "GBn", "GBn2"] | None = None
    temperature: Positive | None = None
    friction: Positive | None = None
    time_step: Positive | None = None
    constraints: Literal["none", "hbonds", "allbonds", "hangles"] | None = None

    @model_validator(mode="after")
    def _forces_come_from_one_place(self):
        given = [name for name in ("forcefield", "prmtop", "system") if getattr(self, name) is not None]
        if not given:
            raise problem("forcefield", "be given, or 'prmtop' or 'system' instead of it", "nothing")
        if len(given) > 1:
            raise problem(given[1], f"be left out where '{given[0]}' describes the forces", getattr(self, given[1]))
        if self.system is not None:
            for name in ("implicit_solvent", "constraints"):
                if getattr(self, name) is not None:
                    requirement = "be left out where 'system' has its own"
                    raise problem(name, requirement, repr(getattr(self, name)))
        return self


def check_group(kind: str, atoms: list[int], key: str = "atoms") -> None:
    """Refuse a group of atoms that is not one of the kind: of the wrong number, or with an atom twice."""
    size = ATOMS_OF.get(kind)
    if size is not None and len(atoms) != size:
        raise problem(key, f"name {size} atoms for each {kind}", atoms)
    if kind == "rmsd" and len(atoms) < 3:
        raise problem(key, "name 3 atoms or more for rmsd", atoms)
    if len(set(atoms)) < len(atoms):
        raise problem(key, "name different atoms", atoms)


def check_range(kind: str, lower: float | None, upper: float | None) -> tuple[float, float]:
    """The range of one component of a kind: a full turn of a torsion, and else what must be given."""
    if kind == "torsion":
        low = -np.pi if lower is None and upper is None else lower
        if low is None or (upper is not None and abs(upper - low - FULL_TURN) > 1e-3):
            raise problem("upper", "be a full turn, 2π, above 'lower': a torsion is periodic", upper)
        return low, low + FULL_TURN
    if lower is None or upper is None:
        missing = "lower" if lower is None else "upper"
        raise problem(missing, f"be given for a coarse variable of kind '{kind}'", "nothing")
    if lower < 0:
        raise problem("lower", f"be 0 or more for a coarse variable of kind '{kind}'", lower)
    if upper > LARGEST.get(kind, np.inf):
        raise problem("upper", "be at most π, in radians, for an angle", upper)
    if not lower < upper:
        raise problem("upper", f"be greater than 'lower' ({lower})", upper)
    return lower, upper


@dataclass(frozen=True)
class Component:
    """One component of a coarse variable that is a geometry of atoms.

    **Arguments:**

    - `kind`: one of `GEOMETRIES`.
    - `atoms`: counted from 0; `None` for all heavy atoms of the solute.
    - `lower`, `upper`: its range; of a torsion a full turn.
    - `key`: where it stands in the case file.
    - `reference`: of `rmsd`, the structure file; `None` for the first structure.
    """

    kind: str
    atoms: tuple[int, ...] | None
    lower: float
    upper: float
    key: str
    reference: str | None = None


class NamedSection(Section):
    """`[coarse]` with `kind` `"torsion"`, `"distance"` or `"angle"`: a component for each group of atoms."""

    kind: Literal["torsion", "distance", "angle"]
    atoms: Groups
    lower: Numbers | None = None
    upper: Numbers | None = None

    @property
    def size(self) -> int:
        """How many coarse variables."""
        return len(self.atoms)

    @property
    def entries(self) -> list[Component]:
        """The components."""
        return _entries(self.kind, self.atoms, self.lower, self.upper)

    @model_validator(mode="after")
    def _entries_are_right(self):
        assert self.entries
        return self


class ShapeSection(Section):
    """`[coarse]` with `kind = "radius-of-gyration"`: a component for each group of atoms, or one of all heavy atoms."""

    kind: Literal["radius-of-gyration"]
    atoms: Groups | None = None
    lower: Numbers | None = None
    upper: Numbers | None = None

    @property
    def size(self) -> int:
        """How many coarse variables."""
        return len(self.atoms or [None])

    @property
    def entries(self) -> list[Component]:
        """The components."""
        return _entries(self.kind, self.atoms, self.lower, self.upper)

    @model_validator(mode="after")
    def _entries_are_right(self):
        assert self.entries
        return self


class DeviationSection(Section):
    """`[coarse]` with `kind = "rmsd"`: a component for each group of atoms, or one of all heavy atoms."""

    kind: Literal["rmsd"]
    atoms: Groups | None = None
    reference: Text | None = None
    lower: Numbers | None = None
    upper: Numbers | None = None

    @property
    def size(self) -> int:
        """How many coarse variables."""
        return len(self.atoms or [None])

    @property
    def entries(self) -> list[Component]:
        """The components."""
        return _entries(self.kind, self.atoms, self.lower, self.upper, self.reference)

    @model_validator(mode="after")
    def _entries_are_right(self):
        assert self.entries
        return self


class ComponentSection(Section):
    """An entry of `components`: one geometry of any kind with its range."""

    kind: Literal["torsion", "distance", "angle", "radius-of-gyration", "rmsd"]
    atoms: Group | None = None
    reference: Text | None = None
    lower: Number | None = None
    upper: Number | None = None

    @model_validator(mode="after")
    def _fits_its_kind(self):
        if self.atoms is None and self.kind in NAMED:
            raise problem("atoms", "be given", "nothing")
        if self.reference is not None and self.kind != "rmsd":
            raise problem("reference", "be left out but for kind 'rmsd'", repr(self.reference))
        if self.atoms is not None:
            check_group(self.kind, self.atoms)
        check_range(self.kind, self.lower, self.upper)
        return self


class ComponentsSection(Section):
    """`[coarse]` with `kind = "components"`: geometries of different kinds."""

    kind: Literal["components"]
    components: Annotated[list[ComponentSection], Field(min_length=1)]

    @property
    def size(self) -> int:
        """How many coarse variables."""
        return len(self.components)

    @property
    def entries(self) -> list[Component]:
        """The components."""
        found = []
        for index, one in enumerate(self.components):
            lower, upper = check_range(one.kind, one.lower, one.upper)
            atoms = None if one.atoms is None else tuple(one.atoms)
            key = f"coarse.components[{index}]"
            found.append(Component(one.kind, atoms, lower, upper, key, one.reference))
        return found


GeometricSection = NamedSection | ShapeSection | DeviationSection | ComponentsSection


def _entries(
    kind: str,
    groups: list[list[int]] | None,
    lower: list[float] | None,
    upper: list[float] | None,
    reference: str | None = None,
) -> list[Component]:
    """The components of a section of one kind, each checked."""
    chosen = groups or [None]
    for name, ends in (("lower", lower), ("upper", upper)):
        if ends is not None and len(ends) != len(chosen):
            raise problem(name, f"have a number for each component ({len(chosen)})", ends)
    found = []
    for index, atoms in enumerate(chosen):
        if atoms is not None:
            check_group(kind, atoms)
        ends = check_range(kind, lower[index] if lower else None, upper[index] if upper else None)
        found.append(Component(kind, None if atoms is None else tuple(atoms), *ends, "coarse", reference))
    return found
