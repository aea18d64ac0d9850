"""The density of constrained dynamics, against a simulation by OpenMM."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import openmm
import pytest

from micromacro.molecules.internal_coordinates import InternalCoordinates, build_internal_coordinates

TEMPERATURE, KT = 300.0, 300.0 * 8.31446261815324e-3
COPIES, STEPS, EVERY, DISCARDED = 80, 2400, 20, 400
SPRING, LENGTH = KT / 0.02**2, 0.1


class Molecule(NamedTuple):
    """Atoms under constraints, whether one bond is a spring, and averages that tell its density."""

    internal: InternalCoordinates
    masses: np.ndarray
    reference: np.ndarray
    constraints: np.ndarray
    lengths: np.ndarray
    spring: tuple | None
    averages: object
    grid: tuple


def molecule(masses, reference, constraints, spring, averages, grid):
    masses, reference, constraints = np.array(masses), np.array(reference), np.array(constraints)
    lengths = np.linalg.norm(reference[constraints[:, 0]] - reference[constraints[:, 1]], axis=1)
    bonds = np.array([[atom, atom + 1] for atom in range(len(masses) - 1)])
    internal = build_internal_coordinates(bonds, masses, reference, constraints, lengths)
    return Molecule(internal, masses, reference, constraints, lengths, spring, averages, grid)


def midpoints(low, high, count):
    return low + (high - low) * (np.arange(count) + 0.5) / count


ZIGZAG = LENGTH * np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [1, 1, 1.0]])
MOLECULES = {
    # three rods: angles and their coupling feel the light atoms in the middle
    "rods": molecule(
        [20.0, 2.0, 2.0, 12.0],
        ZIGZAG,
        [[0, 1], [1, 2], [2, 3]],
        None,
        lambda u: jnp.cos(u[:2]) ** 2,
        (midpoints(0, np.pi, 60), midpoints(0, np.pi, 60), np.zeros(1)),
    ),
    # angles fixed as well: only √det Z makes the torsion prefer some values
    "stiff": molecule(
        [20.0, 2.0, 2.0, 12.0],
        ZIGZAG,
        [[0, 1], [1, 2], [2, 3], [0, 2], [1, 3]],
        None,
        lambda u: jnp.stack([jnp.cos(u[0]), jnp.cos(2 * u[0])]),
        (midpoints(-np.pi, np.pi, 200),),
    ),
    # a fixed distance closes a triangle over a bond that is a spring
    "triangle": molecule(
        [2.0, 12.0, 12.0],
        [[0, 0, 0], [0.1, 0, 0], [0.1, 0.1, 0]],
        [[0, 1], [0, 2]],
        (1, 2),
        lambda u: jnp.stack([u[0], (u[0] - LENGTH) ** 2]),
        (midpoints(0.042, 0.2, 400),),
    ),
}


@pytest.fixture(scope="module")
def trajectories():
    """Positions `(frames, copies, atoms, 3)` of each kind of molecule, all simulated side by side."""
    system, positions, kinds = openmm.System(), [], []
    springs = openmm.HarmonicBondForce()
    for name, one in MOLECULES.items():
        for _ in range(COPIES):
            first = system.getNumParticles()
            kinds += [name] * len(one.masses)
            for mass in one.masses:
                system.addParticle(mass)
            for (a, b), length in zip(one.constraints.tolist(), one.lengths, strict=True):
                system.addConstraint(first + a, first + b, length)
            if one.spring:
                springs.addBond(first + one.spring[0], first + one.spring[1], LENGTH, SPRING)
            positions.append(one.reference)
    system.addForce(springs)
    integrator = openmm.LangevinMiddleIntegrator(TEMPERATURE, 2.0, 0.004)
    integrator.setRandomNumberSeed(7)
    integrator.setConstraintTolerance(1e-6)
    context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(np.concatenate(positions))
    context.setVelocitiesToTemperature(TEMPERATURE, 8)
    integrator.step(DISCARDED)
    frames = []
    for _ in range((STEPS - DISCARDED) // EVERY):
        integrator.step(EVERY)
        frames.append(context.getState(getPositions=True).getPositions(asNumpy=True)._value)
    frames, kinds = np.array(frames), np.array(kinds)
    return {
        name: frames[:, kinds == name].reshape(len(frames), COPIES, len(one.masses), 3)
        for name, one in MOLECULES.items()
    }


def by_quadrature(one, log_density):
    """Averages over the density of the coordinates."""

    def weigh(u):
        energy = 0.5 * SPRING * (u[0] - LENGTH) ** 2 if one.spring else 0.0
        return log_density(u) - energy / KT, one.averages(u)

    u = jnp.stack([axis.ravel() for axis in np.meshgrid(*one.grid, indexing="ij")], axis=1)
    log_weight, values = jax.jit(jax.vmap(weigh))(u)
    weight = np.exp(np.asarray(log_weight - log_weight.max()))
    return weight @ np.asarray(values) / weight.sum()


@pytest.mark.parametrize("name", list(MOLECULES))
def test_averages_of_a_simulation_are_those_of_the_density(name, trajectories):
    one = MOLECULES[name]
    values = np.asarray(jax.jit(jax.vmap(jax.vmap(lambda x: one.averages(one.internal.encode(x)))))(trajectories[name]))
    of_copies = values.mean(axis=0)
    mean, error = of_copies.mean(axis=0), of_copies.std(axis=0, ddof=1) / np.sqrt(COPIES)

    def without_metric(u):
        metric = one.internal.metric.log_root_determinant(one.internal.decode(u))
        return one.internal.log_jacobian(u) - metric

    right = np.abs(mean - by_quadrature(one, one.internal.log_jacobian)) / error
    wrong = np.abs(mean - by_quadrature(one, without_metric)) / error
    assert right.max() < 4
    assert wrong.max() > 6, "the data cannot tell whether √det Z is there"
