"""A chain of five atoms whose two torsions have an exact law, and its case file.

Bonds and angles do not see the torsions, and volume in internal coordinates does not depend on torsions: the density of
the torsions is exp(-V/kT). The second has two wells that a barrier of 12 kT keeps apart, hidden from the first.
"""

from pathlib import Path

import numpy as np
import openmm

KT = 8.31446261815324e-3 * 300.0
ATOMS, BOND, ANGLE = 5, 0.15, 1.9
BOND_CONSTANT, ANGLE_CONSTANT = 1e5, 500.0
HIDDEN, COUPLING, KNOWN = 6.0, 1.5, 1.0
FIRST, SECOND = (0, 1, 2, 3), (1, 2, 3, 4)

CASE = """
title = "Five atoms"

[system]
kind = "openmm"
structure = ["plus.pdb", "minus.pdb"]
system = "system.xml"

[coarse]
kind = "torsion"
atoms = [[0, 1, 2, 3]]

[bias]
windows = 10
walkers = 4
steps = 3000

[generator]
training_steps = 1000

[couple]
rounds = 1

[close]
observables = { second = "functions.py:second" }
bursts = 100000
"""

FUNCTIONS = """
import jax.numpy as jnp


def second(positions):
    a, b, c = positions[2] - positions[1], positions[3] - positions[2], positions[4] - positions[3]
    return jnp.where(a @ jnp.cross(b, c) > 0, 1.0, 0.0)
"""


def energy(first, second, barrier=HIDDEN):
    """V/kT of the two torsions."""
    hidden = barrier * (1 + np.cos(2 * second))
    return hidden + COUPLING * np.cos(first) * np.sin(second) + KNOWN * np.cos(2 * first + 0.5)


def exact(first, barrier=HIDDEN):
    """F in kT, smallest 0, and P(second > 0) at given values of the first torsion, by quadrature."""
    angle = np.linspace(-np.pi, np.pi, 2000, endpoint=False)
    weight = np.exp(-energy(first[:, None], angle, barrier))
    free_energy = -np.log(weight.sum(axis=1))
    return free_energy - free_energy.min(), weight[:, angle > 0].sum(axis=1) / weight.sum(axis=1)


def draws(count: int, rng: np.random.Generator, barrier: float = HIDDEN) -> np.ndarray:
    """Exact, independent draws of the two torsions `(count, 2)`."""
    angle = np.linspace(-np.pi, np.pi, 400, endpoint=False)
    first, second = (part.ravel() for part in np.meshgrid(angle, angle))
    weight = np.exp(-energy(first, second, barrier))
    chosen = rng.choice(len(first), count, p=weight / weight.sum())
    jitter = (angle[1] - angle[0]) * (rng.random((count, 2)) - 0.5)
    return np.stack([first[chosen], second[chosen]], axis=1) + jitter


def chain_system(barrier: float = HIDDEN) -> openmm.System:
    """The forces."""
    system = openmm.System()
    bonds, angles = openmm.HarmonicBondForce(), openmm.HarmonicAngleForce()
    for atom in range(ATOMS):
        system.addParticle(12.0)
        if atom > 0:
            bonds.addBond(atom - 1, atom, BOND, BOND_CONSTANT)
        if atom > 1:
            angles.addAngle(atom - 2, atom - 1, atom, ANGLE, ANGLE_CONSTANT)
    first, second = "dihedral(p1, p2, p3, p4)", "dihedral(p2, p3, p4, p5)"
    torsions = openmm.CustomCompoundBondForce(
        ATOMS,
        f"{KT} * ({barrier} * (1 + cos(2 * {second})) + {COUPLING} * cos({first}) * sin({second})"
        f" + {KNOWN} * cos(2 * {first} + 0.5))",
    )
    torsions.addBond(list(range(ATOMS)))
    for force in (bonds, angles, torsions):
        system.addForce(force)
    return system


def positions(first: float, second: float, bonds=(BOND,) * 4, angles=(ANGLE,) * 3) -> np.ndarray:
    """The chain with given torsions, `(5, 3)` in nm."""
    placed = [np.zeros(3), np.array([bonds[0], 0.0, 0.0])]
    placed.append(placed[1] + bonds[1] * np.array([-np.cos(angles[0]), np.sin(angles[0]), 0.0]))
    for torsion, bond, angle in zip((first, second), bonds[2:], angles[1:], strict=True):
        a, b, c = placed[-3:]
        axis = (c - b) / np.linalg.norm(c - b)
        normal = np.cross(b - a, axis)
        normal /= np.linalg.norm(normal)
        direction = [-np.cos(angle), np.sin(angle) * np.cos(torsion), np.sin(angle) * np.sin(torsion)]
        placed.append(c + bond * np.array(direction) @ np.stack([axis, np.cross(normal, axis), normal]))
    return np.array(placed)


def whole_draws(count: int, rng: np.random.Generator, barrier: float = HIDDEN) -> tuple[np.ndarray, np.ndarray]:
    """Independent positions `(count, 5, 3)` with vibrations of bonds and angles, and their weights `(count,)`."""
    torsions = draws(count, rng, barrier)
    bonds = rng.normal(BOND, np.sqrt(KT / BOND_CONSTANT), (count, 4))
    angles = rng.normal(ANGLE, np.sqrt(KT / ANGLE_CONSTANT), (count, 3))
    weight = np.prod(bonds**2, axis=1) * np.prod(np.sin(angles), axis=1)
    return np.array([positions(*t, b, a) for t, b, a in zip(torsions, bonds, angles, strict=True)]), weight


def pdb(coordinates: np.ndarray) -> str:
    """A PDB file of the chain."""
    lines = [
        f"ATOM  {index + 1:>5}  C{index + 1}  CHN A   1    {x:8.3f}{y:8.3f}{z:8.3f}  1.00  0.00           C"
        for index, (x, y, z) in enumerate(10 * coordinates)
    ]
    return "\n".join([*lines, "END", ""])


def write_case(folder: Path, barrier: float = HIDDEN, more: str = "") -> Path:
    """The case file with all that it names; `barrier` between the hidden wells, over two, in kT; `more` of its text."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, second in (("plus", np.pi / 2), ("minus", -np.pi / 2)):
        (folder / f"{name}.pdb").write_text(pdb(positions(1.0, second)))
    (folder / "system.xml").write_text(openmm.XmlSerializer.serialize(chain_system(barrier)))
    (folder / "functions.py").write_text(FUNCTIONS)
    (folder / "case.toml").write_text(CASE + more)
    return folder / "case.toml"
