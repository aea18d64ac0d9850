"""Walker-steps per second of the library and of its peers, measured side by side: `python -m benchmarks.throughput`.

Everyone integrates the same overdamped dynamics in the hidden-barrier potential in single precision with Euler and
Maruyama's scheme, from walkers in equilibrium, and must leave them there. In each repeat all run in turn, so that
whatever else the machine does falls on all of them; the figures are the median and the best of the repeats.
"""

# the peers come with the extra `bench`, which the checks of types do without
# pyright: reportMissingImports=false

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial

import diffrax
import jax
import jax.numpy as jnp
import lineax
import numba
import numpy as np

from micromacro.sampling.euler_maruyama import simulate
from micromacro.systems.model import OverdampedSystem

TIME_STEP = 1e-4
WALKERS = (768, 16384)
WALKER_STEPS = 16_000_000
REQUIRED_RATIO = 1.5
OURS = "micromacro"

jax.config.update("jax_enable_x64", True)


def potential(state):
    """The hidden-barrier potential, in kT."""
    x, y = state
    return 4 * (x**2 - 1) ** 2 + 12 * (y**2 - 1) ** 2 + 1.5 * x * y


forces = jax.vmap(jax.grad(lambda state: -potential(state)), in_axes=-1, out_axes=-1)
system = OverdampedSystem(potential, 2, np.ones((1, 2)))
drift, diffusion = system.drift, system.diffusion


def micromacro(states, steps, seed):
    """The library, as its samplers call it."""
    return simulate(drift, diffusion, states, TIME_STEP, steps, jax.random.key(seed)).final


@partial(jax.jit, static_argnames="steps")
def _scan(states, key, steps):
    noise = jnp.float32(np.sqrt(2 * TIME_STEP))

    def step(carry, _):
        states, key = carry
        key, now = jax.random.split(key)
        numbers = jax.random.normal(now, states.shape, states.dtype)
        return (states + jnp.float32(TIME_STEP) * forces(states) + noise * numbers, key), None

    return jax.lax.scan(step, (states, key), None, steps)[0][0]


def scan(states, steps, seed):
    """A plain scan over normals from `jax.random`, walkers last, which is its fastest layout."""
    return np.asarray(_scan(states.T, jax.random.key(seed), steps)).T


@partial(jax.jit, static_argnames="steps")
def _diffrax(states, key, steps):
    shape = jax.ShapeDtypeStruct(states.shape, states.dtype)
    noise = lineax.IdentityLinearOperator(shape) * np.float32(np.sqrt(2))
    path = diffrax.UnsafeBrownianPath(shape, key)
    solution = diffrax.diffeqsolve(
        diffrax.MultiTerm(
            diffrax.ODETerm(lambda _t, y, _args: forces(y)), diffrax.ControlTerm(lambda _t, _y, _args: noise, path)
        ),
        diffrax.Euler(),
        jnp.float32(0),
        jnp.float32(TIME_STEP * steps),
        jnp.float32(TIME_STEP),
        states,
        saveat=diffrax.SaveAt(t1=True),
        adjoint=diffrax.ForwardMode(),
        max_steps=None,
        throw=False,
    )
    assert solution.ys is not None
    return solution.ys[0]


def diffrax_batch(states, steps, seed):
    """Diffrax at its best: one solve for the batch, walkers last, the Brownian path that stores nothing.

    Mapping `diffeqsolve` over walkers, a `VirtualBrownianTree`, walkers first, and a tuple of components are slower
    or no faster.
    """
    return np.asarray(_diffrax(states.T, jax.random.key(seed), steps)).T


@numba.njit(parallel=True, fastmath=True)
def _numba(states, steps, time_step, noise):
    for walker in numba.prange(len(states)):
        x, y = states[walker]
        for _ in range(steps):
            along = 16 * x * (x * x - 1) + np.float32(1.5) * y
            across = 48 * y * (y * y - 1) + np.float32(1.5) * x
            x += noise * np.float32(np.random.standard_normal()) - time_step * along  # noqa: NPY002
            y += noise * np.float32(np.random.standard_normal()) - time_step * across  # noqa: NPY002
        states[walker, 0] = x
        states[walker, 1] = y


def numba_loop(states, steps, seed):  # noqa: ARG001
    """A compiled loop over walkers on all cores."""
    states = states.copy()
    _numba(states, steps, np.float32(TIME_STEP), np.float32(np.sqrt(2 * TIME_STEP)))
    return states


PEERS = {
    OURS: micromacro,
    "scan over threefry": scan,
    "diffrax": diffrax_batch,
    "numba": numba_loop,
}


def equilibrium(walkers: int) -> np.ndarray:
    """Independent draws `(walkers, 2)` from the stationary density, on a grid of width 0.005."""
    axis = np.arange(-2, 2, 0.005)
    density = np.exp(-np.asarray(potential(np.meshgrid(axis, axis, indexing="ij")))).ravel()
    cells = np.random.default_rng(0).choice(len(density), walkers, p=density / density.sum())
    return axis[np.stack(np.divmod(cells, len(axis)), axis=1)].astype(np.float32)


def spreads(states: np.ndarray) -> np.ndarray:
    """Standard deviations of |x| and |y|, the width of the wells `(2,)`: they forget the start within 0.1."""
    return np.abs(states).std(axis=0)


def measure(walkers: int, repeats: int) -> dict[str, list[float]]:
    """Seconds of each repeat of each peer; stops with an error where one has left the stationary density."""
    states, steps = equilibrium(walkers), WALKER_STEPS // walkers
    exact = spreads(equilibrium(1_000_000))
    tolerance = 0.02 + 5 / np.sqrt(2 * walkers)
    for name, run in PEERS.items():
        error = spreads(run(states, steps, 0)) / exact - 1
        if not np.all(np.abs(error) < tolerance):
            raise SystemExit(f"{name} is not stationary: the wells are {error} too wide")
    seconds = {name: [] for name in PEERS}
    for repeat in range(repeats):
        for name, run in PEERS.items():
            seconds[name].append(_timed(run, states, steps, repeat + 1))
    return seconds


def _timed(run: Callable, *arguments: object) -> float:
    start = time.perf_counter()
    run(*arguments)
    return time.perf_counter() - start


def table(walkers: int, seconds: dict[str, list[float]]) -> float:
    """Print the figures for one size of batch; the ratio of the medians to the best peer."""
    work = WALKER_STEPS // walkers * walkers
    medians = {name: work / statistics.median(times) for name, times in seconds.items()}
    print(f"\n{walkers:,} walkers, single precision, 1e8 walker-steps/s")
    print(f"{'':20}{'median':>10}{'best':>10}{'ours is':>12}")
    for name, times in seconds.items():
        ratio = "" if name == OURS else f"{medians[OURS] / medians[name]:.1f} times"
        print(f"{name:20}{medians[name] / 1e8:10.2f}{work / min(times) / 1e8:10.2f}{ratio:>12}")
    return medians[OURS] / max(rate for name, rate in medians.items() if name != OURS)


def main() -> None:
    """Measure both sizes of batch and fail where the library is not `REQUIRED_RATIO` times as fast as every peer."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=7)
    repeats = parser.parse_args().repeats
    ratios = [table(walkers, measure(walkers, repeats)) for walkers in WALKERS]
    if min(ratios) < REQUIRED_RATIO:
        raise SystemExit(f"\nless than {REQUIRED_RATIO} times as fast as the best peer: {min(ratios):.2f}")
    print(f"\nat least {min(ratios):.1f} times as fast as the best peer (required: {REQUIRED_RATIO})")


if __name__ == "__main__":
    main()
