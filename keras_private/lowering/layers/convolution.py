"""Convolutions of images and sequences: Conv, DepthwiseConv, SeparableConv, ConvTranspose."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_private.lowering.geometry import transposed_places
from keras_private.lowering.layers.activation import activate, check_activation
from keras_private.lowering.layout import along, images, kernel_of, sizes
from keras_private.lowering.registry import Refusal, array, lowers, secret


def _check(layer: Any) -> Iterable[Refusal]:
    if layer.padding not in ("same", "valid", "causal"):
        yield Refusal(f"padding {layer.padding!r} is not supported", "use 'same', or 'valid' after a ZeroPadding layer")
    yield from check_activation(layer.activation)


def _check_transposed(layer: Any) -> Iterable[Refusal]:
    if getattr(layer, "groups", 1) != 1:
        yield Refusal(f"{layer.groups} groups are not supported", "use groups=1")
    if layer.padding == "same" and layer.output_padding is not None:
        for size, added in zip(layer.kernel_size, layer.output_padding, strict=True):
            if size % 2 == 0 and added == 0:  # a size that no convolution has the input's size for
                yield Refusal("output_padding 0 with an even kernel has no defined result", "leave output_padding out")
    yield from _check(layer)


@lowers("Conv1D", "Conv2D", check=_check)
def lower_conv(prot: Any, layer: Any, x: Any) -> Any:
    kernel = _ungrouped(kernel_of(layer.kernel), layer.groups)
    y, back = images(prot, x, layer.data_format)
    y, padding = _padded(prot, layer, y, x)
    y = prot.conv2d(y, secret(prot, kernel, "kernel"), along(layer.strides, x), padding, **_dilations(layer, x))
    return _finish(prot, layer, y, back)


@lowers("DepthwiseConv1D", "DepthwiseConv2D", check=_check)
def lower_depthwise_conv(prot: Any, layer: Any, x: Any) -> Any:
    kernel = layer.depthwise_kernel if hasattr(layer, "depthwise_kernel") else layer.kernel  # tf_keras, keras
    y, back = images(prot, x, layer.data_format)
    return _finish(prot, layer, _depthwise(prot, layer, kernel, y, x), back)


@lowers("SeparableConv1D", "SeparableConv2D", check=_check)
def lower_separable_conv(prot: Any, layer: Any, x: Any) -> Any:
    y, back = images(prot, x, layer.data_format)
    y = _depthwise(prot, layer, layer.depthwise_kernel, y, x)
    pointwise = secret(prot, kernel_of(layer.pointwise_kernel), "pointwise_kernel")
    return _finish(prot, layer, prot.conv2d(y, pointwise, (1, 1), "VALID"), back)


@lowers("Conv1DTranspose", "Conv2DTranspose", check=_check_transposed)
def lower_conv_transpose(prot: Any, layer: Any, x: Any) -> Any:
    """A convolution with the turned kernel of an image with zeros between its pixels."""
    kernel = kernel_of(layer.kernel)[::-1, ::-1].swapaxes(2, 3)  # Keras keeps it as (…, filters, channels)
    y, back = images(prot, x, layer.data_format)
    given = layer.output_padding
    added = (None, None) if given is None else along(given, x) if len(x.shape) == 4 else (None, along(given, x)[1])
    strides, dilations = along(layer.strides, x), along(layer.dilation_rate, x)
    for axis in (0, 1):
        places = transposed_places(
            sizes(y)[1 + axis], kernel.shape[axis], strides[axis], dilations[axis], layer.padding, added[axis]
        )
        y = _spread(prot, y, 2 + axis, places)
    y = prot.conv2d(y, secret(prot, kernel, "kernel"), (1, 1), "VALID", **_dilations(layer, x))
    return _finish(prot, layer, y, back)


def _spread(prot: Any, x: Any, axis: int, places: list[int | None]) -> Any:
    """The entries of `axis` at these places, with zeros where there is None."""
    size = sizes(x)[axis - 1]
    if places == list(range(size)):
        return x
    if None in places:
        x = prot.pad(x, [[0, int(at == axis)] for at in range(len(x.shape))])  # one zero, for all of them
    return prot.gather(x, [size if place is None else place for place in places], axis)


def _depthwise(prot: Any, layer: Any, kernel: Any, y: Any, x: Any) -> Any:
    y, padding = _padded(prot, layer, y, x)
    weight = secret(prot, kernel_of(kernel), "depthwise_kernel")
    return prot.depthwise_conv2d(y, weight, along(layer.strides, x), padding, **_dilations(layer, x))


def _padded(prot: Any, layer: Any, y: Any, x: Any) -> tuple[Any, str]:
    """The image and how the protocol has to pad it. Causal: no output sees a later step."""
    if layer.padding != "causal":
        return y, layer.padding.upper()
    before = along(layer.dilation_rate, x)[1] * (along(layer.kernel_size, x)[1] - 1)
    return prot.pad(y, [[0, 0], [0, 0], [0, 0], [before, 0]]), "VALID"


def _dilations(layer: Any, x: Any) -> dict[str, tuple[int, int]]:
    """Only where there is any: TF Encrypted's own protocols do not know the argument."""
    dilation = along(layer.dilation_rate, x)
    return {} if dilation == (1, 1) else {"dilations": dilation}


def _finish(prot: Any, layer: Any, y: Any, back: Callable[[Any], Any]) -> Any:
    """Bias, layout, activation."""
    if layer.use_bias:
        y = prot.add(y, secret(prot, array(layer.bias).reshape(-1, 1, 1), "bias"))
    return activate(prot, layer.activation, back(y))


def _ungrouped(kernel: NDArray[np.float64], groups: int) -> NDArray[np.float64]:
    """The kernel of the same convolution without groups: zero where a filter does not see a channel."""
    if groups == 1:
        return kernel
    height, width, channels, filters = kernel.shape
    whole = np.zeros((height, width, groups, channels, groups, filters // groups))
    for group, part in enumerate(np.split(kernel, groups, axis=3)):
        whole[:, :, group, :, group, :] = part
    return whole.reshape(height, width, groups * channels, filters)
