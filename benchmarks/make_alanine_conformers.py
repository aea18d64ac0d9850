"""Makes the starting structures of alanine dipeptide that micromacro ships, `src/micromacro/molecules/data/*.pdb`.

Each conformer is built from standard bond lengths and angles at torsions (φ, ψ) of its basin, held there while the rest
relaxes, and then minimised freely: in vacuum, or with the OBC2 solvent for the two helical ones, which need it.

Run: python -m benchmarks.make_alanine_conformers
"""

from pathlib import Path
from typing import Any

import numpy as np
import openmm
from openmm import app
from openmm.unit import md_unit_system

FOLDER = Path(__file__).parents[1] / "src" / "micromacro" / "molecules" / "data"

CONFORMERS = {
    "c7eq": (-80.0, 70.0, False),
    "c5": (-155.0, 160.0, False),
    "c7ax": (65.0, -60.0, False),
    "alpha_right": (-65.0, -45.0, True),
    "alpha_left": (55.0, 45.0, True),
}
"""Name to φ, ψ in degrees, and whether it is a minimum in solvent only."""

RESIDUES = (("ACE", 6), ("ALA", 10), ("NME", 6))

PHI, PSI = "phi", "psi"
# in kJ/mol/nm; OpenMM's annotations take it for a whole number
TOLERANCE: Any = 0.01

# name, element, and the atoms that it is placed from: bond to, angle over, torsion about; nm, degrees
ATOMS = (
    ("HH31", "H", ("CH3", "C", "O"), 0.109, 109.5, 0.0),
    ("CH3", "C", (), 0.0, 0.0, 0.0),
    ("HH32", "H", ("CH3", "C", "O"), 0.109, 109.5, 120.0),
    ("HH33", "H", ("CH3", "C", "O"), 0.109, 109.5, -120.0),
    ("C", "C", ("CH3",), 0.152, 0.0, 0.0),
    ("O", "O", ("C", "CH3"), 0.123, 120.5, 0.0),
    ("N", "N", ("C", "CH3", "O"), 0.1335, 116.6, 180.0),
    ("H", "H", ("N", "C", "CH3"), 0.101, 119.8, 0.0),
    ("CA", "C", ("N", "C", "CH3"), 0.1449, 121.9, 180.0),
    ("HA", "H", ("CA", "N", "C2"), 0.109, 109.5, 120.0),
    ("CB", "C", ("CA", "N", "C2"), 0.1526, 109.7, -120.0),
    ("HB1", "H", ("CB", "CA", "N"), 0.109, 109.5, 60.0),
    ("HB2", "H", ("CB", "CA", "N"), 0.109, 109.5, 180.0),
    ("HB3", "H", ("CB", "CA", "N"), 0.109, 109.5, -60.0),
    ("C2", "C", ("CA", "N", "C"), 0.1522, 111.1, PHI),
    ("O2", "O", ("C2", "CA", "N3"), 0.1229, 120.4, 180.0),
    ("N3", "N", ("C2", "CA", "N"), 0.1335, 116.6, PSI),
    ("H3", "H", ("N3", "C2", "CA"), 0.101, 119.8, 0.0),
    ("CH3N", "C", ("N3", "C2", "CA"), 0.1449, 121.9, 180.0),
    ("HN1", "H", ("CH3N", "N3", "C2"), 0.109, 109.5, 60.0),
    ("HN2", "H", ("CH3N", "N3", "C2"), 0.109, 109.5, 180.0),
    ("HN3", "H", ("CH3N", "N3", "C2"), 0.109, 109.5, -60.0),
)
PDB_NAMES = {"HH31": "H1", "HH32": "H2", "HH33": "H3", "C2": "C", "O2": "O", "N3": "N", "H3": "H", "CH3N": "C"}
PDB_NAMES |= {"HN1": "H1", "HN2": "H2", "HN3": "H3"}
TORSIONS = ((4, 6, 8, 14), (6, 8, 14, 16))


def place(chain: list[np.ndarray], length: float, angle: float, torsion: float) -> np.ndarray:
    """The position at a length from the first of three atoms, at an angle to the second and a torsion to the third.

    Source: Parsons et al., J. Comput. Chem. 26, 1063 (2005).
    """
    first, second, third = chain
    along = (first - second) / np.linalg.norm(first - second)
    normal = np.cross(second - third, along)
    normal /= np.linalg.norm(normal)
    across = np.cross(normal, along)
    bend, turn = np.radians(180 - angle), np.radians(torsion)
    return first + length * (np.cos(bend) * along + np.sin(bend) * (np.cos(turn) * across + np.sin(turn) * normal))


def build(phi: float, psi: float) -> np.ndarray:
    """Positions `(22, 3)` in nm of L-alanine dipeptide at these torsions in degrees."""
    where = {"CH3": np.zeros(3), "C": np.array([0.152, 0.0, 0.0])}
    angle = np.radians(120.5)
    where["O"] = where["C"] + 0.123 * np.array([-np.cos(angle), np.sin(angle), 0.0])
    left = [atom for atom in ATOMS if atom[0] not in where]
    while left:
        for atom in list(left):
            name, _, parents, length, bend, torsion = atom
            if all(parent in where for parent in parents):
                value = {PHI: phi, PSI: psi}[torsion] if isinstance(torsion, str) else torsion
                where[name] = place([where[parent] for parent in parents], length, bend, value)
                left.remove(atom)
    return np.array([where[name] for name, *_ in ATOMS])


def make_topology() -> app.Topology:
    """ACE-ALA-NME, atoms in the order of Amber."""
    topology = app.Topology()
    chain, names = topology.addChain("A"), iter(ATOMS)
    for residue_name, size in RESIDUES:
        residue = topology.addResidue(residue_name, chain)
        for _ in range(size):
            name, symbol, *_ = next(names)
            topology.addAtom(PDB_NAMES.get(name, name), app.Element.getBySymbol(symbol), residue)
    topology.createStandardBonds()
    return topology


def minimise(topology: app.Topology, positions: np.ndarray, solvent: bool, held: tuple[float, ...]) -> np.ndarray:
    """The minimum of the energy, with the torsions held near values in degrees where any are given."""
    files = ["amber96.xml"] + (["implicit/obc2.xml"] if solvent else [])
    system = app.ForceField(*files).createSystem(topology, constraints=app.HBonds)
    restraint = openmm.CustomTorsionForce("500 * (1 - cos(theta - target))")
    restraint.addPerTorsionParameter("target")
    for atoms, value in zip(TORSIONS, held, strict=False):
        restraint.addTorsion(*atoms, [np.radians(value)])
    system.addForce(restraint)
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(positions)
    openmm.LocalEnergyMinimizer.minimize(context, TOLERANCE)
    return context.getState(positions=True).getPositions(asNumpy=True).value_in_unit_system(md_unit_system)


def main() -> None:
    """Write every conformer."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    topology = make_topology()
    for name, (phi, psi, solvent) in CONFORMERS.items():
        held = minimise(topology, build(phi, psi), solvent, (phi, psi))
        positions = minimise(topology, held, solvent, ())
        with (FOLDER / f"alanine_dipeptide_{name}.pdb").open("w") as file:
            # a header would hold the date, and the file change with every run
            app.PDBFile.writeModel(topology, 10 * positions, file)
            file.write("END\n")


if __name__ == "__main__":
    main()
