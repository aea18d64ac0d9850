"""The training loop that generators share: weighted batches, averaged weights, one compiled scan."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Key

from micromacro.errors import PhysicsError

CHUNK = 250


@dataclass(frozen=True)
class TrainingSettings:
    """Adam with a warm-up, a cosine decay and clipped gradients; the averaged weights are the result."""

    steps: int
    batch_size: int
    learning_rate: float


def train(
    model: Any,
    loss: Callable[[Any, Float[Array, "batch ..."], Float[Array, "batch ..."], Key[Array, ""]], Float[Array, ""]],
    data: tuple[Float[np.ndarray, "n ..."], Float[np.ndarray, "n ..."]],
    weight: Float[np.ndarray, "n"],
    settings: TrainingSettings,
    key: Key[Array, ""],
    on_chunk: Callable[[int], None] = lambda _: None,
) -> tuple[Any, Float[np.ndarray, "chunks"]]:
    """Minimise the expected loss over weighted pairs; returns the averaged model and the loss of each chunk.

    **Arguments:**

    - `loss`: (model, first `(batch, ...)`, second `(batch, ...)`, key) to a scalar.
    - `data`: the pairs; drawn with probability proportional to `weight`, stratified within a batch.
    - `on_chunk`: called with the number of steps just done.

    **Raises:** `PhysicsError` where the loss is not finite.
    """
    chunks = max(1, settings.steps // CHUNK)
    optimiser = _optimiser(settings, chunks * CHUNK)
    parameters, rest = eqx.partition(model, eqx.is_inexact_array)
    cumulative = jnp.asarray(np.cumsum(weight) / np.sum(weight), jnp.float32)
    arrays = tuple(jnp.asarray(part, jnp.float32) for part in data)
    run = _compiled(loss, rest, optimiser, settings.batch_size, 1 - 1 / max(20.0, 0.05 * chunks * CHUNK))
    carry = (parameters, parameters, optimiser.init(parameters))
    losses = []
    for chunk in range(chunks):
        carry, value = run(carry, arrays, cumulative, jax.random.fold_in(key, chunk))
        losses.append(float(value))
        if not np.isfinite(losses[-1]):
            raise PhysicsError(
                "the training loss is not finite",
                where=f"generator, training step {(chunk + 1) * CHUNK}",
                remedy="Lower [generator] learning_rate, or check the observed states for huge values.",
            )
        on_chunk(CHUNK)
    return eqx.combine(carry[1], rest), np.asarray(losses)


def _optimiser(settings: TrainingSettings, steps: int) -> optax.GradientTransformation:
    warm_up = min(200, steps // 10)
    schedule = optax.warmup_cosine_decay_schedule(0.0, settings.learning_rate, warm_up, steps)
    return optax.chain(optax.clip_by_global_norm(1.0), optax.adam(schedule))


def _compiled(loss: Callable, rest: Any, optimiser: optax.GradientTransformation, batch: int, decay: float) -> Callable:
    def step(arrays, cumulative, carry, key):
        parameters, averaged, state = carry
        pick_key, loss_key = jax.random.split(key)
        stratified = (jnp.arange(batch) + jax.random.uniform(pick_key, (batch,), jnp.float32)) / batch
        pick = jnp.clip(jnp.searchsorted(cumulative, stratified), 0, len(cumulative) - 1)
        first, second = (part[pick] for part in arrays)
        value, gradient = jax.value_and_grad(lambda p: loss(eqx.combine(p, rest), first, second, loss_key))(parameters)
        update, state = optimiser.update(gradient, state)
        parameters = optax.apply_updates(parameters, update)
        averaged = jax.tree.map(lambda a, p: decay * a + (1 - decay) * p, averaged, parameters)
        return (parameters, averaged, state), value

    @jax.jit
    def run(carry, arrays, cumulative, key):
        carry, values = jax.lax.scan(partial(step, arrays, cumulative), carry, jax.random.split(key, CHUNK))
        return carry, jnp.mean(values)

    return run
