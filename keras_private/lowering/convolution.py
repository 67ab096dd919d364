"""Conv2D, DepthwiseConv2D, SeparableConv2D."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_private.lowering.activation import activate, check_activation
from keras_private.lowering.layout import from_nchw, to_nchw
from keras_private.lowering.registry import Refusal, array, lowers, pair, secret


def _check(layer: Any) -> Iterable[Refusal]:
    if layer.padding not in ("same", "valid"):
        yield Refusal(f"padding {layer.padding!r} is not supported", "use 'same', or 'valid' after ZeroPadding2D")
    yield from check_activation(layer.activation)


@lowers("Conv2D", check=_check)
def lower_conv2d(prot: Any, layer: Any, x: Any) -> Any:
    kernel = _ungrouped(array(layer.kernel), layer.groups)
    x = to_nchw(prot, x, layer.data_format)
    y = prot.conv2d(x, secret(prot, kernel, "kernel"), pair(layer.strides), layer.padding.upper(), **_dilations(layer))
    return _finish(prot, layer, y)


@lowers("DepthwiseConv2D", check=_check)
def lower_depthwise_conv2d(prot: Any, layer: Any, x: Any) -> Any:
    kernel = layer.depthwise_kernel if hasattr(layer, "depthwise_kernel") else layer.kernel  # tf_keras, keras
    return _finish(prot, layer, _depthwise(prot, layer, kernel, to_nchw(prot, x, layer.data_format)))


@lowers("SeparableConv2D", check=_check)
def lower_separable_conv2d(prot: Any, layer: Any, x: Any) -> Any:
    y = _depthwise(prot, layer, layer.depthwise_kernel, to_nchw(prot, x, layer.data_format))
    y = prot.conv2d(y, secret(prot, layer.pointwise_kernel, "pointwise_kernel"), (1, 1), "VALID")
    return _finish(prot, layer, y)


def _depthwise(prot: Any, layer: Any, kernel: Any, x: Any) -> Any:
    weight = secret(prot, kernel, "depthwise_kernel")
    return prot.depthwise_conv2d(x, weight, pair(layer.strides), layer.padding.upper(), **_dilations(layer))


def _dilations(layer: Any) -> dict[str, tuple[int, int]]:
    """Only where there is any: TF Encrypted's own protocols do not know the argument."""
    dilation = pair(layer.dilation_rate)
    return {} if dilation == (1, 1) else {"dilations": dilation}


def _finish(prot: Any, layer: Any, y: Any) -> Any:
    """Bias, layout, activation."""
    if layer.use_bias:
        y = prot.add(y, secret(prot, array(layer.bias).reshape(-1, 1, 1), "bias"))
    return activate(prot, layer.activation, from_nchw(prot, y, layer.data_format))


def _ungrouped(kernel: NDArray[np.float64], groups: int) -> NDArray[np.float64]:
    """The kernel of the same convolution without groups: zero where a filter does not see a channel."""
    if groups == 1:
        return kernel
    height, width, channels, filters = kernel.shape
    whole = np.zeros((height, width, groups, channels, groups, filters // groups))
    for group, part in enumerate(np.split(kernel, groups, axis=3)):
        whole[:, :, group, :, group, :] = part
    return whole.reshape(height, width, groups * channels, filters)
