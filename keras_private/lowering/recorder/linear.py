"""Products with weights, with public matrices and of tensors; convolutions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from keras_private.lowering.recorder.base import Recording
from keras_private.lowering.recorder.window import pads
from keras_private.lowering.tensors import PlanConstant, PlanTensor, PlanWeight
from keras_private.plan.attributes import matrix
from keras_private.plan.ops.equation import canonical, without_batch


class Linear(Recording):
    """Calls for products."""

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

    def _conv(
        self,
        kind: str,
        x: PlanTensor,
        w: PlanWeight,
        strides: Sequence[int],
        padding: str,
        dilations: Sequence[int],
    ) -> PlanTensor:
        zeros = pads(x, w.shape[:2], strides, padding, dilations)
        return self._record(
            kind,
            x,
            weights=self._weight(w),
            strides=tuple(strides),
            pads=zeros,
            dilation=tuple(dilations),
            data_format="NCHW",
        )
