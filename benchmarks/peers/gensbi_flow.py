"""GenSBI's flow matching with its transformer, in the small form of its getting-started example.

The form its authors tune for two moons, 24 blocks and 90,000 steps of 1,024 pairs, takes days on two cores. This one
knows no end but a number of steps, chosen so that training takes as many seconds as it is given.
"""

# the peers live in an environment of their own
# pyright: reportMissingImports=false

import argparse
import tempfile
import time
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from gensbi.models import Flux1Params
from gensbi.recipes import Flux1FlowPipeline

from benchmarks.peers.exchange import Sampler, Task, main

BATCH, HELD_BACK, TRIAL_STEPS = 256, 0.1, 30
SMALL = {"mlp_ratio": 3, "num_heads": 2, "depth": 4, "depth_single_blocks": 8, "axes_dim": [10], "qkv_bias": True}


def batches(q: np.ndarray, z: np.ndarray, rng: np.random.Generator, stamps: list[float]) -> Iterator[tuple]:
    """Random pairs for ever, `(batch, coordinates, 1)` each; when each was asked for is noted in `stamps`."""
    while True:
        stamps.append(time.perf_counter())
        chosen = rng.integers(len(q), size=BATCH)
        yield jnp.asarray(q[chosen, :, None]), jnp.asarray(z[chosen, :, None])


def pipeline(q: np.ndarray, z: np.ndarray, seed: int, steps: int, stamps: list[float]) -> Flux1FlowPipeline:
    """Its pipeline after so many steps on standardised pairs, a tenth of them for validation."""
    rng, held_back = np.random.default_rng(seed), int(HELD_BACK * len(q))
    y, d = q.shape[1], z.shape[1]
    params = Flux1Params(
        in_channels=1, vec_in_dim=None, context_in_dim=1, rngs=nnx.Rngs(seed), dim_obs=y, dim_cond=d,
        theta=10 * (y + d), param_dtype=jnp.float32, **SMALL,
    )  # fmt: skip
    config = Flux1FlowPipeline.get_default_training_config()
    with tempfile.TemporaryDirectory() as folder:
        config |= {"nsteps": steps, "warmup_steps": min(500, steps // 10), "max_lr": 1e-3, "checkpoint_dir": folder}
        model = Flux1FlowPipeline(
            batches(q[held_back:], z[held_back:], rng, stamps), batches(q[:held_back], z[:held_back], rng, []), y, d,
            params=params, training_config=config,
        )  # fmt: skip
        model.train(nnx.Rngs(seed), save_model=False)
    return model


def trained(task: Task, asked: argparse.Namespace) -> Sampler:
    """Draws of a pipeline that was trained for so many steps."""
    (q, z), center, scale = standardised(task)
    model = pipeline(q, z, task.seed, asked.effort, [])
    keys = iter(jax.random.split(jax.random.key(task.seed), 1000))

    def sample(condition: np.ndarray, count: int) -> np.ndarray:
        observed = jnp.asarray((condition - center[1]) / scale[1], jnp.float32)[None, :, None]
        states = np.asarray(model.sample(next(keys), observed, count), float)[..., 0]
        return states * scale[0] + center[0]

    return sample


def steps_within(task: Task, seconds: float) -> int:
    """Steps that take so many seconds, from the time between the batches of a trial."""
    (q, z), _, _ = standardised(task)
    stamps = []
    pipeline(q, z, 0, TRIAL_STEPS, stamps)
    return max(TRIAL_STEPS, int(seconds / np.median(np.diff(stamps))))


def standardised(task: Task) -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]]:
    """States and conditions with means 0 and deviations 1, their means and their deviations."""
    parts = [task.q, task.z]
    center, scale = [part.mean(0) for part in parts], [part.std(0) for part in parts]
    scaled = [((part - c) / s).astype(np.float32) for part, c, s in zip(parts, center, scale, strict=True)]
    return scaled, center, scale


if __name__ == "__main__":
    main({"gensbi-flow": trained}, plan=steps_within)
