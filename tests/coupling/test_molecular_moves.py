"""Generator moves of a molecule keep its canonical law, volume and constraints included; moves without them do not."""

import equinox as eqx
import jax
import jax.numpy as jnp
import mdtraj
import numpy as np
import openmm
import pytest

from micromacro.coordinates.coarse import CoarseVariable
from micromacro.coordinates.geometry import Distance
from micromacro.coupling.moves import GeneratorMoves
from micromacro.molecules.internal_coordinates import build_internal_coordinates
from micromacro.molecules.system import MolecularSystem
from micromacro.sampling.openmm_engine import OpenMMEngine
from micromacro.sampling.proposal import Draw
from micromacro.sampling.seeding import no_windows

BOND, ANGLE, MASS = 0.15, 1.9, 12.0
BOND_STIFFNESS, ANGLE_STIFFNESS = 2000.0, 15.0
WALKERS, MOVES, BURN_IN = 256, 90, 30
STANDARD_ERRORS, CAUGHT = 4.5, 10.0


class Wide(eqx.Module):
    """Bonds from a log-normal law where they are free, then the angle evenly over all angles."""

    bonds: int = eqx.field(static=True)
    width: float = 0.4

    def sample(self, z, key):
        bond_key, angle_key = jax.random.split(key)
        bonds = BOND * jnp.exp(self.width * jax.random.normal(bond_key, (self.bonds,)))
        return jnp.concatenate([bonds, jax.random.uniform(angle_key, (1,), minval=0.0, maxval=jnp.pi)])

    def log_prob(self, u, z):
        noise = jnp.log(u[: self.bonds] / BOND) / self.width
        return -0.5 * noise @ noise - jnp.sum(jnp.log(u[: self.bonds])), jnp.asarray(True)

    def sample_and_log_prob(self, z, key):
        state = self.sample(z, key)
        return Draw(state, *self.log_prob(state, z))

    def weighted_sample(self, z, key):
        return self.sample_and_log_prob(z, key)


def triatomic(constrained: bool) -> MolecularSystem:
    """Three equal atoms with two bonds, soft or of fixed length, and a soft angle."""
    system, bonds, angles = openmm.System(), openmm.HarmonicBondForce(), openmm.HarmonicAngleForce()
    for _ in range(3):
        system.addParticle(MASS)
    pairs = [(0, 1), (1, 2)]
    for pair in pairs:
        if constrained:
            system.addConstraint(*pair, BOND)
        else:
            bonds.addBond(*pair, BOND, BOND_STIFFNESS)
    angles.addAngle(0, 1, 2, ANGLE, ANGLE_STIFFNESS)
    system.addForce(bonds)
    system.addForce(angles)
    positions = BOND * np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 0.0], [np.cos(ANGLE), np.sin(ANGLE), 0.0]])
    topology = mdtraj.Topology()
    residue = topology.add_residue("TRI", topology.add_chain())
    for number in range(3):
        topology.add_atom(f"C{number}", mdtraj.element.carbon, residue)
    held = np.array(pairs if constrained else np.zeros((0, 2)), int)
    internal = build_internal_coordinates(np.array(pairs), np.full(3, MASS), positions, held, np.full(len(held), BOND))
    return MolecularSystem(
        topology,
        openmm.XmlSerializer.serialize(system),
        positions.reshape(1, -1),
        internal,
        np.full(3, MASS),
        np.arange(3),
    )


def mean(grid, log_density):
    """The average of a coordinate by quadrature."""
    weight = np.exp(log_density - log_density.max())
    return np.sum(grid * weight) / weight.sum()


def exact(system: MolecularSystem, constrained: bool) -> np.ndarray:
    """Averages of the internal coordinates: volume r² sin θ, and √(4 - cos² θ) by the mass metric of fixed bonds."""
    angle, bond = np.linspace(1e-4, np.pi - 1e-4, 20_001), np.linspace(1e-4, 0.6, 20_001)
    of_angle = np.log(np.sin(angle)) - ANGLE_STIFFNESS * (angle - ANGLE) ** 2 / (2 * system.kT)
    if constrained:
        return np.array([mean(angle, of_angle + 0.5 * np.log(4 - np.cos(angle) ** 2))])
    of_bond = 2 * np.log(bond) - BOND_STIFFNESS * (bond - BOND) ** 2 / (2 * system.kT)
    return np.array([mean(bond, of_bond), mean(bond, of_bond), mean(angle, of_angle)])


def deviations(constrained: bool) -> np.ndarray:
    """How many standard errors the averages over moves are from quadrature."""
    system = triatomic(constrained)
    ends = Distance((0, 2))
    coarse = CoarseVariable(
        lambda u: ends(system.internal.decode(u))[None], np.zeros(1), np.full(1, 0.5), (False,), (ends,)
    )
    engine = OpenMMEngine(system, coarse, workers=1, platform="Reference")
    windows, moves = no_windows(coarse, 1), GeneratorMoves(engine)
    walkers = engine.start(windows, jnp.broadcast_to(jnp.asarray(system.initial), (1, WALKERS, 9)))
    observe, frames = jax.jit(jax.vmap(system.observe)), []
    for number in range(MOVES):
        walkers, _ = moves(Wide(0 if constrained else 2), windows, walkers, jax.random.key(number))
        frames.append(np.asarray(observe(walkers.position[0])))
    means = np.mean(frames[BURN_IN:], axis=0)
    error = means.std(axis=0, ddof=1) / np.sqrt(WALKERS)
    return np.abs(means.mean(axis=0) - exact(system, constrained)) / error


@pytest.mark.parametrize("constrained", [False, True])
def test_moves_of_a_molecule_keep_its_law(constrained):
    assert deviations(constrained).max() < STANDARD_ERRORS


@pytest.mark.parametrize("wrong", [0.0, -1.0])
def test_moves_with_another_volume_are_caught(monkeypatch, wrong):
    right = MolecularSystem.log_volume
    monkeypatch.setattr(MolecularSystem, "log_volume", lambda self, state: wrong * right(self, state))
    assert deviations(False).max() > CAUGHT
