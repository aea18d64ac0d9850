"""The keys of a case file: what may stand there, of which kind, within which bounds.

A setting that is left out is `None` here; its default lives with the settings, in `micromacro.cases.case`.
`micromacro.cases.validation` turns what these models refuse into one message.
"""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from micromacro.cases.data_sections import DataSection
from micromacro.cases.feature_sections import FeatureSection
from micromacro.cases.molecule_sections import (
    GEOMETRIES,
    ComponentsSection,
    DeviationSection,
    MolecularSection,
    NamedSection,
    ShapeSection,
)
from micromacro.cases.section import (
    Count,
    Depth,
    Few,
    Flag,
    Integer,
    Name,
    Natural,
    Number,
    Numbers,
    Point,
    Points,
    Positive,
    Reference,
    Section,
    Seed,
    Steps,
    Text,
    Walkers,
    Width,
    listed,
    ordered,
    problem,
)


def _as_features(value: object) -> object:
    """Let one function, by its name, stand for a list of one entry."""
    return [{"kind": "function", "function": value}] if isinstance(value, str) else value


def _with_kind(value: object) -> object:
    """Let a coarse variable without a kind be a function."""
    return {"kind": "function"} | value if isinstance(value, dict) else value


class SystemSection(Section):
    """What every `[system]` has."""

    dimension: Count
    time_step: Positive | None = None
    initial: Annotated[list[Point], Field(min_length=1)]

    @model_validator(mode="after")
    def _points_have_the_dimension(self):
        wrong = next((point for point in self.initial if len(point) != self.dimension), None)
        if wrong is not None:
            raise problem("initial", f"hold points of {self.dimension} numbers each (the dimension)", wrong)
        return self


class OverdampedSection(SystemSection):
    """`[system]` with `kind = "overdamped"`."""

    kind: Literal["overdamped"]
    potential: Reference
    kT: Positive | None = None
    mobility: Annotated[list[Positive], BeforeValidator(listed), Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _mobility_has_the_dimension(self):
        if self.mobility is not None and len(self.mobility) not in (1, self.dimension):
            raise problem("mobility", f"be one number or {self.dimension} numbers (the dimension)", self.mobility)
        return self


class StochasticSection(SystemSection):
    """`[system]` with `kind = "sde"`."""

    kind: Literal["sde"]
    drift: Reference
    diffusion: Reference
    log_density: Reference | None = None
    observe: Reference | None = None
    hidden: Reference | None = None

    @model_validator(mode="after")
    def _hidden_inverts_something(self):
        if self.hidden and not self.observe:
            raise problem("hidden", "be left out where there is no 'observe' for it to invert", repr(self.hidden))
        return self


class FunctionSection(Section):
    """`[coarse]` with `kind = "function"`."""

    kind: Literal["function"]
    function: Reference
    lower: Numbers
    upper: Numbers
    periodic: Annotated[list[Flag], Field(min_length=1)] | None = None

    @property
    def size(self) -> int:
        """How many coarse variables."""
        return len(self.lower)

    @model_validator(mode="after")
    def _ends_agree(self):
        size = len(self.lower)
        if len(self.upper) != size:
            raise problem("upper", f"have as many numbers as 'lower' ({size})", self.upper)
        if self.periodic is not None and len(self.periodic) != size:
            raise problem("periodic", f"have as many entries as 'lower' ({size})", self.periodic)
        if not ordered(self.lower, self.upper):
            raise problem("upper", f"be greater than 'lower' ({self.lower}) in every component", self.upper)
        return self


LEARNED = ("diffusion-map", "tica", "vamp", "vampnet")


class CoarsenSection(Section):
    """What `[coarse]` may set where the coarse variable is learned."""

    components: Annotated[Integer, Field(ge=1, le=3)] | None = None
    rounds: Few | None = None
    tolerance: Positive | None = None
    points: Annotated[Points, Field(ge=100)] | None = None
    walkers: Walkers | None = None
    steps: Steps | None = None
    covariance: Literal["noise", "bursts"] | None = None
    copies: Points | None = None
    burst_steps: Steps | None = None
    lag: Positive | None = None
    alpha: Annotated[Number, Field(ge=0, le=1)] | None = None
    bandwidth: Positive | None = None
    neighbours: Points | None = None
    kernel: Literal["gaussian", "variable", "mahalanobis"] | None = None
    landmarks: Points | None = None
    surrogate: Flag | None = None
    width: Width | None = None
    depth: Depth | None = None
    training_steps: Steps | None = None


class LearnedSection(CoarsenSection):
    """`[coarse]` of a coarse variable that is learned."""

    kind: Literal["diffusion-map", "tica", "vamp", "vampnet"]
    features: Annotated[list[FeatureSection], Field(min_length=1), BeforeValidator(_as_features)] | None = None

    @property
    def size(self) -> int:
        """How many coarse variables."""
        return self.components or 1


CoarseSection = Annotated[
    FunctionSection | NamedSection | ShapeSection | DeviationSection | ComponentsSection | LearnedSection,
    Field(discriminator="kind"),
    BeforeValidator(_with_kind),
]


class ExploreSection(Section):
    """`[explore]`."""

    kind: Literal["unbiased", "opes"] | None = None
    steps: Steps | None = None
    walkers: Walkers | None = None
    barrier: Positive | None = None


class BiasSection(Section):
    """`[bias]`."""

    windows: Annotated[Few, Field(ge=2)] | None = None
    stiffness: Positive | None = None
    steps: Steps | None = None
    walkers: Walkers | None = None
    exchange: Flag | None = None


class GeneratorSection(Section):
    """`[generator]`."""

    kind: Literal["score", "flow", "gan", "matching", "kernel"] | None = None
    width: Width | None = None
    depth: Depth | None = None
    training_steps: Steps | None = None
    batch_size: Walkers | None = None
    learning_rate: Positive | None = None
    schedule: Literal["edm", "ve", "vp"] | None = None
    sampler: Literal["heun", "stochastic"] | None = None
    sampler_steps: Few | None = None
    churn: Positive | None = None
    layers: Depth | None = None
    knots: Annotated[Few, Field(ge=2)] | None = None
    sparsity: Annotated[Number, Field(ge=0)] | None = None
    heavy_atoms: Flag | None = None
    exact: Flag | None = None
    latent: Width | None = None
    critic_steps: Few | None = None
    candidates: Few | None = None
    penalty: Positive | None = None
    density: Literal["none", "flow"] | None = None
    centres: Walkers | None = None
    bandwidth: Positive | None = None
    condition_bandwidth: Positive | None = None


class CoupleSection(Section):
    """`[couple]`."""

    rounds: Few | None = None
    tolerance: Positive | None = None
    cycles: Walkers | None = None


class CloseSettingsSection(Section):
    """What `[close]` may set for a built-in case too."""

    bursts: Annotated[Natural, Field(le=10**15)] | None = None
    full_model: Annotated[Natural, Field(le=10**15)] | None = None


class CloseSection(CloseSettingsSection):
    """`[close]`."""

    observables: dict[Name, Reference] = Field(default_factory=dict)
    basins: dict[Name, Annotated[list[Point], Field(min_length=2, max_length=2)]] = Field(default_factory=dict)


class BudgetSection(Section):
    """`[budget]`."""

    force_evaluations: Steps | None = None
    target_error: Positive | None = None
    error_of: Name | None = None
    allocation: Literal["uniform", "adaptive"] | None = None


class CommonSettings(Section):
    """What a case file and a built-in case may both set, but for `[close]`."""

    seed: Seed | None = None
    explore: ExploreSection = ExploreSection()
    bias: BiasSection = BiasSection()
    generator: GeneratorSection = GeneratorSection()
    couple: CoupleSection = CoupleSection()
    budget: BudgetSection = BudgetSection()


class Settings(CommonSettings):
    """What may be set for a built-in case."""

    coarse: CoarsenSection = CoarsenSection()
    close: CloseSettingsSection = CloseSettingsSection()


class CaseFile(CommonSettings):
    """A whole case file."""

    title: Text = ""
    system: Annotated[OverdampedSection | StochasticSection | MolecularSection, Field(discriminator="kind")]
    coarse: CoarseSection
    close: CloseSection = CloseSection()
    data: DataSection | None = None

    @model_validator(mode="after")
    def _geometries_are_of_molecules(self):
        if self.coarse.kind in (*GEOMETRIES, "components") and self.system.kind != "openmm":
            requirement = f"be 'function' or one that learns where system.kind is '{self.system.kind}'"
            raise problem("coarse.kind", f"{requirement}: it has no atoms", repr(self.coarse.kind))
        return self

    @model_validator(mode="after")
    def _corners_fit(self):
        size = self.coarse.size
        for name, (lower, upper) in self.close.basins.items():
            if len(lower) != size or len(upper) != size:
                raise problem(f"close.basins.{name}", f"be two corners of {size} numbers each", [lower, upper])
            if not ordered(lower, upper):
                raise problem(f"close.basins.{name}", "be its lower and then its upper corner", [lower, upper])
        return self
