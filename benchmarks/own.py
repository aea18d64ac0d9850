"""One of our generators on a file of pairs, in the manner of a peer: `python -m benchmarks.own METHOD PAIRS OUT`."""

import argparse
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from benchmarks.fitting import draw, fit, settings_of
from benchmarks.problems import PROBLEMS
from micromacro.generators.kinds import KINDS


def main() -> None:
    """Train the method asked for and write its draws and its seconds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("method", choices=list(KINDS))
    parser.add_argument("pairs", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--effort", type=int, help="training steps instead of the default")
    asked = parser.parse_args()
    with np.load(asked.pairs) as file:
        problem, pairs = PROBLEMS[str(file["problem"])](), (file["q"], file["z"])
    jnp.zeros(()).block_until_ready()  # the backend starts before anything is timed
    fitted = fit(problem, settings_of(asked.method, asked.effort), pairs, asked.seed, fresh=True)
    draws = draw(problem, fitted.generator, asked.seed)
    np.savez(
        asked.out,
        states=draws.states,
        training_seconds=fitted.seconds,
        sampling_seconds=draws.seconds,
        sampling_cold_seconds=draws.cold_seconds,
    )


if __name__ == "__main__":
    main()
