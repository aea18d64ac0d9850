"""Several models as one: every array with a leading axis, and back."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp


def stack(models: Sequence[Any]) -> Any:
    """Models of one structure as one, arrays `(models, ...)`; what is no array is that of the first."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves) if eqx.is_array(leaves[0]) else leaves[0], *models)


def member(models: Any, number: int) -> Any:
    """One of stacked models."""
    return jax.tree.map(lambda leaf: leaf[number] if eqx.is_array(leaf) else leaf, models)
