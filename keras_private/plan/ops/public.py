"""Sums over axes, and products with public matrices: linear, and without a message."""

# ruff: noqa: ARG001, ARG002 - every kind has the same methods
from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from keras_private.errors import PlanError
from keras_private.plan import attributes as at
from keras_private.plan import working
from keras_private.plan.interval import Interval, combined, signed_sum
from keras_private.plan.ops.kind import NUMBERS, Array, Attributes, Kind, Local, describe
from keras_private.plan.ops.writer import Later, V, Writer
from keras_private.plan.plan import Op, Plan, Shape, Tensor, Weight


class Public(Local, abstract=True):
    inputs = (1, 1)
    weights = (0, 0)
    recorded: ClassVar[Attributes | None] = {}
    executable: ClassVar[Attributes | None] = {}
    domains = NUMBERS
    elementwise = False
    public_linear = True
    pads_zeros = False


class Sum(Public):
    """Over `axes`, which stay as axes of size one if `keepdims` says so."""

    name = "sum"
    attrs: ClassVar[Attributes] = {"axes": at.axes, "keepdims": at.boolean}
    carries = True

    def shape(self, op: Op, xs: Sequence[Shape], ws: Sequence[Shape]) -> Shape:
        axes = op.attrs["axes"]
        if axes[-1] >= len(xs[0]):
            raise PlanError(f"{describe(op)}: an input of shape {xs[0]} has no axis {axes[-1]}")
        kept = [1 if axis in axes else size for axis, size in enumerate(xs[0])]
        return tuple(size for axis, size in enumerate(kept) if op.attrs["keepdims"] or axis not in axes)

    def plain(self, op: Op, xs: Sequence[Array], ws: Sequence[Array]) -> Array:
        axes = tuple(axis + 1 for axis in op.attrs["axes"])
        result: Array = np.sum(xs[0], axis=axes, keepdims=op.attrs["keepdims"])
        return result

    def interval(self, op: Op, xs: Sequence[Interval], ws: Sequence[Array]) -> Interval:
        return combined(self.plain, op, xs, ws)

    def reckoned(self, op: Op, seen: float, sizes: Sequence[float], ws: Sequence[Array]) -> float:
        return max(sizes)

    def does_nothing(self, op: Op, given: Shape) -> bool:
        return bool(op.attrs["keepdims"]) and all(given[axis] == 1 for axis in op.attrs["axes"])

    def transposed(self, op: Op, perm: Sequence[int]) -> Mapping[str, Any] | None:
        if not op.attrs["keepdims"]:
            return None
        return {**op.attrs, "axes": tuple(sorted(perm[axis] for axis in op.attrs["axes"]))}

    def moved_factor(self, op: Op, factor: Array, given: Shape, *, back: bool, public: bool) -> Array | None:
        """Along a summed axis it must not vary."""
        axes = op.attrs["axes"]
        if back:
            return factor if op.attrs["keepdims"] else np.expand_dims(factor, axes)
        if any(factor.shape[axis] != 1 for axis in axes):
            return None
        return factor if op.attrs["keepdims"] else factor.squeeze(axes)

    def write(self, op: Op, xs: Sequence[V], writer: Writer[V]) -> V:
        return writer.local(op, xs[0])

    def truncate_later(self, op: Op, given: Shape) -> Later:
        return Later.BETTER


class PublicMatmul(Public):
    """The last axis times a matrix (K, N) that all parties read: resizing between pixels, Fourier transforms.

    In a recorded plan the matrix is real. In an executable one it is of integers and stands for matrix / 2^shift; the
    output has `shift` more fractional bits, and no error.
    """

    name = "public_matmul"
    attrs: ClassVar[Attributes] = {}
    recorded: ClassVar[Attributes | None] = {"matrix": at.real_matrix}
    executable: ClassVar[Attributes | None] = {"matrix": at.integer_matrix, "shift": at.integer(0, at.MAX_SHIFT)}
    carries = False

    def shape(self, op: Op, xs: Sequence[Shape], ws: Sequence[Shape]) -> Shape:
        rows, columns = at.constant_shape(op.attrs["matrix"])
        if not xs[0] or xs[0][-1] != rows:
            raise PlanError(f"{describe(op)}: an input of shape {xs[0]} does not fit a matrix of {(rows, columns)}")
        return (*xs[0][:-1], columns)

    def frac(self, op: Op, xs: Sequence[Tensor], ws: Sequence[Weight]) -> int:
        return xs[0].frac + int(op.attrs["shift"])

    def matrix(self, op: Op) -> Array:
        """The matrix in real numbers, of either form."""
        found: Array = np.ldexp(at.constant_array(op.attrs["matrix"]).astype(np.float64), -op.attrs.get("shift", 0))
        return found

    def plain(self, op: Op, xs: Sequence[Array], ws: Sequence[Array]) -> Array:
        return _times(op, xs, [self.matrix(op)])

    def interval(self, op: Op, xs: Sequence[Interval], ws: Sequence[Array]) -> Interval:
        return signed_sum(_times, op, xs, [self.matrix(op)])

    def reckoned(self, op: Op, seen: float, sizes: Sequence[float], ws: Sequence[Array]) -> float:
        return seen * float(np.sqrt(np.max(np.sum(np.square(self.matrix(op)), axis=0))))

    def does_nothing(self, op: Op, given: Shape) -> bool:
        return False

    def transposed(self, op: Op, perm: Sequence[int]) -> Mapping[str, Any] | None:
        return op.attrs if perm[-1] == len(perm) - 1 else None

    def moved_factor(self, op: Op, factor: Array, given: Shape, *, back: bool, public: bool) -> Array | None:
        return factor if factor.shape[-1] == 1 else None

    def write(self, op: Op, xs: Sequence[V], writer: Writer[V]) -> V:
        x, whole, shift = writer.whole(op, xs[0], self.matrix(op))
        return writer.emit(op, [x], matrix=at.matrix(whole), shift=shift)

    def truncate_later(self, op: Op, given: Shape) -> Later:
        return Later.WORSE

    def memory(self, op: Op, plan: Plan, count: int) -> int:
        return working.local(count + math.prod(plan.tensors[op.inputs[0]].shape))


MAX_SIGNS = 64
MAX_SIGNED = 1 << 14  # values of one sum


class Project(Public):
    """Sums of the last axis' values with public signs: `signs` of them, each with another row of signs, which are as
    good as random and always the same. If one of the values is large, then so is at least one of the sums, but for a
    chance of 2^-signs: modulo 2^64 too (`checks/guard.py`). Exact. Without a message.
    """

    name = "project"
    attrs: ClassVar[Attributes] = {"signs": at.integer(1, MAX_SIGNS)}
    recorded = None
    carries = False
    write = Kind.write  # which refuses
    truncate_later = Kind.truncate_later

    def shape(self, op: Op, xs: Sequence[Shape], ws: Sequence[Shape]) -> Shape:
        if not xs[0] or xs[0][-1] > MAX_SIGNED:
            raise PlanError(f"{describe(op)}: an input of shape {xs[0]}; up to {MAX_SIGNED} values are added up")
        return (*xs[0][:-1], op.attrs["signs"])

    def frac(self, op: Op, xs: Sequence[Tensor], ws: Sequence[Weight]) -> int:
        return xs[0].frac

    def plain(self, op: Op, xs: Sequence[Array], ws: Sequence[Array]) -> Array:
        return _times(op, xs, [self.matrix(op, xs[0].shape[-1])])

    def matrix(self, op: Op, count: int) -> Array:
        return signs(count, op.attrs["signs"]).astype(np.float64)

    def interval(self, op: Op, xs: Sequence[Interval], ws: Sequence[Array]) -> Interval:
        return signed_sum(_times, op, xs, [self.matrix(op, xs[0].low.shape[-1])])

    def reckoned(self, op: Op, seen: float, sizes: Sequence[float], ws: Sequence[Array]) -> float:
        return seen

    def does_nothing(self, op: Op, given: Shape) -> bool:
        return False

    def transposed(self, op: Op, perm: Sequence[int]) -> Mapping[str, Any] | None:
        return op.attrs if perm[-1] == len(perm) - 1 else None

    def moved_factor(self, op: Op, factor: Array, given: Shape, *, back: bool, public: bool) -> Array | None:
        return factor if factor.shape[-1] == 1 else None

    def memory(self, op: Op, plan: Plan, count: int) -> int:
        given = plan.tensors[op.inputs[0]].shape
        return working.local(count + math.prod(given) + given[-1] * op.attrs["signs"])


@lru_cache(maxsize=16)
def signs(count: int, rows: int) -> NDArray[np.int64]:
    """The signs 1 and -1 of so many sums, shape (count, rows): bits of SHAKE-256 of a constant."""
    drawn = hashlib.shake_256(b"keras_private signs").digest(-(-count * rows // 8))
    bits = np.unpackbits(np.frombuffer(drawn, np.uint8), count=count * rows)
    found = (1 - 2 * bits.astype(np.int64)).reshape(count, rows)
    found.setflags(write=False)
    return found


def _times(op: Op, xs: Sequence[Array], ws: Sequence[Array]) -> Array:
    result: Array = xs[0] @ ws[0]
    return result
