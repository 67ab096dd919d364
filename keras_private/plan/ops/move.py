"""Ops that move values and change none: they are as good for bits as for numbers.

slice takes evenly spaced places of every axis. gather takes the public `indices` of one axis, in any order, repeats
allowed: flipping, repeating.
"""

# ruff: noqa: ARG002 - every kind has the same methods
from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from keras_private.errors import PlanError
from keras_private.plan import attributes as at
from keras_private.plan.interval import Interval, monotone
from keras_private.plan.ops.kind import ALIKE, Array, Attributes, Local, describe
from keras_private.plan.ops.writer import Later, V, Writer
from keras_private.plan.plan import Op, Shape


class Move(Local, abstract=True):
    inputs = (1, 1)
    weights = (0, 0)
    recorded: ClassVar[Attributes | None] = {}
    executable: ClassVar[Attributes | None] = {}
    domains = ALIKE
    elementwise = False
    public_linear = True
    carries = True
    pads_zeros = False

    def interval(self, op: Op, xs: Sequence[Interval], ws: Sequence[Array]) -> Interval:
        return monotone(self.plain, op, xs, ws)

    def reckoned(self, op: Op, seen: float, sizes: Sequence[float], ws: Sequence[Array]) -> float:
        return max(sizes)

    def write(self, op: Op, xs: Sequence[V], writer: Writer[V]) -> V:
        return writer.local(op, xs[0])

    def truncate_later(self, op: Op, given: Shape) -> Later:
        return Later.AS_GOOD


class Reshape(Move):
    name = "reshape"
    attrs: ClassVar[Attributes] = {"shape": at.integers(None, 1)}

    def shape(self, op: Op, xs: Sequence[Shape], ws: Sequence[Shape]) -> Shape:
        shape: Shape = op.attrs["shape"]
        if math.prod(shape) != math.prod(xs[0]):
            raise PlanError(f"{describe(op)}: {xs[0]} cannot be reshaped to {shape}")
        return shape

    def plain(self, op: Op, xs: Sequence[Array], ws: Sequence[Array]) -> Array:
        return xs[0].reshape(xs[0].shape[0], *op.attrs["shape"])

    def does_nothing(self, op: Op, given: Shape) -> bool:
        return bool(op.attrs["shape"] == given)

    def transposed(self, op: Op, perm: Sequence[int]) -> Mapping[str, Any] | None:
        return None

    def moved_factor(self, op: Op, factor: Array, given: Shape, *, back: bool, public: bool) -> Array | None:
        if factor.size == 1:
            return factor.reshape((1,) * len(given if back else op.attrs["shape"]))
        if not back:
            return np.broadcast_to(factor, given).reshape(op.attrs["shape"])
        moved = np.broadcast_to(factor, op.attrs["shape"]).reshape(given)
        for axis in range(moved.ndim):
            first = moved.take([0], axis)
            moved = first if np.array_equal(np.broadcast_to(first, moved.shape), moved) else moved
        return moved


class Transpose(Move):
    name = "transpose"
    attrs: ClassVar[Attributes] = {"perm": at.permutation}

    def shape(self, op: Op, xs: Sequence[Shape], ws: Sequence[Shape]) -> Shape:
        perm = op.attrs["perm"]
        if len(perm) != len(xs[0]):
            raise PlanError(f"{describe(op)}: perm {perm} does not fit an input of shape {xs[0]}")
        return tuple(xs[0][axis] for axis in perm)

    def plain(self, op: Op, xs: Sequence[Array], ws: Sequence[Array]) -> Array:
        return xs[0].transpose(0, *(axis + 1 for axis in op.attrs["perm"]))

    def does_nothing(self, op: Op, given: Shape) -> bool:
        return bool(op.attrs["perm"] == tuple(range(len(given))))

    def transposed(self, op: Op, perm: Sequence[int]) -> Mapping[str, Any] | None:
        return None  # two transposes become one

    def moved_factor(self, op: Op, factor: Array, given: Shape, *, back: bool, public: bool) -> Array | None:
        perm = op.attrs["perm"]
        return factor.transpose(np.argsort(perm) if back else perm)


class Pad(Move):
    """With zeros."""

    name = "pad"
    attrs: ClassVar[Attributes] = {"paddings": at.paddings}

    def shape(self, op: Op, xs: Sequence[Shape], ws: Sequence[Shape]) -> Shape:
        paddings = op.attrs["paddings"]
        if len(paddings) != len(xs[0]):
            raise PlanError(f"{describe(op)}: {len(paddings)} paddings do not fit an input of shape {xs[0]}")
        return tuple(axis + before + after for axis, (before, after) in zip(xs[0], paddings, strict=True))

    def plain(self, op: Op, xs: Sequence[Array], ws: Sequence[Array]) -> Array:
        return np.pad(xs[0], ((0, 0), *op.attrs["paddings"]))

    def does_nothing(self, op: Op, given: Shape) -> bool:
        return not np.any(op.attrs["paddings"])

    def transposed(self, op: Op, perm: Sequence[int]) -> Mapping[str, Any] | None:
        return {"paddings": tuple(op.attrs["paddings"][axis] for axis in np.argsort(perm))}

    def moved_factor(self, op: Op, factor: Array, given: Shape, *, back: bool, public: bool) -> Array | None:
        """Along a padded axis it must not vary."""
        pairs = zip(factor.shape, op.attrs["paddings"], strict=True)
        return factor if all(size == 1 or not any(pair) for size, pair in pairs) else None


class Slice(Move):
    """Of every axis the places start, start + stride, … below stop. A split of a tensor is several of these."""

    name = "slice"
    attrs: ClassVar[Attributes] = {
        "starts": at.integers(None, 0),
        "stops": at.integers(None, 1),
        "strides": at.integers(None, 1),
    }

    def shape(self, op: Op, xs: Sequence[Shape], ws: Sequence[Shape]) -> Shape:
        starts, stops, strides = _slices(op)
        if not len(starts) == len(stops) == len(strides) == len(xs[0]):
            raise PlanError(f"{describe(op)}: starts, stops and strides do not fit an input of shape {xs[0]}")
        if any(not start < stop <= size for start, stop, size in zip(starts, stops, xs[0], strict=True)):
            raise PlanError(f"{describe(op)}: places {starts} to {stops} are not all in an input of shape {xs[0]}")
        return tuple(len(range(*part)) for part in zip(starts, stops, strides, strict=True))

    def plain(self, op: Op, xs: Sequence[Array], ws: Sequence[Array]) -> Array:
        return xs[0][(slice(None), *map(slice, *_slices(op)))]

    def does_nothing(self, op: Op, given: Shape) -> bool:
        return self.shape(op, [given], []) == given

    def transposed(self, op: Op, perm: Sequence[int]) -> Mapping[str, Any] | None:
        names = ("starts", "stops", "strides")
        return {name: tuple(op.attrs[name][axis] for axis in np.argsort(perm)) for name in names}

    def moved_factor(self, op: Op, factor: Array, given: Shape, *, back: bool, public: bool) -> Array | None:
        """A varying one is sliced along; it cannot be found again for the places that are left out."""
        if not back:
            whole = np.broadcast_to(factor, given)[None]
            return factor if factor.size == 1 else self.plain(op, [whole], [])[0]
        same = zip(factor.shape, self.shape(op, [given], []), given, strict=True)
        return factor if all(size == 1 or after == before for size, after, before in same) else None


def _slices(op: Op) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    return op.attrs["starts"], op.attrs["stops"], op.attrs["strides"]


class Stack(Move):
    """Of inputs of one shape, along a new axis."""

    name = "stack"
    inputs = (1, 1024)
    attrs: ClassVar[Attributes] = {"axis": at.integer(0, at.MAX_RANK)}

    def shape(self, op: Op, xs: Sequence[Shape], ws: Sequence[Shape]) -> Shape:
        axis: int = op.attrs["axis"]
        if axis > len(xs[0]) or any(x != xs[0] for x in xs):
            raise PlanError(f"{describe(op)}: shapes {list(xs)[:6]} cannot be stacked along axis {axis}")
        return (*xs[0][:axis], len(xs), *xs[0][axis:])

    def plain(self, op: Op, xs: Sequence[Array], ws: Sequence[Array]) -> Array:
        return np.stack(xs, axis=op.attrs["axis"] + 1)

    def does_nothing(self, op: Op, given: Shape) -> bool:
        return False

    def transposed(self, op: Op, perm: Sequence[int]) -> Mapping[str, Any] | None:
        return None

    def moved_factor(self, op: Op, factor: Array, given: Shape, *, back: bool, public: bool) -> Array | None:
        return None

    def write(self, op: Op, xs: Sequence[V], writer: Writer[V]) -> V:
        return writer.join(op, xs)


class Concat(Move):
    name = "concat"
    inputs = (1, 1024)
    attrs: ClassVar[Attributes] = {"axis": at.integer(0, at.MAX_RANK)}

    def shape(self, op: Op, xs: Sequence[Shape], ws: Sequence[Shape]) -> Shape:
        axis: int = op.attrs["axis"]
        rest = (*xs[0][:axis], *xs[0][axis + 1 :])
        if axis >= len(xs[0]) or any(len(x) != len(xs[0]) or (*x[:axis], *x[axis + 1 :]) != rest for x in xs):
            raise PlanError(f"{describe(op)}: shapes {list(xs)[:6]} cannot be joined along axis {axis}")
        return (*xs[0][:axis], sum(x[axis] for x in xs), *xs[0][axis + 1 :])

    def plain(self, op: Op, xs: Sequence[Array], ws: Sequence[Array]) -> Array:
        return np.concatenate(xs, axis=op.attrs["axis"] + 1)

    def does_nothing(self, op: Op, given: Shape) -> bool:
        return len(op.inputs) == 1

    def transposed(self, op: Op, perm: Sequence[int]) -> Mapping[str, Any] | None:
        return {"axis": perm[op.attrs["axis"]]}

    def moved_factor(self, op: Op, factor: Array, given: Shape, *, back: bool, public: bool) -> Array | None:
        return None

    def write(self, op: Op, xs: Sequence[V], writer: Writer[V]) -> V:
        return writer.join(op, xs)


class Gather(Move):
    name = "gather"
    attrs: ClassVar[Attributes] = {"axis": at.integer(0, at.MAX_RANK), "indices": at.indices}

    def shape(self, op: Op, xs: Sequence[Shape], ws: Sequence[Shape]) -> Shape:
        axis, indices = op.attrs["axis"], op.attrs["indices"]
        if axis >= len(xs[0]) or max(indices) >= xs[0][axis]:
            raise PlanError(f"{describe(op)}: axis {axis} of an input of shape {xs[0]} has no place {max(indices)}")
        return (*xs[0][:axis], len(indices), *xs[0][axis + 1 :])

    def plain(self, op: Op, xs: Sequence[Array], ws: Sequence[Array]) -> Array:
        taken: Array = np.take(xs[0], op.attrs["indices"], axis=op.attrs["axis"] + 1)
        return taken

    def interval(self, op: Op, xs: Sequence[Interval], ws: Sequence[Array]) -> Interval:
        found = monotone(self.plain, op, xs, ws)
        once = len(set(op.attrs["indices"])) == len(op.attrs["indices"])
        return Interval(found.low, found.high, found.attained, found.independent and once)

    def does_nothing(self, op: Op, given: Shape) -> bool:
        return bool(op.attrs["indices"] == tuple(range(given[op.attrs["axis"]])))

    def transposed(self, op: Op, perm: Sequence[int]) -> Mapping[str, Any] | None:
        return {"axis": perm[op.attrs["axis"]], "indices": op.attrs["indices"]}

    def moved_factor(self, op: Op, factor: Array, given: Shape, *, back: bool, public: bool) -> Array | None:
        return factor if factor.shape[op.attrs["axis"]] == 1 else None

    def truncate_later(self, op: Op, given: Shape) -> Later:
        """Not where it leaves more values than there were: none is truncated twice."""
        return Later.AS_GOOD if len(op.attrs["indices"]) <= given[op.attrs["axis"]] else Later.WORSE
