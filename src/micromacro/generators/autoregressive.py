r"""One layer of an autoregressive flow: every coordinate goes through a spline that the earlier ones and z decide.

Each coordinate has a small network of its own, all of them evaluated at once in batched products. A draw visits the
coordinates one after another and evaluates each network once, so that it costs, in all, as much as a density.

The formulas hold for one state, or for a batch of them on the last axis, where the CPU is several times faster.
"""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from micromacro.coordinates.space import wrap
from micromacro.generators.condition import HARMONICS, state_feature_count, state_features
from micromacro.generators.representation import Layout
from micromacro.generators.splines import Mapped, map_back, map_forward, raw_size, spline_of

REACH = 5.0
LARGEST_LOG_SCALE = 6.0
TURN = np.array(2 * np.pi, np.float32)


class Conditioner(eqx.Module):
    """Small residual networks, one for each coordinate: raw parameters of its map; zeros, when new."""

    enter: Float[Array, "*models Y width features"]
    hidden: Float[Array, "*models Y inner width width"]
    leave: Float[Array, "*models Y raw width"]
    hidden_bias: Float[Array, "*models Y depth width"]
    leave_bias: Float[Array, "*models Y raw"]

    @classmethod
    def new(
        cls, seen: Bool[np.ndarray, "Y features"], width: int, depth: int, raw: int, key: Key[Array, ""]
    ) -> "Conditioner":
        """Networks of `depth` hidden layers for as many inputs as each sees."""
        enter_key, hidden_key = jax.random.split(key)
        count, features = seen.shape
        scale = np.sqrt(np.maximum(np.sum(seen, axis=1), 1)).astype(np.float32)[:, None, None]
        enter = jax.random.normal(enter_key, (count, width, features), jnp.float32) / scale
        hidden = jax.random.normal(hidden_key, (count, depth - 1, width, width), jnp.float32) / np.float32(
            np.sqrt(width)
        )
        shapes = (count, raw, width), (count, depth, width), (count, raw)
        return cls(enter, hidden, *(jnp.zeros(shape, jnp.float32) for shape in shapes))

    def __call__(
        self, features: Float[Array, "features *batch"], seen: Bool[Array, "Y features"]
    ) -> Float[Array, "raw Y *batch"]:
        """The raw parameters of every coordinate, each from the features that it sees."""
        # the mask is on the weights, not the features: of all coordinates and a whole batch, this is one product
        enter = jnp.where(seen[:, None, :], self.enter, 0.0)
        bias = _spread(self.hidden_bias, features.ndim - 1)
        inner = jax.nn.silu(jnp.tensordot(enter, features, 1) + bias[:, 0])
        for layer in range(self.hidden.shape[1]):
            product = jnp.einsum("yvw,yw...->yv...", self.hidden[:, layer], inner)
            inner = inner + jax.nn.silu(product + bias[:, layer + 1])
        raw = jnp.einsum("yrw,yw...->yr...", self.leave, inner) + _spread(self.leave_bias, features.ndim - 1)
        return jnp.moveaxis(raw, 1, 0)


class Autoregressive(eqx.Module):
    """A bijection of represented states given z, with a triangular Jacobian, up or down the coordinates.

    Its methods take `backwards`: whether coordinates depend on later ones, instead of on earlier ones. It is no field,
    so that layers of both directions are alike, and a loop over many of them is compiled once.
    """

    conditioner: Conditioner
    layout: Layout = eqx.field(static=True)

    @classmethod
    def new(
        cls, layout: Layout, features: int, sizes: tuple[int, int, int], backwards: bool, key: Key[Array, ""]
    ) -> "Autoregressive":
        """The identity. `features`: how many z has; `sizes`: width and depth of the networks, bins of the splines."""
        width, depth, bins = sizes
        seen = visible(layout, features, backwards)
        return cls(Conditioner.new(seen, width, depth, 2 + raw_size(bins), key), layout)

    def forward(
        self, x: Float[Array, "Y *batch"], features: Float[Array, "features *batch"], backwards: Bool[Array, ""]
    ) -> Mapped:
        """The state one layer nearer to the base, and the log-slope of every coordinate."""
        raw = self.conditioner(self._inputs(x, features), self._seen(len(features), backwards))
        return _forward(x, raw, _spread(self._circle(), x.ndim - 1))

    def inverse(
        self, u: Float[Array, "Y"], features: Float[Array, "features"], backwards: Bool[Array, ""]
    ) -> Float[Array, "Y"]:
        """The state that `forward` maps to u, coordinate by coordinate."""

        def step(x: Array, coordinate: tuple):
            own, seen, circle, index = coordinate
            conditioner = jax.tree.map(lambda leaf: leaf[None], own)
            raw = conditioner(self._inputs(x, features), seen[None])
            return x.at[index].set(_inverse(u[index], raw[:, 0], circle)), None

        index = jnp.arange(u.size)
        order = jnp.where(backwards, index[::-1], index)
        coordinates = self.conditioner, self._seen(len(features), backwards), self._circle(), index
        return jax.lax.scan(step, jnp.zeros_like(u), jax.tree.map(lambda part: part[order], coordinates))[0]

    def dependence(self, backwards: Bool[Array, ""]) -> Float[Array, ""]:
        """The sum over pairs of coordinates of the size of the weights by which one sees the other; zero for none."""
        of_states = state_feature_count(self.layout)
        square = jnp.sum(self.conditioner.enter[..., :of_states] ** 2, axis=-2)
        source, own = sources(self.layout), np.arange(self.layout.dimension)
        # an angle has several features: their sum does not depend on where it is counted from
        square = square @ np.asarray(source[:, None] == own, np.float32)
        earlier = jnp.where(backwards, own > own[:, None], own < own[:, None]) & ~_any_apart(self.layout)
        # the root must have a slope where weights are zero
        size = jnp.sqrt(jnp.where(earlier, square, 0.0) + np.float32(1e-8)) - np.float32(1e-4)
        return jnp.sum(size)

    def _inputs(self, x: Array, features: Array) -> Float[Array, "all_features *batch"]:
        seen = over_batch(lambda state: state_features(state, self.layout), x)
        return jnp.concatenate([seen, features])

    def _seen(self, features: int, backwards: Bool[Array, ""]) -> Bool[Array, "Y all_features"]:
        both = (visible(self.layout, features, direction) for direction in (True, False))
        return jnp.where(backwards, *both)

    def _circle(self) -> Bool[Array, "Y"]:
        return jnp.arange(self.layout.dimension) >= self.layout.reals


def over_batch(function: Callable[[Array], Array], values: Float[Array, "n *batch"]) -> Float[Array, "*n_and_batch"]:
    """A function of one vector, of each in a batch on the last axis where there is one."""
    return function(values) if values.ndim == 1 else jax.vmap(function, -1, -1)(values)


def sources(layout: Layout) -> Int[np.ndarray, "state_features"]:
    """The coordinate that each feature of a state is one of."""
    circles = np.repeat(np.arange(layout.reals, layout.dimension), HARMONICS)
    return np.concatenate([np.arange(layout.reals), circles, circles])


def visible(layout: Layout, features: int, backwards: bool) -> Bool[np.ndarray, "Y all_features"]:
    """Which features of the state and, after them, of z each coordinate may depend on."""
    source = sources(layout)
    own = np.arange(layout.dimension)[:, None]
    earlier = source > own if backwards else source < own
    earlier = earlier & ~_any_apart(layout)[:, source]
    return np.concatenate([earlier, np.ones((layout.dimension, features), bool)], axis=1)


def _any_apart(layout: Layout) -> Bool[np.ndarray, "Y Y"]:
    """Pairs of coordinates one of which is to be learned apart from all others."""
    apart = np.isin(np.arange(layout.dimension), layout.apart)
    return apart[:, None] | apart


def _forward(x: Float[Array, "*points"], raw: Float[Array, "raw *points"], circle: Bool[Array, "*#points"]) -> Mapped:
    """A real number is shifted and scaled, an angle turned; then comes the spline."""
    shift, log_scale, turn = _rigid(raw)
    moved = jnp.where(circle, wrap(x + turn, TURN), (x - shift) * jnp.exp(log_scale))
    value, log_slope = map_forward(moved, spline_of(raw[2:], _reach(circle), circle))
    return Mapped(value, log_slope + jnp.where(circle, 0.0, log_scale))


def _inverse(
    u: Float[Array, "*points"], raw: Float[Array, "raw *points"], circle: Bool[Array, "*#points"]
) -> Float[Array, "*points"]:
    shift, log_scale, turn = _rigid(raw)
    moved = map_back(u, spline_of(raw[2:], _reach(circle), circle))
    return jnp.where(circle, wrap(moved - turn, TURN), moved * jnp.exp(-log_scale) + shift)


def _reach(circle: Bool[Array, "*points"]) -> Float[Array, "*points"]:
    return jnp.where(circle, np.float32(np.pi), np.float32(REACH))


def _rigid(raw: Float[Array, "raw *points"]) -> tuple[Array, Array, Array]:
    """A shift, a logarithm of a scale, and an angle, which may go round as often as the condition does."""
    log_scale = LARGEST_LOG_SCALE * jnp.tanh(raw[1] / LARGEST_LOG_SCALE)
    return raw[0], log_scale, jnp.arctan2(raw[1], 1 + raw[0])


def _spread(values: Array, axes: int) -> Array:
    """With so many axes of length one more, for a batch."""
    return values.reshape(values.shape + (1,) * axes)
