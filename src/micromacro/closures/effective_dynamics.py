"""A learned reduced equation: b and D as smooth functions and as a table with standard errors, and its checks."""

from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy import stats

from micromacro.closures.conditional import REQUIREMENTS, LocalRequirements, conditional_averages
from micromacro.closures.effective_model import EffectiveModel
from micromacro.closures.linear_flow import lower_factor, product
from micromacro.closures.residuals import ResidualCheck, per_pair
from micromacro.closures.scaling import Scaling
from micromacro.closures.snapshots import SnapshotPairs
from micromacro.closures.table import ClosureTable
from micromacro.closures.transition import Scheme, scheme_bias
from micromacro.coordinates.coarse import CoarseVariable
from micromacro.estimates.surface import Grid
from micromacro.generators.training import Trained


class Ensemble(eqx.Module):
    """Trained members, arrays `(members, ...)`, and the units of z."""

    members: EffectiveModel
    scaling: Scaling

    def each(self, z: Float[Array, "d"]) -> tuple[Float[Array, "members d"], Float[Array, "members d d"]]:
        """Drift b and D of every member at one z."""
        u = self.scaling.position(z)
        drift, factor = eqx.filter_vmap(lambda model: model(u))(self.members)
        diffusion = jax.vmap(lambda one: product(one, one.T))(factor)
        return self.scaling.drift(drift), self.scaling.diffusion(diffusion)

    def __call__(self, z: Float[Array, "d"]) -> tuple[Float[Array, "d"], Float[Array, "d d"]]:
        """Drift b and the lower Cholesky factor of D, means over the members."""
        drift, diffusion = self.each(z)
        return jnp.mean(drift, axis=0), lower_factor(jnp.mean(diffusion, axis=0))


@dataclass(frozen=True, eq=False)
class EffectiveDynamics:
    """A learned reduced equation.

    **Arguments:**

    - `scheme`: whose transition density was fitted.
    - `ensemble`: the members.
    - `pairs`: what it was learned from.
    - `held_out`: `(n,)` booleans, the pairs that only judged.
    - `log_likelihood_held_out`: mean log density of those pairs a pair, in units of z, and its standard error.
    - `residual_check`: by those pairs.
    - `training`: losses by the chunk.
    """

    coarse: CoarseVariable
    scheme: Scheme
    ensemble: Ensemble
    pairs: SnapshotPairs
    held_out: np.ndarray
    log_likelihood_held_out: tuple[float, float]
    residual_check: ResidualCheck
    training: Trained

    @property
    def force_evaluations(self) -> int:
        """What the pairs cost; learning costs none."""
        return self.pairs.force_evaluations

    def drift(self, z: Float[Array, "d"]) -> Float[Array, "d"]:
        """The drift b at one z, in units of z per time; differentiable."""
        return jnp.mean(self.ensemble.each(z)[0], axis=0)

    def diffusion(self, z: Float[Array, "d"]) -> Float[Array, "d d"]:
        """The diffusion D at one z, in squared units of z per time, symmetric positive definite; differentiable."""
        return jnp.mean(self.ensemble.each(z)[1], axis=0)

    def log_likelihood(self, pairs: SnapshotPairs) -> Float[np.ndarray, "n"]:
        """The log density of each pair's displacement, of the lag of these pairs."""
        return log_likelihood(self.scheme, self.ensemble, pairs)

    def table(self, grid: Grid, requirements: LocalRequirements = REQUIREMENTS) -> ClosureTable:
        """The closure on a grid, NaN where there were too few pairs.

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


@eqx.filter_jit
def _each(ensemble: Ensemble, points: Float[Array, "n d"]) -> tuple[Array, Array]:
    return jax.vmap(ensemble.each)(points)


@eqx.filter_jit
def _biases(scheme: Scheme, ensemble: Ensemble, points: Float[Array, "n d"], lag: float) -> tuple[Array, Array]:
    return jax.vmap(lambda z: scheme_bias(scheme, ensemble, z, lag))(points)


def log_likelihood(scheme: Scheme, ensemble: Ensemble, pairs: SnapshotPairs) -> Float[np.ndarray, "n"]:
    """The log density of each pair's displacement by the mean of the members."""
    return per_pair(scheme.log_density, ensemble, pairs)


def _spread(values: Float[np.ndarray, "n members ..."]) -> Float[np.ndarray, "n ..."]:
    """One standard deviation's coverage from the members at each point."""
    student = stats.t.ppf(stats.norm.cdf(1), values.shape[1] - 1)
    return student * values.std(axis=1, ddof=1)
