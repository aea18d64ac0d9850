"""Where results come from: what was computed, by which versions of what, on what device."""

import os
import platform
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import jax

import micromacro
from micromacro.cases.case import Case

LIBRARIES = (
    "diffrax",
    "equinox",
    "jax",
    "jaxlib",
    "numpy",
    "openmm",
    "optax",
    "pymbar",
    "scikit-learn",
    "scipy",
    "xarray",
    "zarr",
)
"""Whose versions may change the numbers of a run."""

KINDS = ("version", "python", "machine", "devices", "threads")


def environment() -> dict:
    """Versions of the code, of Python and of the libraries, the machine's kind, its devices and JAX's threads."""
    return {
        "version": micromacro.__version__,
        "python": platform.python_version(),
        "machine": f"{sys.platform} {platform.machine()} {_processor()}".strip(),
        "devices": sorted({str(device.device_kind) for device in jax.devices()}),
        "threads": os.environ.get("NPROC"),
        "libraries": {name: metadata.version(name) for name in LIBRARIES},
    }


def _processor() -> str:
    """The model, where the system tells: those of one architecture may round differently."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def provenance(case: Case, method: str, settings: dict, before: dict) -> dict:
    """The attributes of a store: what is computed, and every environment that had a part in it, in order."""
    now, environments = environment(), list(before.get("environments", []))
    if not environments or changes(environments[-1], now):
        environments.append({"since": datetime.now(UTC).isoformat(timespec="seconds")} | now)
    return {
        "case": case.name,
        "title": case.title,
        "method": method,
        "seed": case.seed,
        "settings": settings,
        "environments": environments,
    }


def changes(before: dict, now: dict) -> list[str]:
    """What differs between two environments, in words."""
    pairs = [(key, before.get(key), now[key]) for key in KINDS]
    old, new = before.get("libraries", {}), now["libraries"]
    pairs += [(name, old.get(name), new[name]) for name in new]
    return [f"{name} {was} to {is_}" for name, was, is_ in pairs if was != is_]


def mixed_environments(attributes: dict) -> str | None:
    """Why a resumed run may differ from an uninterrupted one in the last bits, where it may."""
    environments = attributes.get("environments", [])
    if len(environments) < 2:
        return None
    changed = changes(environments[-2], environments[-1])
    return f"resumed elsewhere ({', '.join(changed)}): equal to an uninterrupted run but for rounding"
