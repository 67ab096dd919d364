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
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_private.lowering.geometry import same_along
from keras_private.lowering.layout import keep, sizes
from keras_private.lowering.registry import secret

Kernel = NDArray[np.float64]  # (spatial…, channels of a group, filters)


def convolve(
    prot: Any, x: Any, kernel: Kernel, strides: Sequence[int], padding: str, dilation: Sequence[int], groups: int = 1
) -> Any:
    """The convolution of NCHW images or NCDHW volumes, in the same layout. padding: "same" or "valid"."""
    channels = kernel.shape[-2]
    if groups > 1 and channels == 1 and len(x.shape) == 4:
        apart = kernel.reshape(*kernel.shape[:-2], groups, -1)
        return depthwise(prot, x, apart, strides, padding, dilation)
    if groups > 1:
        xs = prot.split(x, groups, axis=1)
        parts = np.split(kernel, groups, axis=-1)
        each = [convolve(prot, x, part, strides, padding, dilation) for x, part in zip(xs, parts, strict=True)]
        return prot.concat(each, axis=1)
    if len(x.shape) == 4:
        weight = secret(prot, kernel, "kernel")
        return prot.conv2d(x, weight, tuple(strides), padding.upper(), **_dilations(dilation))
    return _volume(prot, x, kernel, strides, padding, dilation)


def depthwise(prot: Any, x: Any, kernel: Kernel, strides: Sequence[int], padding: str, dilation: Sequence[int]) -> Any:
    """Each channel of NCHW images by its own kernel, of (height, width, channels, multiplier)."""
    weight = secret(prot, kernel, "depthwise_kernel")
    return prot.depthwise_conv2d(x, weight, tuple(strides), padding.upper(), **_dilations(dilation))


def _volume(prot: Any, x: Any, kernel: Kernel, strides: Sequence[int], padding: str, dilation: Sequence[int]) -> Any:
    channels, *size = sizes(x)
    window, spans = (
        kernel.shape[:3],
        [(taps - 1) * step + 1 for taps, step in zip(kernel.shape, dilation, strict=False)],
    )
    pads = [(0, 0)] * 3
    if padding == "same":
        pads = [same_along(*each) for each in zip(size, window, strides, dilation, strict=True)]
    counts = [
        (length + sum(pad) - span) // stride + 1
        for length, pad, span, stride in zip(size, pads, spans, strides, strict=True)
    ]
    x = prot.transpose(x, [0, 2, 3, 4, 1])
    x = prot.pad(x, [[0, 0], pads[0], [0, 0], pads[2], [0, 0]]) if any((*pads[0], *pads[2])) else x

    # every output plane gets the planes that it reads, as channels
    taken = [plane * strides[0] + tap * dilation[0] for plane in range(counts[0]) for tap in range(window[0])]
    x = keep(prot, x, 1, taken)
    _, height, width, _ = sizes(x)
    if window[0] > 1:
        x = prot.reshape(x, [-1, counts[0], window[0], height, width, channels])
        x = prot.reshape(prot.transpose(x, [0, 1, 3, 4, 2, 5]), [-1, counts[0], height, width, window[0] * channels])

    # a gap of zeros above each plane, so high that the next one starts at a multiple of the stride
    (top, bottom), stride = pads[1], strides[1]
    gap = max(top, bottom)
    gap += -(height + gap) % stride
    pitch = height + gap
    x = prot.pad(x, [[0, 0], [0, 0], [gap, 0], [0, 0], [0, 0]]) if gap else x
    x = prot.reshape(x, [-1, counts[0] * pitch, width, window[0] * channels])
    x = keep(prot, x, 1, range(gap - top, counts[0] * pitch))
    x = prot.pad(x, [[0, 0], [0, bottom], [0, 0], [0, 0]]) if bottom else x

    flat = np.moveaxis(kernel, 0, 2).reshape(*window[1:], window[0] * channels, -1)
    x = prot.transpose(x, [0, 3, 1, 2])
    y = prot.conv2d(x, secret(prot, flat, "kernel"), tuple(strides[1:]), "VALID", **_dilations(dilation[1:]))
    rows = [plane * pitch // stride + row for plane in range(counts[0]) for row in range(counts[1])]
    return prot.reshape(keep(prot, y, 2, rows), [-1, flat.shape[-1], *counts])


def _dilations(dilation: Sequence[int]) -> dict[str, tuple[int, ...]]:
    """Only where there is any: TF Encrypted's own protocols do not know the argument."""
    return {} if set(dilation) == {1} else {"dilations": tuple(dilation)}
