"""The training loop that all generators share.

Weighted mini-batches, averaged weights, a validation split, early stopping, recovery from losses that are not finite,
warm start, one key for all that is random, and any number of independent models (seeds) at once.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key

from micromacro.errors import PhysicsError
from micromacro.generators.members import member, stack

CHUNK = 250
MOST_RECOVERIES = 4
SLOWER = 0.3
VALIDATION_ROWS = 4096


class Data(NamedTuple):
    """What there is to learn from: represented states, conditions, and the rows that are kept for validation."""

    state: Float[np.ndarray, "n Y"]
    z: Float[np.ndarray, "n d"]
    held_out: Bool[np.ndarray, "n"]


class Pairs(NamedTuple):
    """Represented states `(..., Y)` and conditions `(..., d)` in single precision."""

    state: Float[Array, "... Y"]
    z: Float[Array, "... d"]


@runtime_checkable
class Objective(Protocol):
    """How one model learns from one batch; settings alone, hashable, so that compiled code is used again."""

    @property
    def batches(self) -> int:
        """Batches that one step uses up."""
        ...

    @property
    def scatter(self) -> float:
        """By how much, relatively, validation losses of equal models may differ: so much worse, the later one wins."""
        ...

    def start(self, model: Any, steps: int, learning_rate: float) -> Any:
        """What changes during training, with the model in it; all arrays, so that no setting compiles code anew."""
        ...

    def improve(self, carry: Any, pairs: Pairs, key: Key[Array, ""], rate: Float[Array, ""]) -> tuple[Any, Array]:
        """One step: from pairs `(batches, batch, ...)` to the next carry and the loss. `rate` scales every update."""
        ...

    def result(self, carry: Any) -> Any:
        """The model with averaged weights."""
        ...

    def judge(self, model: Any, pairs: Pairs, key: Key[Array, ""]) -> Float[Array, ""]:
        """The validation loss on held-out pairs `(n, ...)`; lower is better."""
        ...


@dataclass(frozen=True)
class TrainingSettings:
    """How long to train, and on how much at a time.

    **Arguments:**

    - `steps`: at most so many, rounded up to multiples of 250.
    - `patience`: stop after so many steps without a better validation loss; never where `None`.
    """

    steps: int
    batch_size: int
    learning_rate: float
    patience: int | None = None


@dataclass(frozen=True)
class Trained:
    """What training gave: `model`, the averaged weights of the best validation loss; one entry a chunk in the rest.

    Of several models at once every array has a leading axis.
    """

    model: Any
    loss: Float[np.ndarray, "models chunks"]
    validation: Float[np.ndarray, "models chunks"]
    recoveries: int


@dataclass
class _Members:
    """Where the training of several models stands."""

    carry: Any
    best: Any
    best_validation: Float[np.ndarray, "models"]
    since_best: np.ndarray
    rate: Float[np.ndarray, "models"]
    recoveries: int = 0
    loss: list = field(default_factory=list)
    validation: list = field(default_factory=list)


def train(
    objective: Objective,
    model: Any,
    data: Data,
    weight: Float[np.ndarray, "*models n"],
    settings: TrainingSettings,
    keys: Key[Array, "models"],
    on_chunk: Callable[[int], None] = lambda _: None,
) -> Trained:
    """Train independent models, one for each key, on weighted pairs.

    **Arguments:**

    - `model`: every array of it with a leading axis `models`.
    - `data`: rows are drawn with probability proportional to `weight`, stratified within a batch.
    - `weight`: `(n,)`, or `(models, n)` where each model weighs the rows its own way.
    - `on_chunk`: called with the number of steps just done.

    **Raises:** `PhysicsError` where the loss stays not finite at ever smaller learning rates.
    """
    chunks = max(1, -(-settings.steps // CHUNK))
    each = np.broadcast_to(np.where(data.held_out, 0.0, weight), (len(keys), len(data.held_out)))
    batches = [_Batches(data, one, key) for one, key in zip(each, keys, strict=True)]
    validation = _validation_pairs(data, np.mean(np.atleast_2d(weight), axis=0))
    carry = eqx.filter_vmap(lambda model: objective.start(model, chunks * CHUNK, settings.learning_rate))(model)
    count = len(keys)
    members = _Members(carry, model, np.full(count, np.inf), np.zeros(count, int), np.ones(count))
    for chunk in range(chunks):
        _improve(objective, members, batches, settings.batch_size, jax.vmap(jax.random.fold_in, (0, None))(keys, chunk))
        _remember(objective, members, validation, jax.random.key(0))
        on_chunk(CHUNK)
        if settings.patience is not None and np.all(members.since_best * CHUNK >= settings.patience):
            break
    loss, judged = np.stack(members.loss, axis=1), np.stack(members.validation, axis=1)
    return Trained(members.best, loss, judged, members.recoveries)


def validation_rows(q: Float[np.ndarray, "n Y"], share: float) -> Bool[np.ndarray, "n"]:
    """Which rows are held out: chosen by their content, so that copies of one state are never on both sides.

    Of states as they are given: what represents one varies with its condition.
    """
    bits = np.ascontiguousarray(q, np.float32).view(np.uint32).astype(np.uint64)
    mixed = np.zeros(len(q), np.uint64)
    for column in bits.T:
        mixed = (mixed ^ column) * np.uint64(0x9E3779B97F4A7C15)
        mixed ^= mixed >> np.uint64(29)
    chosen = mixed % np.uint64(1000) < np.uint64(round(1000 * share))
    return chosen & (chosen.sum() < len(q))


def numpy_rng(key: Key[Array, ""]) -> np.random.Generator:
    """NumPy's random numbers, decided by a key."""
    return np.random.default_rng(np.asarray(jax.random.key_data(key), np.uint32))


class _Batches:
    """Rows of the data for a chunk of steps, drawn by weight."""

    def __init__(self, data: Data, weight: np.ndarray, key: Array):
        self._data = tuple(np.asarray(part, np.float32) for part in (data.state, data.z))
        self._cumulative = np.cumsum(weight) / np.sum(weight)
        self._rng = numpy_rng(key)

    def draw(self, steps: int, size: int) -> tuple[np.ndarray, ...]:
        stratified = (np.arange(size) + self._rng.random((steps, size))) / size
        rows = np.searchsorted(self._cumulative, np.minimum(stratified, self._cumulative[-1] * (1 - 1e-12)), "right")
        return tuple(part[np.minimum(rows, len(part) - 1)] for part in self._data)


def _validation_pairs(data: Data, weight: np.ndarray) -> Pairs:
    # of too few pairs all serve, rather than none
    rows = np.flatnonzero(data.held_out & (weight > 0))
    rows = rows if len(rows) else np.flatnonzero(weight > 0)
    pick = np.random.default_rng(0).choice(rows, VALIDATION_ROWS, p=weight[rows] / weight[rows].sum())
    return Pairs(*(jnp.asarray(np.asarray(part)[pick], jnp.float32) for part in (data.state, data.z)))


def _improve(objective: Objective, members: _Members, batches: list[_Batches], size: int, keys: Array) -> None:
    """One chunk of steps; a model whose loss is not finite goes back to where it began, and on more slowly."""
    while True:
        pairs = _drawn(batches, objective.batches, size)
        carry, loss = _run_chunk(objective, members.carry, pairs, keys, jnp.asarray(members.rate, jnp.float32))
        loss = np.asarray(loss)
        bad = ~np.isfinite(loss)
        if not bad.any():
            members.carry = carry
            members.loss.append(loss)
            return
        members.recoveries += 1
        if members.recoveries > MOST_RECOVERIES:
            raise PhysicsError(
                f"the training loss is not finite, at {MOST_RECOVERIES} learning rates",
                where=f"generator, training step {(len(members.loss) + 1) * CHUNK}",
                remedy="Lower [generator] learning_rate, or check the observed states for huge values.",
            )
        members.rate = np.where(bad, SLOWER * members.rate, members.rate)
        keys = jax.vmap(jax.random.fold_in, (0, None))(keys, 10_000 + members.recoveries)


def _drawn(batches: list[_Batches], per_step: int, size: int) -> Pairs:
    """Pairs `(models, CHUNK, per_step, size, ...)`."""
    drawn = [one.draw(CHUNK * per_step, size) for one in batches]
    shape = len(drawn), CHUNK, per_step, size, -1
    return Pairs(*(jnp.asarray(np.stack(parts).reshape(shape)) for parts in zip(*drawn, strict=True)))


def _remember(objective: Objective, members: _Members, validation: Pairs, key: Array) -> None:
    """Keep the best averaged weights of each model."""
    averaged, value = _judge(objective, members.carry, validation, key)
    value = np.where(np.isfinite(value), value, np.inf)
    first = ~np.isfinite(members.best_validation)
    better = (value < members.best_validation) | first
    taken = (value < (1 + objective.scatter) * members.best_validation) | first
    members.best = _where(jnp.asarray(taken), averaged, members.best)
    members.best_validation = np.where(better, value, members.best_validation)
    members.since_best = np.where(better, 0, members.since_best + 1)
    members.validation.append(value)


@eqx.filter_jit
def _run_chunk(objective: Objective, carry: Any, pairs: Pairs, keys: Array, rate: Array) -> tuple[Any, Array]:
    def one(carry, pairs, key, rate):
        arrays, rest = eqx.partition(carry, eqx.is_array)

        def step(arrays, inputs):
            new, loss = objective.improve(eqx.combine(arrays, rest), inputs[0], inputs[1], rate)
            return eqx.filter(new, eqx.is_array), loss

        arrays, loss = jax.lax.scan(step, arrays, (pairs, jax.random.split(key, CHUNK)))
        return eqx.combine(arrays, rest), jnp.mean(loss)

    return _over_members(one)(carry, pairs, keys, rate)


@eqx.filter_jit
def _judge(objective: Objective, carry: Any, validation: Pairs, key: Array) -> tuple[Any, Array]:
    def one(carry):
        model = objective.result(carry)
        return model, objective.judge(model, validation, key)

    return _over_members(one)(carry)


@eqx.filter_jit
def _where(better: Array, new: Any, old: Any) -> Any:
    def choose(a, b):
        return jnp.where(better.reshape((-1,) + (1,) * (a.ndim - 1)), a, b) if eqx.is_array(a) else a

    return jax.tree.map(choose, new, old)


def _over_members(function: Callable) -> Callable:
    """Batched over the leading axis; without a batch where that is one, which compiles to faster code."""

    def call(*arguments):
        arrays = [leaf for leaf in jax.tree.leaves(arguments) if eqx.is_array(leaf)]
        if len(arrays[0]) > 1:
            return eqx.filter_vmap(function)(*arguments)
        return stack([function(*member(arguments, 0))])

    return call
