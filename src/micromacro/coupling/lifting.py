"""Lifting: micro states conditioned on a coarse value, corrected by the physics, for δ(ξ - z) and not for a window."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from micromacro.coordinates.coarse import CoarseVariable
from micromacro.errors import InputError
from micromacro.estimates.correlation import kish_sample_size
from micromacro.sampling.engine import Engine, Tuning
from micromacro.sampling.euler_maruyama import simulate
from micromacro.sampling.table import Table
from micromacro.sampling.tuning import CHUNK_STEPS, adapt
from micromacro.sampling.windows import Windows
from micromacro.systems.model import StochasticSystem

NARROWER = 4.0
RELAXATION_CHUNKS = 8
SEEDS = 50


@dataclass(frozen=True)
class Reservoir:
    """Equilibrated states to lift from.

    `position` `(n, D)`, `coarse` `(n, d)`; `flat_weight` `(n,)`, the inverse of their density in ξ; `inefficiency`: how
    many of them count as one independent; `free_energy`: a table of F in kT; `blur` `(d,)`; `scale` `(S, S)` of the
    local sampler.
    """

    position: Float[np.ndarray, "n D"]
    coarse: Float[np.ndarray, "n d"]
    flat_weight: Float[np.ndarray, "n"]
    inefficiency: float
    free_energy: Table
    blur: Float[np.ndarray, "d"]
    scale: Float[np.ndarray, "S S"]


@dataclass(frozen=True)
class LiftedStates:
    """States `(n, D)` at one coarse value, their ξ `(n, d)`, and how many independent ones they are worth."""

    position: Float[np.ndarray, "n D"]
    coarse: Float[np.ndarray, "n d"]
    effective_sample_size: float


def lift_local(
    coarse: CoarseVariable, reservoir: Reservoir, z: Float[np.ndarray, "d"], n: int, width: np.ndarray, rng
) -> LiftedStates:
    """Draw from the reservoir by a compact kernel about z: within `width`, no nearer neighbour preferred in density.

    **Raises:** `InputError` where nothing was sampled within `width` of z.
    """
    delta = np.asarray(coarse.difference(reservoir.coarse, z)) / width
    kernel = np.prod(np.maximum(1 - delta**2, 0.0), axis=1)
    return _resample(coarse, reservoir, kernel * reservoir.flat_weight, z, n, rng)


@dataclass(frozen=True)
class LocalDynamics:
    """How ξ moves near a coarse value, and how fast the rest relaxes given ξ.

    `drift` `(d,)`, `diffusion` `(d, d)`, `relaxation_time`, in units of time.
    """

    drift: Float[np.ndarray, "d"]
    diffusion: Float[np.ndarray, "d d"]
    relaxation_time: float

    def reach(self, time: float) -> Float[np.ndarray, "d"]:
        """Three standard deviations of ξ after `time`, `(d,)`."""
        return 3 * np.sqrt(2 * np.maximum(np.diagonal(self.diffusion), 0.0) * time)

    def healing_time(self, extent: Float[np.ndarray, "d"]) -> float:
        """Three relaxation times, or less where ξ would move by more than `extent` `(d,)` meanwhile."""
        time = 3 * self.relaxation_time
        while time > 0 and np.any(np.abs(self.drift) * time + self.reach(time) > extent):
            time = time / 2 if time > 1e-3 * self.relaxation_time else 0.0
        return time


def lift_healed(
    engine: Engine,
    system: StochasticSystem,
    coarse: CoarseVariable,
    reservoir: Reservoir,
    z: Float[np.ndarray, "d"],
    n: int,
    width: np.ndarray,
    local: LocalDynamics,
    key: Key[Array, ""],
    rng: np.random.Generator,
) -> LiftedStates:
    """Draws for a system without a density: states of the long run, healed by bursts of its own dynamics.

    Bursts begin upstream, spread evenly in ξ over all from where they can reach z, and those that end within `width` of
    z count: whatever relaxes while ξ moves there has forgotten its beginning. Where the long run did not visit the
    places upstream, its own states near z are the answer.
    """
    begun = lift_local(coarse, reservoir, z, n, width, rng)
    time = local.healing_time(0.1 * coarse.range)
    steps = int(time / system.time_step)
    upstream = np.asarray(coarse.wrap(z - local.drift * time))
    distance = np.abs(np.asarray(coarse.difference(reservoir.coarse, upstream))) / (width + local.reach(time))
    near = np.all(distance <= 1, axis=1)
    if steps < 1 or near.sum() < SEEDS:
        return begun
    seeds = _resample(coarse, reservoir, near * reservoir.flat_weight, upstream, 4 * n, rng)
    ended = simulate(system.drift, system.diffusion, seeds.position, system.time_step, steps, key).final
    engine.evaluations += 4 * n * steps
    values = np.asarray(jax.vmap(engine.coarse_of)(jnp.asarray(ended)))
    inside = np.all(np.abs(np.asarray(coarse.difference(values, z))) <= width, axis=1)
    found = np.flatnonzero(inside & np.all(np.isfinite(ended), axis=1))
    if len(found) < SEEDS:
        return begun
    pick = rng.permutation(np.resize(rng.permutation(found), n))
    memory = np.exp(-2 * time / local.relaxation_time)
    size = 1 / (memory / begun.effective_sample_size + 1 / min(n, len(found)))
    return LiftedStates(ended[pick], values[pick], size)


def lift_exact(
    engine: Engine,
    coarse: CoarseVariable,
    reservoir: Reservoir,
    z: Float[np.ndarray, "d"],
    n: int,
    width: Float[np.ndarray, "d"],
    key: Key[Array, ""],
    rng: np.random.Generator,
) -> LiftedStates:
    r"""Draws from $\delta(\xi(q) - z) e^{-V/kT}$ to within `width`.

    Seeds come from the reservoir, whose hidden wells have their right weights; local dynamics in a window of standard
    deviation `width / 4`, flattened so that it is centred on z, then makes each draw a state of its own. The narrow
    window differs from δ by the square of its width only.

    **Returns:** states with their effective number, $1/(1/n + g/e)$: e independent seeds can be worth no more than e.
    """
    blur = np.minimum(reservoir.blur, 4 * width)
    delta = np.asarray(coarse.difference(reservoir.coarse, z)) / blur
    kernel = np.prod(np.maximum(1 - delta**2, 0.0), axis=1)
    seeds = _resample(coarse, reservoir, kernel * reservoir.flat_weight, z, n, rng)
    stiffness = (NARROWER / width) ** 2
    windows = Windows(jnp.asarray(z)[None], jnp.asarray(stiffness), reservoir.free_energy)
    walkers = engine.start(windows, jnp.asarray(seeds.position)[None])
    scale = _narrow_scale(engine, seeds.position, reservoir, stiffness) if engine.adjusted else reservoir.scale
    tuning = Tuning(jnp.full(1, 0.3), jnp.asarray(scale)[None])
    relaxed = adapt(engine, windows, walkers, tuning, key, RELAXATION_CHUNKS, rescale=False).walkers
    position, values = np.asarray(relaxed.position[0]), np.asarray(relaxed.coarse[0])
    inside = np.all(np.abs(np.asarray(coarse.difference(values, z))) <= width, axis=1)
    if not inside.any():
        raise InputError(
            "--at", "be a coarse value that the system can take", np.round(z, 4).tolist(), remedy="Widen --width."
        )
    pick = np.where(inside, np.arange(n), rng.choice(np.flatnonzero(inside), n))
    size = min(seeds.effective_sample_size, float(inside.sum()))
    return LiftedStates(position[pick], values[pick], size)


def lifting_cost(n: int) -> int:
    """Force evaluations of `lift_exact`."""
    return n * (1 + RELAXATION_CHUNKS * CHUNK_STEPS)


def _resample(coarse, reservoir: Reservoir, weight: np.ndarray, z: np.ndarray, n: int, rng) -> LiftedStates:
    total = weight.sum()
    if not total > 0:
        distance = np.abs(np.asarray(coarse.difference(reservoir.coarse, z)))
        nearest = reservoir.coarse[int(np.argmin(np.sum(distance / coarse.range, axis=1)))]
        raise InputError(
            "--at",
            "be near coarse values that were sampled",
            np.round(z, 4).tolist(),
            remedy=f"The nearest sampled value is {np.round(nearest, 4).tolist()}; widen --width or the coarse range.",
        )
    independent = kish_sample_size(weight) / reservoir.inefficiency
    place = (np.arange(n) + rng.random()) / n
    pick: Int[np.ndarray, "n"] = np.searchsorted(np.cumsum(weight) / total, place).clip(0, len(weight) - 1)
    pick = rng.permutation(pick)
    return LiftedStates(reservoir.position[pick], reservoir.coarse[pick], 1 / (1 / n + 1 / independent))


def _narrow_scale(engine: Engine, states: np.ndarray, reservoir: Reservoir, stiffness: np.ndarray) -> Array:
    # the narrow window adds its stiffness along ∇ξ to the precision that the wide one had
    jacobian = np.asarray(jax.vmap(jax.jacfwd(engine.coarse_of))(jnp.asarray(states[:64])))
    added = np.mean(np.einsum("nai,a,naj->nij", jacobian, stiffness, jacobian), axis=0)
    precision = np.linalg.inv(reservoir.scale @ reservoir.scale.T) + added
    return jnp.asarray(np.linalg.cholesky(np.linalg.inv(precision)))
