"""From the sections of a case file to a molecule, its coarse variable, its features and its observables."""

from collections.abc import Callable, Sequence
from pathlib import Path
from xml.etree import ElementTree

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from micromacro.cases.case import BiasSettings, CoarsenSettings, CoupleSettings, GeneratorSettings
from micromacro.cases.feature_sections import (
    AngleFeatures,
    ContactFeatures,
    DistanceFeatures,
    FunctionFeatures,
    StateFeatures,
    TorsionFeatures,
    build_features,
)
from micromacro.cases.functions import Checked, as_real
from micromacro.cases.modules import Modules
from micromacro.cases.molecule_sections import Component, GeometricSection, MolecularSection
from micromacro.cases.section import Section
from micromacro.coordinates.coarse import CoarseVariable
from micromacro.coordinates.features import Stack
from micromacro.coordinates.geometry import (
    Angle,
    Distance,
    Geometry,
    PositionFunction,
    RadiusOfGyration,
    RootMeanSquareDeviation,
    Torsion,
)
from micromacro.errors import InputError
from micromacro.molecules.building import MoleculeSettings, build_molecular_system
from micromacro.molecules.forces import ForceSettings
from micromacro.molecules.positions import (
    OfPositions,
    check_rebuilding,
    check_rigid_motion,
    heavy_atoms,
    in_solute,
    observed_geometry,
    of_all_atoms,
    solute_positions,
)
from micromacro.molecules.structures import read_structures
from micromacro.molecules.system import MolecularSystem

Find = Callable[[str, str], Checked]


def default_bias(components: int) -> BiasSettings:
    """Steps of a molecule are many and short, and its walkers few, for each is an OpenMM context."""
    return BiasSettings(steps=20_000, walkers=8 if components == 1 else 2)


def default_couple() -> CoupleSettings:
    """Fewer rounds: each begins with steps that do not count, which are dear here."""
    return CoupleSettings(rounds=3)


def default_generator() -> GeneratorSettings:
    """The flow, whose density moves of a molecule need at every proposal."""
    return GeneratorSettings(kind="flow")


def default_coarsen() -> CoarsenSettings:
    """Few walkers too in the windows between rounds of learning: a budget holds several rounds then."""
    return CoarsenSettings(walkers=4)


def build_molecule(
    section: MolecularSection, torsions: Sequence[Sequence[int]], modules: Modules, source: str
) -> MolecularSystem:
    """The molecule of a section; `torsions` are those of its coarse variable, wanted as internal coordinates."""
    settings = MoleculeSettings(
        structure=tuple(modules.data_file(name, "system.structure") for name in section.structure),
        forces=ForceSettings(
            forcefield=tuple(_forcefield(name, modules) for name in section.forcefield or ()),
            prmtop=_file(section.prmtop, "system.prmtop", modules),
            system=_file(section.system, "system.system", modules),
            implicit_solvent=section.implicit_solvent,
            constraints=section.constraints,
        ),
        **section.model_dump(include={"temperature", "friction", "time_step"}, exclude_none=True),
    )
    return build_molecular_system(settings, torsions, source)


def wanted_torsions(section: Section) -> list[tuple[int, ...]]:
    """The atoms of every torsion among the components of a coarse variable."""
    if not isinstance(section, GeometricSection):
        return []
    return [entry.atoms for entry in section.entries if entry.kind == "torsion" and entry.atoms]


def geometric_coarse(
    section: GeometricSection, system: MolecularSystem, modules: Modules, source: str
) -> CoarseVariable:
    """The coarse variable whose components are geometries of atoms."""
    entries = section.entries
    geometries = [_geometry(entry, system, modules, source) for entry in entries]
    observed = [observed_geometry(geometry, system) for geometry in geometries]
    if any(isinstance(function, OfPositions) for function in observed):
        check_rebuilding(system, "coarse.kind", source)
    return CoarseVariable(
        function=lambda state: jnp.stack([function(state) for function in observed]),
        lower=np.array([entry.lower for entry in entries]),
        upper=np.array([entry.upper for entry in entries]),
        periodic=tuple(entry.kind == "torsion" for entry in entries),
        components=tuple(geometries),
    )


def function_of_positions(
    reference: str, key: str, system: MolecularSystem, find: Find, shapes: Sequence[tuple[int, ...]]
) -> Checked:
    """A user's function of the positions `(solute, 3)` in nm, checked there, as one of what is observed.

    **Arguments:**

    - `shapes`: those that its value may have; any for none.
    """
    own = find(reference, key)
    positions = solute_positions(system)
    if shapes:
        own.returns(positions.shape[1:], *shapes)
    own.finite(positions)
    check_rebuilding(system, key, own.source)
    check_rigid_motion(own.function, system, key, own.source)
    return Checked(own.function, key, own.source)


def function_coarse(section, system: MolecularSystem, find: Find) -> CoarseVariable:
    """The coarse variable that is a user's function of positions."""
    size = section.size
    shapes = [(1,), ()] if size == 1 else [(size,)]
    own = function_of_positions(section.function, "coarse.function", system, find, shapes).function
    periodic = tuple(section.periodic or [False] * size)
    ranges = zip(section.lower, section.upper, periodic, strict=True)
    components = [
        PositionFunction(of_all_atoms(_component(own, index), system), high - low if wraps else np.inf)
        for index, (low, high, wraps) in enumerate(ranges)
    ]
    return CoarseVariable(
        function=OfPositions(own, system),
        lower=np.array(section.lower),
        upper=np.array(section.upper),
        periodic=periodic,
        components=tuple(components),
    )


def molecular_observable(reference: str, key: str, system: MolecularSystem, find: Find) -> Callable:
    """An observable, a user's function of positions, as one of what is observed."""
    return OfPositions(as_real(function_of_positions(reference, key, system, find, [()]).function), system)


def molecular_features(
    sections: Sequence[Section] | None, system: MolecularSystem, find: Find, observed: np.ndarray, source: str
) -> Callable:
    """The feature map of a molecule, of internal coordinates; where entries are left out, distances of heavy atoms.

    `state` and `angles` are of the internal coordinates, all others of positions. Distances and contacts without pairs
    are those of all heavy atoms.
    """
    entries = list(sections) if sections else [DistanceFeatures(kind="distances")]
    maps = [_feature(entry, f"coarse.features[{i}]", system, find, observed, source) for i, entry in enumerate(entries)]
    return maps[0] if len(maps) == 1 else Stack(tuple(maps))


def _feature(
    section: Section, key: str, system: MolecularSystem, find: Find, observed: np.ndarray, source: str
) -> Callable:
    if isinstance(section, (StateFeatures, AngleFeatures)):
        return build_features([section], find, observed, source=source, key=key)
    check_rebuilding(system, key, source)
    if isinstance(section, (DistanceFeatures, ContactFeatures, TorsionFeatures)):
        flat = solute_positions(system).reshape(len(observed), -1)
        section = _of_solute(section, system, key, source)
        return OfPositions(build_features([section], find, flat, source=source, key=key), system, flat=True)
    assert isinstance(section, FunctionFeatures)
    function = function_of_positions(section.function, f"{key}.function", system, find, []).function
    return OfPositions(lambda positions: jnp.reshape(jnp.asarray(function(positions), float), (-1,)), system)


def _of_solute(
    section: DistanceFeatures | ContactFeatures | TorsionFeatures, system: MolecularSystem, key: str, source: str
) -> Section:
    """The same entry with atoms counted within the solute, and pairs of heavy atoms where they are left out."""
    if isinstance(section, TorsionFeatures):
        points = [list(in_solute(four, system, f"{key}.points", source)) for four in section.points]
        return section.model_copy(update={"points": points})
    if section.spatial_dimension != 3:
        requirement = "be 3 for the atoms of a molecule"
        raise InputError(f"{key}.spatial_dimension", requirement, section.spatial_dimension, source=source)
    heavy = heavy_atoms(system).tolist()
    pairs = section.pairs or [[a, b] for i, a in enumerate(heavy) for b in heavy[i + 1 :]]
    return section.model_copy(update={"pairs": [list(in_solute(p, system, f"{key}.pairs", source)) for p in pairs]})


def _component(function: Callable, index: int) -> Callable:
    return lambda positions: jnp.reshape(function(positions), (-1,))[index]


def _geometry(entry: Component, system: MolecularSystem, modules: Modules, source: str) -> Geometry:
    """The geometry of a component, its atoms counted among all."""
    atoms = tuple(heavy_atoms(system).tolist()) if entry.atoms is None else entry.atoms
    in_solute(atoms, system, f"{entry.key}.atoms", source)
    if entry.kind == "torsion":
        return Torsion(atoms)
    if entry.kind == "distance":
        return Distance(atoms)
    if entry.kind == "angle":
        return Angle(atoms)
    if entry.kind == "radius-of-gyration":
        return RadiusOfGyration(atoms, system.masses[list(atoms)])
    return RootMeanSquareDeviation(atoms, _reference(entry, system, modules, source)[list(atoms)])


def _reference(
    entry: Component, system: MolecularSystem, modules: Modules, source: str
) -> Float[np.ndarray, "atoms 3"]:
    """The positions that a deviation is measured from."""
    if entry.reference is None:
        return np.asarray(system.initial[0]).reshape(-1, 3)
    key = f"{entry.key}.reference"
    positions = read_structures([modules.data_file(entry.reference, key)], source).positions[0]
    if len(positions) != system.atoms:
        raise InputError(key, f"have {system.atoms} atoms, as the structure", len(positions), source=source)
    return positions


def _file(name: str | None, key: str, modules: Modules) -> Path | None:
    return None if name is None else modules.data_file(name, key)


def _forcefield(name: str, modules: Modules) -> str:
    """A force-field file beside the case file by its path, with those that it includes; else the name as it is."""
    if not modules.has(name):
        return name
    path = modules.data_file(name, "system.forcefield")
    _keep_included(name, modules, {name})
    return str(path)


def _keep_included(name: str, modules: Modules, seen: set[str]) -> None:
    """Have the files beside the case file that a force field includes kept with it."""
    path = modules.data_file(name, "system.forcefield")
    try:
        included = [element.get("file", "") for element in ElementTree.parse(path).getroot().findall("Include")]
    # what is wrong with the file is said where it is read for its forces
    except (ElementTree.ParseError, ValueError, LookupError):
        return
    for other in ((Path(name).parent / one).as_posix() for one in included):
        if other not in seen and modules.has(other):
            seen.add(other)
            _keep_included(other, modules, seen)
