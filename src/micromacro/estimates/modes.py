"""Modes of a sample, whether other draws find them, and how well they cover it."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial import KDTree
from scipy.special import softmax
from sklearn.cluster import KMeans
from sklearn.mixture import GaussianMixture
from threadpoolctl import threadpool_limits

from micromacro.errors import InputError
from micromacro.estimates.correlation import kish_sample_size
from micromacro.estimates.distances import pooled_scale

MOST_STATES = 5000
MOST_COMPONENTS = 16
PATIENCE = 3
MOST_DIMENSIONS = 30
RESOLUTION = 0.1
CLIMBING_STEPS = 200
POINTS_ON_A_LINE = 41
SMALLEST_SHARE = 0.02
LEAST_PART = 0.1


@dataclass(frozen=True)
class Modes:
    """Modes of a sample, in order of their shares; from `find_modes`.

    **Arguments:**

    - `share`: of the sample in each mode, `(modes,)`; they sum to one.
    - `stderr`: binomial standard error of the share, `(modes,)`.
    - `offset`, `directions`: what makes coordinates of the mixture `(n, r)` of states `(n, Y)`: subtract, `(Y,)`, then
      multiply, `(Y, r)`.
    - `mixture`: Gaussians whose sum is the sample's density in these coordinates.
    - `mode_of_component`: `(components,)`.
    """

    share: Float[np.ndarray, "modes"]
    stderr: Float[np.ndarray, "modes"]
    offset: Float[np.ndarray, "Y"]
    directions: Float[np.ndarray, "Y r"]
    mixture: GaussianMixture
    mode_of_component: Int[np.ndarray, "components"]

    def label(self, states: Float[np.ndarray, "n Y"]) -> Int[np.ndarray, "n"]:
        """The mode that each state most likely belongs to; also for states that are far from all modes."""
        posterior = self.mixture.predict_proba((states - self.offset) @ self.directions)
        of_mode = np.eye(len(self.share))[self.mode_of_component]
        return np.argmax(posterior @ of_mode, axis=1)


@dataclass(frozen=True)
class ModeRecall:
    """Whether draws find the modes of a reference.

    **Arguments:**

    - `share`: of the draws in each mode, `(modes,)`.
    - `stderr`: binomial standard error of the share, `(modes,)`, positive also where the share is zero or one.
    - `reference_share`, `reference_stderr`: the same of the reference.
    - `recall`: fraction of the modes of share 2% or more that receive a tenth of their share or more.
    - `missed`: those that do not, by index.
    """

    share: Float[np.ndarray, "modes"]
    stderr: Float[np.ndarray, "modes"]
    reference_share: Float[np.ndarray, "modes"]
    reference_stderr: Float[np.ndarray, "modes"]
    recall: float
    missed: Int[np.ndarray, "missed"]


@dataclass(frozen=True)
class Coverage:
    """Fidelity and diversity of draws; from `coverage`.

    **Arguments:**

    - `density`: how many balls of the reference hold a draw, over how many should: one on average for equal laws, above
      one where draws keep to its dense parts, below where they fall outside.
    - `coverage`: share of the balls of the reference that hold a draw.
    - `expected`: the coverage of a perfect generator.
    """

    density: float
    coverage: float
    expected: float


def find_modes(
    states: Float[np.ndarray, "n Y"],
    rng: np.random.Generator,
    weight: Float[np.ndarray, "n"] | None = None,
    *,
    persistence: float = 1.0,
) -> Modes:
    """The modes of a sample: peaks of its density that are separated by valleys deeper than `persistence` (kT).

    A mixture of Gaussians, as many as the Bayesian information criterion wants, is fitted to the whitened sample. Means
    climb to the peaks of the mixture; peaks between which it nowhere falls by a factor of e, on a straight line, on the
    ridge of two Gaussians or by way of other peaks, are one mode. So a curved, skewed or flat mode that takes many
    Gaussians stays one.

    Structure finer than a tenth of the sample's standard deviation is smoothed away: without this a sample that lies on
    a curve, such as a circle, would fall to pieces. Pass periodic coordinates through `embed_periodic` first. Beyond
    30 dimensions only the directions of largest variance of the standardised coordinates are seen.

    **Arguments:**

    - `weight`: importance weights of the sample; their scale does not matter.

    **Raises:** `InputError` for less than two states.

    Sources: Schwarz, Ann. Stat. 6, 461 (1978); Carreira-Perpiñán, IEEE Trans. Pattern Anal. Mach. Intell. 22, 1318
    (2000); Hennig, Adv. Data Anal. Classif. 4, 3 (2010); for the ridge Ray & Lindsay, Ann. Stat. 33, 2042 (2005); for
    starting directions Cardoso, ICASSP 1989, 2109.
    """
    if len(states) < 2:
        raise InputError("states", "be two or more", len(states))
    weight = np.ones(len(states)) if weight is None else weight
    # no more than count as independent: else a state of large weight would be a crowd, and a mode of its own
    count = int(np.clip(round(kish_sample_size(weight)), 2, MOST_STATES))
    chosen = states[_systematic(weight, count, rng)]
    offset, directions = _whitening(chosen)
    with threadpool_limits(1):
        mixture = _best_mixture((chosen - offset) @ directions, rng)
    mode = _merge(mixture, persistence)
    found = Modes(np.ones(mode.max() + 1), np.zeros(mode.max() + 1), offset, directions, mixture, mode)
    share = np.bincount(found.label(states), weights=weight, minlength=mode.max() + 1) / np.sum(weight)
    order = np.argsort(-share, kind="stable")
    share, rank = share[order], np.argsort(order)
    return Modes(share, _binomial(share, kish_sample_size(weight)), offset, directions, mixture, rank[mode])


def mode_recall(reference_modes: Modes, states: Float[np.ndarray, "n Y"]) -> ModeRecall:
    """How many of the draws each mode of the reference receives. The draws are taken for independent.

    Draws that scatter everywhere find every mode: read it along with a distance or with `coverage`.

    **Raises:** `InputError` where there are no draws.
    """
    if len(states) == 0:
        raise InputError("states", "be one or more", 0)
    reference = reference_modes.share
    share = np.bincount(reference_modes.label(states), minlength=len(reference)) / len(states)
    counted = np.flatnonzero(reference >= min(SMALLEST_SHARE, reference.max()))
    missed = counted[share[counted] < LEAST_PART * reference[counted]]
    recall = 1 - len(missed) / len(counted)
    return ModeRecall(share, _binomial(share, len(states)), reference, reference_modes.stderr, recall, missed)


def coverage(reference: Float[np.ndarray, "n Y"], draws: Float[np.ndarray, "m Y"], neighbours: int = 5) -> Coverage:
    r"""Density and coverage: draws within the distance of each reference state to its k-th neighbour in the reference.

    Coordinates are scaled by the pooled standard deviation first. For equal laws, of whatever dimension, the expected
    coverage is $1 - \prod_{j=1}^k (n-j)/(n+m-j)$, about $1 - 2^{-k}$ for samples of equal size, and the expected
    density is one. Reference states that are repeated more than k times have balls of no size, which cover nothing.

    **Raises:** `InputError` where the reference has no more states than `neighbours`, or there are no draws.

    Source: Naeem, Oh, Uh, Choi & Yoo, ICML 2020.
    """
    if not 1 <= neighbours < len(reference) or len(draws) == 0:
        given = f"{len(reference)} and {len(draws)} states"
        raise InputError("reference and draws", f"have more than {neighbours} and more than no states", given)
    scale = pooled_scale(reference, draws)
    tree, others = KDTree(reference / scale), KDTree(draws / scale)
    # every state is its own nearest neighbour; the balls are open
    radius = np.nextafter(tree.query(tree.data, neighbours + 1)[0][:, -1], 0.0)
    held = np.where(radius > 0, others.query_ball_point(tree.data, radius, return_length=True), 0)
    expected = expected_coverage(len(reference), len(draws), neighbours)
    return Coverage(float(held.sum() / (neighbours * len(draws))), float(np.mean(held > 0)), expected)


def expected_coverage(reference: int, draws: int, neighbours: int = 5) -> float:
    r"""The mean coverage for equal continuous laws, from the sizes of both samples: $1 - \prod_j (n-j)/(n+m-j)$.

    The k states nearest to a reference state among all others must belong to the reference for its ball to be empty.

    >>> expected_coverage(2, 1, 1)
    0.5
    """
    rank = np.arange(1, neighbours + 1)
    return float(1 - np.prod((reference - rank) / (reference + draws - rank)))


def _binomial(share: np.ndarray, count: float) -> Float[np.ndarray, "modes"]:
    # Laplace's estimate: no draw at all in a mode does not mean that its share is zero without error
    probable = (share * count + 1) / (count + 2)
    return np.sqrt(probable * (1 - probable) / count)


def _systematic(weight: np.ndarray, count: int, rng: np.random.Generator) -> Int[np.ndarray, "count"]:
    """Indices of `count` states in proportion to their weights, each as often as rounding allows."""
    if np.ptp(weight) == 0:
        return rng.permutation(len(weight))[:count]
    cumulative = np.cumsum(weight) / np.sum(weight)
    return np.minimum(np.searchsorted(cumulative, (np.arange(count) + rng.random()) / count), len(weight) - 1)


def _whitening(states: np.ndarray) -> tuple[Float[np.ndarray, "Y"], Float[np.ndarray, "Y r"]]:
    """Mean, and directions along which the sample has unit variance and no correlation."""
    mean, spread = states.mean(axis=0), states.std(axis=0)
    spread = np.where(spread > 1e-12 * np.max(np.abs(states), axis=0), spread, np.inf)
    _, singular, axes = np.linalg.svd((states - mean) / spread, full_matrices=False)
    kept = singular[:MOST_DIMENSIONS] > 1e-6 * singular[0]
    # a sample without any spread keeps one direction, along which nothing varies
    size = max(1, int(kept.sum())) if singular[0] > 0 else 1
    length = np.where(singular[:size] > 0, singular[:size], 1.0) / np.sqrt(len(states))
    return mean, (axes[:size] / spread).T / length


def _best_mixture(x: Float[np.ndarray, "n r"], rng: np.random.Generator) -> GaussianMixture:
    """The mixture of least information criterion, more components being tried until a few in a row are no gain."""
    most = min(MOST_COMPONENTS, len(np.unique(x, axis=0)), max(1, len(x) // (2 * x.shape[1] + 2)))
    views, best, least, since = _views(x), None, np.inf, 0
    for components in range(1, most + 1):
        fits = [_fit(x, view, components, rng) for view in (views if components > 1 else views[:1])]
        scores = [fit.bic(x) for fit in fits]
        since += 1
        if min(scores) < least or best is None:
            best, least, since = fits[int(np.argmin(scores))], min(scores), 0
        if since == PATIENCE:
            break
    assert best is not None
    return best


def _views(x: Float[np.ndarray, "n r"]) -> list[Float[np.ndarray, "n s"]]:
    """Where to look for clusters: in all coordinates, and in the two whose fourth moments are least a Gaussian's."""
    if x.shape[1] < 3:
        return [x]
    square = np.sum(x**2, axis=1)
    moments, axes = np.linalg.eigh((x * square[:, None]).T @ x / len(x))
    farthest = np.argsort(-np.abs(moments - (x.shape[1] + 2)))[:2]
    return [x, x @ axes[:, farthest]]


def _fit(x: np.ndarray, view: np.ndarray, components: int, rng: np.random.Generator) -> GaussianMixture:
    seed = int(rng.integers(2**31))
    label = KMeans(components, n_init=3, random_state=seed).fit_predict(view)  # pyright: ignore[reportArgumentType]
    means = np.stack([x[label == k].mean(axis=0) for k in range(components)])
    share = np.bincount(label, minlength=components) / len(x)
    precisions = np.stack([_precision(x[label == k]) for k in range(components)])
    mixture = GaussianMixture(
        components,
        reg_covar=RESOLUTION**2,
        max_iter=2000,
        weights_init=share,
        means_init=means,
        precisions_init=precisions,
        random_state=seed,
    )
    return mixture.fit(x)


def _precision(x: np.ndarray) -> Float[np.ndarray, "r r"]:
    """The inverse covariance of a cluster, drawn towards the diagonal so that few states suffice."""
    size = x.shape[1]
    covariance = (len(x) * np.cov(x.T, bias=True).reshape(size, size) + 0.1 * size * np.eye(size)) / (len(x) + size)
    return np.linalg.inv(covariance)


def _merge(mixture: GaussianMixture, persistence: float) -> Int[np.ndarray, "components"]:
    """Which mode each component belongs to, numbered from zero.

    Pairs are joined from the highest valley down, as in `find_basins`: a low peak goes to one higher neighbour, and
    does not join two high ones across it.
    """
    peaks = np.asarray(mixture.means_)
    for _ in range(CLIMBING_STEPS):
        peaks = _climb(mixture, peaks)
    height = mixture.score_samples(peaks)
    pairs = [(_valley(mixture, peaks, i, j), i, j) for i in range(len(peaks)) for j in range(i)]
    mode = np.arange(len(peaks))
    for valley, i, j in sorted(pairs, reverse=True):
        lower = min(height[mode == mode[i]].max(), height[mode == mode[j]].max())
        if lower - valley < persistence:
            mode[mode == mode[i]] = mode[j]
    return np.unique(mode, return_inverse=True)[1].ravel()


def _valley(mixture: GaussianMixture, peaks: np.ndarray, i: int, j: int) -> float:
    """The lowest log-density on the way from peak to peak: straight, or on the ridge between the components."""
    along = np.linspace(0, 1, POINTS_ON_A_LINE)[:, None]
    straight = peaks[i] + along * (peaks[j] - peaks[i])
    means, precisions = np.asarray(mixture.means_), np.asarray(mixture.precisions_)
    pull = (1 - along) * (precisions[i] @ means[i]) + along * (precisions[j] @ means[j])
    matrix = (1 - along[..., None]) * precisions[i] + along[..., None] * precisions[j]
    ridge = np.linalg.solve(matrix, pull[..., None])[..., 0]
    return max(float(np.min(mixture.score_samples(way))) for way in (straight, ridge))


def _climb(mixture: GaussianMixture, x: np.ndarray) -> Float[np.ndarray, "n r"]:
    """One step of mean shift, uphill on the mixture's density."""
    precisions, means = np.asarray(mixture.precisions_), np.asarray(mixture.means_)
    apart = x[:, None] - means
    distance = np.einsum("nki,kij,nkj->nk", apart, precisions, apart)
    log_share = np.log(np.asarray(mixture.weights_)) + 0.5 * np.linalg.slogdet(precisions)[1] - 0.5 * distance
    share = softmax(log_share, axis=1)
    matrix = np.einsum("nk,kij->nij", share, precisions)
    target = np.einsum("nk,kij,kj->ni", share, precisions, means)
    return np.linalg.solve(matrix, target[..., None])[..., 0]
