"""Structures as PDB text, for a viewer or a file."""

import numpy as np
from jaxtyping import Float

from micromacro.report.molecule_data import MoleculeData

MOST_BONDS = 4
"""A CONECT record names so many partners."""


def pdb_models(molecule: MoleculeData, positions: Float[np.ndarray, "m atoms 3"]) -> str:
    """One MODEL a structure, in Å, atoms counted from 1; without CONECT records, which all of them share."""
    heads = [_head(molecule, atom) for atom in range(len(molecule.elements))]
    lines = []
    for number, structure in enumerate(10 * positions, start=1):
        lines.append(f"MODEL     {number:>4}")
        lines += [
            f"{head}{x:8.3f}{y:8.3f}{z:8.3f}  1.00  0.00          {element.upper():>2}"
            for head, element, (x, y, z) in zip(heads, molecule.elements, structure, strict=True)
        ]
        lines.append("ENDMDL")
    return "\n".join(lines) + "\n"


def pdb_bonds(molecule: MoleculeData) -> str:
    """The CONECT records of all bonds."""
    partners: dict[int, list[int]] = {}
    for first, second in molecule.bonds:
        partners.setdefault(first, []).append(second)
        partners.setdefault(second, []).append(first)
    lines = []
    for atom, others in sorted(partners.items()):
        for start in range(0, len(others), MOST_BONDS):
            named = "".join(f"{other + 1:>5}" for other in sorted(others)[start : start + MOST_BONDS])
            lines.append(f"CONECT{atom + 1:>5}{named}")
    return "\n".join(lines) + "\n" if lines else ""


def _head(molecule: MoleculeData, atom: int) -> str:
    """The record up to the coordinates; names of one-letter elements begin one column further."""
    name, element = molecule.atom_names[atom][:4], molecule.elements[atom]
    padded = f" {name:<3}" if len(element) == 1 and len(name) < 4 else f"{name:<4}"
    residue, number = molecule.residue_names[atom][:3], molecule.residue_numbers[atom] % 10_000
    return f"ATOM  {(atom + 1) % 100_000:>5} {padded} {residue:>3} A{number:>4}    "
