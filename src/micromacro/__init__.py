"""Micro-macro simulation: free energies, lifting and closed reduced dynamics from one coupled loop.

The names below are loaded on first use, so `import micromacro` costs nothing. Loading a numerical part switches JAX
to 64-bit numbers: see `micromacro.configuration`.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from micromacro.cases.case import BiasSettings as BiasSettings
    from micromacro.cases.case import Case as Case
    from micromacro.cases.case import CloseSettings as CloseSettings
    from micromacro.cases.case import CoarsenSettings as CoarsenSettings
    from micromacro.cases.case import CoupleSettings as CoupleSettings
    from micromacro.cases.case import ExploreSettings as ExploreSettings
    from micromacro.cases.case import GeneratorSettings as GeneratorSettings
    from micromacro.cases.file import load_case as load_case
    from micromacro.coordinates.coarse import CoarseVariable as CoarseVariable
    from micromacro.coordinates.coarse import unlearned as unlearned
    from micromacro.diffusion_maps.conditional_lifting import lift_conditional as lift_conditional
    from micromacro.diffusion_maps.diffusion_map import fit_diffusion_map as fit_diffusion_map
    from micromacro.diffusion_maps.lifting import DoubleSettings as DoubleSettings
    from micromacro.diffusion_maps.lifting import fit_double_maps as fit_double_maps
    from micromacro.diffusion_maps.nystrom import nystrom_extension as nystrom_extension
    from micromacro.diffusion_maps.settings import DiffusionMapSettings as DiffusionMapSettings
    from micromacro.learners.diffusion_map import DiffusionMapLearner as DiffusionMapLearner
    from micromacro.learners.learner import TimeSeries as TimeSeries
    from micromacro.learners.learner import TrainingData as TrainingData
    from micromacro.learners.linear import TicaLearner as TicaLearner
    from micromacro.learners.linear import VampLearner as VampLearner
    from micromacro.learners.vampnet import VampNetLearner as VampNetLearner
    from micromacro.run import Result as Result
    from micromacro.run import run as run
    from micromacro.systems.model import OverdampedSystem as OverdampedSystem
    from micromacro.systems.model import StochasticSystem as StochasticSystem

__version__ = "0.1.0"

_HOMES = {
    "run": "run",
    "Result": "run",
    "Case": "cases.case",
    "BiasSettings": "cases.case",
    "GeneratorSettings": "cases.case",
    "CoupleSettings": "cases.case",
    "CloseSettings": "cases.case",
    "ExploreSettings": "cases.case",
    "CoarsenSettings": "cases.case",
    "load_case": "cases.file",
    "CoarseVariable": "coordinates.coarse",
    "unlearned": "coordinates.coarse",
    "OverdampedSystem": "systems.model",
    "StochasticSystem": "systems.model",
    "DiffusionMapSettings": "diffusion_maps.settings",
    "fit_diffusion_map": "diffusion_maps.diffusion_map",
    "nystrom_extension": "diffusion_maps.nystrom",
    "DoubleSettings": "diffusion_maps.lifting",
    "fit_double_maps": "diffusion_maps.lifting",
    "lift_conditional": "diffusion_maps.conditional_lifting",
    "TrainingData": "learners.learner",
    "TimeSeries": "learners.learner",
    "DiffusionMapLearner": "learners.diffusion_map",
    "TicaLearner": "learners.linear",
    "VampLearner": "learners.linear",
    "VampNetLearner": "learners.vampnet",
}

__all__ = ["__version__", *_HOMES]  # pyright: ignore[reportUnsupportedDunderAll]


class _Package(ModuleType):
    """Keeps `micromacro.run` the function, whichever import loads the module of the same name first."""

    def __setattr__(self, name: str, value: object) -> None:
        if not (name in _HOMES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
