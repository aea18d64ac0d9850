"""From a checked case file to a `Case`: functions found, traced and tried at the initial points."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from micromacro.cases.case import Case, CloseSettings, CoarsenSettings, TargetSettings
from micromacro.cases.data_sections import build_data
from micromacro.cases.feature_sections import build_features
from micromacro.cases.functions import Checked, as_real
from micromacro.cases.modules import Modules
from micromacro.cases.molecule_sections import GeometricSection, MolecularSection
from micromacro.cases.molecules import (
    build_molecule,
    default_bias,
    default_coarsen,
    default_couple,
    default_generator,
    function_coarse,
    geometric_coarse,
    molecular_features,
    molecular_observable,
    wanted_torsions,
)
from micromacro.cases.schema import (
    BudgetSection,
    CaseFile,
    CloseSection,
    CloseSettingsSection,
    FunctionSection,
    LearnedSection,
    OverdampedSection,
    Section,
    Settings,
    StochasticSection,
)
from micromacro.coordinates.coarse import CoarseVariable, unlearned
from micromacro.errors import InputError
from micromacro.molecules.system import MolecularSystem
from micromacro.systems.model import OverdampedSystem, StochasticSystem, System, identity

CLOSE_NUMBERS = set(CloseSettingsSection.model_fields)

Find = Callable[[str, str], Checked]
"""A reference and the key where it stands to the function."""


def build_case(content: CaseFile, path: Path, modules: Modules) -> Case:
    """The case that the file at `path` describes."""

    def find(reference: str, key: str) -> Checked:
        return Checked(modules.function(reference, key), key, str(path))

    if isinstance(content.system, MolecularSection):
        case = _molecular_case(content, path, find, modules)
    else:
        case = _case_of_functions(content, path, find)
    if content.data is not None:
        case = replace(case, data=build_data(content.data, path.parent, content.coarse.size))
    return with_settings(case, content)


def _case_of_functions(content: CaseFile, path: Path, find: Find) -> Case:
    """The case of a system that the user's functions define."""
    assert not isinstance(content.system, MolecularSection)
    assert not isinstance(content.coarse, GeometricSection)
    if isinstance(content.system, OverdampedSection):
        system = _overdamped(content.system, find)
    else:
        system = _stochastic(content.system, find)
    observed = np.asarray(jax.vmap(system.observe)(system.initial))
    return Case(
        name=str(path),
        title=content.title or path.stem,
        system=system,
        coarse=_coarse(content.coarse, find, observed),
        close=_close(content.close, find, observed),
        coarsen=_coarsen(content.coarse, find, observed, str(path)),
    )


def _molecular_case(content: CaseFile, path: Path, find: Find, modules: Modules) -> Case:
    """The case of a molecule, whose functions are of positions in nm."""
    assert isinstance(content.system, MolecularSection)
    system = build_molecule(content.system, wanted_torsions(content.coarse), modules, str(path))
    observables = {
        name: molecular_observable(reference, f"close.observables.{name}", system, find)
        for name, reference in content.close.observables.items()
    }
    return Case(
        name=str(path),
        title=content.title or path.stem,
        system=system,
        coarse=_molecular_coarse(content.coarse, system, find, modules, str(path)),
        close=CloseSettings(observables=observables, basins=_basins(content.close)),
        coarsen=_molecular_coarsen(content.coarse, system, find, str(path)),
        bias=default_bias(content.coarse.size),
        generator=default_generator(),
        couple=default_couple(),
    )


def _molecular_coarse(
    section: Section, system: MolecularSystem, find: Find, modules: Modules, source: str
) -> CoarseVariable:
    if isinstance(section, LearnedSection):
        return unlearned(section.size)
    if isinstance(section, FunctionSection):
        return function_coarse(section, system, find)
    assert isinstance(section, GeometricSection)
    return geometric_coarse(section, system, modules, source)


def _molecular_coarsen(section: Section, system: MolecularSystem, find: Find, source: str) -> CoarsenSettings | None:
    if not isinstance(section, LearnedSection):
        return None
    settings = replace(default_coarsen(), **section.model_dump(exclude={"features"}, exclude_none=True))
    observed = np.asarray(jax.vmap(system.observe)(jnp.asarray(system.initial)))
    return replace(settings, features=molecular_features(section.features, system, find, observed, source))


def with_settings(case: Case, settings: Settings | CaseFile) -> Case:
    """The case with those settings replaced that were given.

    **Raises:** `InputError` where it is said how to learn a coarse variable that is known.
    """
    if isinstance(settings, Settings):
        case = _with_coarsen(case, _given(settings.coarse))
    return replace(
        case,
        seed=case.seed if settings.seed is None else settings.seed,
        explore=replace(case.explore, **_given(settings.explore)),
        bias=replace(case.bias, **_given(settings.bias)),
        generator=replace(case.generator, **_given(settings.generator)),
        couple=replace(case.couple, **_given(settings.couple)),
        close=replace(case.close, **settings.close.model_dump(include=CLOSE_NUMBERS, exclude_none=True)),
        budget=settings.budget.force_evaluations or case.budget,
        target=_with_target(case.target, settings.budget),
    )


def _with_target(target: TargetSettings, section: BudgetSection) -> TargetSettings:
    named = {"error": section.target_error, "of": section.error_of, "allocation": section.allocation}
    return replace(target, **{name: value for name, value in named.items() if value is not None})


def _given(section: Section) -> dict:
    return section.model_dump(exclude_none=True)


def _overdamped(section: OverdampedSection, find: Find) -> System:
    initial = np.array(section.initial)
    potential = find(section.potential, "system.potential")
    potential.returns((section.dimension,), ())
    potential.finite(initial, gradient=True)
    options = section.model_dump(include={"kT", "time_step"}, exclude_none=True)
    options["mobility"] = np.full(section.dimension, section.mobility or 1.0)
    return OverdampedSystem(potential=potential.function, dimension=section.dimension, initial=initial, **options)


def _stochastic(section: StochasticSection, find: Find) -> System:
    size, initial = section.dimension, np.array(section.initial)
    drift = find(section.drift, "system.drift")
    drift.returns((size,), (size,))
    drift.finite(initial)
    diffusion = find(section.diffusion, "system.diffusion")
    diffusion.returns((size,), (size,), (size, size))
    diffusion.finite(initial)
    observe, hidden = _observation(section, find)
    options = section.model_dump(include={"time_step"}, exclude_none=True)
    return StochasticSystem(
        drift=drift.function,
        diffusion=diffusion.function,
        dimension=size,
        initial=initial,
        log_stationary_density=_log_density(section, find),
        observe=observe,
        hidden=hidden,
        **options,
    )


def _log_density(section: StochasticSection, find: Find) -> Callable | None:
    if section.log_density is None:
        return None
    log_density = find(section.log_density, "system.log_density")
    log_density.returns((section.dimension,), ())
    log_density.finite(np.array(section.initial), gradient=True)
    return log_density.function


def _observation(section: StochasticSection, find: Find) -> tuple[Callable, Callable | None]:
    """The observation map and its inverse; without one, the state is seen as it is."""
    if section.observe is None:
        return identity, identity
    initial = np.array(section.initial)
    observe = find(section.observe, "system.observe")
    size = observe.vector((section.dimension,))
    observe.finite(initial)
    if section.hidden is None:
        return observe.function, None
    hidden = find(section.hidden, "system.hidden")
    hidden.returns((size,), (section.dimension,))
    hidden.inverts(observe.function, initial)
    return observe.function, hidden.function


def _with_coarsen(case: Case, given: dict) -> Case:
    if not given:
        return case
    if case.coarsen is None:
        requirement = "be left out where the coarse variable is known"
        raise InputError(f"coarse.{min(given)}", requirement, given[min(given)], source=case.name)
    coarsen = replace(case.coarsen, **given)
    return replace(case, coarsen=coarsen, coarse=unlearned(coarsen.components))


def _coarsen(
    section: FunctionSection | LearnedSection, find: Find, observed: np.ndarray, source: str
) -> CoarsenSettings | None:
    if isinstance(section, FunctionSection):
        return None
    settings = CoarsenSettings(**section.model_dump(exclude={"features"}, exclude_none=True))
    if section.features is None:
        return settings
    return replace(settings, features=build_features(section.features, find, observed, source=source))


def _coarse(section: FunctionSection | LearnedSection, find: Find, observed: np.ndarray) -> CoarseVariable:
    if isinstance(section, LearnedSection):
        return unlearned(section.size)
    size = section.size
    function = find(section.function, "coarse.function")
    function.returns(observed.shape[1:], *([(1,), ()] if size == 1 else [(size,)]))
    function.finite(observed)
    return CoarseVariable(
        function=function.function,
        lower=np.array(section.lower),
        upper=np.array(section.upper),
        periodic=tuple(section.periodic or [False] * size),
    )


def _close(section: CloseSection, find: Find, observed: np.ndarray) -> CloseSettings:
    observables = {}
    for name, reference in section.observables.items():
        function = find(reference, f"close.observables.{name}")
        function.returns(observed.shape[1:], ())
        observables[name] = as_real(function.function)
    return CloseSettings(observables=observables, basins=_basins(section))


def _basins(section: CloseSection) -> dict[str, tuple]:
    return {name: (np.array(lower), np.array(upper)) for name, (lower, upper) in section.basins.items()}
