"""A case: a system, its coarse variable and the settings of a run, ready to be computed."""

from collections.abc import Callable
from dataclasses import dataclass, field

from micromacro.coordinates.coarse import CoarseVariable
from micromacro.molecules.data_files import OwnData
from micromacro.molecules.system import MolecularSystem
from micromacro.systems.exact import ExactAnswers
from micromacro.systems.model import System


@dataclass(frozen=True)
class BiasSettings:
    """Umbrella windows; `None` means derived from the data.

    **Arguments:**

    - `windows`: number of windows per coarse dimension.
    - `stiffness`: of a window, in kT per squared unit of z.
    - `steps`: production steps per walker and window in each round.
    - `walkers`: walkers per window; 64 for one coarse variable, 16 for two, 8 for more.
    - `exchange`: replica exchange between neighbouring windows.
    """

    windows: int | None = None
    stiffness: float | None = None
    steps: int = 4000
    walkers: int | None = None
    exchange: bool = False


@dataclass(frozen=True)
class GeneratorSettings:
    """The kind of conditional generator, and settings of that kind; `None` means as the kind has it.

    What each means is said with the settings of the kinds: `ScoreSettings`, `FlowSettings`, `GanSettings`,
    `MatchingSettings`, `KernelSettings`. One that the kind does not have is an error.
    """

    kind: str = "score"
    width: int | None = None
    depth: int | None = None
    training_steps: int | None = None
    batch_size: int | None = None
    learning_rate: float | None = None
    schedule: str | None = None
    sampler: str | None = None
    sampler_steps: int | None = None
    churn: float | None = None
    layers: int | None = None
    knots: int | None = None
    sparsity: float | None = None
    heavy_atoms: bool | None = None
    exact: bool | None = None
    latent: int | None = None
    critic_steps: int | None = None
    candidates: int | None = None
    penalty: float | None = None
    density: str | None = None
    centres: int | None = None
    bandwidth: float | None = None
    condition_bandwidth: float | None = None


@dataclass(frozen=True)
class CoupleSettings:
    """Rounds of the loop.

    **Arguments:**

    - `rounds`: at most so many; fewer when consistent.
    - `tolerance`: kT, on the change of the free energy between rounds.
    - `cycles`: generator moves per walker in each round; 40 up to five dimensions, fewer where moves are dear.
    """

    rounds: int = 4
    tolerance: float = 0.1
    cycles: int | None = None


@dataclass(frozen=True)
class ExploreSettings:
    """How the first states are found.

    **Arguments:**

    - `kind`: `unbiased` runs from the starting points, or `opes`: walkers that share an adaptive bias along ξ.
    - `steps`: per walker of `opes`.
    - `walkers`: of `opes`, over all starting points.
    - `barrier`: in kT, the highest that `opes` fills.
    """

    kind: str = "unbiased"
    steps: int = 20_000
    walkers: int = 64
    barrier: float = 10.0


@dataclass(frozen=True)
class CoarsenSettings:
    """How a coarse variable is learned; `None` means as the kind has it. A setting that the kind lacks is an error.

    **Arguments:**

    - `kind`: `diffusion-map`, `tica`, `vamp` or `vampnet`.
    - `features`: observed state `(Y,)` to features `(F,)`, written with `jax.numpy`; `None` for the state itself.
    - `components`: how many coarse variables.
    - `rounds`: of learning and biasing, at most; fewer when ξ has settled.
    - `tolerance`: on 1 - |rank correlation| between the ξ of two rounds.
    - `points`: frames that ξ is learned from.
    - `walkers`, `steps`: of the windows between two rounds, per window and walker.
    - `covariance`: of the noise in the Mahalanobis kernel: `noise` from the dynamics' own diffusion, or `bursts`.
    - `copies`, `burst_steps`: bursts from each point, and time steps of each.
    - `lag`: of time-lagged learners, in units of time.
    - `alpha`, `bandwidth`, `neighbours`, `kernel`, `landmarks`, `surrogate`: of the diffusion map, as in
      `DiffusionMapLearner`.
    - `width`, `depth`, `training_steps`: of a network.
    """

    kind: str = "diffusion-map"
    features: Callable | None = None
    components: int = 1
    rounds: int = 4
    tolerance: float = 0.03
    points: int = 3000
    walkers: int = 16
    steps: int = 1000
    covariance: str = "noise"
    copies: int = 50
    burst_steps: int = 1
    lag: float | None = None
    alpha: float | None = None
    bandwidth: float | None = None
    neighbours: int | None = None
    kernel: str | None = None
    landmarks: int | None = None
    surrogate: bool | None = None
    width: int | None = None
    depth: int | None = None
    training_steps: int | None = None


@dataclass(frozen=True)
class TargetSettings:
    """When a run is good enough, and where its work goes.

    **Arguments:**

    - `error`: the standard error at which the run stops; `None` for as many rounds as `CoupleSettings` say.
    - `of`: what it is of. `free_energy`: F, root mean square over the cells below 6 kT, in kT; `basins`: the largest of
      a basin, in kT; or the name of an observable, root mean square over the same cells, in its own units.
    - `allocation`: `uniform` or `adaptive` work; `None`: adaptive where there is a target.
    """

    error: float | None = None
    of: str = "free_energy"
    allocation: str | None = None

    @property
    def sizes_rounds(self) -> bool:
        """Whether it changes what a run does."""
        return self.error is not None or self.allocation == "adaptive"


@dataclass(frozen=True)
class CloseSettings:
    """Observables to average conditionally, basins to compare, and what the reduced dynamics is judged by.

    **Arguments:**

    - `observables`: name to function of the observed state, `(Y,)` to `()`.
    - `basins`: name to (lower corner `(d,)`, upper corner `(d,)`); empty: found at the minima of F.
    - `bursts`: force evaluations for the closure from short bursts of the full dynamics; 0 for none.
    - `full_model`: for long simulations of the full dynamics, which the reduced one is compared with and an effective
      equation is learned from; 0 for none. Both take less where the budget has less left.
    """

    observables: dict[str, Callable] = field(default_factory=dict)
    basins: dict[str, tuple] = field(default_factory=dict)
    bursts: int = 4_000_000
    full_model: int = 4_000_000


@dataclass(frozen=True)
class Case:
    """Everything that `run` needs.

    **Arguments:**

    - `name`: built-in name or the path of the case file.
    - `title`: for people.
    - `coarse`: the coarse variable; where `coarsen` is given, `unlearned` ones that the run replaces.
    - `explore`: how the first states are found.
    - `coarsen`: how the coarse variable is learned; `None` where it is known.
    - `data`: trajectories that exist already, for method `data`.
    - `budget`: ceiling of force evaluations over the whole run, or `None`.
    - `target`: the standard error at which a run ends before its budget.
    - `exact`: what is known exactly, for tests and reports only; never used by the estimate.
    """

    name: str
    title: str
    system: System | MolecularSystem
    coarse: CoarseVariable
    bias: BiasSettings = BiasSettings()
    generator: GeneratorSettings = GeneratorSettings()
    couple: CoupleSettings = CoupleSettings()
    close: CloseSettings = CloseSettings()
    budget: int | None = None
    seed: int = 0
    exact: ExactAnswers | None = None
    explore: ExploreSettings = ExploreSettings()
    coarsen: CoarsenSettings | None = None
    data: OwnData | None = None
    target: TargetSettings = TargetSettings()
