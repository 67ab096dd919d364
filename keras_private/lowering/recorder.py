"""Recorder: a protocol object of TF Encrypted's kind that computes nothing and writes down what it was asked.

Theory of operation. A lowering calls `prot.conv2d(x, w, strides, padding)` as it would on TF Encrypted's own protocols,
with the same names, layouts (NCHW, kernels HWIO) and shapes (batch first). Here `x` is a name in a plan and the call
appends one op to a PlanBuilder. TF Encrypted tells private from public values by type, and so does this:

- secret times secret-constant: `mul`, `matmul`, `conv2d` with a `define_private_variable`;
- secret times public constant: `scale`, which costs no communication beyond a truncation;
- an added constant is always recorded as a weight: adding one is free either way, and this tells the parties less.

What goes beyond TF Encrypted's ABY3: `conv2d` takes `dilations`, and there are `depthwise_conv2d`, `einsum`, `lookup`,
`clip` and `spline`. The padding of `maxpool2d` never wins, as in Keras; TF Encrypted pads with zeros that can.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import reduce
from types import SimpleNamespace
from typing import Any

import numpy as np

from keras_private.errors import PlanError
from keras_private.lowering import tfe
from keras_private.lowering.geometry import Pads, same_pads
from keras_private.lowering.tensors import PlanConstant, PlanTensor, PlanWeight
from keras_private.plan.attributes import matrix
from keras_private.plan.builder import PlanBuilder
from keras_private.plan.ops.equation import canonical, without_batch
from keras_private.plan.plan import REAL, Draft, Output

_NO_CALLS = frozenset({"add_input", "finish", "input", "layer"})
_Protocol: Any = tfe.load().protocol.Protocol


class Recorder(_Protocol):  # type: ignore[misc]  # untyped base
    """Records the calls of a lowering.

    Args:
        input_shape: of a plan with one input of real numbers: per sample, without the batch. None: inputs are added one
            by one.
        input_range: (low, high) that every value of that input lies in, if known.
        precision: fractional bits that the plan will run with. Few lowerings need to know.
    """

    def __init__(
        self, input_shape: Sequence[int] | None = None, input_range: Sequence[float] | None = None, precision: int = 16
    ) -> None:
        self._builder = PlanBuilder(input_shape, input_range)
        self._layer = ""
        self.fixedpoint_config = SimpleNamespace(precision_fractional=precision, scaling_factor=2**precision)

    @property
    def input(self) -> PlanTensor:
        """The first input."""
        return self._tensor(self._builder.input)

    def add_input(
        self, name: str, shape: Sequence[int], kind: str = REAL, input_range: Sequence[float] | None = None
    ) -> PlanTensor:
        """Another input; see `PlanBuilder.add_input`."""
        return self._tensor(self._builder.add_input(name, shape, kind=kind, range=input_range))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        there = sorted(each for each in vars(Recorder) if not each.startswith("_") and each not in _NO_CALLS)
        raise AttributeError(f"there is no {name!r} to call; what can be recorded is {', '.join(there)}")

    def finish(
        self, output: PlanTensor | Sequence[Output], takes: str | None = None, gives: str | None = None
    ) -> Draft:
        """The plan that computes one tensor, or these outputs; see `PlanBuilder.finish`."""
        outputs = output.name if isinstance(output, PlanTensor) else output
        return self._builder.finish(outputs, takes=takes, gives=gives)

    @contextmanager
    def layer(self, name: str) -> Iterator[None]:
        """Ops and weights recorded inside belong to the layer of this name."""
        outer, self._layer = self._layer, name
        try:
            yield
        finally:
            self._layer = outer

    # --- values

    def define_private_variable(
        self, initial_value: Any, apply_scaling: bool = True, name: str | None = None
    ) -> PlanWeight:
        """A secret constant, known to the owner alone."""
        del apply_scaling  # every value here is a real number; the optimiser decides on fixed point
        return PlanWeight(np.array(initial_value, dtype=np.float64), name or "weight")

    def define_constant(self, value: Any, apply_scaling: bool = True, name: str | None = None) -> PlanConstant:
        """A public constant."""
        del apply_scaling, name
        return PlanConstant(np.array(value, dtype=np.float64))

    # --- elementwise

    def add(self, x: Any, y: Any) -> PlanTensor:
        if not isinstance(x, PlanTensor):
            x, y = y, x
        return self._sum("add", x, y)

    def add_n(self, tensors: Sequence[PlanTensor]) -> PlanTensor:
        return reduce(self.add, tensors)

    def sub(self, x: Any, y: Any) -> PlanTensor:
        if not isinstance(x, PlanTensor):
            return self.add(self.negative(y), x)
        return self._sum("sub", x, y)

    def mul(self, x: Any, y: Any) -> PlanTensor:
        """Elementwise by another tensor, a secret weight or a public constant."""
        if not isinstance(x, PlanTensor):
            x, y = y, x
        if isinstance(y, PlanTensor):
            return self._record("mul", x, y)
        if isinstance(y, PlanWeight):
            return self._record("mul", x, weights=self._weight(y, len(x.shape) - 1))
        factor = np.asarray(y.value if isinstance(y, PlanConstant) else y, dtype=np.float64)
        factor = _per_sample(factor, len(x.shape) - 1)
        if factor.size == 1:
            return self._record("scale", x, factor=float(factor.reshape(())))
        return self._record("scale", x, factor=(factor.shape, tuple(factor.reshape(-1).tolist())))

    def div(self, x: PlanTensor, y: Any) -> PlanTensor:
        return self.mul(x, 1.0 / np.asarray(y.value if isinstance(y, PlanConstant) else y, dtype=np.float64))

    def negative(self, x: PlanTensor) -> PlanTensor:
        return self.mul(x, -1.0)

    def relu(self, x: PlanTensor) -> PlanTensor:
        return self._record("relu", x)

    def clip(self, x: PlanTensor, low: float, high: float) -> PlanTensor:
        return self._record("clip", x, low=float(low), high=float(high))

    def spline(self, x: PlanTensor, function: str, *parameters: float, goal: int = 21) -> PlanTensor:
        """A function of one number that parties read from a table (`plan/spline/functions.py`): by name, with public
        parameters. goal: half bits: its largest error is 2^(-goal/2)."""
        return self._record("spline", x, function=function, parameters=tuple(map(float, parameters)), goal=goal)

    def maximum(self, x: PlanTensor, y: Any) -> PlanTensor:
        return self.add(self.relu(self.sub(x, y)), y)

    # --- linear

    def matmul(self, x: PlanTensor, y: PlanTensor | PlanWeight | PlanConstant) -> PlanTensor:
        """(…, K) by a weight of (K, N), or by a public matrix; or sample by sample by a tensor, as numpy's matmul."""
        if isinstance(y, PlanTensor):
            return self._record("matmul", x, y)
        if isinstance(y, PlanConstant):
            return self._record("public_matmul", x, matrix=matrix(y.value))
        return self._record("matmul", x, weights=self._weight(y))

    def einsum(self, equation: str, x: Any, y: Any) -> PlanTensor:
        """numpy's einsum of two tensors, or of a tensor and a weight, that keeps to the rows of the batch."""
        tensors, ranks = [isinstance(each, PlanTensor) for each in (x, y)], [len(x.shape), len(y.shape)]
        sample = without_batch(equation, ranks, tensors)
        rule = canonical(sample, [rank - tensor for rank, tensor in zip(ranks, tensors, strict=True)])
        if all(tensors):
            return self._record("einsum", x, y, equation=rule)
        if not tensors[0]:  # a plan names the tensor first
            (left, right), result = rule.partition("->")[0].split(","), rule.partition("->")[2]
            x, y, rule = y, x, f"{right},{left}->{result}"
        return self._record("einsum", x, weights=self._weight(y), equation=rule)

    def lookup(self, x: PlanTensor, table: PlanWeight) -> PlanTensor:
        """The rows of a secret table of (places, *row) at these whole numbers."""
        return self._record("lookup", x, weights=self._weight(table))

    def conv2d(
        self,
        x: PlanTensor,
        w: PlanWeight,
        strides: Sequence[int],
        padding: str,
        dilations: Sequence[int] = (1, 1),
    ) -> PlanTensor:
        """x: NCHW. w: (height, width, channels, filters). padding: SAME or VALID."""
        return self._conv("conv2d", x, w, strides, padding, dilations)

    def depthwise_conv2d(
        self,
        x: PlanTensor,
        w: PlanWeight,
        strides: Sequence[int],
        padding: str,
        dilations: Sequence[int] = (1, 1),
    ) -> PlanTensor:
        """x: NCHW. w: (height, width, channels, multiplier)."""
        return self._conv("depthwise_conv2d", x, w, strides, padding, dilations)

    # --- pooling

    def avgpool2d(self, x: PlanTensor, pool_size: Sequence[int], strides: Sequence[int], padding: str) -> PlanTensor:
        """Mean over windows of an NCHW tensor; with SAME the padding counts as zeros, as in TF Encrypted."""
        return self.mul(self._pool("sum_pool2d", x, pool_size, strides, padding), 1.0 / (pool_size[0] * pool_size[1]))

    def maxpool2d(self, x: PlanTensor, pool_size: Sequence[int], strides: Sequence[int], padding: str) -> PlanTensor:
        """Maximum over windows of an NCHW tensor; with SAME the padding never wins."""
        return self._pool("max_pool2d", x, pool_size, strides, padding)

    def reduce_sum(self, x: PlanTensor, axis: Sequence[int], keepdims: bool = False) -> PlanTensor:
        """The sum over these axes, none of them the batch."""
        gone = sorted({each % len(x.shape) for each in axis})
        if 0 in gone:
            raise PlanError("the batch axis cannot be summed over")
        return self._record("sum", x, axes=tuple(each - 1 for each in gone), keepdims=keepdims)

    # --- shape; axis 0 is the batch and stays where it is

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

    # --- recording

    def _conv(
        self,
        kind: str,
        x: PlanTensor,
        w: PlanWeight,
        strides: Sequence[int],
        padding: str,
        dilations: Sequence[int],
    ) -> PlanTensor:
        pads = self._pads(x, w.shape[:2], strides, padding, dilations)
        return self._record(
            kind,
            x,
            weights=self._weight(w),
            strides=tuple(strides),
            pads=pads,
            dilation=tuple(dilations),
            data_format="NCHW",
        )

    def _pool(self, kind: str, x: PlanTensor, pool: Sequence[int], strides: Sequence[int], padding: str) -> PlanTensor:
        pads = self._pads(x, pool, strides, padding)
        return self._record(kind, x, pool=tuple(pool), strides=tuple(strides), pads=pads, data_format="NCHW")

    @staticmethod
    def _pads(
        x: PlanTensor, window: Sequence[int], strides: Sequence[int], padding: str, dilations: Sequence[int] = (1, 1)
    ) -> Pads:
        if padding.upper() == "VALID":
            return (0, 0, 0, 0)
        if padding.upper() == "SAME":
            return same_pads(x.shape[2:4], window, strides, dilations)
        raise PlanError(f"padding must be SAME or VALID, not {padding!r}")

    def _sum(self, kind: str, x: PlanTensor, y: Any) -> PlanTensor:
        if isinstance(y, PlanTensor):
            return self._record(kind, x, y)
        if not isinstance(y, PlanWeight):
            value = np.asarray(y.value if isinstance(y, PlanConstant) else y, dtype=np.float64)
            y = PlanWeight(value, "constant")
        return self._record(kind, x, weights=self._weight(y, len(x.shape) - 1))

    def _weight(self, weight: PlanWeight, rank: int | None = None) -> str:
        value = weight.value if rank is None else _per_sample(weight.value, rank)
        return self._builder.weight(value, f"{self._layer}/{weight.name}" if self._layer else weight.name)

    def _record(self, kind: str, *inputs: PlanTensor, weights: str | tuple[str, ...] = (), **attrs: Any) -> PlanTensor:
        names = [x.name for x in inputs]
        return self._tensor(self._builder.op(kind, names, weights=weights, layer=self._layer, **attrs))

    def _tensor(self, name: str) -> PlanTensor:
        return PlanTensor(self, name, (None, *self._builder.shape(name)))


def _per_sample(value: np.ndarray[Any, Any], rank: int) -> np.ndarray[Any, Any]:
    """A constant for tensors of `rank` axes behind the batch: without the leading 1 that stands for the batch."""
    return value[0] if value.ndim == rank + 1 and value.shape[0] == 1 else value
