r"""Noise schedules: how the noise level σ and the scale s of a diffusion run with time, in training and in sampling.

A noisy state is $x_t = s(t) (x_0 + \sigma(t) \epsilon)$ with data $x_0$ of unit variance; angles are never scaled.
Source: T. Karras, M. Aittala, T. Aila, S. Laine, NeurIPS 2022, table 1.
"""

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

# the outermost quantiles that a batch sees of an unbounded law
EDGE = 1e-5


@runtime_checkable
class NoiseSchedule(Protocol):
    """What a denoiser asks of a schedule; immutable and hashable, so that compiled code may depend on it.

    `largest` and `smallest` are the ends of σ in sampling.
    """

    @property
    def largest(self) -> float:
        """σ where sampling starts."""
        ...

    @property
    def smallest(self) -> float:
        """σ where sampling ends."""
        ...

    def noise(self, t: Float[Array, "*n"]) -> Float[Array, "*n"]:
        """σ(t)."""
        ...

    def scale(self, t: Float[Array, "*n"]) -> Float[Array, "*n"]:
        """s(t)."""
        ...

    def times(self, steps: int) -> Float[np.ndarray, "{steps}+1"]:
        """The times between the steps of a sampler, from the largest noise to the smallest."""
        ...

    def training_noise(self, quantile: Float[Array, "n"]) -> Float[Array, "n"]:
        """The inverse distribution function of σ in training, from quantiles in (0, 1)."""
        ...


@dataclass(frozen=True)
class EdmSchedule:
    r"""σ(t) = t, s(t) = 1, log-normal σ in training; times are equally spaced in $t^{1/\rho}$.

    The paper's σ_max = 80 and ln σ ~ N(-1.2, 1.2²) are for images of variance 1/4; twenty times unit data is as good as
    infinite, and wider training pays where data are stiff.

    >>> [round(float(time), 3) for time in EdmSchedule().times(12)[[0, -1]]]
    [20.0, 0.01]
    """

    largest: float = 20.0
    smallest: float = 0.01
    exponent: float = 7.0
    log_mean: float = -1.2
    log_deviation: float = 1.5

    def noise(self, t: Float[Array, "*n"]) -> Float[Array, "*n"]:
        """σ(t)."""
        return t

    def scale(self, t: Float[Array, "*n"]) -> Float[Array, "*n"]:
        """s(t)."""
        return jnp.ones_like(t)

    def times(self, steps: int) -> Float[np.ndarray, "{steps}+1"]:
        """Equally spaced in the power 1/ρ; without the paper's last step to zero, where no density is left."""
        ends = self.largest ** (1 / self.exponent), self.smallest ** (1 / self.exponent)
        return _single(np.linspace(*ends, steps + 1) ** self.exponent)

    def training_noise(self, quantile: Float[Array, "n"]) -> Float[Array, "n"]:
        """Log-normal."""
        normal = jax.scipy.special.ndtri(jnp.clip(quantile, EDGE, 1 - EDGE))
        return jnp.exp(self.log_mean + self.log_deviation * normal)


@dataclass(frozen=True)
class VeSchedule:
    r"""Variance exploding: $\sigma(t) = \sqrt t$, s(t) = 1, σ log-uniform in training; times fall geometrically.

    Source: Y. Song et al., ICLR 2021; the ends of σ are those of unit data.
    """

    largest: float = 20.0
    smallest: float = 0.01

    def noise(self, t: Float[Array, "*n"]) -> Float[Array, "*n"]:
        """σ(t)."""
        return jnp.sqrt(t)

    def scale(self, t: Float[Array, "*n"]) -> Float[Array, "*n"]:
        """s(t)."""
        return jnp.ones_like(t)

    def times(self, steps: int) -> Float[np.ndarray, "{steps}+1"]:
        """A constant ratio of σ² from step to step."""
        return _single(np.geomspace(self.largest**2, self.smallest**2, steps + 1))

    def training_noise(self, quantile: Float[Array, "n"]) -> Float[Array, "n"]:
        """Log-uniform between the ends."""
        return jnp.exp(math.log(self.smallest) + quantile * math.log(self.largest / self.smallest))


@dataclass(frozen=True)
class VpSchedule:
    r"""Variance preserving: $\sigma(t)^2 = e^{g(t)} - 1$, $s(t) = e^{-g(t)/2}$, $g(t) = \beta_d t^2/2 + \beta_{min} t$.

    t is uniform in training, and the times of the sampler are equally spaced. Source: Y. Song et al., ICLR 2021.

    **Arguments:**

    - `slope`, `start`: β_d and β_min.
    - `largest`: σ where sampling starts, here that of t = 1.
    - `first_time`: where sampling ends; `first_training_time`: the least in training.
    """

    slope: float = 19.9
    start: float = 0.1
    largest: float = 152.16697
    first_time: float = 1e-3
    first_training_time: float = 1e-5

    @property
    def smallest(self) -> float:
        """σ where sampling ends."""
        return float(np.sqrt(np.expm1(self._exponent(self.first_time))))

    def noise(self, t: Float[Array, "*n"]) -> Float[Array, "*n"]:
        """σ(t)."""
        return jnp.sqrt(jnp.expm1(self._exponent(t)))

    def scale(self, t: Float[Array, "*n"]) -> Float[Array, "*n"]:
        """s(t)."""
        return jnp.exp(-0.5 * self._exponent(t))

    def times(self, steps: int) -> Float[np.ndarray, "{steps}+1"]:
        """Equally spaced."""
        return _single(np.linspace(self._time(self.largest), self.first_time, steps + 1))

    def training_noise(self, quantile: Float[Array, "n"]) -> Float[Array, "n"]:
        """That of uniform times, up to the largest noise."""
        ends = self.first_training_time, self._time(self.largest)
        return self.noise(ends[0] + (ends[1] - ends[0]) * quantile)

    def _exponent(self, t):
        return (0.5 * self.slope * t + self.start) * t

    def _time(self, noise: float) -> float:
        exponent = np.log1p(noise**2)
        return float((np.sqrt(self.start**2 + 2 * self.slope * exponent) - self.start) / self.slope)


def _single(times: np.ndarray) -> Float[np.ndarray, "n"]:
    return times.astype(np.float32)


SCHEDULES = {"edm": EdmSchedule, "ve": VeSchedule, "vp": VpSchedule}


def noise_and_scale(
    schedule: NoiseSchedule, times: Float[np.ndarray, "n"]
) -> tuple[Float[np.ndarray, "n"], Float[np.ndarray, "n"]]:
    """σ and s at known times as plain numbers, also where called while code is being compiled."""
    with jax.ensure_compile_time_eval():
        noise, scale = (np.asarray(part(jnp.asarray(times))) for part in (schedule.noise, schedule.scale))
    return noise, scale


def schedule_named(name: str, largest: float | None = None) -> NoiseSchedule:
    """The schedule `edm`, `ve` or `vp`, sampled from σ = `largest` where that is given."""
    schedule = SCHEDULES[name]
    return schedule() if largest is None else schedule(largest=largest)
