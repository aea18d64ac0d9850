r"""Two moons, the standard task of simulation-based inference: q is the parameter, z the observation.

$\theta$ uniform on $[-1, 1]^2$, $r \sim N(0.1, 0.01^2)$, $\alpha$ uniform on $(-\pi/2, \pi/2)$,
$z = (r \cos\alpha + 1/4 - |\theta_1 + \theta_2|/\sqrt 2,\; r \sin\alpha + (\theta_2 - \theta_1)/\sqrt 2)$.
Source: J.-M. Lueckmann et al., Benchmarking simulation-based inference, AISTATS 2021, appendix T.8.

In $a = |\theta_1 + \theta_2|/\sqrt 2$, $b = (\theta_2 - \theta_1)/\sqrt 2$ the simulator is inverted at once, and
$da\,db = r\,dr\,d\alpha$ cancels the 1/r of its density: the posterior is the law of $(r, \alpha)$ again, cut where
$a < 0$ or θ leaves the square, with either sign of $\theta_1 + \theta_2$ alike.
"""

import numpy as np
from jaxtyping import Float
from scipy.special import ndtr

from benchmarks.problems.problem import GAP, Problem, normal_log_density
from micromacro.coordinates.space import Space

RADIUS, DEVIATION, SHIFT = 0.1, 0.01, 0.25
OBSERVATIONS = Space((-1.2, -1.6), (0.45, 1.6), (False, False))  # all of them: r adds a tenth to √2, or to ±√2
HELD_OUT, HELD_OUT_SEED = 4, 2021
ANGLES = 200_000  # of the midpoint rule of the share that the prior leaves, right to 1e-8


def two_moons_problem() -> Problem:
    """Two moons with a bounded state, judged on observations that the prior itself makes."""
    held_out = _joint(HELD_OUT, np.random.default_rng(HELD_OUT_SEED))[1]
    return Problem(
        name="two-moons",
        state=Space((-1.0, -1.0), (1.0, 1.0), (False, False)),
        condition=OBSERVATIONS,
        pair_count=30_000,
        held_out=held_out,
        gap=GAP * OBSERVATIONS.range,
        joint=_joint,
        truth=_truth,
        log_density=_log_density,
    )


def share_inside(z: Float[np.ndarray, "2"]) -> float:
    """The share of (r, α) that a parameter of the prior explains."""
    angle = np.pi * ((np.arange(ANGLES) + 0.5) / ANGLES - 0.5)
    cosine, sine = np.cos(angle), np.sin(angle)
    low, high = np.full(ANGLES, -np.inf), np.full(ANGLES, np.inf)
    # each edge is linear in r: slope r <= room, of a >= 0 and of a ± b <= √2
    for slope, room in (
        (-cosine, SHIFT - z[0]),
        (cosine - sine, np.sqrt(2) - SHIFT + z[0] - z[1]),
        (cosine + sine, np.sqrt(2) - SHIFT + z[0] + z[1]),
    ):
        high = np.where(slope > 0, np.minimum(high, room / slope), high)
        low = np.where(slope < 0, np.maximum(low, room / slope), low)
    below, above = (ndtr((edge - RADIUS) / DEVIATION) for edge in (low, high))
    return float(np.mean(np.maximum(above - below, 0.0)))


def _arc(n: int, rng: np.random.Generator) -> Float[np.ndarray, "n 2"]:
    """Points (r cos α, r sin α)."""
    radius, angle = RADIUS + DEVIATION * rng.standard_normal(n), rng.uniform(-np.pi / 2, np.pi / 2, n)
    return radius[:, None] * np.column_stack([np.cos(angle), np.sin(angle)])


def _joint(n: int, rng: np.random.Generator):
    theta = rng.uniform(-1.0, 1.0, (n, 2))
    across, along = _rotate(theta)
    return theta, _arc(n, rng) + np.column_stack([SHIFT - np.abs(across), along])


def _truth(z, n: int, rng: np.random.Generator) -> Float[np.ndarray, "n 2"]:
    kept = np.empty((0, 2))
    while len(kept) < n:
        arc = _arc(n, rng)
        a, b = arc[:, 0] + SHIFT - z[0], z[1] - arc[:, 1]
        signed = a * rng.choice([-1.0, 1.0], n)
        theta = np.column_stack([signed - b, signed + b]) / np.sqrt(2)
        kept = np.concatenate([kept, theta[(a >= 0) & np.all(np.abs(theta) <= 1, axis=1)]])
    return kept[:n]


def _log_density(q: Float[np.ndarray, "n 2"], z) -> Float[np.ndarray, "n"]:
    across, along = _rotate(q)
    x, y = z[0] - SHIFT + np.abs(across), z[1] - along
    radius = np.maximum(np.hypot(x, y), 1e-300)
    inside = (x > 0) & np.all(np.abs(q) <= 1, axis=1)
    log_density = normal_log_density(radius, RADIUS, DEVIATION) - np.log(2 * np.pi * radius)
    return np.where(inside, log_density - np.log(share_inside(z)), -np.inf)


def _rotate(theta: Float[np.ndarray, "n 2"]) -> tuple[np.ndarray, np.ndarray]:
    """(θ₁ + θ₂)/√2 and (θ₂ - θ₁)/√2."""
    return (theta[:, 0] + theta[:, 1]) / np.sqrt(2), (theta[:, 1] - theta[:, 0]) / np.sqrt(2)
