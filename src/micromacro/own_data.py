"""A run on data that exist: F, the generator and the states to lift from, of trajectories that others simulated."""

from collections.abc import Callable
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Float

from micromacro import stages
from micromacro.coordinates.coarse import CoarseVariable
from micromacro.coupling.estimate import Estimate, Segment, estimate
from micromacro.coupling.own_data import (
    WeightedStates,
    evened_segment,
    judging_segment,
    weighted_segment,
    window_segments,
)
from micromacro.coupling.pairs import padding_cells
from micromacro.errors import InputError
from micromacro.estimates.surface import coarse_grid
from micromacro.molecules.chirality import alike_in_chirality
from micromacro.molecules.imported import ImportedFrames
from micromacro.molecules.system import AnySystem, MolecularSystem
from micromacro.pipeline import Sampled, default_blur
from micromacro.systems.model import StochasticSystem

AT_ONCE = 2000
LARGEST_SHIFT = 0.01
LARGEST_BIAS_ERROR, LARGEST_BIAS_SHARE = 0.1, 0.02
LARGEST_SCALED = 1000


def sampled_from_data(run: stages.Run, imported: ImportedFrames, *, learn: bool = True) -> Sampled:
    """Estimate F from imported frames, and train a generator on them; nothing is simulated.

    Frames of windows are pooled by MBAR, others by their weights. The generator learns p(q | ξ) from frames drawn by
    their weights in every cell of ξ, and is judged in windows of such frames: `Sampled.trained` holds them.

    **Arguments:**

    - `learn`: whether to train a generator.

    **Raises:** `InputError` where the frames are not of the system, have other coarse values than their COLVAR files
    say, or another bias than their windows.
    """
    states = _states(run, imported)
    segments = _segments(run, imported, states)
    blur = default_blur(run)
    found = estimate(run.case.coarse, segments, padding_cells(run.case.coarse, blur))
    rng = np.random.default_rng([run.case.seed, 6])
    generator = None
    if learn:
        taught = [evened_segment(run.case.coarse, found, rng)] if segments[-1].weight is not None else segments
        generator = stages.learn_stage(run, 1, taught, blur, corrected=False)
    last = segments[-1]
    assert last.start is not None
    scale = _local_scale(run, found)
    sampled = Sampled(
        segments, found, last.start[0], blur, scale, generator, local=replace(last, weight=None, correlated=False)
    )
    judged = judging_segment(run.case.coarse, found, blur, rng) if learn else None
    return sampled if judged is None else replace(sampled, trained=replace(sampled, segments=[judged]))


def thermal_energy(system: AnySystem) -> float:
    """Thermal energy of a system in its own units; 1 where it knows none."""
    return 1.0 if isinstance(system, StochasticSystem) else system.kT


def _states(run: stages.Run, imported: ImportedFrames) -> WeightedStates:
    system, coarse = run.case.system, run.case.coarse
    _check_atoms(run, imported)
    count, position = len(imported.positions), np.asarray(imported.positions, float)
    if isinstance(system, MolecularSystem):
        position = alike_in_chirality(system, position, "data.trajectories")
    position = position.reshape(count, -1)

    def compute(advance: Callable) -> xr.Dataset:
        one = jax.jit(jax.vmap(lambda state: coarse(system.observe(state))))
        values = []
        for begin in range(0, count, AT_ONCE):
            values.append(np.asarray(one(jnp.asarray(position[begin : begin + AT_ONCE]))))
            advance(len(values[-1]))
        return xr.Dataset(
            {
                "coarse": (("frame", "component"), np.concatenate(values), {"units": "of the coarse variable"}),
                "log_weight": ("frame", imported.log_weight, {"long_name": "in the ensemble without bias"}),
                "trajectory": ("frame", imported.trajectory),
            },
            attrs={"sources": list(imported.sources)},
        )

    record = run.stage("data", count, "frames", compute)
    array = {name: record[name].to_numpy() for name in ("coarse", "log_weight", "trajectory")}
    own = {"log_weight": imported.log_weight, "trajectory": imported.trajectory}
    if not all(np.array_equal(array[name], values) for name, values in own.items()):
        raise InputError(
            "data", "be as in the run that is resumed", "other frames or weights", remedy="Use another OUT."
        )
    _check_coarse(coarse, imported, array["coarse"])
    if not isinstance(system, MolecularSystem):
        position = np.asarray(run.space.wrap(position))
    return WeightedStates(position, **array)


def _segments(run: stages.Run, imported: ImportedFrames, states: WeightedStates) -> list[Segment]:
    if not imported.windows:
        return [weighted_segment(run.case.coarse, states)]
    dimension, kT = run.case.coarse.dimension, thermal_energy(run.case.system)
    for umbrella in imported.windows:
        if len(umbrella.at) != dimension or len(umbrella.kappa) != dimension or min(umbrella.kappa) <= 0:
            requirement = f"have {dimension} numbers 'at' and {dimension} 'kappa' greater than 0"
            raise InputError("data.windows", requirement, umbrella)
    _check_bias(run.case.coarse, imported, states, kT)
    return window_segments(run.case.coarse, states, imported.windows, kT)


def _check_atoms(run: stages.Run, imported: ImportedFrames) -> None:
    system, atoms = run.case.system, imported.positions.shape[1]
    if 3 * atoms != system.dimension:
        requirement = f"have {system.dimension / 3:g} atoms, as the system"
        raise InputError("data.trajectories", requirement, atoms, remedy="Choose atoms by data.selection.")
    if isinstance(system, MolecularSystem):
        for own, other in zip(system.topology.atoms, imported.topology.atoms, strict=True):
            if own.element != other.element:
                requirement = "have the atoms of the system in its order"
                raise InputError("data.topology", requirement, f"{other} where the system has {own}")


def _check_coarse(coarse: CoarseVariable, imported: ImportedFrames, values: Float[np.ndarray, "n d"]) -> None:
    """That the coarse variables are those of the COLVAR files, but for what a format has rounded."""
    if imported.coarse is None:
        return
    if imported.coarse.shape[1] != coarse.dimension:
        requirement = f"name {coarse.dimension} columns, one for each coarse variable"
        raise InputError("data.coarse", requirement, imported.coarse.shape[1])
    shift = np.max(np.abs(np.asarray(coarse.difference(imported.coarse, values))) / coarse.range, axis=1)
    for number, source in enumerate(imported.sources):
        of_file = np.flatnonzero(imported.trajectory == number)
        if np.mean(shift[of_file] > LARGEST_SHIFT) > LARGEST_SHIFT:
            worst = of_file[np.argmax(shift[of_file])]
            given = f"{imported.coarse[worst].tolist()} where the frame has {values[worst].tolist()}"
            remedy = "Check data.coarse, data.times and which file belongs to which."
            raise InputError(
                "data.colvar", "have the coarse variables of its frames", given, source=source, remedy=remedy
            )


def _check_bias(coarse: CoarseVariable, imported: ImportedFrames, states: WeightedStates, kT: float) -> None:
    """That the windows are what biased each trajectory, up to a constant, where COLVAR files say."""
    if imported.bias is None:
        return
    for number, (umbrella, source) in enumerate(zip(imported.windows, imported.sources, strict=True)):
        of_file = states.trajectory == number
        delta = np.asarray(coarse.difference(states.coarse[of_file], np.array(umbrella.at)))
        own = 0.5 * np.sum(np.array(umbrella.kappa) * delta**2, axis=1)
        error = float(np.std(imported.bias[of_file] - own))
        if error > LARGEST_BIAS_ERROR * kT + LARGEST_BIAS_SHARE * np.std(own):
            requirement = "be the bias that its COLVAR file has, kappa in kJ/mol per squared unit"
            given = f"at = {list(umbrella.at)}, kappa = {list(umbrella.kappa)}, off by {error:.3g} kJ/mol"
            remedy = "Name the columns of the harmonic bias in data.bias, if there are others."
            raise InputError(f"data.windows[{number}]", requirement, given, source=source, remedy=remedy)


def _local_scale(run: stages.Run, found: Estimate) -> Float[np.ndarray, "S S"]:
    """The shape of local moves: how states scatter about the mean of their cell of ξ; none for molecules."""
    dimension = run.case.system.dimension
    if isinstance(run.case.system, MolecularSystem):
        return np.eye(1)
    if dimension > LARGEST_SCALED:
        return np.eye(dimension)
    cell = coarse_grid(run.case.coarse).cell(found.pool.coarse) + 1
    count = np.maximum(np.bincount(cell), 1)
    means = [np.bincount(cell, weights=column) / count for column in found.position.T]
    residual = found.position - np.stack([mean[cell] for mean in means], axis=1)
    covariance = np.atleast_2d(np.cov(residual[cell > 0].T))
    return np.linalg.cholesky(covariance + 1e-9 * np.trace(covariance) / dimension * np.eye(dimension))
