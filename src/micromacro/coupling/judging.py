"""How good a generator is by itself: its raw draws against the physics, and what its weights are worth."""

from collections.abc import Callable
from dataclasses import asdict, dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from micromacro.coupling.checks import RawDraws
from micromacro.coupling.estimate import Segment
from micromacro.coupling.weights import GeneratorFreeEnergy
from micromacro.estimates.classifier import classifier_two_sample
from micromacro.estimates.distances import embed_periodic, energy_coefficient, sliced_wasserstein
from micromacro.estimates.modes import find_modes, mode_recall

WINDOWS = 6
DRAWS = 512


@dataclass(frozen=True)
class Quality:
    """Figures of one generator; `None` where they have no meaning.

    **Arguments:**

    - `classifier_accuracy`, `classifier_stderr`: of a classifier that tells raw draws from the physics, at the same
      coarse values; a half is perfect.
    - `sliced_wasserstein`: in pooled standard deviations, the worst window; `energy_coefficient`: likewise, in [0, 1].
    - `mode_recall`: the smallest share, over windows, of the physics' modes that draws find.
    - `acceptance`: of generator moves; `effective_fraction`: of the weights of its draws; means over windows.
    """

    classifier_accuracy: float | None = None
    classifier_stderr: float | None = None
    sliced_wasserstein: float | None = None
    energy_coefficient: float | None = None
    mode_recall: float | None = None
    acceptance: float | None = None
    effective_fraction: float | None = None

    def as_dict(self) -> dict:
        """For JSON."""
        return asdict(self)


def judge_draws(
    raw: RawDraws,
    observe: Callable,
    segment: Segment,
    centers: Float[np.ndarray, "K d"],
    period: Float[np.ndarray, "Y"],
    rng: np.random.Generator,
) -> dict[str, float]:
    """The figures of `Quality` that compare raw draws with frames of the same windows."""
    pairs = [_window_pair(raw, number, observe, segment, period, rng) for number in _chosen(len(raw.window))]
    joint = [
        np.concatenate([np.column_stack([side, np.broadcast_to(z, (len(side), len(z)))]) for side, z in columns])
        for columns in zip(*(((a, centers[k]), (b, centers[k])) for k, a, b in pairs), strict=True)
    ]
    told = classifier_two_sample(joint[1], joint[0], int(rng.integers(2**31)), classifier="boosting")
    recalls = [mode_recall(find_modes(physics, rng), drawn).recall for _, drawn, physics in pairs]
    return {
        "classifier_accuracy": told.accuracy,
        "classifier_stderr": told.stderr,
        "sliced_wasserstein": max(sliced_wasserstein(a, b, rng) for _, a, b in pairs),
        "energy_coefficient": max(energy_coefficient(a, b) for _, a, b in pairs),
        "mode_recall": min(recalls),
    }


def judge_weights(jump: Float[np.ndarray, "windows"] | None, own: GeneratorFreeEnergy | None) -> dict[str, float]:
    """The figures of `Quality` that come from the generator's density."""
    found = {} if jump is None else {"acceptance": float(np.mean(jump))}
    return found if own is None else found | {"effective_fraction": float(np.mean(own.effective_share))}


def _chosen(count: int) -> list[int]:
    return sorted({int(index) for index in np.linspace(0, count - 1, min(WINDOWS, count))})


def _window_pair(
    raw: RawDraws, number: int, observe: Callable, segment: Segment, period: np.ndarray, rng: np.random.Generator
) -> tuple[int, np.ndarray, np.ndarray]:
    """The window, and equal numbers of draws and of frames there, circles as their cosine and sine."""
    window = int(raw.window[number])
    frames = segment.frames.position[segment.first[window] :, window]
    flat = np.unique(frames.reshape(-1, frames.shape[-1]), axis=0)
    count = min(DRAWS, len(flat), raw.observed.shape[1])
    pick = rng.choice(len(flat), count, replace=False)
    physics = np.asarray(jax.vmap(observe)(jnp.asarray(flat[pick])))
    return window, embed_periodic(raw.observed[number, :count], period), embed_periodic(physics, period)
