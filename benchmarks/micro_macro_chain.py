"""Effective samples for each force evaluation, chain against MALA: `python -m benchmarks.micro_macro_chain`.

The micro–macro chain and MALA begin at the starting points of the case in equal shares, with the local sampler tuned to
the same acceptance. The chain takes its F and generator from a coupled run, whose cost is a column of its own. The
effective size is the smallest over functions that see every well: each coordinate, the energy, which side of a barrier.

Direct estimates are worthless where a run saw few crossings: the autocorrelation of walkers that stay where they began
never ends. MALA is therefore also judged by its crossings. For two wells with rates k12 and k21 per step the indicator
of a well decorrelates as exp(-(k12 + k21) t), which leaves (k12 + k21) / 2 effective samples a step: the rates are
crossings over steps spent in each well, counted over all walkers between cores, so that recrossings do not count. The
upper end of their 95 % Poisson interval counts, in favour of MALA, and then the smaller of the two estimates.
"""

import argparse
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from scipy.stats import chi2

from micromacro import pipeline, stages
from micromacro.cases.case import BiasSettings, Case, CoupleSettings, GeneratorSettings
from micromacro.cases.file import load_case
from micromacro.coupling.chains import MicroMacro
from micromacro.coupling.macro import blurred_density
from micromacro.coupling.micro_macro import LocalTuning, MicroMacroSettings
from micromacro.estimates.correlation import effective_sample_size, equilibration_time
from micromacro.generators.generator import DensityGenerator
from micromacro.molecules.system import of_equations
from micromacro.progress import Progress
from micromacro.sampling.engine import JaxEngine
from micromacro.sampling.seeding import no_windows
from micromacro.sampling.tuning import adapt
from micromacro.store import Store

MILLION = 1e6


@dataclass(frozen=True)
class Barrier:
    """Which side of the slowest barrier: above `core` or below `-core` of a function of frames `(..., D)`.

    `required`: how many times as many effective samples the chain must bring.
    """

    function: Callable
    core: float
    required: float


BARRIERS = {
    "hidden-barrier": Barrier(lambda q: q[..., 1], 0.6, 50.0),
    "three-atom": Barrier(lambda q: np.arctan2(q[..., 2], q[..., 1]) - np.pi / 2, 0.2, 1.0),
}


def training_case(name: str, generator: str, budget: int) -> Case:
    """The built-in case with a training of moderate size."""
    case = load_case(name)
    bias = BiasSettings(windows=case.bias.windows or 16, walkers=24, steps=400)
    settings = GeneratorSettings(generator, width=32, training_steps=1500)
    return replace(case, bias=bias, generator=settings, couple=CoupleSettings(rounds=2), budget=budget)


def series(position: np.ndarray, log_density: np.ndarray, barrier: Barrier) -> np.ndarray:
    """What the effective size is the smallest over, `(frames, walkers, functions)`."""
    side = (barrier.function(position) > 0)[..., None] * 1.0
    return np.concatenate([position, log_density[..., None], barrier.function(position)[..., None], side], axis=-1)


def effective_size(values: np.ndarray) -> tuple[float, int]:
    """The smallest effective size of the frames after equilibration, and how many frames those are."""
    first = equilibration_time(values.mean(axis=1))
    return min(effective_sample_size(column[first:]) for column in np.moveaxis(values, -1, 0)), len(values) - first


class Crossings:
    """Crossings between the cores of two wells and the frames spent in each, over consecutive frames of walkers."""

    def __init__(self, core: float):
        self.core, self.side = core, None
        self.count, self.frames = np.zeros(2), np.zeros(2)

    def add(self, values: np.ndarray) -> None:
        """Frames `(frames, walkers)` of the function that tells the wells."""
        side = np.sign(values[0]) if self.side is None else self.side
        for now in np.where(np.abs(values) > self.core, np.sign(values), 0):
            new = np.where(now == 0, side, now)
            for well, sign in enumerate((-1, 1)):
                self.frames[well] += np.sum(side == sign)
                self.count[well] += np.sum((side == sign) & (new == -sign))
            side = new
        self.side = side

    def effective_samples(self, count: np.ndarray) -> float:
        """Effective samples of the well's indicator for each frame of a walker, were there `count` crossings `(2,)`."""
        return float(np.sum(count / np.maximum(self.frames, 1)) / 2)

    def most(self) -> np.ndarray:
        """The upper ends of the 95 % Poisson intervals of the crossings, `(2,)`."""
        return chi2.ppf(0.975, 2 * (self.count + 1)) / 2


def measure_chain(
    run: stages.Run,
    trained: pipeline.Sampled,
    generator: DensityGenerator,
    barrier: Barrier,
    asked: argparse.Namespace,
) -> dict:
    """The chain by itself: effective samples, force evaluations, shares accepted."""
    tuning, positions = tuned(run, asked.walkers)
    assert isinstance(run.engine, JaxEngine)
    sampler = MicroMacro(run.engine, MicroMacroSettings(local_steps=asked.local_steps))
    macro = blurred_density(run.case.coarse, trained.estimate.wide, trained.blur)
    found = sampler.sample(generator, macro, tuning, positions, jax.random.key(1), frames=asked.cycles // 10, chunks=10)
    size, kept = effective_size(series(found.frames.position[:, 0], found.frames.log_density[:, 0], barrier))
    evaluations = kept * asked.walkers * sampler.settings.cost
    accepted = {"z": found.macro, "pairs": found.micro, "local": found.local}
    return {"size": size, "evaluations": evaluations, "accepted": accepted}


def tuned(run: stages.Run, walkers: int) -> tuple[LocalTuning, jnp.ndarray]:
    """The local sampler tuned without any bias, and walkers from every starting point."""
    exploration, windows = stages.stored_exploration(run), no_windows(run.case.coarse, 1)
    begun = run.engine.start(windows, jnp.asarray(stages.explored_states(exploration, walkers))[None])
    found = adapt(
        run.engine, windows, begun, stages.shared_tuning(exploration, 1), jax.random.key(2), 20, rescale=False
    )
    return LocalTuning(found.tuning.step_size[0], found.tuning.scale[0]), found.walkers.position[0]


def measure_mala(run: stages.Run, barrier: Barrier, asked: argparse.Namespace) -> dict:
    """MALA alone: effective samples a step of a walker by both estimates, and the crossings that they rest on."""
    tuning, positions = tuned(run, asked.mala_walkers)
    windows = no_windows(run.case.coarse, 1)
    both = stages.Tuning(tuning.step_size[None], tuning.scale[None])
    walkers, parts, crossings = run.engine.start(windows, positions[None]), [], Crossings(barrier.core)
    frames, acceptance = asked.mala_steps // asked.every // 20, 0.0
    for chunk in range(20):
        key = jax.random.fold_in(jax.random.key(3), chunk)
        walkers, saved = run.engine.advance(windows, both, walkers, key, frames, asked.every)
        position = np.asarray(saved.position[:, 0])
        crossings.add(barrier.function(position))
        parts.append(series(position, np.asarray(saved.log_density[:, 0]), barrier))
        acceptance = float(saved.acceptance[0])
    size, kept = effective_size(np.concatenate(parts))
    direct = size / (kept * asked.mala_walkers * asked.every)
    return {
        "direct": direct,
        "seen": crossings.effective_samples(crossings.count) / asked.every,
        "rate": crossings.effective_samples(crossings.most()) / asked.every,
        "crossings": int(crossings.count.sum()),
        "steps": frames * 20 * asked.every * asked.mala_walkers,
        "acceptance": acceptance,
    }


def compare(name: str, asked: argparse.Namespace) -> float:
    """Print the figures of one case; the ratio to MALA over what is required of it."""
    barrier, case = BARRIERS[name], training_case(name, asked.generator, asked.training)
    with tempfile.TemporaryDirectory() as folder:
        engine = JaxEngine(of_equations(case.system), case.coarse)
        run = stages.Run(case, Store(Path(folder)), Progress(quiet=True), engine)
        trained = pipeline.sample_windows(run, coupled=True)
        assert isinstance(trained.generator, DensityGenerator)
        training = engine.evaluations
        chain = measure_chain(run, trained, trained.generator, barrier, asked)
        mala = measure_mala(run, barrier, asked)
    alone = chain["size"] / chain["evaluations"]
    with_training = chain["size"] / (chain["evaluations"] + training)
    slowest = min(mala["direct"], mala["rate"])
    how = "crossings" if slowest == mala["rate"] else "autocorrelation"
    print(f"\n{name}, {asked.generator}: training {training / MILLION:.2f} million force evaluations")
    accepted = ", ".join(f"{key} {share:.2f}" for key, share in chain["accepted"].items())
    print(f"  chain: {chain['evaluations'] / MILLION:.2f} million, {chain['size']:.0f} effective; accepted {accepted}")
    print(f"  MALA: {mala['steps'] / MILLION:.0f} million, {mala['crossings']} crossings, ", end="")
    print(f"accepted {mala['acceptance']:.2f}; by the crossings seen {mala['seen'] * MILLION:.3g}, ", end="")
    print(f"by their upper limit {mala['rate'] * MILLION:.3g}, by autocorrelation {mala['direct'] * MILLION:.3g}")
    print(f"  {'effective samples for a million force evaluations':52}{'alone':>12}{'with training':>16}")
    print(f"  {'micro–macro chain':52}{alone * MILLION:12.4g}{with_training * MILLION:16.4g}")
    print(f"  {'MALA by ' + how:52}{slowest * MILLION:12.4g}{slowest * MILLION:16.4g}")
    print(f"  {'ratio':52}{alone / slowest:12.4g}{with_training / slowest:16.4g}")
    return alone / slowest / barrier.required


def main() -> None:
    """Measure each case and fail where the chain brings too little."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", nargs="+", choices=list(BARRIERS), default=list(BARRIERS))
    parser.add_argument("--generator", choices=("flow", "score"), default="flow")
    parser.add_argument("--training", type=int, default=2_000_000, help="ceiling of force evaluations")
    parser.add_argument("--walkers", type=int, default=128)
    parser.add_argument("--cycles", type=int, default=1000)
    parser.add_argument("--local-steps", type=int, default=2)
    parser.add_argument("--mala-walkers", type=int, default=512)
    parser.add_argument("--mala-steps", type=int, default=40_000)
    parser.add_argument("--every", type=int, default=10, help="steps of MALA between frames")
    asked = parser.parse_args()
    ratios = [compare(name, asked) for name in asked.cases]
    if min(ratios) < 1:
        raise SystemExit("\nfewer effective samples than required")


if __name__ == "__main__":
    main()
