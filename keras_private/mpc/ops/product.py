"""Products of two secrets: a summand of x·y locally, then one `reshare`.

Theory of operation. y is a weight or another tensor. Party i lays it out as its multiplication wants it, a weight once,
when the model is loaded: s = y_i + y_{i+1} and t = y_i. Its summand is a·s + b·t for two terms a and b that it makes of
its share of x. Each of the nine products x_j·y_k is counted once, and the dealer has one term only:

    P0   x_0·s + (x_1 - x_0)·t   =   x_0·y_1 + x_1·y_0
    P1   x_1·s + x_2·t           =   x_1·y_1 + x_1·y_2 + x_2·y_1
    P2   (x_2 + x_0)·s           =   x_2·y_2 + x_2·y_0 + x_0·y_2 + x_0·y_0

Where several parties deal for parts of the values there are no roles yet, and everybody takes x_i·s + x_{i+1}·t (Araki
et al., CCS 2016, section 2.2). The truncation and the ReLU that follow start in the very round that opens the product,
see `reshare`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np

from keras_private.mpc.contraction import Contraction
from keras_private.mpc.ops.registry import Opening, Run, runs
from keras_private.mpc.party import Party
from keras_private.mpc.relu import relu_steps
from keras_private.mpc.reshare import empty_share, reshare
from keras_private.mpc.rounds import Protocol, Words, together
from keras_private.mpc.truncation import truncation
from keras_private.plan.cost import parts, product_bound
from keras_private.plan.ops.equation import Equation
from keras_private.plan.plan import Op, Plan, Shape
from keras_private.sharing.share import Share

# a, b, z -> None: adds a·s + b·t to z, of the output's shape; a and b are of x's shape, b may be None
Multiply: TypeAlias = Callable[[Words, Words | None, Words], None]
# op, y -> Multiply; y is a weight, or a tensor with its batch axis
Lay: TypeAlias = Callable[[Op, Share], Multiply]


class SecretProduct(Opening):
    """A product, and the truncation and ReLU of its op.

    Args:
        op: of an executable plan.
        lay: how the kind lays out its second operand.
        weights: this party's shares of the second operand and the bias, if they are weights.
    """

    def __init__(self, op: Op, lay: Lay, weights: Sequence[Share]) -> None:
        self._op = op
        self._lay = lay
        self._by_weight = lay(op, weights[0]) if weights else None
        self._bias = weights[1].mine if len(weights) > 1 else None

    def __call__(self, party: Party, xs: Sequence[Share], shape: Shape) -> Protocol[Share]:
        """The op's output share, of `shape` (batch included)."""
        return (yield from self.into(party, xs, empty_share(shape)))

    def into(self, party: Party, xs: Sequence[Share], out: Share) -> Protocol[Share]:
        z = self.product(party, xs, out.shape).reshape(-1)
        result = Share(out.mine.reshape(-1), out.next.reshape(-1))
        seats = party.seats() if len(party.turns) > 1 else [party]
        running: list[Protocol[Share]] = []
        for seat, (start, stop) in zip(seats, parts(z.size, len(seats)), strict=True):
            if start < stop or start == 0:
                running += self._opened(seat, z[start:stop], Share(result.mine[start:stop], result.next[start:stop]))
        yield from together(*running)
        return out

    def _opened(self, party: Party, z: Words, out: Share) -> list[Protocol[Share]]:
        """What opens a part of the product and does what follows, in the same rounds."""
        drop = int(self._op.attrs["drop"])
        relu_follows = bool(self._op.attrs.get("relu"))
        if not drop and not relu_follows:
            return [reshare(party, z, out)]
        opened = empty_share(out.shape)
        if relu_follows:
            return [reshare(party, z, opened), *relu_steps(party, opened, product_bound(self._op), drop, out=out)]
        return [reshare(party, z, opened), truncation(party, opened, drop, out)]

    def product(self, party: Party, xs: Sequence[Share], shape: Shape) -> Words:
        """This party's additive summand of the product, bias included. Local."""
        z = np.zeros(shape, np.uint64)
        if self._bias is not None:
            z += self._bias
        # The last input is the second operand, also of a square, which has one.
        multiply = self._lay(self._op, xs[-1]) if self._by_weight is None else self._by_weight
        multiply(*_terms(party, xs[0]), z)
        return z

    def __repr__(self) -> str:
        return f"SecretProduct({self._op.kind})"


def _terms(party: Party, x: Share) -> tuple[Words, Words | None]:
    """What this party multiplies by s and by t."""
    if len(party.turns) > 1 or party.role == 1:
        return x.mine, x.next
    return (x.mine + x.next, None) if party.is_dealer else (x.mine, x.next - x.mine)


def by_rows(lay: Lay) -> Lay:
    """How a tensor is laid out of which each row is the second operand of the same row."""

    def lay_rows(op: Op, y: Share) -> Multiply:
        def multiply(first: Words, second: Words | None, z: Words) -> None:
            for row in range(len(z)):
                one = slice(row, row + 1)
                lay(op, Share(y.mine[row], y.next[row]))(first[one], None if second is None else second[one], z[one])

        return multiply

    return lay_rows


def lay_contraction(equation: Equation, given: Shape, y: Share, *, of_batch: bool) -> Multiply:
    """By an equation, for x of the shape `given` in each row; `of_batch` says whether y has the batch axis."""
    batch = y.shape[:1] if of_batch else (1,)
    laid_out = Contraction(equation, (*batch, *given), y.shape, of_batch=of_batch).tall(y.mine + y.next, y.mine)

    def multiply(first: Words, second: Words | None, z: Words) -> None:
        contraction = Contraction(equation, first.shape, y.shape, of_batch=of_batch)
        contraction.add(first, second, laid_out, z)

    return multiply


@runs("mul", "square")
def bind_mul(op: Op, _: Plan, weights: Sequence[Share]) -> Run:
    return SecretProduct(op, lay_values, weights)


def lay_values(_: Op, y: Share) -> Multiply:
    sums, lows = y.mine + y.next, y.mine

    def multiply(first: Words, second: Words | None, z: Words) -> None:
        z += first * sums
        if second is not None:
            z += second * lows

    return multiply


@runs("einsum")
def bind_einsum(op: Op, plan: Plan, weights: Sequence[Share]) -> Run:
    equation, given = Equation.read(op.attrs["equation"]), plan.tensors[op.inputs[0]].shape
    return SecretProduct(op, lambda _, y: lay_contraction(equation, given, y, of_batch=not weights), weights)
