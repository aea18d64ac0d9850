"""Alanine dipeptide placed by bond lengths, angles and torsions, and made-up draws of it."""

import numpy as np

from micromacro.report.molecule_data import AngleDraws, LiftedConformers, MoleculeData

# name, element, residue, residue number, three atoms before, length (nm), angle and torsion (degrees)
# "phi" and "psi" stand for themselves; a number added to them is an offset
ATOMS = [
    ("HH31", "H", "ACE", 1, (), 0, 0, 0),
    ("CH3", "C", "ACE", 1, (0,), 0.109, 0, 0),
    ("HH32", "H", "ACE", 1, (1, 0), 0.109, 109.5, 0),
    ("HH33", "H", "ACE", 1, (1, 0, 2), 0.109, 109.5, 120),
    ("C", "C", "ACE", 1, (1, 0, 2), 0.152, 109.5, -120),
    ("O", "O", "ACE", 1, (4, 1, 0), 0.123, 120.5, 0),
    ("N", "N", "ALA", 2, (4, 1, 0), 0.1335, 116.6, 180),
    ("H", "H", "ALA", 2, (6, 4, 5), 0.101, 119.8, 180),
    ("CA", "C", "ALA", 2, (6, 4, 1), 0.1449, 121.9, 180),
    ("HA", "H", "ALA", 2, (8, 6, 4), 0.109, 109.5, ("phi", 119)),
    ("CB", "C", "ALA", 2, (8, 6, 4), 0.1526, 109.7, ("phi", -122)),
    ("HB1", "H", "ALA", 2, (10, 8, 6), 0.109, 109.5, 60),
    ("HB2", "H", "ALA", 2, (10, 8, 6), 0.109, 109.5, 180),
    ("HB3", "H", "ALA", 2, (10, 8, 6), 0.109, 109.5, -60),
    ("C", "C", "ALA", 2, (8, 6, 4), 0.1522, 110.1, ("phi", 0)),
    ("O", "O", "ALA", 2, (14, 8, 6), 0.1229, 120.4, ("psi", 180)),
    ("N", "N", "NME", 3, (14, 8, 6), 0.1335, 116.6, ("psi", 0)),
    ("H", "H", "NME", 3, (16, 14, 15), 0.101, 119.8, 180),
    ("CH3", "C", "NME", 3, (16, 14, 8), 0.1449, 121.9, 180),
    ("HH31", "H", "NME", 3, (18, 16, 14), 0.109, 109.5, 60),
    ("HH32", "H", "NME", 3, (18, 16, 14), 0.109, 109.5, 180),
    ("HH33", "H", "NME", 3, (18, 16, 14), 0.109, 109.5, -60),
]
BONDS = tuple((atom[4][0], number) for number, atom in enumerate(ATOMS) if atom[4])


def place(phi: float, psi: float, noise: float = 0.0, rng=None) -> np.ndarray:
    """Positions `(22, 3)` in nm at φ and ψ in radians; `noise` spreads the other angles by so many degrees."""
    angles = {"phi": np.degrees(phi), "psi": np.degrees(psi)}
    x = np.zeros((22, 3))
    for number, (*_, before, length, angle, torsion) in enumerate(ATOMS):
        shift = 0.0 if rng is None else noise * rng.standard_normal()
        if isinstance(torsion, tuple):
            torsion, shift = angles[torsion[0]] + torsion[1], 0.0
        bend, turn = np.radians(180 - angle), np.radians(torsion + shift)
        if len(before) == 1:
            x[number] = x[before[0]] + [length, 0, 0]
        elif len(before) == 2:
            x[number] = x[before[0]] + length * np.array([np.cos(bend), np.sin(bend), 0])
        elif before:
            a, b, c = x[before[2]], x[before[1]], x[before[0]]
            along = (c - b) / np.linalg.norm(c - b)
            normal = np.cross(b - a, along)
            normal /= np.linalg.norm(normal)
            local = [np.cos(bend), np.sin(bend) * np.cos(turn), np.sin(bend) * np.sin(turn)]
            x[number] = c + length * (np.stack([along, np.cross(normal, along), normal], 1) @ local)
    return x


def dipeptide(values: np.ndarray, draws: int = 12, raw: bool = True, hidden: bool = False) -> MoleculeData:
    """Draws at coarse values `(n, d)`: of (φ, ψ), or of φ alone where ψ is free; `hidden` adds its histograms."""
    rng = np.random.default_rng(0)
    shown, angles = [], []
    for z in values:
        sets = []
        for _ in range(2):
            psi = z[1] + 0.1 * rng.standard_normal(draws) if len(z) == 2 else free(rng, draws)
            sets.append(np.stack([turned(rng, place(z[0], one, 12, rng)) for one in psi]))
        shown.append(LiftedConformers(z, sets[0], sets[1] if raw else None))
        many = free(rng, 40 * draws), free(rng, 30 * draws, 0.7)
        angles.append(AngleDraws(many[0], many[1] if raw else None))
    names, elements, residues, numbers = (tuple(atom[k] for atom in ATOMS) for k in range(4))
    named = ["φ", "ψ"][: values.shape[1]]
    return MoleculeData(
        names,
        elements,
        residues,
        numbers,
        BONDS,
        tuple(shown),
        {"ψ": tuple(angles)} if hidden else {},
        (True,) * values.shape[1],
        dict.fromkeys(named, "rad"),
    )


def free(rng, count: int, weight: float = 0.4) -> np.ndarray:
    """Draws of two humps of ψ."""
    return np.where(rng.uniform(size=count) < weight, 2.7, -0.3) + 0.35 * rng.standard_normal(count)


def turned(rng, x: np.ndarray) -> np.ndarray:
    """Anywhere in space, turned at random."""
    q, r = np.linalg.qr(rng.standard_normal((3, 3)))
    q = q * np.sign(np.diag(r))
    return x @ (q * np.sign(np.linalg.det(q))) + rng.uniform(-3, 3, 3)
