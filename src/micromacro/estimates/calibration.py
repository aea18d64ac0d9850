r"""How good a generator's density is: importance weights of its own draws, and draws of the truth.

Log-weights are $\log w = \log \pi(q) - \log p(q|z)$ of draws q of the generator p itself, where $\pi$ is the target;
minus infinity where the target is zero. All functions take them for independent draws.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.stats import ks_2samp

from micromacro.errors import InputError
from micromacro.estimates.correlation import kish_sample_size


@dataclass(frozen=True)
class Measured:
    """A number with its standard error."""

    value: float
    stderr: float


@dataclass(frozen=True)
class DensityCalibration:
    r"""How a generator's density ranks and rates draws of the truth.

    **Arguments:**

    - `divergence`: KL(truth || generator) in nats; `None` where the density of the truth was not given.
    - `levels`: probability that the generator puts in its regions of highest density, `(n,)`, ascending in [0, 1].
    - `coverage`: share of the draws of the truth in these regions, `(n,)`: equal to the levels when calibrated, below
      them where the generator is too narrow.
    - `deviation`: the largest difference of coverage and level.
    - `p_value`: of such a deviation by chance (Kolmogorov-Smirnov, two samples).
    """

    divergence: Measured | None
    levels: Float[np.ndarray, "n"]
    coverage: Float[np.ndarray, "n"]
    deviation: float
    p_value: float


def log_normaliser(log_weight: Float[np.ndarray, "n"]) -> Measured:
    r"""$\log \frac1n \sum_i w_i$, the log of the target's integral, zero if both densities are normalised.

    Its standard error is the relative one of the mean weight (delta method), too small where few draws hold most of the
    weight: see `effective_fraction`. Draws that the target gives nothing at all have a normaliser of minus infinity.

    **Raises:** `InputError` for less than two weights, and for weights that are infinite or not a number.
    """
    weight, top = _weights(log_weight)
    if top == -np.inf:
        return Measured(-np.inf, np.inf)
    mean = np.mean(weight)
    return Measured(float(top + np.log(mean)), float(np.std(weight, ddof=1) / mean / np.sqrt(len(weight))))


def effective_fraction(log_weight: Float[np.ndarray, "n"]) -> float:
    r"""$(\sum w)^2 / n \sum w^2$, in (0, 1]: the share of draws that count; zero where the target gives them nothing.

    **Raises:** `InputError` as `log_normaliser`.

    Source: Kish, Survey Sampling (1965).
    """
    return kish_sample_size(_weights(log_weight)[0]) / len(log_weight)


def metropolis_acceptance(log_weight: Float[np.ndarray, "n"]) -> Measured:
    r"""How often Metropolis' rule accepts a draw in place of a state of the target, $E[\min(1, w'/w)]$, in [0, 1].

    With states of the target as weighted draws this is $\sum_{i \ne j} \min(w_i, w_j) / (n-1) \sum_i w_i$: sorted
    weights give it in O(n log n). It is one minus the Gini coefficient of the weights. The standard error is that of a
    ratio of U-statistics, from the influence of each draw.

    **Raises:** `InputError` as `log_normaliser`, and where the target gives all draws nothing.

    Sources: Liu, Stat. Comput. 6, 113 (1996); for the error Hoeffding, Ann. Math. Stat. 19, 293 (1948).
    """
    weight, top = _weights(log_weight)
    if top == -np.inf:
        raise InputError("log_weight", "be finite for one draw or more", "minus infinity for all")
    weight, n = np.sort(weight), len(weight)
    mean, below = np.mean(weight), np.cumsum(weight) - weight
    # the mean of min(w, w') over the other draws w': those below count themselves, those above count w
    smaller = (below + weight * np.arange(n - 1, -1, -1)) / (n - 1)
    acceptance = np.mean(smaller) / mean
    influence = (2 * (smaller - np.mean(smaller)) - acceptance * (weight - mean)) / mean
    return Measured(float(acceptance), float(np.std(influence, ddof=1) / np.sqrt(n)))


def density_calibration(
    log_prob_of_own_draws: Float[np.ndarray, "m"],
    log_prob_of_truth_draws: Float[np.ndarray, "n"],
    log_true_on_truth: Float[np.ndarray, "n"] | None = None,
) -> DensityCalibration:
    """Whether a normalised density rates draws of the truth as it rates its own, and how far it is from the truth.

    The draws of the truth that fall in the generator's region of highest density should be as many as its own. This is
    necessary, not sufficient: a generator that never moves from the average over all conditions may pass.

    **Arguments:**

    - `log_prob_of_own_draws`, `log_prob_of_truth_draws`: log-density of the generator at draws of its own and of the
      truth, at one condition or each at its own condition.
    - `log_true_on_truth`: normalised log-density of the truth at its draws.

    **Raises:** `InputError` for less than two draws of either and for values that are not a number.

    Source: Hermans, Delaunoy, Rozet, Wehenkel, Begy & Louppe, Trans. Mach. Learn. Res. (2022), "expected coverage".
    """
    own, truth = _checked("log_prob_of_own_draws", log_prob_of_own_draws), np.sort(log_prob_of_truth_draws)[::-1]
    _checked("log_prob_of_truth_draws", truth)
    divergence = None
    if log_true_on_truth is not None:
        divergence = _divergence(_checked("log_true_on_truth", log_true_on_truth), log_prob_of_truth_draws)
    levels = 1 - np.searchsorted(np.sort(own), truth, side="left") / len(own)
    # regions that hold the first, the first two ... draws of the truth; equal densities enter together
    coverage = np.searchsorted(-truth, -truth, side="right") / len(truth)
    test = ks_2samp(own, truth, method="asymp")
    return DensityCalibration(divergence, levels, coverage, float(test.statistic), float(test.pvalue))  # pyright: ignore[reportAttributeAccessIssue]


def _divergence(log_true: np.ndarray, log_model: np.ndarray) -> Measured:
    if np.any(log_model == -np.inf):
        return Measured(np.inf, np.inf)
    excess = log_true - log_model
    return Measured(float(np.mean(excess)), float(np.std(excess, ddof=1) / np.sqrt(len(excess))))


def _weights(log_weight: np.ndarray) -> tuple[Float[np.ndarray, "n"], float]:
    """The weights over the largest, and its log."""
    top = float(np.max(_checked("log_weight", log_weight)))
    if top == np.inf:
        raise InputError("log_weight", "be below infinity: the generator's density at its own draws is positive", top)
    return (np.zeros(len(log_weight)) if top == -np.inf else np.exp(log_weight - top)), top


def _checked(name: str, values: np.ndarray) -> np.ndarray:
    if len(values) < 2 or np.any(np.isnan(values)):
        given = f"{len(values)} values, {np.sum(np.isnan(values))} of them not a number"
        raise InputError(name, "be two or more numbers", given)
    return values
