"""Windows of images, NCHW."""

from __future__ import annotations

from collections.abc import Sequence

from keras_private.errors import PlanError
from keras_private.lowering.geometry import Pads, same_pads
from keras_private.lowering.recorder.arithmetic import Arithmetic
from keras_private.lowering.tensors import PlanTensor


class Window(Arithmetic):
    """Calls for pooling."""

    def avgpool2d(self, x: PlanTensor, pool_size: Sequence[int], strides: Sequence[int], padding: str) -> PlanTensor:
        """Mean over windows of an NCHW tensor; with SAME the padding counts as zeros, as in TF Encrypted."""
        return self.mul(self._pool("sum_pool2d", x, pool_size, strides, padding), 1.0 / (pool_size[0] * pool_size[1]))

    def maxpool2d(self, x: PlanTensor, pool_size: Sequence[int], strides: Sequence[int], padding: str) -> PlanTensor:
        """Maximum over windows of an NCHW tensor; with SAME the padding never wins."""
        return self._pool("max_pool2d", x, pool_size, strides, padding)

    def _pool(self, kind: str, x: PlanTensor, pool: Sequence[int], strides: Sequence[int], padding: str) -> PlanTensor:
        zeros = pads(x, pool, strides, padding)
        return self._record(kind, x, pool=tuple(pool), strides=tuple(strides), pads=zeros, data_format="NCHW")


def pads(
    x: PlanTensor, window: Sequence[int], strides: Sequence[int], padding: str, dilations: Sequence[int] = (1, 1)
) -> Pads:
    if padding.upper() == "VALID":
        return (0, 0, 0, 0)
    if padding.upper() == "SAME":
        return same_pads(x.shape[2:4], window, strides, dilations)
    raise PlanError(f"padding must be SAME or VALID, not {padding!r}")
