r"""Double diffusion maps: from states to diffusion coordinates and, by harmonics on those, back to states.

A first diffusion map gives each state a few latent coordinates, and Nyström's formula gives them to any other. The
kernel on the latent coordinates has harmonics of its own, and the states are functions of the latent coordinates
expanded in these. Sources: Papaioannou, Talmon, Kevrekidis and Siettos, Chaos 32, 083113 (2022); Evangelou, Dietrich,
Chiavazzo, Lehmberg, Meila and Kevrekidis, J. Comput. Phys. 485, 112072 (2023).
"""

from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from micromacro.diffusion_maps.diffusion_map import fit_diffusion_map
from micromacro.diffusion_maps.harmonics import GeometricHarmonics, HarmonicsSettings, fit_harmonics
from micromacro.diffusion_maps.nystrom import Extension, nystrom_extension
from micromacro.diffusion_maps.settings import DiffusionMapSettings
from micromacro.errors import InputError

AT_ONCE = 256  # states restricted at a time, to bound the memory
FEWEST = 20
THERE, BACK = DiffusionMapSettings(), HarmonicsSettings()


@dataclass(frozen=True)
class DoubleSettings:
    """How states and latent coordinates are tied to each other.

    **Arguments:**

    - `coordinates`: which components of the map, the slowest being 0: those that are independent of each other, and so
      many that a state is a function of them.
    - `map`, `harmonics`: of the first map, and of the way back. The automatic bandwidth of the map can be too narrow to
      restrict states between the points well; `state_error` and `latent_error` tell.
    - `held_out`: share of the states kept to measure the errors, never seen by the maps.
    - `seed`: of their choice.
    """

    coordinates: tuple[int, ...] = (0, 1)
    map: DiffusionMapSettings = THERE
    harmonics: HarmonicsSettings = BACK
    held_out: float = 0.1
    seed: int = 0


class DoubleDiffusionMaps(eqx.Module):
    """The way from a state to its latent coordinates and back, differentiable both ways.

    **Arguments:**

    - `extension`: of the first map; `coordinates`: which of its components are the latent ones.
    - `harmonics`: from latent coordinates to states.
    - `latent`: coordinates of all states in their order `(n, m)`, those of held-out ones by extension.
    - `weight`: of the states `(n,)`.
    - `state_error`: rms of lift(restrict(q)) - q on held-out states, relative to the deviation of each component
      `(Y,)`; near one where the latent coordinates do not determine it.
    - `latent_error`: rms of restrict(lift(ψ)) - ψ at held-out ψ, relative to their deviation `(m,)`.
    """

    extension: Extension
    coordinates: tuple[int, ...] = eqx.field(static=True)
    harmonics: GeometricHarmonics
    latent: Float[Array, "n m"]
    weight: Float[Array, "n"]
    state_error: Float[Array, "Y"]
    latent_error: Float[Array, "m"]

    def restrict(self, state: Float[Array, "Y"]) -> Float[Array, "m"]:
        """The latent coordinates of a state."""
        return self.extension(state)[jnp.asarray(self.coordinates)]

    def lift(self, latent: Float[Array, "m"]) -> Float[Array, "Y"]:
        """The state at latent coordinates; a prediction where they have support."""
        return self.harmonics(latent)

    def support(self, latent: Float[Array, "m"]) -> Bool[Array, ""]:
        """Whether latent coordinates lie among those of the data."""
        return self.harmonics.support(latent)


def fit_double_maps(
    states: Float[np.ndarray, "n Y"],
    settings: DoubleSettings = DoubleSettings(),
    weight: Float[np.ndarray, "n"] | None = None,
) -> DoubleDiffusionMaps:
    """The double diffusion maps of states with their weights in the target measure, equal ones where left out.

    The weights make the map that of the target measure; in the way back all states count alike, since a lift is to be
    right wherever there are data. The components of a state should be of comparable units, as a single kernel serves
    all.

    **Raises:** `InputError` for fewer than twenty states, coordinates that the map does not have.
    """
    _refuse(states, settings)
    weight = np.ones(len(states)) if weight is None else weight
    count = max(1, round(settings.held_out * len(states)))
    order = np.random.default_rng(settings.seed).permutation(len(states))
    tests, rows = np.sort(order[:count]), np.sort(order[count:])
    found = fit_diffusion_map(states[rows], weight[rows], settings.map)
    extension = nystrom_extension(found, max(settings.coordinates) + 1)
    latent = np.empty((len(states), len(settings.coordinates)))
    latent[rows] = found.eigenvectors[:, settings.coordinates]
    latent[tests] = np.asarray(_over(extension, states[tests]))[:, settings.coordinates]
    harmonics = fit_harmonics(latent[rows], states[rows], settings.harmonics)
    lifted = _over(harmonics, latent[tests])
    again = np.asarray(_over(extension, lifted))[:, settings.coordinates]
    return DoubleDiffusionMaps(
        extension=extension,
        coordinates=settings.coordinates,
        harmonics=harmonics,
        latent=jnp.asarray(latent),
        weight=jnp.asarray(weight, float),
        state_error=jnp.asarray(_relative(np.asarray(lifted) - states[tests], states)),
        latent_error=jnp.asarray(_relative(again - latent[tests], latent)),
    )


def _over(function: Extension | GeometricHarmonics, points: np.ndarray | Array) -> Array:
    return _mapped(function, jnp.asarray(points))


@eqx.filter_jit
def _mapped(function: eqx.Module, points: Array) -> Array:
    return jax.lax.map(function, points, batch_size=AT_ONCE)


def _relative(residual: np.ndarray, values: np.ndarray) -> np.ndarray:
    spread = values.std(axis=0)
    return np.sqrt(np.mean(residual**2, axis=0)) / np.where(spread > 0, spread, 1.0)


def _refuse(states: np.ndarray, settings: DoubleSettings) -> None:
    if len(states) < FEWEST:
        raise InputError("states", f"be {FEWEST} or more", len(states))
    if not settings.coordinates or min(settings.coordinates) < 0:
        raise InputError("coordinates", "name one component or more, from 0 on", settings.coordinates)
    if max(settings.coordinates) >= settings.map.components:
        raise InputError(
            "coordinates",
            f"be below {settings.map.components}, the number of components of the map",
            settings.coordinates,
            remedy="Ask for more components in the settings of the map.",
        )
    if not 0 < settings.held_out < 1:
        raise InputError("held_out", "lie between 0 and 1", settings.held_out)
