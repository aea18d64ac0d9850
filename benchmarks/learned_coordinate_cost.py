"""What a learned coordinate costs at every step of a walker: `python -m benchmarks.learned_coordinate_cost`.

Gradients per second, in double precision and for all walkers at once, of Nyström's extension of a diffusion map, which
sums over all its landmarks, and of a surrogate network, which does not. The figures are the best of the repeats, in
each of which all run in turn. Weights of networks and values of maps do not matter to the cost: neither is fitted.
"""

import argparse
import time
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from micromacro.diffusion_maps.diffusion_map import fit_diffusion_map
from micromacro.diffusion_maps.nystrom import nystrom_extension
from micromacro.diffusion_maps.settings import DiffusionMapSettings
from micromacro.learners.surrogate import SurrogateSettings, fit_surrogate

WALKERS = 1500
LANDMARKS = (300, 1000, 3000)
DIMENSIONS = (2, 10)
WIDTHS = (32, 64)


def candidates(dimension: int) -> dict[str, Callable]:
    """One coordinate of a cloud of normal points, by the extension and by surrogates."""
    rng = np.random.default_rng(0)
    found = {}
    for count in LANDMARKS:
        settings = DiffusionMapSettings(components=1, bandwidth=float(dimension), alpha=1.0)
        learned = fit_diffusion_map(rng.standard_normal((count, dimension)), None, settings)
        found[f"extension, {count} landmarks"] = nystrom_extension(learned, 1)
    points = rng.standard_normal((100, dimension))
    for width in WIDTHS:
        settings = SurrogateSettings(width=width, steps=1)
        network = fit_surrogate(found[f"extension, {LANDMARKS[0]} landmarks"], points, settings, jax.random.key(0))
        found[f"surrogate, {settings.depth} layers of {width}"] = network
    return found


@eqx.filter_jit
def gradients(function: Callable, walkers: jax.Array) -> jax.Array:
    """The gradient of the first component at each walker `(n, F)`."""
    return jax.vmap(jax.grad(lambda features: function(features)[0]))(walkers)


def main() -> None:
    """Print gradients per second."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=20)
    repeats = parser.parse_args().repeats
    for dimension in DIMENSIONS:
        walkers = jnp.asarray(np.random.default_rng(1).standard_normal((WALKERS, dimension)))
        functions = candidates(dimension)
        best = dict.fromkeys(functions, np.inf)
        for _ in range(repeats + 1):  # the first compiles, and is never the best
            for name, function in functions.items():
                start = time.perf_counter()
                gradients(function, walkers).block_until_ready()
                best[name] = min(best[name], time.perf_counter() - start)
        for name, seconds in best.items():
            print(f"{dimension:3d} dimensions, {name:32}{WALKERS / seconds:12.0f} gradients/s", flush=True)


if __name__ == "__main__":
    main()
