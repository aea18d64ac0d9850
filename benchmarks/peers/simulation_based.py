"""sbi, as its manual trains it: neural posterior estimation with flows, scores and flow matching.

All settings are its defaults: it stops by itself, 20 epochs after the validation loss was last at its lowest.
"""

# the peers live in an environment of their own
# pyright: reportMissingImports=false

import argparse
from collections.abc import Callable

import numpy as np
import torch
from sbi.inference import FMPE, NPE, NPSE
from sbi.utils import BoxUniform

from benchmarks.peers.exchange import Sampler, Task, main


def trained(make: Callable, task: Task, asked: argparse.Namespace) -> Sampler:
    """Draws of the posterior that one of sbi's methods finds."""
    torch.manual_seed(task.seed)
    method = make(_prior(task))
    method.append_simulations(_single(task.q), _single(task.z))
    method.train(**({} if asked.effort is None else {"max_num_epochs": asked.effort}))
    posterior = method.build_posterior()

    def sample(z: np.ndarray, count: int) -> np.ndarray:
        return posterior.sample((count,), x=_single(z[None]), show_progress_bars=False).numpy().astype(float)

    return sample


def _prior(task: Task) -> BoxUniform | None:
    """The box of a bounded state, which sbi is told; it takes the data for the prior where there is none."""
    if not np.isfinite(task.lower).all():
        return None
    return BoxUniform(_single(task.lower), _single(task.upper))


def _single(values: np.ndarray) -> torch.Tensor:
    return torch.as_tensor(values, dtype=torch.float32)


METHODS = {
    "sbi-nsf": lambda prior: NPE(prior, density_estimator="nsf", show_progress_bars=False),
    "sbi-maf": lambda prior: NPE(prior, density_estimator="maf", show_progress_bars=False),
    "sbi-score": lambda prior: NPSE(prior, show_progress_bars=False),
    "sbi-flow-matching": lambda prior: FMPE(prior, show_progress_bars=False),
}

if __name__ == "__main__":
    main({name: lambda task, asked, make=make: trained(make, task, asked) for name, make in METHODS.items()})
