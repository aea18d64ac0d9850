r"""A learned reduced equation $dz = b(z)\,dt + \sqrt{2D(z)}\,dW$ (Itô), from pairs of coarse values one lag apart.

Networks for b and for the Cholesky factor of D maximise the likelihood of the pairs under the transition density of a
numerical scheme. At a lag between the fast and the slow time this is the homogenised equation; as the lag goes to zero
it is the projected one. Several members are trained, each on its own random weights of the independent clusters
(D. Rubin, Ann. Stat. 9, 130, 1981): their mean is the estimate, their spread its standard error.

Source: F. Dietrich, A. Makeev, G. Kevrekidis, N. Evangelou, T. Bertalan, S. Reich, I. G. Kevrekidis, "Learning effective
stochastic differential equations from microscopic simulations", Chaos 33, 023121 (2023).
"""

from collections.abc import Callable
from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key
from scipy import stats

from micromacro.closures.conditional import REQUIREMENTS, LocalRequirements, conditional_averages
from micromacro.closures.effective_model import EffectiveModel, LinearFit, Scaling, scaling_of
from micromacro.closures.fisher_scoring import FisherScoring
from micromacro.closures.linear_flow import lower_factor, product
from micromacro.closures.residuals import ResidualCheck, clustered_mean, per_pair, residual_check
from micromacro.closures.schemes import SCHEMES
from micromacro.closures.snapshots import SnapshotPairs
from micromacro.closures.table import ClosureTable
from micromacro.closures.transition import Moments, Scheme, scheme_bias
from micromacro.coordinates.coarse import CoarseVariable
from micromacro.errors import InputError, PhysicsError
from micromacro.estimates.surface import Grid
from micromacro.generators.training import Data, Trained, TrainingSettings, numpy_rng, train

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
    - `training_steps`: rounded up to multiples of 250.
    - `members`: how many are trained.
    - `held_out`: the share of clusters that only judges.
    """

    scheme: str = "statistical-linearisation"
    width: int = 24
    depth: int = 2
    training_steps: int = 1500
    members: int = 8
    batch_size: int = 512
    learning_rate: float = 5e-3
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


class Ensemble(eqx.Module):
    """Trained members, arrays `(members, ...)`, and the units of z."""

    members: EffectiveModel
    scaling: Scaling

    def each(self, z: Float[Array, "d"]) -> tuple[Float[Array, "members d"], Float[Array, "members d d"]]:
        """Drift and diffusion of every member at one z."""
        u = self.scaling.position(z)
        drift, factor = eqx.filter_vmap(lambda model: model(u))(self.members)
        diffusion = jax.vmap(lambda one: product(one, one.T))(factor)
        return self.scaling.drift(drift), self.scaling.diffusion(diffusion)

    def __call__(self, z: Float[Array, "d"]) -> tuple[Float[Array, "d"], Float[Array, "d d"]]:
        """The drift and the lower Cholesky factor of D, means over the members."""
        drift, diffusion = self.each(z)
        return jnp.mean(drift, axis=0), lower_factor(jnp.mean(diffusion, axis=0))


@dataclass(frozen=True, eq=False)
class EffectiveDynamics:
    """A learned reduced equation.

    **Arguments:**

    - `ensemble`: the members.
    - `pairs`: what it was learned from.
    - `held_out`: `(n,)` booleans, the pairs that only judged.
    - `log_likelihood_held_out`: mean log density of those pairs a pair, in units of z, and its standard error.
    - `residual_check`: by those pairs.
    - `training`: losses by the chunk.
    """

    coarse: CoarseVariable
    settings: EffectiveSettings
    ensemble: Ensemble
    pairs: SnapshotPairs
    held_out: np.ndarray
    log_likelihood_held_out: tuple[float, float]
    residual_check: ResidualCheck
    training: Trained

    @property
    def scheme(self) -> Scheme:
        """The scheme whose density was fitted."""
        return SCHEMES[self.settings.scheme]

    @property
    def force_evaluations(self) -> int:
        """What the pairs cost; learning costs none."""
        return self.pairs.force_evaluations

    def drift(self, z: Float[Array, "d"]) -> Float[Array, "d"]:
        """The drift at one z, in units of z per time; differentiable."""
        return jnp.mean(self.ensemble.each(z)[0], axis=0)

    def diffusion(self, z: Float[Array, "d"]) -> Float[Array, "d d"]:
        """D at one z, in squared units of z per time, symmetric positive definite; differentiable."""
        return jnp.mean(self.ensemble.each(z)[1], axis=0)

    def log_likelihood(self, pairs: SnapshotPairs) -> Float[np.ndarray, "n"]:
        """The log density of each pair's displacement, of the lag of these pairs."""
        return _log_likelihood(self.scheme, self.ensemble, pairs)

    def table(self, grid: Grid, requirements: LocalRequirements = REQUIREMENTS) -> ClosureTable:
        """Drift and diffusion on a grid, NaN where there were too few pairs.

        The standard error joins the spread of the members, widened by Student's t, and the bias of the scheme.
        """
        points = jnp.asarray(grid.points)
        drifts, diffusions = (np.asarray(part) for part in _each(self.ensemble, points))
        biases = _biases(self.scheme, self.ensemble, points, self.pairs.lag)
        drift_stderr, diffusion_stderr = (
            np.hypot(_spread(part), np.asarray(bias)) for part, bias in zip((drifts, diffusions), biases, strict=True)
        )
        known = self._sampled(grid, requirements)
        return ClosureTable(
            z=grid.points,
            drift=np.where(known[:, None], drifts.mean(axis=1), np.nan),
            drift_stderr=np.where(known[:, None], drift_stderr, np.nan),
            diffusion=np.where(known[:, None, None], diffusions.mean(axis=1), np.nan),
            diffusion_stderr=np.where(known[:, None, None], diffusion_stderr, np.nan),
        )

    def _sampled(self, grid: Grid, requirements: LocalRequirements) -> np.ndarray:
        """The cells where a local average of the pairs would be believed, `(n,)` booleans."""
        pairs, nothing = self.pairs, np.zeros((len(self.pairs.start), 1))
        start = np.asarray(self.coarse.wrap(pairs.start))
        local = conditional_averages(self.coarse, grid, start, nothing, pairs.weight, pairs.cluster, requirements)
        return local.effective_samples > 0


@dataclass(frozen=True)
class ScaledLogDensity:
    """The log density of a scaled displacement `(d,)` from a scaled start `(d,)` by a model, a lag being one."""

    scheme: Scheme

    def __call__(
        self, model: EffectiveModel, start: Float[Array, "d"], moved: Float[Array, "d"]
    ) -> Float[Array, ""]:
        """For one pair."""
        return self.scheme.log_density(model, start, moved, 1.0)


def fit_effective_dynamics(
    coarse: CoarseVariable,
    pairs: SnapshotPairs,
    settings: EffectiveSettings,
    key: Key[Array, ""],
    advance: Callable[[int], None] = lambda _: None,
) -> EffectiveDynamics:
    """Learn b and D from pairs.

    **Arguments:**

    - `pairs`: of one lag, between the fast and the slow time.
    - `advance`: called with the number of training steps just done, of `settings.training_steps`.

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
    trained = _train(settings, pairs, scaling, held_out, share[:, cluster], (model_key, training_key), advance)
    double = jax.tree.map(lambda leaf: leaf.astype(float) if eqx.is_inexact_array(leaf) else leaf, trained.model)
    ensemble, unseen = Ensemble(double, scaling), pairs.select(held_out)
    likelihood = _log_likelihood(SCHEMES[settings.scheme], ensemble, unseen)
    mean, stderr = clustered_mean(likelihood[:, None], unseen.weight, unseen.cluster)
    check = residual_check(
        SCHEMES[settings.scheme],
        lambda z: jnp.mean(ensemble.each(z)[0], axis=0),
        lambda z: jnp.mean(ensemble.each(z)[1], axis=0),
        unseen,
    )
    return EffectiveDynamics(
        coarse, settings, ensemble, pairs, held_out, (float(mean[0]), float(stderr[0])), check, trained
    )


def _streams(key: Key[Array, ""]) -> tuple[np.random.Generator, Array, Array]:
    weights, models, training = jax.random.split(key, 3)
    return numpy_rng(weights), models, training


def _held_count(settings: EffectiveSettings, clusters: int) -> int:
    return min(max(1, round(settings.held_out * clusters)), clusters - 1)


def _train(settings: EffectiveSettings, pairs: SnapshotPairs, scaling: Scaling, held_out, share, keys, advance):
    """All members at once, each row weighted by the pair and by `share` `(members, n)`."""
    linear, own_axis = LinearFit.of(scaling, pairs), settings.scheme == "milstein"

    def build(key):
        return EffectiveModel(linear, scaling.periodic, settings.width, settings.depth, own_axis, key)

    models = eqx.filter_vmap(build)(jax.random.split(keys[0], settings.members))
    data = Data(pairs.displacement / scaling.scale, scaling.position(pairs.start), held_out)
    training = TrainingSettings(settings.training_steps, settings.batch_size, settings.learning_rate)
    objective = FisherScoring(jnp.asarray(1 / np.count_nonzero(~held_out), jnp.float32), ScaledLogDensity(SCHEMES[settings.scheme]))
    member_keys = jax.random.split(keys[1], settings.members)
    try:
        return train(objective, models, data, pairs.weight * share, training, member_keys, advance)
    except PhysicsError as error:
        raise PhysicsError(
            "the likelihood of the pairs is not finite, at ever smaller learning rates",
            where="learned reduced equation",
            remedy="Shorten the lag, or look for huge displacements.",
        ) from error


@eqx.filter_jit
def _each(ensemble: Ensemble, points: Float[Array, "n d"]) -> tuple[Array, Array]:
    return jax.vmap(ensemble.each)(points)


@eqx.filter_jit
def _biases(scheme: Scheme, ensemble: Ensemble, points: Float[Array, "n d"], lag: float) -> Moments:
    return jax.vmap(lambda z: scheme_bias(scheme, ensemble, z, lag))(points)


def _log_likelihood(scheme: Scheme, ensemble: Ensemble, pairs: SnapshotPairs) -> Float[np.ndarray, "n"]:
    return per_pair(lambda start, moved, lag: scheme.log_density(ensemble, start, moved, lag), pairs)


def _spread(values: Float[np.ndarray, "n members ..."]) -> Float[np.ndarray, "n ..."]:
    """One standard deviation's coverage from the members at each point."""
    student = stats.t.ppf(stats.norm.cdf(1), values.shape[1] - 1)
    return student * values.std(axis=1, ddof=1)
