r"""Hidden slow variables by the metric of the noise: `python -m benchmarks.half_moon_map [--quick]`.

Two systems seen through nonlinear maps: the confined half-moon, of which only (u, v) is seen, and one slow variable
with two fast ones of different noise in five features. Points are drawn from the stationary density, or evenly along
the slow variable with the weights that biased runs would give. For each: |Spearman| of the slow variable and the first
coordinate for the plain map; for the map in the metric of the noise at the points and at as many fresh ones; and the
residual of the slow variable given the coordinate, root mean square over fresh points in units of its range, by
isotonic regression at the points of the map.

Then, on the half-moon, what each setting changes, over several draws: bandwidth, copies, lag, α, landmarks, points, and
the kernel: the symmetric one with plain Nyström.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.stats import spearmanr
from sklearn.isotonic import IsotonicRegression

from micromacro.diffusion_maps.diffusion_map import DiffusionMap, fit_diffusion_map
from micromacro.diffusion_maps.mahalanobis import MahalanobisMap, MahalanobisSettings, fit_mahalanobis_map
from micromacro.diffusion_maps.nystrom import evaluate, nystrom_extension
from micromacro.diffusion_maps.settings import DiffusionMapSettings
from micromacro.learners.local_noise import BurstNoiseSettings, noise_from_bursts
from micromacro.systems.half_moon import LOWER, UPPER, VARIANCE, double_well, half_moon_confined
from micromacro.systems.model import StochasticSystem

POINTS = 3000
NOISE = BurstNoiseSettings()
SETTINGS = MahalanobisSettings(components=3)


@dataclass(frozen=True, eq=False)
class Blind:
    """A system with one slow variable, its state's first, of known density between two ends.

    **Arguments:**

    - `system`: with the features as its observation.
    - `range`: of the slow variable.
    - `potential`: of the slow variable, in kT.
    - `fast`: mean and standard deviation of each fast variable, independent of the slow one.
    """

    system: StochasticSystem
    range: tuple[float, float]
    potential: Callable[[Array], Array]
    fast: tuple[tuple[float, float], ...]


@dataclass(frozen=True, eq=False)
class Sample:
    """States `(n, D)`, features `(n, F)` and weights `(n,)` of points."""

    states: Float[np.ndarray, "n D"]
    features: Float[np.ndarray, "n F"]
    weight: Float[np.ndarray, "n"]


@dataclass(frozen=True)
class Quality:
    """Of a coordinate: |Spearman| with the slow variable at the points and at fresh ones, and the residual there."""

    points: float
    fresh: float
    residual: float


def half_moon_blind() -> Blind:
    """The confined half-moon, seen as (u, v)."""
    system = half_moon_confined().system
    assert isinstance(system, StochasticSystem)
    return Blind(system, (LOWER, UPPER), double_well, ((1.0, np.sqrt(VARIANCE)),))


def five_features(state: Float[Array, "3"]) -> Float[Array, "5"]:
    """Slow s and fast f, g to five features, in which s moves less than f and g do."""
    s, f, g = state[0], state[1], state[2]
    return jnp.stack([f + 0.5 * s**2, g + 0.5 * jnp.sin(2 * s), 0.3 * s + f * g, jnp.cos(s + f), jnp.tanh(g - s)])


def three_hidden() -> Blind:
    """A slow variable of noise 0.03 in [-1, 1], and two fast ones of noises 0.6 and 0.3, in five features."""
    noise = np.array([0.03, 0.6, 0.3])
    rates = np.array([0.0, 1.0, 0.5])

    def potential(s: Array) -> Array:
        return 1.5 * (s**2 / 0.4 - 1) ** 2

    def drift(state: Float[Array, "3"]) -> Float[Array, "3"]:
        slow = -(noise[0] ** 2 / 2) * jax.grad(potential)(state[0])
        return jnp.stack([slow, -rates[1] * state[1], -rates[2] * state[2]])

    spread = noise[1:] / np.sqrt(2 * rates[1:])
    system = StochasticSystem(
        drift=drift,
        diffusion=lambda _state: jnp.asarray(noise),
        dimension=3,
        initial=np.zeros((1, 3)),
        time_step=0.05,
        observe=five_features,
        hidden=None,
    )
    return Blind(system, (-1.0, 1.0), potential, ((0.0, spread[0]), (0.0, spread[1])))


def draw(blind: Blind, count: int, even: bool, rng: np.random.Generator) -> Sample:
    """Points of the stationary density, or spread evenly along the slow variable with weights that restore it."""
    lower, upper = blind.range
    grid = np.linspace(lower, upper, 4001)
    density = np.exp(-np.asarray(blind.potential(jnp.asarray(grid))))
    total = np.cumsum(density)
    slow = rng.uniform(lower, upper, count) if even else np.interp(rng.random(count), total / total[-1], grid)
    fast = [mean + spread * rng.standard_normal(count) for mean, spread in blind.fast]
    states = np.column_stack([slow, *fast])
    weight = np.interp(slow, grid, density) if even else np.ones(count)
    return Sample(states, np.asarray(jax.vmap(blind.system.observe)(jnp.asarray(states))), weight)


def judge(found: DiffusionMap | MahalanobisMap, sample: Sample, fresh: Sample, landmarks: int | None = None) -> Quality:
    """How well the first coordinate of a map, and its extension to fresh points, follows the slow variable."""
    extension = nystrom_extension(found, 1, landmarks)
    seen, coordinate = (evaluate(extension, one.features)[:, 0] for one in (sample, fresh))
    slow = fresh.states[:, 0]
    rising = bool(np.corrcoef(seen, sample.states[:, 0])[0, 1] > 0)
    fitted = IsotonicRegression(increasing=rising, out_of_bounds="clip").fit(seen, sample.states[:, 0])
    residual = np.sqrt(np.mean((fitted.predict(coordinate) - slow) ** 2)) / np.ptp(slow)
    return Quality(_order(found.eigenvectors[:, 0], sample.states[:, 0]), _order(coordinate, slow), float(residual))


def _order(coordinate: np.ndarray, slow: np.ndarray) -> float:
    return float(abs(np.asarray(spearmanr(coordinate, slow))[0]))


@dataclass(frozen=True)
class Trial:
    """One map: how points are drawn, how noise is measured, how the map is made."""

    points: int = POINTS
    even: bool = False
    noise: BurstNoiseSettings = NOISE
    settings: MahalanobisSettings = SETTINGS
    scale: float = 1.0
    symmetric: bool = False


def attempt(blind: Blind, trial: Trial, seed: int) -> tuple[Quality, float]:
    """The quality of a map in the metric of the noise, and its bandwidth."""
    rng = np.random.default_rng(seed)
    sample, fresh = (draw(blind, trial.points, trial.even, rng) for _ in range(2))
    noise = noise_from_bursts(blind.system, blind.system.observe, sample.states, trial.noise, jax.random.key(seed))
    found = fit_mahalanobis_map(sample.features, noise.metric, sample.weight, trial.settings)
    if trial.scale != 1.0:
        settings = replace(trial.settings, bandwidth=trial.scale * found.bandwidth)
        found = fit_mahalanobis_map(sample.features, noise.metric, sample.weight, settings)
    bandwidth = found.bandwidth
    if trial.symmetric:
        settings = DiffusionMapSettings(components=3, bandwidth=bandwidth)
        found = fit_diffusion_map(sample.features, sample.weight, settings, metric=noise.metric)
    return judge(found, sample, fresh), bandwidth


def plain(blind: Blind, even: bool, seed: int, scale: float = 1.0, points: int = POINTS) -> Quality:
    """The quality of the plain map of the same points, with a bandwidth of so many times a 100th of their variance."""
    rng = np.random.default_rng(seed)
    sample, fresh = (draw(blind, points, even, rng) for _ in range(2))
    bandwidth = scale * float(sample.features.var(axis=0).sum()) / 100
    found = fit_diffusion_map(sample.features, sample.weight, DiffusionMapSettings(components=1, bandwidth=bandwidth))
    return judge(found, sample, fresh)


def show(name: str, outcomes: list[tuple[Quality, float]]) -> None:
    """One line: means over draws, and the greatest residual."""
    rows = np.array([[one.points, one.fresh, one.residual] for one, _ in outcomes])
    points, fresh, residual = rows.mean(axis=0)
    bandwidth = np.mean([bandwidth for _, bandwidth in outcomes])
    print(
        f"{name:34} {points:9.4f} {fresh:9.4f} {100 * residual:9.2f} {100 * rows[:, 2].max():9.2f} {bandwidth:9.3g}",
        flush=True,
    )


def variations() -> dict[str, Trial]:
    """What is changed, one thing at a time."""
    noise, settings, one = NOISE, SETTINGS, Trial()
    return {
        **{f"bandwidth x {scale}": replace(one, scale=scale) for scale in (0.5, 2.0, 4.0, 8.0)},
        **{f"copies {count}": replace(one, noise=replace(noise, copies=count)) for count in (8, 20, 200)},
        **{f"lag {lag}": replace(one, noise=replace(noise, lag=lag)) for lag in (0.01, 0.5, 2.0)},
        **{f"alpha {alpha}": replace(one, settings=replace(settings, alpha=alpha)) for alpha in (0.0, 1.0)},
        "even points, alpha 1.0": replace(one, even=True, settings=replace(settings, alpha=1.0)),
        **{f"landmarks {m}": replace(one, settings=replace(settings, landmarks=m)) for m in (100, 200, 400, 1600)},
        **{f"points {count}": replace(one, points=count) for count in (1000, 6000)},
        "symmetric kernel, plain Nystrom": replace(one, symmetric=True),
    }


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="one draw of each instead of four, no variations")
    quick = parser.parse_args().quick
    seeds = range(1 if quick else 4)
    print(f"{'':34} {'Spearman':>9} {'fresh':>9} {'resid. %':>9} {'largest':>9} {'epsilon':>9}")
    for name, blind in (("half-moon", half_moon_blind()), ("three hidden", three_hidden())):
        for even in (False, True):
            label = f"{name}, {'even' if even else 'stationary'}"
            show(f"{label}, plain", [(plain(blind, even, seed), np.nan) for seed in seeds])
            show(label, [attempt(blind, Trial(even=even), seed) for seed in seeds])
    if not quick:
        moon = half_moon_blind()
        for name, trial in variations().items():
            show(name, [attempt(moon, trial, seed) for seed in seeds])


if __name__ == "__main__":
    main()
