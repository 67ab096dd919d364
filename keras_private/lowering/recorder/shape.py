"""What moves values, and sums along axes. Axis 0 is the batch and stays where it is."""

from __future__ import annotations

from collections.abc import Sequence

from keras_private.errors import PlanError
from keras_private.lowering.recorder.base import Recording
from keras_private.lowering.tensors import PlanTensor


class Shape(Recording):
    """Calls that move values."""

    def reduce_sum(self, x: PlanTensor, axis: Sequence[int], keepdims: bool = False) -> PlanTensor:
        """The sum over these axes, none of them the batch."""
        gone = sorted({each % len(x.shape) for each in axis})
        if 0 in gone:
            raise PlanError("the batch axis cannot be summed over")
        return self._record("sum", x, axes=tuple(each - 1 for each in gone), keepdims=keepdims)

    def reshape(self, x: PlanTensor, axe: Sequence[int]) -> PlanTensor:
        """axe: the new shape, batch (-1) first."""
        return self._record("reshape", x, shape=tuple(int(size) for size in axe[1:]))

    def transpose(self, x: PlanTensor, perm: Sequence[int]) -> PlanTensor:
        if perm[0] != 0:
            raise PlanError(f"transpose {tuple(perm)} would move the batch axis")
        return self._record("transpose", x, perm=tuple(axis - 1 for axis in perm[1:]))

    def pad(self, x: PlanTensor, paddings: Sequence[Sequence[int]]) -> PlanTensor:
        if tuple(paddings[0]) != (0, 0):
            raise PlanError("the batch axis cannot be padded")
        return self._record("pad", x, paddings=tuple((int(low), int(high)) for low, high in paddings[1:]))

    def concat(self, xs: Sequence[PlanTensor], axis: int) -> PlanTensor:
        axis = axis % len(xs[0].shape)
        if axis == 0:
            raise PlanError("tensors cannot be joined along the batch axis")
        return self._record("concat", *xs, axis=axis - 1)

    def stack(self, xs: Sequence[PlanTensor], axis: int) -> PlanTensor:
        """Along a new axis."""
        axis = axis % (len(xs[0].shape) + 1)
        if axis == 0:
            raise PlanError("tensors cannot be stacked along the batch axis")
        return self._record("stack", *xs, axis=axis - 1)

    def strided_slice(
        self,
        x: PlanTensor,
        begin: Sequence[int],
        end: Sequence[int],
        strides: Sequence[int],
        begin_mask: int = 0,
        end_mask: int = 0,
    ) -> PlanTensor:
        """Of every axis the places begin, begin + stride, … below end, none of them negative.

        In the masks bit i says that axis i is taken from its first place, or to its last: they must for the batch.
        """
        if not (begin_mask & end_mask & 1) or strides[0] != 1:
            raise PlanError("samples cannot be chosen along the batch axis")
        shape = self._builder.shape(x.name)
        starts = tuple(0 if begin_mask >> axis & 1 else int(begin[axis]) for axis in range(1, len(begin)))
        stops = tuple(shape[axis - 1] if end_mask >> axis & 1 else int(end[axis]) for axis in range(1, len(end)))
        return self._record("slice", x, starts=starts, stops=stops, strides=tuple(int(each) for each in strides[1:]))

    def split(self, x: PlanTensor, num_split: int | Sequence[int], axis: int = 0) -> list[PlanTensor]:
        """Equal parts along an axis, or parts of these sizes."""
        axis = axis % len(x.shape)
        whole = self._builder.shape(x.name)
        if axis == 0:
            raise PlanError("samples cannot be split along the batch axis")
        if isinstance(num_split, int):
            if num_split < 1 or whole[axis - 1] % num_split:
                raise PlanError(f"an axis of {whole[axis - 1]} cannot be split into {num_split} equal parts")
            num_split = [whole[axis - 1] // num_split] * num_split
        if sum(num_split) != whole[axis - 1]:
            raise PlanError(f"an axis of {whole[axis - 1]} cannot be split into parts of {list(num_split)}")
        parts, start = [], 0
        for size in num_split:
            begin, end = [0] * len(x.shape), [0, *whole]
            begin[axis], end[axis] = start, start + size
            parts.append(self.strided_slice(x, begin, end, [1] * len(x.shape), begin_mask=1, end_mask=1))
            start += size
        return parts

    def gather(self, x: PlanTensor, indices: Sequence[int], axis: int = 0) -> PlanTensor:
        """The entries of `axis` at these public places, in this order; one may come several times."""
        axis = axis % len(x.shape)
        if axis == 0:
            raise PlanError("samples cannot be chosen along the batch axis")
        return self._record("gather", x, axis=axis - 1, indices=tuple(int(index) for index in indices))
