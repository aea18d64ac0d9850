"""The family of score-based generators: how one is built, trained and sampled."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from jaxtyping import Array, Float, Key

from micromacro.coordinates.space import Space
from micromacro.errors import InputError
from micromacro.generators.adaptive import PROBES, AdaptiveModel
from micromacro.generators.circle import LARGEST_ANGULAR_NOISE
from micromacro.generators.condition import Condition
from micromacro.generators.denoiser import Denoiser, denoising_loss
from micromacro.generators.descent import Descent
from micromacro.generators.family import Family, a_third
from micromacro.generators.network import width_by_dimension
from micromacro.generators.representation import Layout
from micromacro.generators.samplers import HeunModel, StochasticModel
from micromacro.generators.schedules import SCHEDULES, schedule_named
from micromacro.generators.training import Pairs, TrainingSettings, train

SAMPLERS = ("heun", "stochastic", "adaptive")
DIVERGENCES = ("exact", "hutchinson")
LARGEST_EXACT = 100
SAMPLER_STEPS = 24
STEPS_OF_SCHEDULES = {"edm": 1, "ve": 4, "vp": 3}

ScoreModel = HeunModel | StochasticModel | AdaptiveModel


def sampler_loss(model: ScoreModel, pairs: Pairs, key: Key[Array, ""]) -> Float[Array, ""]:
    """The loss of the denoiser in a sampler."""
    return denoising_loss(model.denoiser, pairs, key)


@dataclass(frozen=True)
class ScoreSettings(Family):
    """How the score-based generator is built, trained and sampled; sizes come from the dimension where left out.

    **Arguments:**

    - `schedule`: of the noise, `edm`, `ve` or `vp`; the first needs the fewest steps.
    - `sampler`: `heun`, fixed steps, whose density is exact for what they draw; `adaptive`, the continuous flow with
      its density to `tolerance`; `stochastic`, without a density.
    - `sampler_steps`: of `heun` and `stochastic`; see `steps_of_sampler`.
    - `divergence`: of `adaptive`: `exact`, or `hutchinson`, with random probes; exact up to 100 dimensions where left
      out.
    - `churn`: how much noise `stochastic` adds over all steps.

    **Raises:** `InputError` for names that are not known.
    """

    kind: ClassVar[str] = "score"
    width: int | None = None
    depth: int = 2
    training_steps: int | None = None
    batch_size: int | None = None
    learning_rate: float | None = None
    schedule: str = "edm"
    sampler: str = "heun"
    sampler_steps: int | None = None
    tolerance: float = 1e-4
    divergence: str | None = None
    churn: float = 4.0

    def __post_init__(self):
        named = {"schedule": tuple(SCHEDULES), "sampler": SAMPLERS, "divergence": (*DIVERGENCES, None)}
        for name, known in named.items():
            if getattr(self, name) not in known:
                raise InputError(name, f"be one of {known}", getattr(self, name))

    @property
    def has_density(self) -> bool:
        """It has, unless noise is added along the way."""
        return self.sampler != "stochastic"

    def build(self, layout: Layout, condition: Condition, key: Key[Array, ""]) -> ScoreModel:
        """An untrained denoiser in its sampler."""
        # angles alone forget where they started at less noise than unit data do
        schedule = schedule_named(self.schedule, None if layout.reals else LARGEST_ANGULAR_NOISE)
        width = self.width_for(layout.dimension)
        return self._sampler(Denoiser(condition, layout, schedule, width, self.depth, key))

    def learn(self, model: Any, data, weight, keys, steps: int, on_chunk: Callable[[int], None]) -> Any:
        """Denoising score matching."""
        training = self.training_for(data.state.shape[1], steps)
        return train(Descent(sampler_loss), model, data, weight, training, keys, on_chunk).model

    def all_steps(self, dimension: int) -> int:
        """9000 up to twelve dimensions, 12,000 up to 32, 8000 beyond, unless given."""
        return self.training_steps or (9000 if dimension <= 12 else 12_000 if dimension <= 32 else 8000)

    def training_for(self, dimension: int, steps: int) -> TrainingSettings:
        """Batches of 512 at a rate of 3e-3; beyond twelve dimensions 256 at 1e-3, where faster ones do not settle."""
        batch = self.batch_size or (512 if dimension <= 12 else 256)
        return TrainingSettings(steps, batch, self.learning_rate or (3e-3 if dimension <= 12 else 1e-3))

    def width_for(self, dimension: int) -> int:
        """The width of the network, by the dimension unless given."""
        return self.width or width_by_dimension(dimension)

    @property
    def steps_of_sampler(self) -> int:
        """24 unless given; several times as many for schedules other than `edm`, whose steps err less equally."""
        return self.sampler_steps or SAMPLER_STEPS * STEPS_OF_SCHEDULES[self.schedule]

    @property
    def parts(self) -> int:
        """One."""
        return 1

    def for_moves(self, state: Space) -> "ScoreSettings":
        """A third of the training and, in few dimensions, fewer steps of the sampler: a little less is accepted.

        On circles long steps cannot be solved back, and what cannot is refused: there they stay as short.
        """
        if not self.has_density:
            return self
        fewer = 12 if state.dimension <= 3 else 18 if state.dimension <= 12 else SAMPLER_STEPS
        fewer = SAMPLER_STEPS if state.circles else fewer
        steps = self.sampler_steps or fewer * STEPS_OF_SCHEDULES[self.schedule]
        training = self.training_steps or a_third(self.all_steps(state.dimension))
        return replace(self, training_steps=training, sampler_steps=steps)

    def divergence_for(self, dimension: int) -> str:
        """Which divergence the adaptive sampler takes."""
        return self.divergence or ("exact" if dimension <= LARGEST_EXACT else "hutchinson")

    def resampled(self, generator: Any) -> Any:
        """A generator of other score settings, with its denoiser as it is, in the sampler of these settings."""
        return self.generator(generator.representation, self._sampler(generator.model.denoiser))

    def _sampler(self, denoiser: Denoiser) -> ScoreModel:
        steps = self.steps_of_sampler
        if self.sampler == "heun":
            return HeunModel(denoiser, steps)
        if self.sampler == "stochastic":
            return StochasticModel(denoiser, steps, self.churn)
        exact = self.divergence_for(denoiser.layout.dimension) == "exact"
        return AdaptiveModel(denoiser, self.tolerance, None if exact else PROBES)
