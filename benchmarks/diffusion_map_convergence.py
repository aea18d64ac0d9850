r"""How errors of the diffusion map fall with the number of points N, against closed forms and predicted exponents.

Two errors, each with the bandwidth that balances its bias against its fluctuations:

- pointwise, $(P f - f) / \varepsilon$ at the points against the generator's $L f$ for the slowest mode f: bias ε and
  fluctuations $N^{-1/2} \varepsilon^{-1/2 - d/4}$ (Singer, Appl. Comput. Harmon. Anal. 21, 128, 2006) balance at
  $\varepsilon \sim N^{-2/(6 + d)}$, the error's own exponent;
- spectral, rates $-\log \lambda / \varepsilon$: $N^{-2/(4 + d)}$ at ε of that order (Cheng and Wu, Appl. Comput.
  Harmon. Anal. 61, 132, 2022), a bound: where the bias has a small coefficient, errors fall as $N^{-1/2}$. The theorem
  is of compact manifolds. The tails of a Gaussian cloud are always sparse: eigenvectors there sit on single points, and
  are kept apart by matching modes by their overlap; the same modes by weighted points drawn evenly are the line after.

`python -m benchmarks.diffusion_map_convergence` prints the table; with `--quick` one of few points and draws.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from micromacro.diffusion_maps.diffusion_map import DiffusionMap, DiffusionMapSettings, fit_diffusion_map
from micromacro.diffusion_maps.kernel import squared_distances
from micromacro.diffusion_maps.spectrum import matched

ALPHA = 0.5
COUNTS, SEEDS = (200, 400, 800, 1600), 10
QUICK_COUNTS, QUICK_SEEDS = (100, 200, 400), 3
SPARE = 4  # eigenvectors beyond those wanted, among which to match
REACH = 5.0  # half the width that weighted points are drawn over, in standard deviations


@dataclass(frozen=True)
class System:
    """A density on a manifold of known modes.

    **Arguments:**

    - `draw`: points `(n, F)` and weights `(n,)`, or `None` for equal ones, of a count and a random generator.
    - `modes`: `(n, k)` at points, slowest first; `rates`: of them `(k,)`.
    - `inner`: which points `(n,)` the pointwise error is of: far from ends, where it does not converge.
    - `dimension`; `scale`: ε at N = 1 of both studies, in squared units of the points.
    """

    name: str
    draw: Callable
    modes: Callable
    rates: tuple[float, ...]
    inner: Callable
    dimension: int
    scale: float

    def bandwidth(self, count: int, smoothness: int = 4) -> float:
        """The bandwidth for so many points: 6 balances the pointwise error, 4 the spectral one."""
        return self.scale * count ** (-2 / (smoothness + self.dimension))


def _circle(angle: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n 2"]:
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


def _everywhere(points: Float[np.ndarray, "n F"]) -> np.ndarray:
    return np.ones(len(points), bool)


def _interval_modes(points: Float[np.ndarray, "n 1"]) -> Float[np.ndarray, "n 3"]:
    return np.cos(np.pi * points * np.arange(1, 4))


def _circle_modes(points: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 4"]:
    return np.hstack([points, _circle(2 * np.arctan2(points[:, 1], points[:, 0]))])


def _hermite_modes(points: Float[np.ndarray, "n 1"]) -> Float[np.ndarray, "n 3"]:
    return np.hstack([points, points**2 - 1, points**3 - 3 * points])


def _draw_torus(count: int, rng: np.random.Generator) -> tuple[Float[np.ndarray, "n 4"], None]:
    angles = 2 * np.pi * rng.random((count, 2))
    return np.hstack([_circle(angles[:, 0]), _circle(angles[:, 1])]), None


def _draw_weighted(count: int, rng: np.random.Generator) -> tuple[Float[np.ndarray, "n 1"], Float[np.ndarray, "n"]]:
    points = rng.uniform(-REACH, REACH, (count, 1))
    return points, np.exp(-(points[:, 0] ** 2) / 2)


INTERVAL = System(
    "interval",
    lambda count, rng: (rng.random((count, 1)), None),
    _interval_modes,
    (np.pi**2, 4 * np.pi**2, 9 * np.pi**2),
    lambda points: np.abs(points[:, 0] - 0.5) < 0.2,
    1,
    0.03,
)
CIRCLE = System(
    "circle",
    lambda count, rng: (_circle(2 * np.pi * rng.random(count)), None),
    _circle_modes,
    (1.0, 1.0, 4.0, 4.0),
    _everywhere,
    1,
    0.4,
)
TORUS = System("torus", _draw_torus, lambda points: points, (1.0, 1.0, 1.0, 1.0), _everywhere, 2, 0.6)
ORNSTEIN_UHLENBECK = System(
    "Ornstein-Uhlenbeck",
    lambda count, rng: (rng.standard_normal((count, 1)), None),
    _hermite_modes,
    (1.0, 2.0, 3.0),
    lambda points: np.abs(points[:, 0]) < 1.5,
    1,
    1.0,
)
WEIGHTED = replace(ORNSTEIN_UHLENBECK, name="the same, weighted", draw=_draw_weighted)
SYSTEMS = (INTERVAL, CIRCLE, TORUS, ORNSTEIN_UHLENBECK, WEIGHTED)


@dataclass(frozen=True, eq=False)
class Convergence:
    """Root mean square errors `(c,)` over seeds at `counts` `(c,)`, and the exponent of N fitted to them."""

    counts: Float[np.ndarray, "c"]
    errors: Float[np.ndarray, "c"]
    exponent: float
    exponent_stderr: float
    predicted: float


def convergence(system: System, counts: tuple[int, ...], seeds: int) -> tuple[Convergence, Convergence]:
    """The pointwise and the spectral error of a system."""
    pointwise = _study(system, counts, seeds, 6, pointwise_error)
    return pointwise, _study(system, counts, seeds, 4, spectral_error)


def pointwise_error(system: System, found: DiffusionMap) -> float:
    """Root mean square of the generator's error on the slowest mode, over its own root mean square."""
    rows = np.flatnonzero(system.inner(found.points))
    squares = squared_distances(found.points)[rows]
    exponent = found.log_normalisation - squares / (4 * found.kernel.bandwidth)
    walk = np.exp(exponent - exponent.max(axis=1, keepdims=True))
    walk /= walk.sum(axis=1, keepdims=True)
    mode = system.modes(found.points)[:, 0]
    exact = -system.rates[0] * mode[rows]
    error = (walk @ mode - mode[rows]) / found.kernel.bandwidth - exact
    return float(np.sqrt(np.mean(error**2) / np.mean(exact**2)))


def spectral_error(system: System, found: DiffusionMap) -> float:
    """Root mean square of the relative errors of the rates of the modes that overlap the exact ones."""
    modes = system.modes(found.points)
    order = matched(modes / np.sqrt(found.stationary @ modes**2), found)
    return float(np.sqrt(np.mean((found.rates[order] / np.array(system.rates) - 1) ** 2)))


def _study(system: System, counts: tuple[int, ...], seeds: int, smoothness: int, error: Callable) -> Convergence:
    squares = np.empty((len(counts), seeds))
    for i, count in enumerate(counts):
        settings = DiffusionMapSettings(len(system.rates) + SPARE, ALPHA, system.bandwidth(count, smoothness))
        for seed in range(seeds):
            points, weight = system.draw(count, np.random.default_rng([seed, count]))
            squares[i, seed] = error(system, fit_diffusion_map(points, weight, settings)) ** 2
    mean = squares.mean(axis=1)
    spread = squares.std(axis=1, ddof=1) / (2 * mean * np.sqrt(seeds))
    centred = np.log(counts) - np.mean(np.log(counts))
    slope = centred / np.sum(centred**2)
    return Convergence(
        counts=np.array(counts, float),
        errors=np.sqrt(mean),
        exponent=float(slope @ np.log(mean)) / 2,
        exponent_stderr=float(np.sqrt(np.sum((slope * spread) ** 2))),
        predicted=-2 / (smoothness + system.dimension),
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="few points and draws")
    counts, seeds = (QUICK_COUNTS, QUICK_SEEDS) if parser.parse_args().quick else (COUNTS, SEEDS)
    print(f"{'system':20}{'error':12}" + "".join(f"{count:>9}" for count in counts) + "   exponent        predicted")
    for system in SYSTEMS:
        for name, found in zip(("pointwise", "spectral"), convergence(system, counts, seeds), strict=True):
            errors = "".join(f"{error:9.4f}" for error in found.errors)
            fitted = f"{found.exponent:8.3f} ± {found.exponent_stderr:.3f}"
            print(f"{system.name:20}{name:12}{errors}{fitted}{found.predicted:12.3f}", flush=True)


if __name__ == "__main__":
    main()
