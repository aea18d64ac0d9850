"""Prints how far a run of a built-in case is from the exact answer, and what it cost.

python -m benchmarks.errors OUT [OUT ...]
"""

import sys
from pathlib import Path

from micromacro.cli.compare import figures
from micromacro.cli.tables import figure

ROWS = {
    "rms_free_energy_error_kT": "rms error of F where F < 8 kT (kT)",
    "mean_free_energy_stderr_kT": "mean standard error of F there (kT)",
    "empty_cells": "cells without an estimate",
    "hidden_weight_error": "mean absolute error of the hidden weight",
    "wall_seconds": "wall time (s)",
    "force_evaluations": "force evaluations",
}


def main(outs: list[str]) -> None:
    """Print the figures of each run."""
    for out in outs:
        run = figures(Path(out))
        print(f"{out}: {run['case']}, method {run['method']}, seed {run['seed']}")
        for key, words in ROWS.items():
            print(f"  {words:<44}{figure(run.get(key))}")


if __name__ == "__main__":
    main(sys.argv[1:])
