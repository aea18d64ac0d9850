"""The members of a learned reduced equation: independent trainings, as tasks of a pool."""

import threading
from dataclasses import dataclass, field
from itertools import pairwise

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from micromacro.closures.effective_model import EffectiveModel
from micromacro.closures.fisher_scoring import FisherScoring
from micromacro.closures.scaling import LinearFit
from micromacro.closures.schemes import SCHEMES
from micromacro.closures.transition import Scheme
from micromacro.generators.training import Data, Trained, TrainingSettings, train

PARTS = 4
"""Tasks that the members are trained in: a number that no pool changes, as it decides on how they are batched."""


@dataclass(frozen=True)
class ScaledLogDensity:
    """The log density of a scaled displacement `(d,)` from a scaled start `(d,)` by a model, a lag being one."""

    scheme: Scheme

    def __call__(self, model: EffectiveModel, start: Float[Array, "d"], moved: Float[Array, "d"]) -> Float[Array, ""]:
        """For one pair."""
        return self.scheme.log_density(model, start, moved, 1.0)


@dataclass(frozen=True)
class MemberTrainer:
    """Trains some members, in this process or in a worker.

    **Arguments:**

    - `scheme`: by name.
    - `periodic`, `width`, `depth`: of the networks.
    - `linear`: the equation that they start from.
    - `precision`: of the prior of the weights; see `FisherScoring`.
    - `training`: how long.
    """

    scheme: str
    periodic: tuple[bool, ...]
    width: int
    depth: int
    linear: LinearFit
    precision: float
    training: TrainingSettings
    stopped: threading.Event = field(default_factory=threading.Event, repr=False, compare=False)
    """Set where the work is broken off."""

    def train(
        self,
        build_keys: np.ndarray,
        train_keys: np.ndarray,
        state: Float[np.ndarray, "n d"],
        z: Float[np.ndarray, "n d"],
        held_out: Bool[np.ndarray, "n"],
        weight: Float[np.ndarray, "members n"],
    ) -> tuple[np.ndarray, ...]:
        """Members of the given keys: losses, recoveries, and their arrays as `joined` takes them.

        **Raises:** `PhysicsError` where the loss stays not finite.
        """
        models = self._built(jax.random.wrap_key_data(jnp.asarray(build_keys)))
        objective = FisherScoring(jnp.asarray(self.precision, jnp.float32), ScaledLogDensity(SCHEMES[self.scheme]))
        keys = jax.random.wrap_key_data(jnp.asarray(train_keys))
        found = train(objective, models, Data(state, z, held_out), weight, self.training, keys, self._go_on)
        arrays = jax.tree.leaves(eqx.filter(found.model, eqx.is_array))
        recoveries = np.full(1, found.recoveries)
        return (found.loss, found.validation, recoveries, *(np.asarray(array) for array in arrays))

    def joined(self, answers: list[tuple[np.ndarray, ...]]) -> Trained:
        """All members from those of the tasks, in their order."""
        loss, validation, recoveries, *arrays = (np.concatenate(part) for part in zip(*answers, strict=True))
        like = self._built(jax.random.split(jax.random.key(0), len(loss)))
        wanted, rest = eqx.partition(like, eqx.is_array)
        leaves = [jnp.asarray(array) for array in arrays]
        model = eqx.combine(jax.tree.unflatten(jax.tree.structure(wanted), leaves), rest)
        return Trained(model, loss, validation, int(recoveries.sum()))

    def _built(self, keys: Array) -> EffectiveModel:
        own_axis = self.scheme == "milstein"
        settings = self.linear, self.periodic, self.width, self.depth, own_axis
        return eqx.filter_vmap(lambda key: EffectiveModel(*settings, key))(keys)

    def _go_on(self, _: int) -> None:
        if self.stopped.is_set():
            raise InterruptedError


def tasks_of(data: Data, weight: Float[np.ndarray, "members n"], build_keys: Array, train_keys: Array) -> list[dict]:
    """The arguments of `MemberTrainer.train` of every part."""
    keys = [np.asarray(jax.random.key_data(each)) for each in (build_keys, train_keys)]
    shared = {"state": data.state, "z": data.z, "held_out": data.held_out}
    return [
        {"build_keys": keys[0][part], "train_keys": keys[1][part], "weight": weight[part]} | shared
        for part in parts_of(len(weight))
    ]


def parts_of(members: int) -> list[slice]:
    """Which members are trained together: in four parts at most, as even as may be.

    >>> parts_of(8)
    [slice(0, 2, None), slice(2, 4, None), slice(4, 6, None), slice(6, 8, None)]
    """
    count = min(PARTS, members)
    return [slice(begin, end) for begin, end in pairwise(members * number // count for number in range(count + 1))]
