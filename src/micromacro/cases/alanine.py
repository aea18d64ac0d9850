"""Alanine dipeptide, ACE-ALA-NME: AMBER ff96 at 300 K in vacuum or in the OBC2 solvent, from its known conformers.

Bonds to hydrogen are constrained, steps are of 2 fs, friction is 1/ps, and nothing is cut off. The left- and the
right-handed helix are starting points in solvent only: in vacuum they are no minima.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import openmm
from jaxtyping import Array, Float

import micromacro.molecules
from micromacro.cases.case import Case, CloseSettings
from micromacro.cases.molecules import (
    default_bias,
    default_coarsen,
    default_couple,
    default_generator,
    molecular_features,
)
from micromacro.coordinates.coarse import CoarseVariable, unlearned
from micromacro.coordinates.geometry import Distance, Torsion
from micromacro.molecules.building import MoleculeSettings, build_molecular_system
from micromacro.molecules.forces import ForceSettings
from micromacro.molecules.positions import OfPositions, observed_geometry
from micromacro.molecules.system import MolecularSystem

DATA = Path(micromacro.molecules.__file__).parent / "data"
PHI, PSI = (4, 6, 8, 14), (6, 8, 14, 16)
ENDS = (1, 18)
"""The carbon atoms of the two methyl groups at the ends."""
BUDGET = 10_000_000
"""Force evaluations: 20 ns."""

VACUUM = ("c7eq", "c5", "c7ax")
IMPLICIT = (*VACUUM, "alpha_right", "alpha_left")

RIGHT = 2.0
"""In radians, the end of the basins of positive φ on the side of the higher barrier."""

KARPLUS = (8.40, -1.36, 0.33, -np.pi / 3)
"""Coefficients in Hz and shift of φ in radians of the coupling of H and HA.

Source: Vögeli, Ying, Grishaev & Bax, J. Am. Chem. Soc. 129, 9377 (2007).
"""


def alanine_dipeptide(solvent: str | None, torsions: tuple = (PHI, PSI)) -> MolecularSystem:
    """The molecule, in vacuum for `None` or else in an implicit solvent; `torsions` become internal coordinates."""
    names = VACUUM if solvent is None else IMPLICIT
    settings = MoleculeSettings(
        structure=tuple(DATA / f"alanine_dipeptide_{name}.pdb" for name in names),
        forces=ForceSettings(("amber96.xml",), implicit_solvent=solvent),
    )
    return build_molecular_system(settings, torsions)


def torsion_coarse(system: MolecularSystem, torsions: tuple) -> CoarseVariable:
    """Torsions as the coarse variable, each over its full turn."""
    geometries = tuple(Torsion(atoms) for atoms in torsions)
    observed = [observed_geometry(geometry, system) for geometry in geometries]
    full = np.full(len(torsions), np.pi)
    return CoarseVariable(
        function=lambda state: jnp.stack([function(state) for function in observed]),
        lower=-full,
        upper=full,
        periodic=(True,) * len(torsions),
        components=geometries,
    )


def observables(system: MolecularSystem) -> dict[str, Callable]:
    """What is averaged at each z: lengths in nm, the dipole moment in e nm, the coupling in Hz."""
    phi, psi = (observed_geometry(Torsion(atoms), system) for atoms in (PHI, PSI))
    a, b, c, shift = KARPLUS
    return {
        "positive_phi": lambda observed: jnp.where(_half_turn(phi(observed)) > 0, 1.0, 0.0),
        "cos_psi": lambda observed: jnp.cos(psi(observed)),
        "sin_psi": lambda observed: jnp.sin(psi(observed)),
        "end_to_end": OfPositions(Distance(ENDS), system),
        "dipole": OfPositions(dipole_moment(system), system),
        "coupling_h_ha": lambda observed: jnp.polyval(jnp.array([a, b, c]), jnp.cos(phi(observed) + shift)),
    }


def dipole_moment(system: MolecularSystem) -> Callable[[Float[Array, "n 3"]], Float[Array, ""]]:
    """The size of the dipole moment in e nm of a neutral molecule with the charges of its force field."""
    forces = openmm.XmlSerializer.deserialize(system.forces)
    (force,) = (force for force in forces.getForces() if isinstance(force, openmm.NonbondedForce))
    charges = np.array([force.getParticleParameters(int(atom))[0]._value for atom in system.solute])
    return lambda positions: jnp.linalg.norm(charges @ positions)


def basins(torsions: tuple) -> dict[str, tuple]:
    """C7eq and C7ax where φ tells them apart; else they are found at the minima of F."""
    if torsions[0] != PHI:
        return {}
    others = np.full(len(torsions) - 1, np.pi)
    left = (np.array([-np.pi, *-others]), np.array([0.0, *others]))
    right = (np.array([0.0, *-others]), np.array([RIGHT, *others]))
    return {"C7eq": left, "C7ax": right}


def _known(solvent: str | None, torsions: tuple, name: str, title: str) -> Case:
    system = alanine_dipeptide(solvent)
    return Case(
        name=name,
        title=title,
        system=system,
        coarse=torsion_coarse(system, torsions),
        bias=default_bias(len(torsions)),
        generator=default_generator(),
        couple=default_couple(),
        close=CloseSettings(observables(system), basins(torsions)),
        budget=BUDGET,
    )


def _learned(name: str, title: str) -> Case:
    system = alanine_dipeptide(None)
    observed = np.stack([np.asarray(system.observe(jnp.asarray(state))) for state in system.initial])
    features = molecular_features(None, system, _no_function, observed, name)
    return Case(
        name=name,
        title=title,
        system=system,
        coarse=unlearned(1),
        bias=default_bias(1),
        generator=default_generator(),
        couple=default_couple(),
        close=CloseSettings(observables(system)),
        budget=BUDGET,
        coarsen=replace(default_coarsen(), features=features),
    )


def _no_function(reference: str, key: str):
    raise LookupError(f"{key}: a built-in case names no function, and not {reference}")


def _half_turn(angle: Float[Array, ""]) -> Float[Array, ""]:
    """The same angle in [-π, π)."""
    return jnp.mod(angle + jnp.pi, 2 * jnp.pi) - jnp.pi


ALANINE_CONSTRUCTORS: dict[str, Callable[[str, str], Case]] = {
    f"alanine-dipeptide-{place}{suffix}": partial(_known, solvent, torsions)
    for place, solvent in (("vacuum", None), ("implicit", "OBC2"))
    for suffix, torsions in (("", (PHI,)), ("-psi", (PSI,)), ("-phi-psi", (PHI, PSI)))
} | {"alanine-dipeptide-learned": _learned}
