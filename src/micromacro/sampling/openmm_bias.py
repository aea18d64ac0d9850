r"""A window as one force of OpenMM: $kT(\frac12 \sum_a \kappa_a (z_a - c_a)^2 - \hat F(z))$, as `window_energy` has it.

Torsions, distances and angles become one compound force; where deviations from a reference or radii of gyration are
among them, a force of collective variables. The centre and the stiffness are global parameters.
"""

from typing import TypeAlias, cast

import numpy as np
import openmm
from jaxtyping import Float

from micromacro.coordinates.coarse import CoarseVariable
from micromacro.coordinates.geometry import (
    Angle,
    Distance,
    Geometry,
    RadiusOfGyration,
    RootMeanSquareDeviation,
    Torsion,
)
from micromacro.sampling.openmm_tables import LARGEST_DIMENSION, continued, end_slopes, slope_names, tabulated
from micromacro.sampling.table import Table
from micromacro.sampling.windows import Windows

POINTWISE = {Torsion: "dihedral", Distance: "distance", Angle: "angle"}
"""What OpenMM calls those that a compound force knows."""
Pointwise: TypeAlias = Torsion | Distance | Angle


def is_native(coarse: CoarseVariable) -> bool:
    """Whether OpenMM itself knows every component, in so few dimensions that it can tabulate the flattening."""
    known = (*POINTWISE, RadiusOfGyration, RootMeanSquareDeviation)
    return 0 < len(coarse.components) <= LARGEST_DIMENSION and all(isinstance(c, known) for c in coarse.components)


def parameter_names(dimension: int, table: Table | None) -> list[str]:
    """The global parameters of a bias: centres, stiffnesses, and the slopes beyond a table of one bounded axis."""
    numbers = range(1, dimension + 1)
    slopes = slope_names(0) if _has_end_slopes(table) else ()
    return [*(f"center_{i}" for i in numbers), *(f"stiffness_{i}" for i in numbers), *slopes]


def parameter_values(windows: Windows, table: Table | None) -> Float[np.ndarray, "windows parameters"]:
    """The values of those parameters for each window."""
    centers = np.asarray(windows.centers, float)
    shared = [np.asarray(windows.stiffness, float)]
    if table is not None and _has_end_slopes(table):
        shared.append(end_slopes(table))
    return np.hstack([centers, *(np.tile(values, (len(centers), 1)) for values in shared)])


def native_bias(coarse: CoarseVariable, kT: float, atoms: int, table: Table | None) -> openmm.Force:
    """The force of a window whose components OpenMM knows; its parameters are zero until they are set.

    **Arguments:**

    - `kT`: in kJ/mol.
    - `atoms`: how many particles the system has.
    - `table`: the flattening, or `None` where there is none, which costs nothing.
    """
    energy = _expression(coarse, kT, table)
    components = cast(tuple[Geometry, ...], coarse.components)
    if all(isinstance(component, Torsion | Distance | Angle) for component in components):
        force = _compound(cast(tuple[Pointwise, ...], components), energy)
    else:
        force = _collective(components, energy, atoms)
    for name in parameter_names(coarse.dimension, table):
        force.addGlobalParameter(name, 0.0)
    for function in tabulated(table) if table is not None else ():
        force.addTabulatedFunction(function.name, function.function())
    return force


def _has_end_slopes(table: Table | None) -> bool:
    return table is not None and table.periodic == (False,)


def _expression(coarse: CoarseVariable, kT: float, table: Table | None) -> str:
    flattening, *definitions = continued(table).split("; ") if table is not None else ["0"]
    terms = []
    for number, (period, wraps) in enumerate(zip(coarse.range, coarse.periodic, strict=True), start=1):
        terms.append(f"0.5*stiffness_{number}*d{number}^2")
        shift = f"-{float(period)!r}*floor(e{number}/{float(period)!r}+0.5)" if wraps else ""
        definitions += [f"d{number}=e{number}{shift}", f"e{number}=z{number}-center_{number}"]
    energy = f"{kT!r}*({'+'.join(terms)}-({flattening}))" if table is not None else f"{kT!r}*({'+'.join(terms)})"
    return "; ".join([energy, *definitions])


def _compound(components: tuple[Pointwise, ...], energy: str) -> openmm.CustomCompoundBondForce:
    atoms = list(dict.fromkeys(atom for component in components for atom in component.atoms))
    particle = {atom: f"p{place}" for place, atom in enumerate(atoms, start=1)}
    definitions = []
    for number, component in enumerate(components, start=1):
        arguments = ",".join(particle[atom] for atom in component.atoms)
        definitions.append(f"z{number}={POINTWISE[type(component)]}({arguments})")
    force = openmm.CustomCompoundBondForce(len(atoms), "; ".join([energy, *definitions]))
    force.addBond(atoms, [])
    return force


def _collective(components: tuple[Geometry, ...], energy: str, atoms: int) -> openmm.CustomCVForce:
    definitions, variables = [], []
    for number, component in enumerate(components, start=1):
        name = f"z{number}"
        if isinstance(component, RadiusOfGyration):
            definitions.append(f"{name}=sqrt(max(square_{name},1e-24))")
            name = f"square_{name}"
        variables.append((name, _variable(component, atoms)))
    force = openmm.CustomCVForce("; ".join([energy, *definitions]))
    for name, variable in variables:
        force.addCollectiveVariable(name, variable)
    return force


def _variable(component: Geometry, atoms: int) -> openmm.Force:
    """The force whose energy is the component, or its square for a radius of gyration."""
    match component:
        case RootMeanSquareDeviation():
            reference = np.zeros((atoms, 3))
            reference[list(component.atoms)] = component.reference
            return openmm.RMSDForce(reference.tolist(), list(component.atoms))
        case RadiusOfGyration():
            return _squared_radius(component)
        case Torsion():
            force = openmm.CustomTorsionForce("theta")
            force.addTorsion(*component.atoms, [])
        case Angle():
            force = openmm.CustomAngleForce("theta")
            force.addAngle(*component.atoms, [])
        case Distance():
            force = openmm.CustomBondForce("r")
            force.addBond(*component.atoms, [])
        case _:
            raise TypeError(f"OpenMM does not know {component}")
    return force


def _squared_radius(component: RadiusOfGyration) -> openmm.CustomCentroidBondForce:
    """OpenMM's own radius of gyration knows no weights: the weighted mean square distance to the weighted centre."""
    force = openmm.CustomCentroidBondForce(2, "weight*distance(g1,g2)^2")
    force.addPerBondParameter("weight")
    centre = force.addGroup(list(component.atoms), list(component.masses))
    weights = np.asarray(component.masses) / np.sum(component.masses)
    for atom, weight in zip(component.atoms, weights, strict=True):
        force.addBond([force.addGroup([atom], [1.0]), centre], [float(weight)])
    return force
