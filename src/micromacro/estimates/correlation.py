"""Equilibration, correlation and mixing of chains."""

import numpy as np
from jaxtyping import Float, Int
from scipy.stats import norm, rankdata

NEARLY = 0.7


def statistical_inefficiency(series: Float[np.ndarray, "frames chains"]) -> float:
    r"""How many frames count as one independent sample, $g = 1 + 2\sum_t (1 - t/T) C(t) \ge 1$.

    The autocorrelation is averaged over the chains about their *common* mean, so that chains stuck in different places
    count as correlated for ever; the sum ends at its first negative pair.

    Source: Geyer, Stat. Sci. 7, 473 (1992); Chodera et al., J. Chem. Theory Comput. 3, 26 (2007).
    """
    frames = len(series)
    centred = series - series.mean()
    variance = np.mean(centred**2)
    if frames < 2 or variance <= 1e-300:
        return 1.0
    spectrum = np.fft.rfft(centred, 2 * frames, axis=0)
    covariance = np.fft.irfft(np.abs(spectrum) ** 2, axis=0)[:frames].mean(axis=1)
    correlation = covariance / (np.arange(frames, 0, -1) * variance)
    weighted = (1 - np.arange(frames) / frames) * correlation
    pairs = weighted[: frames // 2 * 2].reshape(-1, 2).sum(axis=1)
    negative = np.flatnonzero(pairs <= 0)
    pairs = pairs[: negative[0]] if len(negative) else pairs
    return float(max(1.0, 2 * pairs.sum() - 1.0))


def equilibration_time(mean_series: Float[np.ndarray, "frames features"], candidates: int = 20) -> int:
    """The number of leading frames to drop: the first that leaves nearly most effective samples, in every feature.

    **Arguments:**

    - `mean_series`: averages over the walkers of a window, one column per feature.

    Source: Chodera, J. Chem. Theory Comput. 12, 1799 (2016).
    """
    frames = len(mean_series)
    starts = np.unique(np.linspace(0, frames * 0.6, candidates).astype(int))
    latest = 0
    for column in mean_series.T:
        effective = [(frames - t) / statistical_inefficiency(column[t:, None]) for t in starts]
        # the estimates scatter: of nearly equal ones the first, lest half of a stationary series be thrown away
        enough = np.asarray(effective) >= NEARLY * np.max(effective)
        latest = max(latest, int(starts[int(np.argmax(enough))]))
    return latest


def split_rhat(chains: Float[np.ndarray, "frames chains"]) -> float:
    r"""Rank-normalised split-R̂: near 1 when every half of every chain has the same distribution.

    Source: Vehtari et al., Bayesian Anal. 16, 667 (2021), eqs. 1-4 and 14.
    """
    half = len(chains) // 2
    split = np.concatenate([chains[:half], chains[len(chains) - half :]], axis=1)
    if np.ptp(split) == 0:
        return 1.0
    ranks = rankdata(split, axis=None).reshape(split.shape)
    scores = norm.ppf((ranks - 0.375) / (split.size + 0.25))
    within = np.mean(np.var(scores, axis=0, ddof=1))
    between = half * np.var(np.mean(scores, axis=0), ddof=1)
    if within == 0:
        return float("inf")
    return float(np.sqrt(((half - 1) / half * within + between / half) / within))


def group_rhat(chains: Float[np.ndarray, "frames chains"], group: Int[np.ndarray, "chains"]) -> float:
    """Split-R̂ between groups of chains: whether walkers that started in different places agree.

    The chains of one group are strung together, so that a difference between groups is not drowned by many chains.
    """
    labels = np.unique(group)
    size = min(int(np.sum(group == label)) for label in labels)
    strung = [chains[:, np.flatnonzero(group == label)[:size]].reshape(-1) for label in labels]
    return split_rhat(np.stack(strung, axis=1))


def effective_sample_size(series: Float[np.ndarray, "frames chains"]) -> float:
    """Samples over the statistical inefficiency."""
    return series.size / statistical_inefficiency(series)


def kish_sample_size(weight: Float[np.ndarray, "n"]) -> float:
    """(Σw)²/Σw², the effective number of weighted samples. Source: Kish, Survey Sampling (1965)."""
    total = float(np.sum(weight))
    return 0.0 if total == 0 else total**2 / float(np.sum(np.square(weight)))
