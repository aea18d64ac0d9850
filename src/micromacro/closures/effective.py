r"""A learned reduced equation $dz = b(z)\,dt + \sqrt{2D(z)}\,dW$ (Itô), from pairs of coarse values one lag apart.

Networks for b and for the Cholesky factor of D maximise the likelihood of the pairs under the transition density of a
numerical scheme. At a lag between the fast and the slow time this is the homogenised equation; as the lag goes to zero
it is the projected one. Several members are trained, each on its own random weights of the independent clusters
(D. Rubin, Ann. Stat. 9, 130, 1981): their mean is the estimate, their spread its standard error.

Source: F. Dietrich, A. Makeev, G. Kevrekidis, N. Evangelou, T. Bertalan, S. Reich and I. G. Kevrekidis, "Learning
effective stochastic differential equations from microscopic simulations", Chaos 33, 023121 (2023).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Key

from micromacro.closures.effective_dynamics import EffectiveDynamics, Ensemble, log_likelihood
from micromacro.closures.effective_members import MemberTrainer, parts_of, tasks_of
from micromacro.closures.residuals import check_coefficients, clustered_mean
from micromacro.closures.scaling import LinearFit, Scaling, scaling_of
from micromacro.closures.schemes import SCHEMES
from micromacro.closures.snapshots import SnapshotPairs
from micromacro.closures.transition import Scheme
from micromacro.coordinates.coarse import CoarseVariable
from micromacro.errors import InputError, PhysicsError
from micromacro.estimates.correlation import kish_sample_size
from micromacro.generators.training import Data, Trained, TrainingSettings, numpy_rng
from micromacro.sampling.pool import Recorder
from micromacro.sampling.threads import pool_of

LEAST_CLUSTERS = 8
"""Fewer independent clusters give no standard error worth the name."""
LEAST_MEMBERS = 2


@dataclass(frozen=True)
class EffectiveSettings:
    """How to learn the equation.

    **Arguments:**

    - `scheme`: `statistical-linearisation`, `local-linearisation`, `euler-maruyama` or `milstein`, which takes D for
      diagonal, each entry a function of its own coordinate.
    - `width`, `depth`: of the networks.
    - `training_steps`: rounded up to multiples of 250; as `all_steps` says where left out.
    - `members`: how many are trained.
    - `held_out`: the share of clusters that only judges.
    """

    scheme: str = "statistical-linearisation"
    width: int = 16
    depth: int = 1
    training_steps: int | None = None
    members: int = 8
    batch_size: int = 256
    learning_rate: float = 0.05
    held_out: float = 0.15

    def __post_init__(self):
        if self.scheme not in SCHEMES:
            raise InputError("scheme", f"be one of {tuple(SCHEMES)}", repr(self.scheme))
        if self.members < LEAST_MEMBERS:
            raise InputError(
                "members", f"be at least {LEAST_MEMBERS}: their spread is the standard error", self.members
            )
        if not 0 < self.held_out < 1:
            raise InputError("held_out", "lie between 0 and 1", self.held_out)

    def all_steps(self, dimension: int) -> int:
        """Steps of training: 2000 in one dimension, 1000 beyond, unless given."""
        return self.training_steps or (2000 if dimension == 1 else 1000)


def fit_effective_dynamics(
    coarse: CoarseVariable,
    pairs: SnapshotPairs,
    settings: EffectiveSettings,
    key: Key[Array, ""],
    advance: Callable[[int], None] = lambda _: None,
    recorder: Callable[[Callable[[], Any]], Recorder] = lambda make: Recorder(pool_of(make)),
) -> EffectiveDynamics:
    """Learn b and D from pairs.

    **Arguments:**

    - `pairs`: of one lag, between the fast and the slow time.
    - `advance`: called with the number of training steps just done, of `settings.all_steps(d)`.
    - `recorder`: who trains the members, such as `Engine.recorder`; threads of this process where left out.

    **Raises:** `InputError` for fewer than eight clusters; `PhysicsError` where the likelihood stays not finite.
    """
    clusters, cluster = np.unique(pairs.cluster, return_inverse=True)
    if len(clusters) < LEAST_CLUSTERS:
        raise InputError("pairs", f"come from at least {LEAST_CLUSTERS} walkers", len(clusters), remedy="Run more.")
    rng, model_key, training_key = _streams(key)
    held = np.isin(np.arange(len(clusters)), rng.permutation(len(clusters))[: _held_count(settings, len(clusters))])
    held_out = held[cluster]
    share = np.where(held, 1.0, rng.exponential(size=(settings.members, len(clusters))))
    scaling = scaling_of(coarse, pairs)
    trained = _train(
        settings, pairs, scaling, held_out, share[:, cluster], (model_key, training_key), advance, recorder
    )
    double = jax.tree.map(lambda leaf: leaf.astype(float) if eqx.is_inexact_array(leaf) else leaf, trained.model)
    return _judged(coarse, SCHEMES[settings.scheme], Ensemble(double, scaling), pairs, held_out, trained)


def _judged(coarse, scheme: Scheme, ensemble: Ensemble, pairs: SnapshotPairs, held_out, trained: Trained):
    """The equation with what the held-out pairs say of it."""
    unseen = pairs.select(held_out)
    likelihood = log_likelihood(scheme, ensemble, unseen)
    mean, stderr = clustered_mean(likelihood[:, None], unseen.weight, unseen.cluster)
    check = check_coefficients(scheme, ensemble, unseen)
    figures = float(mean[0]), float(stderr[0])
    return EffectiveDynamics(coarse, scheme, ensemble, pairs, held_out, figures, check, trained)


def _streams(key: Key[Array, ""]) -> tuple[np.random.Generator, Array, Array]:
    weights, models, training = jax.random.split(key, 3)
    return numpy_rng(weights), models, training


def _held_count(settings: EffectiveSettings, clusters: int) -> int:
    return min(max(1, round(settings.held_out * clusters)), clusters - 1)


def _train(
    settings: EffectiveSettings, pairs: SnapshotPairs, scaling: Scaling, held_out, share, keys, advance, recorder
):
    """All members, each row weighted by the pair and by `share` `(members, n)`."""
    data = Data(pairs.displacement / scaling.scale, scaling.position(pairs.start), held_out)
    steps = settings.all_steps(len(scaling.periodic))
    make = partial(
        MemberTrainer,
        settings.scheme,
        scaling.periodic,
        settings.width,
        settings.depth,
        LinearFit.of(scaling, pairs),
        1 / kish_sample_size(np.where(held_out, 0.0, pairs.weight)),
        TrainingSettings(steps, settings.batch_size, settings.learning_rate),
    )
    build_keys, train_keys = (jax.random.split(key, settings.members) for key in keys)
    tasks = tasks_of(data, pairs.weight * share, build_keys, train_keys)
    labels = [f"members from {part.start} on" for part in parts_of(settings.members)]
    shares = np.diff(np.linspace(0, steps, len(tasks) + 1).astype(int))
    try:
        answers = recorder(make).run("train", tasks, labels, lambda part: advance(int(shares[part])))
        return make().joined(answers)
    except PhysicsError as error:
        raise PhysicsError(
            "the likelihood of the pairs is not finite, at ever smaller learning rates",
            where="learned reduced equation",
            remedy="Shorten the lag, or look for huge displacements.",
        ) from error
