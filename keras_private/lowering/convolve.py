"""Convolutions of images and volumes, with groups, as the protocol's two: `conv2d` and `depthwise_conv2d`.

Theory of operation. A group of channels is an image of its own: the parts are convolved apart, all in the same rounds,
and joined. With as many groups as channels they are one `depthwise_conv2d`.

A volume becomes one tall image: the planes that an output plane reads are laid side by side as channels (what moves is
free), and these images stand on top of each other. One `conv2d` goes over all of them. Zeros between two planes serve
the one above and the one below; what comes out where a window lies across two planes is left out. That is as many
messages and rounds as a layer over images has, and at most `window - stride` wasted rows a plane.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_private.lowering.geometry import same_along
from keras_private.lowering.layout import keep, sizes
from keras_private.lowering.registry import secret

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Windows:
    """How a kernel goes over an image or a volume. padding: "same" or "valid"."""

    strides: Sequence[int]
    padding: str
    dilation: Sequence[int]

    @property
    def arguments(self) -> tuple[tuple[int, ...], str]:
        """As the protocol's calls take them."""
        return tuple(self.strides), self.padding.upper()

    @property
    def dilations(self) -> dict[str, tuple[int, ...]]:
        """Only where there is any: TF Encrypted's own protocols do not know the argument."""
        return {} if set(self.dilation) == {1} else {"dilations": tuple(self.dilation)}


def convolve(prot: Any, x: Any, kernel: Array, bias: Array | None, windows: Windows, groups: int = 1) -> Any:
    """The convolution of NCHW images or NCDHW volumes, in the same layout.

    Args:
        kernel: (spatial axes…, channels of a group, filters).
        bias: of each filter.
    """
    if groups > 1 and kernel.shape[-2] == 1 and len(x.shape) == 4:
        return depthwise(prot, x, kernel.reshape(*kernel.shape[:-2], groups, -1), bias, windows)
    if groups > 1:
        kernels = np.split(kernel, groups, axis=-1)
        biases = [None] * groups if bias is None else np.split(bias, groups)
        xs = prot.split(x, groups, axis=1)
        return prot.concat([convolve(prot, *each, windows) for each in zip(xs, kernels, biases, strict=True)], axis=1)
    if len(x.shape) == 5:
        return _volume(prot, x, kernel, bias, windows)
    return _biased(prot, prot.conv2d(x, secret(prot, kernel, "kernel"), *windows.arguments, **windows.dilations), bias)


def depthwise(prot: Any, x: Any, kernel: Array, bias: Array | None, windows: Windows) -> Any:
    """Each channel of NCHW images by kernels of its own, of (height, width, channels, multiplier)."""
    weight = secret(prot, kernel, "depthwise_kernel")
    return _biased(prot, prot.depthwise_conv2d(x, weight, *windows.arguments, **windows.dilations), bias)


def _biased(prot: Any, y: Any, bias: Array | None) -> Any:
    return y if bias is None else prot.add(y, secret(prot, bias.reshape(-1, 1, 1), "bias"))


@dataclass(frozen=True, slots=True)
class _Axis:
    """One axis of a volume: its size, zeros before and after it, and how many windows begin where."""

    size: int
    before: int
    after: int
    stride: int
    count: int

    @staticmethod
    def of(size: int, window: int, stride: int, dilation: int, padding: str) -> _Axis:
        before, after = same_along(size, window, stride, dilation) if padding == "same" else (0, 0)
        span = (window - 1) * dilation + 1
        return _Axis(size, before, after, stride, (size + before + after - span) // stride + 1)


def _volume(prot: Any, x: Any, kernel: Array, bias: Array | None, windows: Windows) -> Any:
    channels, *size = sizes(x)
    depth, rows, columns = (
        _Axis.of(*each, windows.padding)
        for each in zip(size, kernel.shape[:3], windows.strides, windows.dilation, strict=True)
    )
    taps = kernel.shape[0]
    x = prot.transpose(x, [0, 2, 3, 4, 1])
    if any((depth.before, depth.after, columns.before, columns.after)):
        pads = [(0, 0), (depth.before, depth.after), (0, 0), (columns.before, columns.after), (0, 0)]
        x = prot.pad(x, pads)

    # every output plane gets the planes that it reads, as channels
    x = keep(
        prot, x, 1, [at * depth.stride + tap * windows.dilation[0] for at in range(depth.count) for tap in range(taps)]
    )
    width = sizes(x)[2]
    if taps > 1:
        x = prot.reshape(x, [-1, depth.count, taps, rows.size, width, channels])
        x = prot.transpose(x, [0, 1, 3, 4, 2, 5])
    x = prot.reshape(x, [-1, depth.count, rows.size, width, taps * channels])

    # a gap of zeros above each plane, so high that the next one starts at a multiple of the stride
    gap = max(rows.before, rows.after)
    gap += -(rows.size + gap) % rows.stride
    pitch = rows.size + gap
    x = prot.pad(x, [(0, 0), (0, 0), (gap, 0), (0, 0), (0, 0)]) if gap else x
    x = prot.reshape(x, [-1, depth.count * pitch, width, taps * channels])
    x = keep(prot, x, 1, range(gap - rows.before, depth.count * pitch))
    x = prot.pad(x, [(0, 0), (0, rows.after), (0, 0), (0, 0)]) if rows.after else x

    flat = np.moveaxis(kernel, 0, 2).reshape(*kernel.shape[1:3], taps * channels, -1)
    planes = Windows(windows.strides[1:], "valid", windows.dilation[1:])
    y = convolve(prot, prot.transpose(x, [0, 3, 1, 2]), flat, bias, planes)
    places = [plane * pitch // rows.stride + row for plane in range(depth.count) for row in range(rows.count)]
    return prot.reshape(keep(prot, y, 2, places), [-1, flat.shape[-1], depth.count, rows.count, columns.count])
