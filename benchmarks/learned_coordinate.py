r"""Prints how far F of a learned coordinate is from the exact one, and which known variables the coordinate follows.

python -m benchmarks.learned_coordinate OUT [OUT ...]

The exact F is the histogram of ξ over draws from the whole law (`ExactAnswers.sample_stationary`), which needs no
windows. Where ξ should be a one-to-one function of a known variable x of which F is known in closed form, the second
figure is $F_x(x(z)) + \log |dz/dx|$ with a smooth x(z) fitted to states spread evenly in x.
"""

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import SplineTransformer

from micromacro.cli.results import load_result
from micromacro.learners.metrics import rank_correlation
from micromacro.run import Result
from micromacro.systems.half_moon import VARIANCE, double_well, observe, radius
from micromacro.systems.rotated_barrier import rotation

DRAWS = 2_000_000
FOLLOWED = 20_000
HIGH = 6.0
FEWEST = 100
EVEN = (1.1, 3.85)  # where F is below about 6 kT
KNOTS = 25
SLOW = {
    "half-moon-learned": {"x": lambda q: radius(q)[0]},
    "hidden-barrier-rotated": {"x": lambda q: (rotation(10).T @ q)[0], "y": lambda q: (rotation(10).T @ q)[1]},
}


def main(outs: list[str]) -> None:
    """Print the figures of each run."""
    for out in outs:
        result = load_result(Path(out))
        summary = result.summary
        exact = result.case.exact
        assert exact is not None, "a built-in case is needed"
        draws = exact.sample_stationary(DRAWS, np.random.default_rng(12345))
        z = result.coarse_values(draws)[:, 0]
        print(f"{out}: {summary['case']}, method {summary['method']}, seed {summary['seed']}")
        print(f"  {'rounds of learning':<44}{len(summary['coarsening']['rounds'])}")
        _print_free_energy(result, z)
        for name, variable in SLOW.get(summary["case"], {}).items():
            known = np.asarray(jax.jit(jax.vmap(variable))(draws[:FOLLOWED]))
            print(f"  {f'|Spearman| of ξ and {name}':<44}{abs(rank_correlation(known, z[:FOLLOWED])):.4f}")
            if name == "x" and summary["case"] == "half-moon-learned":
                _print_change_of_variable(result)
        print(f"  {'force evaluations':<44}{summary['force_evaluations']:,}")
        print(f"  {'wall time (s)':<44}{summary['wall_seconds']:.0f}")


def histogram_free_energy(
    z: Float[np.ndarray, "n"], centres: Float[np.ndarray, "m"]
) -> tuple[Float[np.ndarray, "m"], Float[np.ndarray, "m"]]:
    """F in kT at the centres of uniform cells and its standard error, NaN in cells of few draws."""
    width = centres[1] - centres[0]
    counts = np.histogram(z, np.append(centres - width / 2, centres[-1] + width / 2))[0]
    often = np.where(counts >= FEWEST, counts, np.nan)
    return -np.log(often), 1 / np.sqrt(often)


def _print_free_energy(result: Result, z: np.ndarray) -> None:
    surface = result.free_energy
    exact, noise = histogram_free_energy(z, surface.grid.points[:, 0])
    _print_difference("F against exact draws", surface.free_energy, exact, surface.stderr, noise)


def _print_change_of_variable(result: Result) -> None:
    """F of the half-moon's x in closed form, moved to z by a smooth x(z) that is fitted to evenly spread states."""
    rng = np.random.default_rng(54321)
    x = rng.uniform(EVEN[0], EVEN[1], FOLLOWED)
    y = 1 + np.sqrt(VARIANCE) * rng.standard_normal(FOLLOWED)
    z = result.coarse_values(np.asarray(jax.vmap(observe)(jnp.column_stack([x, y]))))[:, 0]
    basis = SplineTransformer(n_knots=KNOTS, extrapolation="linear", knots="quantile")
    inverse = make_pipeline(basis, LinearRegression()).fit(z[:, None], x)
    residual = np.std(x - inverse.predict(z[:, None])) / np.ptp(x)
    centres = result.free_energy.grid.points
    step = 1e-4 * np.ptp(z)
    slope = np.abs(inverse.predict(centres + step) - inverse.predict(centres - step)) / (2 * step)
    expected = np.asarray(double_well(inverse.predict(centres))) - np.log(slope)
    known = (centres[:, 0] > np.quantile(z, 0.005)) & (centres[:, 0] < np.quantile(z, 0.995))
    expected = np.where(known, expected, np.nan)
    print(f"  {'spread of x at given ξ, of its range':<44}{residual:.4f}")
    surface = result.free_energy
    _print_difference("F against F(x), variable changed", surface.free_energy, expected, surface.stderr, 0 * expected)


def _print_difference(words: str, found, exact, stderr, noise) -> None:
    low = np.isfinite(exact) & np.isfinite(found)
    low &= np.nan_to_num(exact - np.nanmin(exact), nan=np.inf) < HIGH
    difference = (found - exact)[low]
    difference = difference - difference.mean()
    error = np.sqrt(np.mean(difference**2))
    print(f"  {words + f', below {HIGH:g} kT':<44}")
    print(f"  {'  rms, largest (kT)':<44}{error:.3f}, {np.abs(difference).max():.3f}")
    errors = f"{np.mean(stderr[low]):.3f}, {np.mean(noise[low]):.3f}"
    print(f"  {'  standard error of the run, of the draws':<44}{errors}")


if __name__ == "__main__":
    main(sys.argv[1:])
