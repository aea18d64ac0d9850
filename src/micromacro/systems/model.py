"""The micro models: what the rest of the library may ask of a system."""

from collections.abc import Callable
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

FRAME_STEPS = 10
"""Steps between two frames while a chain is tuned, pulled or seeded, where a step is one adjusted move."""


def identity(state: Float[Array, "D"]) -> Float[Array, "D"]:
    """The observation map of a system whose state is measured as it is."""
    return state


@dataclass(frozen=True, eq=False)
class OverdampedSystem:
    r"""Overdamped Langevin dynamics, $dq = -m \nabla V dt + \sqrt{2 kT m} dW$.

    **Arguments:**

    - `potential`: state `(D,)` to energy `()`, written with `jax.numpy`, in the units of `kT`.
    - `dimension`: `D`.
    - `initial`: starting points `(n, D)`; all that is known of the metastable states.
    - `kT`: thermal energy.
    - `mobility`: `(D,)`, in squared units of the state per time and energy.
    - `time_step`: of the dynamics; adjusted samplers tune their own.
    """

    potential: Callable[[Float[Array, "D"]], Float[Array, ""]]
    dimension: int
    initial: Float[np.ndarray, "n D"]
    kT: float = 1.0
    mobility: Float[np.ndarray, "D"] = field(default_factory=lambda: np.ones(1))
    time_step: float = 1e-3
    observe: Callable = identity
    hidden: Callable | None = identity

    has_density = True
    frame_steps = FRAME_STEPS

    def __post_init__(self):
        mobility = np.broadcast_to(np.asarray(self.mobility, float), (self.dimension,))
        object.__setattr__(self, "mobility", mobility)
        object.__setattr__(self, "initial", np.atleast_2d(np.asarray(self.initial, float)))

    def log_density(self, state: Float[Array, "D"]) -> Float[Array, ""]:
        """$-V/kT$: the logarithm of the stationary density up to a constant."""
        return -self.potential(state) / self.kT

    def drift(self, state: Float[Array, "D"]) -> Float[Array, "D"]:
        r"""$-m \nabla V$, `(D,)`."""
        return -self.mobility * jax.grad(self.potential)(state)

    def diffusion(self, state: Float[Array, "D"]) -> Float[Array, "D"]:
        r"""$\sqrt{2 kT m}$, `(D,)`."""
        return jnp.sqrt(2 * self.kT * self.mobility) * jnp.ones_like(state)


@dataclass(frozen=True, eq=False)
class StochasticSystem:
    r"""A stochastic differential equation $dx = b(x) dt + \sigma(x) dW$ in the Itô sense, seen as $q = $ `observe(x)`.

    **Arguments:**

    - `drift`: state `(D,)` to `(D,)`.
    - `diffusion`: state `(D,)` to `(D,)` (independent noises) or `(D, D)`.
    - `log_stationary_density`: the logarithm of the stationary density, `(D,)` to `()`, where it is known: it enables
      biases, exact corrections and free energies.
    - `observe`: hidden state `(D,)` to what is measured `(Y,)`.
    - `hidden`: the inverse of `observe`, where it exists.
    """

    drift: Callable[[Float[Array, "D"]], Float[Array, "D"]]
    diffusion: Callable[[Float[Array, "D"]], Array]
    dimension: int
    initial: Float[np.ndarray, "n D"]
    time_step: float = 1e-3
    log_stationary_density: Callable[[Float[Array, "D"]], Float[Array, ""]] | None = None
    observe: Callable = identity
    hidden: Callable | None = identity

    kT = 1.0
    frame_steps = FRAME_STEPS

    def __post_init__(self):
        object.__setattr__(self, "initial", np.atleast_2d(np.asarray(self.initial, float)))

    @property
    def has_density(self) -> bool:
        """Whether the stationary density is known."""
        return self.log_stationary_density is not None

    def log_density(self, state: Float[Array, "D"]) -> Float[Array, ""]:
        """The logarithm of the stationary density up to a constant."""
        assert self.log_stationary_density is not None, "ask has_density first"
        return self.log_stationary_density(state)


System = OverdampedSystem | StochasticSystem
