"""Biases as OpenMM forces: energies and forces against the window of JAX composed with the geometry."""

import pickle

import jax
import jax.numpy as jnp
import numpy as np
import openmm
import pytest
from openmm import unit

from micromacro.coordinates.coarse import CoarseVariable
from micromacro.coordinates.geometry import (
    Angle,
    Distance,
    PositionFunction,
    RadiusOfGyration,
    RootMeanSquareDeviation,
    Torsion,
    stacked,
)
from micromacro.sampling.openmm_bias import is_native, native_bias, parameter_names, parameter_values
from micromacro.sampling.openmm_function_bias import FunctionBias
from micromacro.sampling.openmm_tables import tabulated
from micromacro.sampling.pickling import by_value
from micromacro.sampling.table import zero_table
from micromacro.sampling.windows import Windows, window_energy

RNG = np.random.default_rng(3)
ATOMS, KT = 6, 2.5
FRAMES = 0.25 * RNG.normal(size=(8, ATOMS, 3))
TORSION, OTHER = Torsion((4, 1, 0, 5)), Torsion((1, 0, 5, 3))
LENGTH, ANGLE = Distance((2, 5)), Angle((3, 0, 5))
RADIUS = RadiusOfGyration((5, 0, 3, 2), (12.0, 1.0, 16.0, 14.0))
DEVIATION = RootMeanSquareDeviation((0, 2, 3, 5, 4), 0.25 * RNG.normal(size=(5, 3)))
FUNCTION = PositionFunction(lambda x: jnp.linalg.norm(x[0] - x[3]) + x[2, 0] * x[1, 1])
FULL = (-np.pi, np.pi, True)
SHIFTED = (0.5, 0.5 + 2 * np.pi, True)
# the ranges of bounded variables are narrow: most frames lie beyond them
CASES = {
    "torsion": [(TORSION, *FULL)],
    "torsion, other seam": [(TORSION, *SHIFTED)],
    "torsion, bounded": [(TORSION, -1.0, 1.0, False)],
    "distance": [(LENGTH, 0.3, 0.5, False)],
    "angle": [(ANGLE, 1.0, 1.8, False)],
    "radius": [(RADIUS, 0.3, 0.4, False)],
    "deviation": [(DEVIATION, 0.2, 0.3, False)],
    "function": [(FUNCTION, 0.3, 0.6, False)],
    "two torsions": [(TORSION, *FULL), (OTHER, *SHIFTED)],
    "torsion and distance": [(TORSION, *FULL), (LENGTH, 0.3, 0.5, False)],
    "angle and distance": [(ANGLE, 1.0, 1.8, False), (LENGTH, 0.3, 0.5, False)],
    "torsion and radius": [(TORSION, *SHIFTED), (RADIUS, 0.3, 0.4, False)],
    "deviation and angle": [(DEVIATION, 0.2, 0.3, False), (ANGLE, 1.0, 1.8, False)],
    "distance and torsion by function": [(FUNCTION, 0.3, 0.6, False), (TORSION, *FULL)],
    "three": [(TORSION, *FULL), (OTHER, *FULL), (LENGTH, 0.3, 0.5, False)],
}


def coarse_variable(parts):
    components, lower, upper, periodic = zip(*parts, strict=True)
    return CoarseVariable(lambda u: u, np.array(lower), np.array(upper), periodic, components)


def rough(known, coarse, points=24):
    """A flattening with slopes at the ends of its bounded axes and a few kT high."""
    phase = (2 * np.pi / coarse.range) * 0.9 ** (~np.array(coarse.periodic))

    def function(z):
        turns = (z - coarse.lower) * phase
        return 3 * np.prod(np.cos(turns - 0.4), axis=1) + np.sum(np.sin(turns + np.arange(len(phase))), axis=1)

    return known.table_of(coarse, points, function)


def by_openmm(force, values, names):
    """Energies `(n,)` and forces `(n, atoms, 3)` at `FRAMES`."""
    system = openmm.System()
    for _ in range(ATOMS):
        system.addParticle(1.0)
    system.addForce(force)
    platform = openmm.Platform.getPlatformByName("Reference")
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), platform)
    for name, value in zip(names, values, strict=True):
        context.setParameter(name, value)
    return at_frames(context)


def at_frames(context):
    energies, forces = [], []
    for frame in FRAMES:
        context.setPositions(frame)
        state = context.getState(energy=True, forces=True)
        energies.append(state.getPotentialEnergy() / unit.kilojoule_per_mole)
        forces.append(state.getForces(asNumpy=True) / (unit.kilojoule_per_mole / unit.nanometer))
    return np.array(energies), np.array(forces)


def by_jax(coarse, windows):
    def energy(positions):
        z = coarse.wrap(stacked(coarse.components, positions))
        return KT * window_energy(coarse, windows.centers[0], windows.stiffness, windows.flattening, z)

    values, gradients = jax.jit(jax.vmap(jax.value_and_grad(energy)))(FRAMES)
    return np.asarray(values), -np.asarray(gradients)


@pytest.mark.parametrize("name", CASES)
def test_energies_and_forces_are_those_of_the_window(known, name):
    coarse = coarse_variable(CASES[name])
    center = coarse.lower + 0.1 * coarse.range
    windows = Windows(jnp.asarray(center[None]), jnp.array([20.0, 7.0, 30.0][: coarse.dimension]), rough(known, coarse))
    table = windows.flattening
    values = lambda positions: coarse.wrap(stacked(coarse.components, positions))  # noqa: E731
    assert is_native(coarse) == (FUNCTION not in coarse.components)
    if is_native(coarse):
        names = parameter_names(coarse.dimension, table)
        force, parameters = native_bias(coarse, KT, ATOMS, table), parameter_values(windows, table)
    else:
        names = parameter_names(coarse.dimension, None)
        force, parameters = FunctionBias(values, coarse, KT, table).force(), parameter_values(windows, None)
    energies, forces = by_openmm(force, parameters[0], names)
    expected, expected_forces = by_jax(coarse, windows)
    assert np.ptp(expected) > 10 * KT
    # the ends of a natural spline differ a little: see openmm_tables
    bounded = any(not wraps for wraps in coarse.periodic) and is_native(coarse)
    np.testing.assert_allclose(energies, expected, rtol=1e-7, atol=3e-4 * KT if bounded else 1e-6)
    size = np.abs(expected_forces).max()
    np.testing.assert_allclose(forces, expected_forces, atol=(3e-4 if bounded else 1e-8) * size)


def test_frames_lie_within_and_beyond_the_ranges():
    for parts in CASES.values():
        coarse = coarse_variable(parts)
        z = jax.jit(jax.vmap(lambda x, c=coarse: stacked(c.components, x)))(FRAMES)
        for axis in np.flatnonzero(~np.array(coarse.periodic)):
            inside = (z[:, axis] > coarse.lower[axis]) & (z[:, axis] < coarse.upper[axis])
            assert 0 < np.sum(inside) < len(FRAMES)


def test_a_table_is_replaced_in_a_context(known):
    coarse = coarse_variable(CASES["torsion"])
    first, second = rough(known, coarse), known.table_of(coarse, 24, lambda z: np.sin(3 * z[:, 0]))
    force = native_bias(coarse, KT, ATOMS, first)
    system = openmm.System()
    for _ in range(ATOMS):
        system.addParticle(1.0)
    system.addForce(force)
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
    before, _ = at_frames(context)
    held = system.getForce(0)
    held.getTabulatedFunction(0).setFunctionParameters(*tabulated(second)[0].parameters)
    held.updateParametersInContext(context)
    after, _ = at_frames(context)
    flat = [Windows(jnp.zeros((1, 1)), jnp.zeros(1), table) for table in (first, second)]
    np.testing.assert_allclose(before, by_jax(coarse, flat[0])[0], atol=1e-5)
    np.testing.assert_allclose(after, by_jax(coarse, flat[1])[0], atol=1e-5)


def test_no_table_leaves_no_trace():
    coarse = coarse_variable(CASES["torsion and distance"])
    force = native_bias(coarse, KT, ATOMS, None)
    assert force.getNumTabulatedFunctions() == 0
    assert "flattening" not in force.getEnergyFunction()
    windows = Windows(jnp.array([[1.0, 0.4]]), jnp.array([20.0, 7.0]), zero_table(coarse, 8))
    energies, _ = by_openmm(force, parameter_values(windows, None)[0], parameter_names(2, None))
    np.testing.assert_allclose(energies, by_jax(coarse, windows)[0], rtol=1e-7)


def test_a_wrong_sign_or_seam_would_be_seen(known):
    """The control of the comparison: the window of a mirrored torsion or an unwrapped difference is another one."""
    coarse = coarse_variable(CASES["torsion"])
    windows = Windows(jnp.array([[2.8]]), jnp.array([20.0]), zero_table(coarse, 8))
    expected = by_jax(coarse, windows)[0]
    z = np.asarray(jax.vmap(TORSION)(FRAMES))
    for wrong in (-z - 2.8 - 2 * np.pi * np.round((-z - 2.8) / (2 * np.pi)), z - 2.8):
        assert np.max(np.abs(0.5 * KT * 20 * wrong**2 - expected)) > KT


def test_a_function_bias_travels_as_bytes(known):
    coarse = coarse_variable(CASES["function"])
    bias = FunctionBias(FUNCTION, coarse, KT, rough(known, coarse))
    copy = pickle.loads(by_value(bias, "the coarse variable"))
    assert copy.kT == KT
    np.testing.assert_allclose(copy.values(jnp.asarray(FRAMES[0])), FUNCTION(jnp.asarray(FRAMES[0])))
