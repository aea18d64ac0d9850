"""What the families of conditional generators share: settings that fit, and what a fit checks and prepares."""

import abc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from micromacro.coordinates.space import Space
from micromacro.errors import InputError
from micromacro.generators.condition import Condition
from micromacro.generators.generator import DensityGenerator, Generator
from micromacro.generators.members import member, stack
from micromacro.generators.representation import (
    Layout,
    Representation,
    fit_representation,
    inside_bounds,
    untrained_representation,
)
from micromacro.generators.training import CHUNK, Data, numpy_rng, validation_rows

FEWEST_PAIRS = 50
VALIDATION_SHARE = 0.1


@dataclass(frozen=True)
class Family(abc.ABC):
    """Settings of one family of conditional generators: `fit` makes a generator of them and of weighted pairs.

    A family says how a model is built and what it minimises; subclasses are frozen dataclasses.
    """

    kind: ClassVar[str]
    apart: ClassVar[tuple[int, ...]] = ()

    @property
    @abc.abstractmethod
    def has_density(self) -> bool:
        """Whether fitted generators are proposals with a density."""

    @abc.abstractmethod
    def build(self, layout: Layout, condition: Condition, key: Key[Array, ""]) -> Any:
        """An untrained model of represented states."""

    @abc.abstractmethod
    def learn(
        self,
        model: Any,
        data: Data,
        weight: Float[np.ndarray, "n"],
        keys: Key[Array, "models"],
        steps: int,
        on_chunk: Callable[[int], None],
    ) -> Any:
        """The model, every array with a leading axis `models`, after so many training steps on represented pairs."""

    @abc.abstractmethod
    def all_steps(self, dimension: int) -> int:
        """Training steps of a new generator; 0 without training."""

    @property
    @abc.abstractmethod
    def parts(self) -> int:
        """How many trainings of equal length follow one another."""

    @abc.abstractmethod
    def for_moves(self, state: Space) -> "Family":
        """The settings for states of a space where Metropolis moves correct what is missed: cheaper ones, unless given.

        The first generator of a run learns from data in the wrong proportions: to train it long would be vain.
        """

    def steps_for(self, dimension: int, *, warm: bool) -> int:
        """Training steps, in whole chunks: all for a new generator, a third to go on from a previous one."""
        steps = self.all_steps(dimension)
        return in_chunks(a_third(steps) if warm else steps, self.parts)

    def fit(
        self,
        q: Float[np.ndarray, "n Y"],
        z: Float[np.ndarray, "n d"],
        weight: Float[np.ndarray, "n"],
        key: Key[Array, ""],
        *,
        state: Space | None = None,
        condition: Space | None = None,
        previous: Any = None,
        on_chunk: Callable[[int], None] = lambda _: None,
    ) -> Any:
        """A generator of q given z from weighted pairs.

        **Arguments:**

        - `q`, `z`, `weight`: pairs, and weights of any positive total, zero allowed.
        - `state`, `condition`: where both live; unbounded where left out, and a box about the data for a condition.
        - `previous`: a generator of the same settings to go on from, with fewer steps and its representation.
        - `on_chunk`: called with the number of training steps just done.

        **Returns:** a `DensityGenerator` where the family has a density, else a `Generator`.

        **Raises:** `InputError` for arrays that do not fit each other or the spaces; `PhysicsError` where training
        fails.
        """
        fitted = self.fit_many(
            q, z, weight, key[None], state=state, condition=condition, previous=previous, on_chunk=on_chunk
        )
        return fitted[0]

    def fit_many(
        self,
        q: Float[np.ndarray, "n Y"],
        z: Float[np.ndarray, "n d"],
        weight: Float[np.ndarray, "n"],
        keys: Key[Array, "models"],
        *,
        state: Space | None = None,
        condition: Space | None = None,
        previous: Any = None,
        on_chunk: Callable[[int], None] = lambda _: None,
    ) -> list[Any]:
        """Independent generators, one for each key, trained at once. See `fit`."""
        q, z, weight = (np.asarray(part, float) for part in (q, z, weight))
        if previous is not None:
            state, condition = state or previous.state, condition or previous.condition
        state = Space.unbounded(q.shape[1]) if state is None else state
        condition = Space.unbounded(z.shape[1]) if condition is None else condition
        check_pairs(q, z, weight, state, condition)
        condition = condition.closed(z)
        representation = self._representation(q, z, weight, state, condition, previous, keys[0])
        encode = jax.jit(jax.vmap(lambda a, b: representation.encode(a, b).state))
        represented = np.asarray(encode(jnp.asarray(inside_bounds(q, state)), jnp.asarray(z, jnp.float32)))
        data = Data(represented, z, validation_rows(q, VALIDATION_SHARE))
        build_keys, train_keys = jax.vmap(jax.random.split, out_axes=1)(keys)
        models = stack([self._model(representation, previous, key) for key in build_keys])
        steps = self.steps_for(q.shape[1], warm=previous is not None)
        models = self.learn(models, data, weight, train_keys, steps, on_chunk)
        return [self.generator(representation, member(models, number)) for number in range(len(keys))]

    def generator(self, representation: Representation, model: Any) -> Generator | DensityGenerator:
        """The fitted generator of a model."""
        wrapper = DensityGenerator if self.has_density else Generator
        return wrapper(representation, model, self)

    def skeleton(self, state: Space, condition: Space, circles: tuple[int, ...]) -> Any:
        """An untrained generator of the same structure, to hold the parameters of a stored one."""
        representation = untrained_representation(state, condition, circles, self.apart)
        model = self.build(representation.layout, Condition(condition), jax.random.key(0))
        return self.generator(representation, model)

    def _representation(self, q, z, weight, state, condition, previous, key) -> Representation:
        if previous is not None:
            if previous.state != state or previous.condition != condition or previous.settings != self:
                raise InputError("previous", "be a generator of the same settings and spaces", previous.settings)
            return previous.representation
        return fit_representation(q, z, weight, state, condition, numpy_rng(key), self.apart)

    def _model(self, representation: Representation, previous: Any, key: Array) -> Any:
        if previous is not None:
            return previous.model
        return self.build(representation.layout, Condition(representation.affine.condition), key)


def a_third(steps: int) -> int:
    """Of the training: enough to go on, or where moves correct."""
    return steps // 3


def in_chunks(steps: int, parts: int) -> int:
    """As many steps, rounded up so that each of `parts` trainings is made of whole chunks.

    >>> in_chunks(1333, 1), in_chunks(2000, 3), in_chunks(0, 1)
    (1500, 2250, 0)
    """
    return -(-steps // (parts * CHUNK)) * parts * CHUNK


def check_pairs(
    q: Float[np.ndarray, "n Y"],
    z: Float[np.ndarray, "n d"],
    weight: Float[np.ndarray, "n"],
    state: Space,
    condition: Space,
) -> None:
    """Raise `InputError` where training data do not fit each other or where they are said to live."""
    if not len(q) == len(z) == len(weight):
        raise InputError("q, z and weight", "have equal lengths", (len(q), len(z), len(weight)))
    if len(q) < FEWEST_PAIRS:
        raise InputError("q", f"hold at least {FEWEST_PAIRS} states to learn from", len(q))
    for name, values, space in (("q", q, state), ("z", z, condition)):
        if values.shape[1] != space.dimension:
            raise InputError(name, f"have {space.dimension} columns, as its space has", values.shape[1])
        if not np.all(np.isfinite(values)):
            raise InputError(name, "be finite", f"{np.sum(~np.isfinite(values))} values that are not")
    bound = ~np.asarray(state.periodic)
    outside = bound & ((q < np.asarray(state.lower)) | (q > np.asarray(state.upper)))
    if outside.any():
        row, column = np.argwhere(outside)[0]
        ends = state.lower[column], state.upper[column]
        raise InputError(f"q[:, {column}]", f"lie between its bounds {ends}", q[row, column])
    if not (np.all(np.isfinite(weight)) and np.all(weight >= 0) and weight.sum() > 0):
        raise InputError("weight", "be finite, not negative, and positive somewhere", f"a sum of {weight.sum()}")
