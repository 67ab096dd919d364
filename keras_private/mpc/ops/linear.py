"""Linear layers: how a second operand that is a weight, or each row's own tensor, is laid out (`product.py`)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from keras_private.mpc.kernels import ring
from keras_private.mpc.ops.product import Multiply, SecretProduct, by_rows, lay_contraction
from keras_private.mpc.ops.registry import Run, runs
from keras_private.mpc.rounds import Words
from keras_private.plan.ops.equation import Equation
from keras_private.plan.plan import Op, Plan
from keras_private.sharing.share import Share

Pair = tuple[int, int]


@runs("matmul")
def bind_matmul(op: Op, plan: Plan, weights: Sequence[Share]) -> Run:
    if weights:
        return SecretProduct(op, lay_matrix, weights)
    left, right = (plan.tensors[name].shape for name in op.inputs)
    equation = Equation.of_matmul(len(left), len(right))
    return SecretProduct(op, lambda _, y: lay_contraction(equation, left, y, of_batch=True), weights)


def lay_matrix(_: Op, w: Share) -> Multiply:
    tall, depth = _tall(w)[None], w.shape[0]

    def multiply(first: Words, second: Words | None, z: Words) -> None:
        terms = first.reshape(1, -1, depth), _or_none(first, second).reshape(1, -1, depth)
        ring.matmul(*terms, tall, z.reshape(1, -1, z.shape[-1]))

    return multiply


@runs("conv2d")
def bind_conv2d(op: Op, _: Plan, weights: Sequence[Share]) -> Run:
    return SecretProduct(op, lay_kernel if weights else by_rows(lay_kernel), weights)


def lay_kernel(op: Op, w: Share) -> Multiply:
    tall, size = _tall(w), w.shape[:2]

    def multiply(first: Words, second: Words | None, z: Words) -> None:
        flat = z.reshape(-1, z.shape[-1])
        ring.conv2d(first, _or_none(first, second), tall, flat, (*size, *z.shape[1:3]), *_geometry(op))

    return multiply


@runs("depthwise_conv2d")
def bind_depthwise_conv2d(op: Op, _: Plan, weights: Sequence[Share]) -> Run:
    return SecretProduct(op, lay_depthwise if weights else by_rows(lay_depthwise), weights)


def lay_depthwise(op: Op, w: Share) -> Multiply:
    sums, lows = w.mine + w.next, w.mine

    def multiply(first: Words, second: Words | None, z: Words) -> None:
        by_channel = z.reshape(*z.shape[:3], *w.shape[2:])
        ring.depthwise_conv2d(first, _or_none(first, second), sums, lows, by_channel, *_geometry(op))

    return multiply


def _tall(w: Share) -> Words:
    """w_i + w_{i+1} over w_i, each with a column for each output channel, in panels."""
    columns = w.shape[-1]
    return ring.panels(np.concatenate([(w.mine + w.next).reshape(-1, columns), w.mine.reshape(-1, columns)]))


def _or_none(first: Words, second: Words | None) -> Words:
    """The second term as the kernels take it: without any row if there is none."""
    return first[:0] if second is None else second


def _geometry(op: Op) -> tuple[Pair, Pair, Pair]:
    pads = op.attrs["pads"]
    return tuple(op.attrs["strides"]), tuple(op.attrs["dilation"]), (pads[0], pads[2])
