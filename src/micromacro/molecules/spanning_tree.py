"""A spanning tree of the bonds of a molecule that grows from both ends of one bond."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

Neighbours = tuple[tuple[int, ...], ...]
Torsions = tuple[tuple[int, int, int, int], ...]


@dataclass(frozen=True, eq=False)
class SpanningTree:
    """Both atoms of the root bond are parents of one another; every other atom has one parent.

    **Arguments:**

    - `order`: atoms by their depth, those of the root bond first, each first child before its siblings.
    - `start`: the first three atoms, or all of a smaller molecule: those of the root bond and one that defines a plane.
    - `parents`: the parent of each atom.
    - `children`: of each atom, the first of them first.
    - `merit`: larger is better: how many preferred torsions it holds, how many heavy atoms it starts from, how shallow
      it is.
    """

    order: tuple[int, ...]
    start: tuple[int, ...]
    parents: dict[int, int]
    children: dict[int, tuple[int, ...]]
    merit: tuple[int, int, int]

    def first(self, atom: int) -> int:
        """The first of the atoms that hang on the same end of the same bond."""
        return self.children[self.parents[atom]][0] if atom not in self.start[:2] else atom

    def row(self, atom: int) -> tuple[int, int, int]:
        """The atoms that its bond, its angle and its torsion refer to; not all count for the first three."""
        parent = self.parents[atom]
        beyond = self.parents[parent]
        if (first := self.first(atom)) != atom:
            return parent, beyond, first
        return parent, beyond, self.start[-1] if parent == self.start[0] else self.parents[beyond]


def grow(
    neighbours: Neighbours, heavy: Bool[np.ndarray, "n"], root: tuple[int, int], torsions: Torsions
) -> SpanningTree:
    """The tree of shortest ways from a bond; first children are chosen by torsions, then as heavy and long branches."""
    order, parents, depth = _breadth_first(neighbours, root)
    children = {atom: [] for atom in order}
    for atom in order[2:]:
        children[parents[atom]].append(atom)
    chosen, held = _chosen_first(parents, children, root, torsions)
    height, size = _branches(order, parents, heavy)

    def place(atom: int) -> tuple:
        return chosen.get(parents[atom]) != atom, not heavy[atom], -height[atom], -size[atom], atom

    ordered = {atom: tuple(sorted(below, key=place)) for atom, below in children.items()}
    start = (*root, *(ordered[root[1]] or ordered[root[0]])[:1])
    merit = held, int(heavy[list(start)].sum()), -max(depth.values())
    order = list(root)
    for atom in order:
        order.extend(ordered[atom])
    return SpanningTree(tuple(order), start, parents, ordered, merit)


def _breadth_first(neighbours: Neighbours, root: tuple[int, int]):
    first, second = root
    parents, depth, order = {first: second, second: first}, {first: 0, second: 0}, [first, second]
    for atom in order:
        for near in neighbours[atom]:
            if near not in parents:
                parents[near], depth[near] = atom, depth[atom] + 1
                order.append(near)
    return order, parents, depth


def _chosen_first(parents: dict[int, int], children: dict[int, list[int]], root: tuple[int, int], torsions: Torsions):
    """Which child must come first for the preferred torsions, and how many of those the tree then holds."""
    chosen, held = {}, 0
    for torsion in torsions:
        for a, b, c, d in (torsion, torsion[::-1]):
            if {b, c} == set(root):
                wanted = {c: d, b: a}
            elif parents.get(c) == b and parents.get(b) == a:
                wanted = {c: d}
            else:
                continue
            if all(last in children[end] and chosen.get(end, last) == last for end, last in wanted.items()):
                chosen, held = chosen | wanted, held + 1
                break
    return chosen, held


def _branches(order: list[int], parents: dict[int, int], heavy: Bool[np.ndarray, "n"]):
    """How many heavy atoms the longest chain below each atom has, itself included, and how many atoms hang on it."""
    height, size = {atom: int(heavy[atom]) for atom in order}, dict.fromkeys(order, 1)
    for atom in reversed(order[2:]):
        parent = parents[atom]
        height[parent] = max(height[parent], height[atom] + int(heavy[parent]))
        size[parent] += size[atom]
    return height, size
