"""An einsum of two operands in Z/2^64 as a batch of matrix products.

Theory of operation. The labels of an equation fall into five kinds: in both operands and the result (one matrix each),
in both but not the result (the depth), in one operand and the result (rows, columns), and in one operand alone, which
are summed beforehand. Axes of size one belong to nobody: what they meet is broadcast. So an operand becomes an array
(matrices, rows, depth) or (matrices, depth, columns) by one local einsum, which also takes the diagonals, and the
product of those is the result, but for the order of its axes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from keras_private.mpc.kernels import ring
from keras_private.mpc.rounds import Words
from keras_private.plan.ops.equation import BATCH, Equation, letters
from keras_private.plan.plan import Shape

Labels = tuple[int, ...]


class Contraction:
    """For operands of known shapes.

    Args:
        equation: of one sample.
        left, right: shapes, batch first; without `of_batch` the right one has no batch axis.
    """

    def __init__(self, equation: Equation, left: Shape, right: Shape, *, of_batch: bool) -> None:
        self._left: Labels = (BATCH, *equation.left)
        self._right: Labels = (BATCH, *equation.right) if of_batch else equation.right
        out: Labels = (BATCH, *equation.out)
        own_left, own_right = _own(self._left, left), _own(self._right, right)
        self._sizes = {**own_left, **own_right}
        both = own_left.keys() & own_right.keys()
        self._matrices = tuple(label for label in out if label in both)
        self._depth = tuple(label for label in own_left if label in both and label not in out)
        self._rows = tuple(label for label in out if label in own_left and label not in both)
        self._columns = tuple(label for label in out if label in own_right and label not in both)
        made = (*self._matrices, *self._rows, *self._columns)
        self._order = tuple(made.index(label) for label in out if label in made)
        self._made = tuple(self._sizes[label] for label in made)

    def wide(self, x: Words) -> Words:
        """A summand of the left operand as (matrices, rows, depth)."""
        return self._laid_out(x, self._left, self._matrices, self._rows, self._depth)

    def tall(self, sums: Words, lows: Words) -> Words:
        """y_i + y_{i+1} over y_i of the right operand, as (matrices, 2·depth, columns), in panels."""
        both = [self._laid_out(y, self._right, self._matrices, self._depth, self._columns) for y in (sums, lows)]
        return ring.panels(np.concatenate(both, axis=1))

    def add(self, first: Words, second: Words | None, tall: Words, out: Words) -> None:
        """out += the party's summand of the product, for its terms of the left operand and the laid out right."""
        product = np.zeros(tuple(map(self._size, (self._matrices, self._rows, self._columns))), np.uint64)
        wide = self.wide(first)
        ring.matmul(wide, wide[:, :0] if second is None else self.wide(second), tall, product)
        out += product.reshape(self._made).transpose(self._order).reshape(out.shape)

    def _laid_out(self, operand: Words, labels: Labels, *groups: Labels) -> Words:
        kept = [label for group in groups for label in group]
        moved: Words = np.einsum(f"{letters(labels)}->{letters(kept)}", operand)
        return np.ascontiguousarray(moved).reshape(tuple(map(self._size, groups)))

    def _size(self, labels: Sequence[int]) -> int:
        return math.prod(self._sizes[label] for label in labels)


def _own(labels: Labels, shape: Shape) -> dict[int, int]:
    """The labels of an operand that it does not broadcast along, and their sizes."""
    return {label: size for label, size in zip(labels, shape, strict=True) if size != 1 or label == BATCH}
