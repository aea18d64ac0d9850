r"""The coarse time stepper: lift, heal, evolve, restrict, estimate.

A coarse state z is lifted to an ensemble of micro states, the ensemble runs freely until what was wrong with the
lifting has decayed, and its coarse image over the horizon after that gives $Φ_T(z)$ and $dz/dt$: all that numerical
analysis asks of an equation. Source: Kevrekidis, Gear, Hyman, Kevrekidis, Runborg and Theodoropoulos, Commun. Math.
Sci. 1, 715 (2003).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from micromacro.equation_free.estimate import Estimate
from micromacro.equation_free.lifting import Lift
from micromacro.equation_free.restriction import Restriction, restrict
from micromacro.errors import InputError, PhysicsError
from micromacro.sampling.euler_maruyama import simulate
from micromacro.systems.model import System

GROUPS = 20


@dataclass(frozen=True)
class StepperSettings:
    """How a burst is run.

    **Arguments:**

    - `healing_time`: how long the ensemble runs before it is looked at, in units of time; `measure_healing` finds it.
    - `horizon`: how long it is then looked at.
    - `replicas`: states in the ensemble.
    - `frames`: at how many times of the horizon it is restricted, the beginning not counted.
    - `antithetic`: pairs of replicas begin alike and feel opposite noises: what is odd in the noise cancels.
    - `groups`: of replicas that the jackknife leaves out in turn.
    - `seed`: fixes the draws and the noise, so that the stepper is a smooth function of z wherever its lifting is.
    """

    healing_time: float
    horizon: float
    replicas: int = 1000
    frames: int = 10
    antithetic: bool = False
    groups: int = GROUPS
    seed: int = 0

    def __post_init__(self):
        if not self.healing_time >= 0:
            raise InputError("healing_time", "not be negative", self.healing_time)
        if not self.horizon > 0:
            raise InputError("horizon", "be positive", self.horizon)
        if self.frames < 1:
            raise InputError("frames", "be at least 1", self.frames)
        unit = self.groups * (2 if self.antithetic else 1)
        if self.groups < 2 or self.replicas < 2 * self.groups or self.replicas % unit:
            raise InputError("replicas", f"be a multiple of {unit}, at least {2 * self.groups}", self.replicas)


@dataclass(frozen=True)
class CoarseStep:
    """What one burst tells.

    **Arguments:**

    - `times`: `(k,)` since the lifting; first 0, then the end of the healing, last the end of the horizon.
    - `path`: the coarse state at each, `(k, m)`.
    - `replicates`: the same without each group of replicas, `(groups, k, m)`.
    - `force_evaluations`: one per replica and step, and those of the lifting.
    """

    times: Float[np.ndarray, "k"]
    path: Float[np.ndarray, "k m"]
    replicates: Float[np.ndarray, "groups k m"]
    force_evaluations: int

    def estimate(self, function: Callable[[Float[np.ndarray, "k m"]], Float[np.ndarray, "j"]]) -> Estimate:
        """A function of the path, `(k, m)` to `(j,)`, with the error that follows from the replicates."""
        return Estimate(function(self.path), np.stack([function(path) for path in self.replicates]))

    @property
    def end(self) -> Estimate:
        """The coarse state at the end, `(m,)`."""
        return self.estimate(lambda path: path[-1])

    @property
    def healed(self) -> Estimate:
        """The coarse state at the end of the healing, `(m,)`."""
        return self.estimate(lambda path: path[1])

    @property
    def displacement(self) -> Estimate:
        r"""$Φ_T(z) - z$ of the healed state, `(m,)`: neither the lifting nor the healing is in it."""
        return self.estimate(lambda path: path[-1] - path[1])

    @property
    def derivative(self) -> Estimate:
        """dz/dt in the middle of the horizon, `(m,)`: the slope of the least-squares line through its frames."""
        return self.estimate(self.slope)

    @property
    def bend(self) -> Estimate:
        """Mean velocity of the second half of the horizon less that of the first, `(m,)`: large inside the fast time.

        **Raises:** `InputError` for a horizon of one frame.
        """
        middle = (len(self.times) + 1) // 2
        if len(self.times) < 4:
            raise InputError("frames", "be at least 2 to see a bend", len(self.times) - 2)
        late, early = self.times[-1] - self.times[middle], self.times[middle] - self.times[1]
        return self.estimate(lambda path: (path[-1] - path[middle]) / late - (path[middle] - path[1]) / early)

    def slope(self, path: Float[np.ndarray, "k m"]) -> Float[np.ndarray, "m"]:
        """The slope over the horizon of a path at the times of this one."""
        centred = self.times[1:] - self.times[1:].mean()
        return centred @ path[1:] / (centred @ centred)


@runtime_checkable
class Stepper(Protocol):
    """What projective integration, steady states and continuation ask: coarse state and parameters to a burst."""

    def __call__(
        self, z: Float[np.ndarray, "m"], parameters: tuple[float, ...] = (), key: Key[Array, ""] | None = None
    ) -> CoarseStep:
        """One burst from z; the same noise every time where no key is given."""
        ...


@dataclass(frozen=True, eq=False)
class CoarseTimeStepper:
    """The coarse time stepper of a micro model.

    **Arguments:**

    - `system`: the model; its drift takes the state and as many `parameters` as the stepper is called with.
    - `lift`: coarse state `(m,)`, number and key to hidden states `(count, D)`: see `lifting`.
    - `restriction`: from ensembles to coarse states: see `restriction`.
    - `settings`: of the burst.
    - `evaluations_per_lift`: what one lifted state costs in force evaluations; nothing for a generator alone.
    """

    system: System
    lift: Lift
    restriction: Restriction
    settings: StepperSettings
    evaluations_per_lift: int = 0

    def __call__(
        self, z: Float[np.ndarray, "m"], parameters: tuple[float, ...] = (), key: Key[Array, ""] | None = None
    ) -> CoarseStep:
        """One burst from the coarse state z.

        Standard errors hold for independent draws: of a lifting that repeats states, the fast time must undo that.

        **Arguments:**

        - `z`: `(m,)`.
        - `parameters`: numbers that the drift takes after the state.
        - `key`: of draws and noise; that of the settings where left out.

        **Raises:** `InputError` for a lifting of the wrong shape, `PhysicsError` for states that are not finite.
        """
        one = self.settings
        lift_key, heal_key, run_key = jax.random.split(jax.random.key(one.seed) if key is None else key, 3)
        walkers = one.replicas // 2 if one.antithetic else one.replicas
        states = np.asarray(self.lift(z, walkers, lift_key), float)
        if states.shape != (walkers, self.system.dimension):
            raise InputError("lift", f"return ({walkers}, {self.system.dimension}) states", f"shape {states.shape}")
        if one.antithetic:
            states = np.concatenate([states, states], axis=1)
        arguments = tuple(np.full(walkers, float(number)) for number in parameters)
        healing, spacing = self.healing_steps, self.frame_steps
        healed = self._run(states, healing, heal_key, None, arguments)[-1] if healing else states
        later = self._run(healed, spacing * one.frames, run_key, spacing, arguments)
        frames = np.concatenate([states[None], healed[None], later])
        if not np.isfinite(frames).all():
            raise PhysicsError(
                "a burst left the finite numbers", where=f"from z = {z}", remedy="Shorten the time step."
            )
        path, replicates = restrict(self.restriction, self._unpaired(frames), one.groups)
        after = self.system.time_step * (healing + spacing * np.arange(one.frames + 1))
        cost = one.replicas * (healing + spacing * one.frames) + walkers * self.evaluations_per_lift
        return CoarseStep(np.append(0.0, after), path, replicates, cost)

    @property
    def healing_steps(self) -> int:
        """Steps of the healing."""
        return int(np.ceil(self.settings.healing_time / self.system.time_step - 1e-9))

    @property
    def frame_steps(self) -> int:
        """Steps from frame to frame: the horizon is a whole number of them."""
        return max(1, round(self.settings.horizon / (self.settings.frames * self.system.time_step)))

    def _run(self, states, steps: int, key: Key[Array, ""], save_every: int | None, arguments: tuple) -> np.ndarray:
        """States at the saved frames, or at the end alone, `(frames, walkers, D)`."""
        drift, diffusion = self._pair if self.settings.antithetic else (self.system.drift, self.system.diffusion)
        run = simulate(
            drift, diffusion, states, self.system.time_step, steps, key, save_every=save_every, arguments=arguments
        )
        return run.saved if save_every else run.final[None]

    def _unpaired(self, frames: Float[np.ndarray, "frames walkers twice"]) -> Float[np.ndarray, "frames replicas D"]:
        return frames.reshape(len(frames), -1, self.system.dimension)

    @cached_property
    def _pair(self) -> tuple[Callable, Callable]:
        """Drift and diffusion of two replicas with opposite noises, as one walker of twice the dimension."""
        system = self.system

        def drift(state, *arguments):
            return jnp.concatenate([system.drift(half, *arguments) for half in jnp.split(state, 2)])

        def diffusion(state):
            first, second = (_matrix(system.diffusion(half)) for half in jnp.split(state, 2))
            return jnp.block([[first, jnp.zeros_like(first)], [-second, jnp.zeros_like(second)]])

        return drift, diffusion


def _matrix(noise: Array) -> Float[Array, "D D"]:
    return noise if noise.ndim == 2 else jnp.diag(noise)
