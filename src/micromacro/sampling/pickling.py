"""Functions of the user as bytes for another process."""

import importlib.machinery
import sys
from typing import Any

from cloudpickle import dumps, register_pickle_by_value, unregister_pickle_by_value

from micromacro.errors import InputError


def by_value(thing: Any, name: str) -> bytes:
    """A thing as bytes; functions of modules that another process could not import travel whole.

    **Raises:** `InputError` where it cannot be pickled; `name` says what it is.
    """
    apart = [module for name, module in list(sys.modules.items()) if _is_loaded_apart(name, module)]
    for module in apart:
        register_pickle_by_value(module)
    try:
        return dumps(thing)
    except Exception as error:
        requirement = "be made of functions that can be sent to other processes"
        remedy = "Use one process, or write them without open files, locks and generators."
        raise InputError(name, requirement, error, remedy=remedy) from error
    finally:
        for module in apart:
            unregister_pickle_by_value(module)


def _is_loaded_apart(name: str, module: object) -> bool:
    """Whether a module was loaded from a file that its name does not lead to."""
    top = name.partition(".")[0]
    if not getattr(module, "__file__", None) or top in ("__main__", "micromacro") or top in sys.stdlib_module_names:
        return False
    return importlib.machinery.PathFinder.find_spec(top) is None
