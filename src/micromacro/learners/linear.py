"""Coordinates that are linear in the features, from time series: TICA and VAMP, by deeptime."""

from dataclasses import dataclass
from typing import ClassVar

import jax
import numpy as np
from deeptime.covariance import Covariance, CovarianceModel
from deeptime.decomposition import TICA, VAMP, CovarianceKoopmanModel
from jaxtyping import Array, Float, Key

from micromacro.errors import InputError
from micromacro.learners.finishing import finish, linear
from micromacro.learners.learner import Diagnostics, Learned, TimeSeries, TrainingData

CUTOFF = 1e-8


@dataclass(frozen=True)
class TicaLearner:
    """Settings of time-lagged independent components: the slowest linear coordinates of reversible dynamics.

    **Arguments:**

    - `components`: how many coordinates.
    - `lag`: in units of time; `None` for a tenth of a trajectory, ten frames at most.

    Sources: Molgedey & Schuster, Phys. Rev. Lett. 72, 3634 (1994); Pérez-Hernández, Paul, Giorgino, De Fabritiis &
    Noé, J. Chem. Phys. 139, 015102 (2013).
    """

    kind: ClassVar[str] = "tica"
    needs_series: ClassVar[bool] = True
    takes_weights: ClassVar[bool] = True

    components: int = 1
    lag: float | None = None

    def fit(self, data: TrainingData, key: Key[Array, ""]) -> Learned:
        """The slowest components of the trajectories, by the arc length.

        **Raises:** `InputError` without trajectories, for a lag that is too long, or more components than features.
        """
        series = data.trajectories(self.kind)
        frames = series.frames_of(self.lag)
        found = time_lagged_components(series, frames)
        return _finished(found, self.components, series, frames, data, key)


@dataclass(frozen=True)
class VampLearner:
    """Settings of the variational approach to Markov processes, also for dynamics that is not reversible.

    Coordinates are the left singular functions of the Koopman operator, linear in the features.

    **Arguments:**

    - `components`, `lag`: as of `TicaLearner`.

    Source: Wu & Noé, J. Nonlinear Sci. 30, 23 (2020).
    """

    kind: ClassVar[str] = "vamp"
    needs_series: ClassVar[bool] = True
    takes_weights: ClassVar[bool] = False

    components: int = 1
    lag: float | None = None

    def fit(self, data: TrainingData, key: Key[Array, ""]) -> Learned:
        """The leading singular functions of the trajectories, by the arc length.

        **Raises:** as `TicaLearner.fit`, and for weighted trajectories, which deeptime has no VAMP for.
        """
        series = data.trajectories(self.kind)
        if series.weight is not None:
            remedy = "Learn with kind 'tica', whose covariances take weights, or from unbiased trajectories."
            raise InputError("series.weight", "be left out for kind 'vamp'", "weights", remedy=remedy)
        frames = series.frames_of(self.lag)
        scale = feature_scale(series.features)
        covariance = lagged_covariance(series, frames, scale, reversible=False)
        found = VAMP(lagtime=frames, epsilon=CUTOFF, scaling=None).fit_from_covariances(covariance).fetch_model()
        return _finished(_unscaled(found, scale), self.components, series, frames, data, key)


@dataclass(frozen=True, eq=False)
class Components:
    """Slow linear components.

    **Arguments:**

    - `offset`: mean of the features, `(F,)`.
    - `matrix`: their coefficients, `(F, k)`.
    - `eigenvalues`: or singular values, `(k,)`, descending.
    """

    offset: Float[np.ndarray, "F"]
    matrix: Float[np.ndarray, "F k"]
    eigenvalues: Float[np.ndarray, "k"]

    def time_scales(self, lag: float) -> Float[np.ndarray, "k"]:
        r"""$-\tau / \ln \lambda$, in the units of the lag; zero where an eigenvalue is not positive."""
        return implied_time_scales(self.eigenvalues, lag)


def time_lagged_components(series: TimeSeries, frames: int) -> Components:
    """All independent components of trajectories at a lag of so many frames, the slowest first."""
    scale = feature_scale(series.features)
    return components_of(lagged_covariance(series, frames, scale, reversible=True), scale)


def components_of(covariance: CovarianceModel, scale: Float[np.ndarray, "F"]) -> Components:
    """The independent components of covariances of features that were divided by `scale`."""
    found = TICA(epsilon=CUTOFF, scaling=None).fit_from_covariances(covariance).fetch_model()
    return _unscaled(found, scale)


def implied_time_scales(eigenvalues: Float[np.ndarray, "k"], lag: float) -> Float[np.ndarray, "k"]:
    r"""$-\tau / \ln \lambda$; zero for eigenvalues that are not positive, infinite from one on."""
    inside = np.clip(eigenvalues, 1e-300, 1.0)
    with np.errstate(divide="ignore"):
        return np.where(eigenvalues > 0, -lag / np.log(inside), 0.0)


def feature_scale(features: Float[np.ndarray, "frames walkers F"]) -> Float[np.ndarray, "F"]:
    """Standard deviations of the features, one for those that do not vary.

    **Raises:** `InputError` where none varies.
    """
    spread = features.std(axis=(0, 1))
    varies = spread > 1e-12 * np.max(np.abs(features), axis=(0, 1))
    if not varies.any():
        raise InputError("series.features", "vary in time", "constants")
    return np.where(varies, spread, 1.0)


def lagged_covariance(
    series: TimeSeries, frames: int, scale: Float[np.ndarray, "F"], *, reversible: bool
) -> CovarianceModel:
    """Covariances at a lag of so many frames over all walkers, each pair with the weight of its first frame."""
    estimator = Covariance(
        lagtime=frames,
        compute_c0t=True,
        compute_ctt=not reversible,
        remove_data_mean=True,
        reversible=reversible,
        bessels_correction=False,
    )
    features = np.ascontiguousarray(np.swapaxes(series.features / scale, 0, 1))
    for walker, trajectory in enumerate(features):
        own = None if series.weight is None else np.ascontiguousarray(series.weight[:-frames, walker])
        if own is None or own.any():
            estimator.partial_fit((trajectory[:-frames], trajectory[frames:]), weights=own)
    return estimator.fetch_model()


def _unscaled(found: CovarianceKoopmanModel, scale: np.ndarray) -> Components:
    values = np.real(found.singular_values)
    order = np.argsort(-values, kind="stable")  # deeptime orders by size, so that -0.3 comes before 0.2
    matrix = np.real(found.singular_vectors_left)[:, order] / scale[:, None]
    return Components(np.asarray(found.mean_0) * scale, matrix, values[order])


def _finished(
    found: Components, components: int, series: TimeSeries, frames: int, data: TrainingData, key: Array
) -> Learned:
    if not 1 <= components <= len(found.eigenvalues):
        most = len(found.eigenvalues)
        raise InputError("components", f"be from 1 to the {most} independent features", components)
    lag, pairs = frames * series.interval, (len(series.features) - frames) * series.features.shape[1]
    diagnostics = Diagnostics(found.eigenvalues, found.time_scales(lag), np.arange(components), pairs)
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    return finish(linear(found.offset, found.matrix[:, :components]), data, diagnostics, rng)
