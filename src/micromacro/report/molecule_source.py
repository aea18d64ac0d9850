"""What a report shows of a molecule, from its system and the structures that were lifted."""

import mdtraj
import numpy as np
from jaxtyping import Float
from mdtraj.geometry.dihedral import indices_phi, indices_psi

from micromacro.coordinates.coarse import CoarseVariable
from micromacro.coordinates.geometry import Angle, Distance, RadiusOfGyration, RootMeanSquareDeviation, Torsion
from micromacro.molecules.system import MolecularSystem
from micromacro.report.molecule_data import AngleDraws, LiftedConformers, MoleculeData

MOST_ANGLES = 4
LENGTHS = (Distance, RadiusOfGyration, RootMeanSquareDeviation)
Four = tuple[int, ...]


def molecule_data(
    system: MolecularSystem, coarse: CoarseVariable, names: list[str], lifted: list[tuple]
) -> MoleculeData:
    """The molecule of a report.

    **Arguments:**

    - `names`: of the coarse variables.
    - `lifted`: for each shown coarse value `z` `(d,)`, positions `(m, atoms, 3)` in nm corrected by the physics, and
      those of the generator alone or `None`.
    """
    solute = np.asarray(system.solute)
    atoms = [system.topology.atom(int(index)) for index in solute]
    place = {int(index): number for number, index in enumerate(solute)}
    bonds = ((bond[0].index, bond[1].index) for bond in system.topology.bonds)
    return MoleculeData(
        atom_names=tuple(atom.name for atom in atoms),
        elements=tuple(atom.element.symbol if atom.element is not None else "X" for atom in atoms),
        residue_names=tuple(atom.residue.name for atom in atoms),
        residue_numbers=tuple(int(atom.residue.resSeq) for atom in atoms),
        bonds=tuple((place[a], place[b]) for a, b in bonds if a in place and b in place),
        conformers=tuple(
            LiftedConformers(np.atleast_1d(z), exact[:, solute], None if raw is None else raw[:, solute])
            for z, exact, raw in lifted
        ),
        angles=_hidden_angles(system, coarse, lifted),
        coarse_is_angle=tuple(isinstance(one, Torsion | Angle) for one in coarse.components),
        units={name: _unit(one) for name, one in zip(names, coarse.components, strict=False)},
    )


def coarse_names(system: MolecularSystem, coarse: CoarseVariable) -> list[str]:
    """φ and ψ where the coarse variables are these, else z1, z2, …."""
    known = {atoms: name for name, atoms in backbone_torsions(system.topology).items()}
    names = []
    for axis in range(coarse.dimension):
        component = coarse.components[axis] if axis < len(coarse.components) else None
        atoms = tuple(component.atoms) if isinstance(component, Torsion) else ()
        names.append(known.get(atoms) or known.get(atoms[::-1]) or f"z{axis + 1}")
    return names


def backbone_torsions(topology: mdtraj.Topology) -> dict[str, Four]:
    """The φ and ψ of every residue that has them; named with the number of the residue where there are several."""
    found = {}
    for name, indices in (("φ", indices_phi), ("ψ", indices_psi)):
        rows = indices(topology)
        for row in rows:
            # the second atom is N in φ and CA in ψ: of the residue that both are named after
            number = "" if len(rows) == 1 else str(topology.atom(int(row[1])).residue.resSeq)
            found[name + number] = tuple(int(atom) for atom in row)
    return found


def _hidden_angles(system: MolecularSystem, coarse: CoarseVariable, lifted: list[tuple]) -> dict:
    """The torsions that vary most at a coarse value: of the backbone, or of chains of heavy atoms elsewhere."""
    fixed = [set(one.atoms) for one in coarse.components if isinstance(one, Torsion)]
    named = backbone_torsions(system.topology) or _heavy_torsions(system.topology, set(system.solute.tolist()))
    draws = {
        name: tuple(_angle_draws(exact, raw, atoms) for _, exact, raw in lifted)
        for name, atoms in named.items()
        if set(atoms) not in fixed
    }
    spread = {name: np.mean([_spread(one.exact) for one in shown]) if shown else 0.0 for name, shown in draws.items()}
    widest = sorted(draws, key=lambda name: -spread[name])[:MOST_ANGLES]
    return {name: shown for name, shown in draws.items() if name in widest}


def _heavy_torsions(topology: mdtraj.Topology, solute: set[int]) -> dict[str, Four]:
    """One torsion a bond between heavy atoms that have heavy partners, named by its atoms."""
    partners: dict[int, list[int]] = {}
    for first, second in ((bond[0], bond[1]) for bond in topology.bonds):
        if first.index in solute and all(one.element is not None and one.element.number > 1 for one in (first, second)):
            partners.setdefault(first.index, []).append(second.index)
            partners.setdefault(second.index, []).append(first.index)
    found = {}
    for b, others in partners.items():
        for c in (other for other in others if other > b):
            ends = [one for one in partners[b] if one != c], [one for one in partners[c] if one != b]
            if all(ends) and ends[0][0] != ends[1][0]:
                atoms = (ends[0][0], b, c, ends[1][0])
                found["–".join(topology.atom(atom).name for atom in atoms) + f" ({'-'.join(map(str, atoms))})"] = atoms
    return found


def _angle_draws(exact: np.ndarray, raw: np.ndarray | None, atoms: Four) -> AngleDraws:
    return AngleDraws(_angle(exact, atoms), None if raw is None else _angle(raw, atoms))


def _angle(positions: Float[np.ndarray, "m atoms 3"], atoms: Four) -> Float[np.ndarray, "m"]:
    """The torsion of each structure in [-π, π), of IUPAC sign."""
    a, b, c, d = (positions[:, atom] for atom in atoms)
    axis = c - b
    first, second = np.cross(b - a, axis), np.cross(axis, d - c)
    along = np.linalg.norm(axis, axis=1) * np.sum((b - a) * second, axis=1)
    return np.arctan2(along, np.sum(first * second, axis=1))


def _spread(angles: np.ndarray) -> float:
    """The circular variance, 0 where all are alike, 1 where any direction is as likely."""
    finite = angles[np.isfinite(angles)]
    return float(1 - np.abs(np.mean(np.exp(1j * finite)))) if len(finite) else 0.0


def _unit(component) -> str:
    if isinstance(component, Torsion | Angle):
        return "rad"
    return "nm" if isinstance(component, LENGTHS) else ""
