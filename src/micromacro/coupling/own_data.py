"""Imported frames as the segments that estimates and generators take."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from micromacro.coordinates.coarse import CoarseVariable
from micromacro.coupling.estimate import Estimate, Segment, free_energy_table
from micromacro.errors import InputError
from micromacro.estimates.correlation import kish_sample_size
from micromacro.estimates.surface import coarse_grid
from micromacro.molecules.data_files import Umbrella
from micromacro.sampling.production import Frames
from micromacro.sampling.seeding import BIAS_POINTS, no_windows
from micromacro.sampling.table import zero_table
from micromacro.sampling.windows import Windows, grid_centers

BLOCKS = 8
SHORTEST_BLOCK = 5
JUDGED = {1: 24, 2: 6}
FEWEST_JUDGED, MOST_JUDGED = 50, 1024
MOST_NUMBERS = 20_000_000


@dataclass(frozen=True)
class WeightedStates:
    """Frames as states of a system.

    **Arguments:**

    - `position`: `(n, D)`; `coarse`: ξ of each `(n, d)`; `log_weight` `(n,)` in the ensemble without bias.
    - `trajectory`: which trajectory each came from, in order of time within it, `(n,)`.
    """

    position: Float[np.ndarray, "n D"]
    coarse: Float[np.ndarray, "n d"]
    log_weight: Float[np.ndarray, "n"]
    trajectory: Int[np.ndarray, "n"]


def weighted_segment(coarse: CoarseVariable, states: WeightedStates) -> Segment:
    """Frames of one ensemble: one window without bias, its walkers the blocks of the trajectories.

    A trajectory is cut into blocks, whose scatter gives the errors: they must be longer than ξ remembers. Weights,
    where they are not all equal, sum to Kish's effective number of frames.
    """
    members = [np.flatnonzero(states.trajectory == one) for one in np.unique(states.trajectory)]
    segment, index = _segment(no_windows(coarse, 1), states, [members])
    log_weight = states.log_weight[index]
    if np.ptp(log_weight) == 0:
        return segment
    weight = np.exp(log_weight - log_weight.max())
    weight = weight * weight.sum() / np.sum(weight**2)
    return replace(segment, weight=weight, correlated=True)


def window_segments(
    coarse: CoarseVariable, states: WeightedStates, umbrellas: Sequence[Umbrella], kT: float
) -> list[Segment]:
    """Frames of umbrella windows: one segment for each stiffness, that of most windows last.

    Trajectories of equal centre and stiffness are walkers of one window, cut into blocks as in `weighted_segment`.

    **Arguments:**

    - `umbrellas`: one for each trajectory; `kT` in kJ/mol.
    """
    groups: dict[tuple, dict[tuple, list[np.ndarray]]] = {}
    for number, umbrella in enumerate(umbrellas):
        centers = groups.setdefault(umbrella.kappa, {})
        centers.setdefault(umbrella.at, []).append(np.flatnonzero(states.trajectory == number))
    segments = []
    for kappa, centers in sorted(groups.items(), key=lambda item: len(item[1])):
        at = np.asarray(coarse.wrap(np.array(list(centers), float)))
        stiffness = jnp.asarray(np.array(kappa) / kT)
        windows = Windows(jnp.asarray(at), stiffness, zero_table(coarse, BIAS_POINTS))
        segments.append(_segment(windows, states, list(centers.values()))[0])
    return segments


def _segment(
    windows: Windows, states: WeightedStates, members: list[list[np.ndarray]]
) -> tuple[Segment, Int[np.ndarray, "frames windows walkers"]]:
    """The segment of windows, from the frames of the trajectories of each; and which frame stands where."""
    most = max(len(trajectories) for trajectories in members)
    walkers = most * -(-BLOCKS // most)
    cut = [_blocks(trajectories, walkers) for trajectories in members]
    length = max(block.shape[0] for block, _ in cut)
    # shorter windows begin later: what stands before is left out by `first`
    index = np.stack([np.pad(block, ((length - len(block), 0), (0, 0)), mode="edge") for block, _ in cut], axis=1)
    first = np.array([length - len(block) for block, _ in cut])
    frames = Frames(states.position[index], states.coarse[index], np.zeros(index.shape), np.ones(len(members)))
    return Segment(windows, frames, first, start=np.stack([label for _, label in cut])), index


def _blocks(trajectories: list[np.ndarray], count: int) -> tuple[np.ndarray, np.ndarray]:
    """`count` blocks of equal length, as long as can be, `(length, count)`, and the trajectory of each `(count,)`.

    What fills no block is left out at the beginning of a trajectory.
    """
    sizes = np.array([len(one) for one in trajectories])
    length = _longest_block(sizes, count)
    if length < SHORTEST_BLOCK or sizes.min() < length:
        requirement = f"have at least {max(length, SHORTEST_BLOCK)} frames each, {count * SHORTEST_BLOCK} in a window"
        remedy = "Leave short ones out, or keep more frames (data.stride, data.discard)."
        raise InputError("data.trajectories", requirement, sizes.tolist(), remedy=remedy)
    shares = sizes // length
    while shares.sum() > count:
        shares[np.argmax(shares)] -= 1
    pairs = list(zip(trajectories, shares, strict=True))
    blocks = [one[len(one) - share * length :].reshape(share, length) for one, share in pairs]
    return np.concatenate(blocks).T, np.repeat(np.arange(len(sizes)), shares)


def _longest_block(sizes: Int[np.ndarray, "t"], count: int) -> int:
    """The greatest length of which `count` blocks fit into trajectories of these sizes; by bisection."""
    low, high = 0, int(sizes.sum()) // count
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if np.sum(sizes // middle) >= count else (low, middle - 1)
    return low


def evened_segment(coarse: CoarseVariable, found: Estimate, rng: np.random.Generator) -> Segment:
    """Frames without weights whose conditionals are those of weighted ones, to learn p(q | ξ) from.

    In every cell of ξ as many frames are drawn by their weights as these are worth.
    """
    cell = coarse_grid(coarse).cell(found.pool.coarse)
    drawn = [
        _drawn(members, found.pool.weight[members], None, rng)
        for members in _groups(cell)
        if found.pool.weight[members].sum() > 0
    ]
    if not drawn:
        raise InputError("data.trajectories", "have frames of some weight in the range of ξ", "none")
    index = np.concatenate(drawn)[:, None, None]
    frames = Frames(found.position[index], found.pool.coarse[index], np.zeros(index.shape), np.ones(1))
    return Segment(no_windows(coarse, 1), frames, np.zeros(1, int))


def judging_segment(
    coarse: CoarseVariable, found: Estimate, blur: Float[np.ndarray, "d"], rng: np.random.Generator
) -> Segment | None:
    """Frames drawn by their weights in windows of the flattened potential: what a generator of that blur must give.

    **Returns:** `None` where no window has frames worth `FEWEST_JUDGED`.
    """
    dimension = found.position.shape[1]
    centers, drawn = [], []
    for center in grid_centers(coarse, JUDGED.get(coarse.dimension, 3)):
        delta = np.asarray(coarse.difference(found.pool.coarse, center)) / blur
        weight = found.flat_weight * np.exp(-0.5 * np.sum(delta**2, axis=1))
        if kish_sample_size(weight) >= FEWEST_JUDGED:
            centers.append(center)
            drawn.append(weight)
    if not centers:
        return None
    size = int(np.clip(MOST_NUMBERS // (len(centers) * dimension), FEWEST_JUDGED, MOST_JUDGED))
    everything = np.arange(len(found.position))
    index = np.stack([_drawn(everything, weight, size, rng) for weight in drawn], axis=1)[:, :, None]
    windows = Windows(jnp.asarray(np.array(centers)), jnp.asarray(1 / blur**2), free_energy_table(found.wide))
    frames = Frames(found.position[index], found.pool.coarse[index], np.zeros(index.shape), np.ones(len(centers)))
    return Segment(windows, frames, np.zeros(len(centers), int), start=np.zeros((len(centers), 1), int))


def _groups(label: Int[np.ndarray, "n"]) -> list[np.ndarray]:
    """The members of each label from zero on, in their order."""
    order = np.argsort(label, kind="stable")
    order = order[np.searchsorted(label[order], 0) :]
    return np.split(order, np.flatnonzero(np.diff(label[order])) + 1) if len(order) else []


def _drawn(members: np.ndarray, weight: np.ndarray, size: int | None, rng: np.random.Generator) -> np.ndarray:
    """Members by their weights, in their order, with the least scatter of how often each; as many as they are worth.

    Method: systematic resampling, Kitagawa, J. Comput. Graph. Stat. 5, 1 (1996).
    """
    size = max(1, round(kish_sample_size(weight))) if size is None else size
    total = np.cumsum(weight)
    at = (rng.uniform() + np.arange(size)) / size * total[-1]
    return members[np.minimum(np.searchsorted(total, at, side="right"), len(members) - 1)]
