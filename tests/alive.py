"""Untrained networks whose values behave as a trained one's do, so that comparing their answers means something.

With Keras' own start values a deep network's activations die out or are the same for every input. `alive` draws kernels
so that a layer keeps the size of what goes through it (He et al., ICCV 2015), and sets the statistics of every
BatchNormalization to those of its own input on random images. `smooth_images` makes these: neighbouring pixels of real
images are alike, and networks treat noise as noise.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[np.float32]]

_WAVES = 6  # along either side of an image
_MANY = 64  # inputs of one output
_SCALES = {"gamma": (0.8, 1.2), "scale": (0.8, 1.2), "beta": (-0.1, 0.1), "bias": (-0.05, 0.05)}  # drawn evenly


def smooth_images(count: int, shape: tuple[int, int, int], high: float = 1.0, *, seed: int = 0) -> Array:
    """Random images of long waves, (count, *shape), each channel from 0 to `high`; shape (height, width, channels)."""
    random = np.random.default_rng(seed)
    height, width, channels = shape
    rows, columns = (np.cos(np.outer(np.arange(_WAVES), np.pi * (np.arange(n) + 0.5) / n)) for n in (height, width))
    sizes = 1 / (1 + np.add.outer(np.arange(_WAVES), np.arange(_WAVES)))
    waves = random.normal(size=(count, channels, _WAVES, _WAVES)) * sizes
    images = np.einsum("nckl,kh,lw->nhwc", waves, rows, columns, optimize=True)
    low, top = images.min(axis=(1, 2), keepdims=True), images.max(axis=(1, 2), keepdims=True)
    return (high * (images - low) / np.maximum(top - low, 1e-12)).astype(np.float32)


def alive(model: Any, images: Array, *, seed: int = 0) -> Any:
    """Give `model`, of keras or tf_keras, random weights and statistics that keep its activations alive.

    Args:
        model: built; changed in place.
        images: what its statistics are taken of, in the range that it expects (up to 255 if it begins by scaling them
            down, as EfficientNet, MobileNetV3 and ConvNeXt do); a dozen will do.
        seed: of the weights; the same ones for the same model, images and seed.

    Returns:
        the model.
    """
    random, held = np.random.default_rng(seed), []
    for layer in _leaves(model):
        for weight in layer.weights:
            weight.assign(_drawn(weight, random))
        for name, meanwhile in (("momentum", 0.0), ("rate", 0.0)):  # statistics of these images alone; no dropout
            if isinstance(getattr(layer, name, None), float):
                held.append((layer, name, getattr(layer, name)))
                setattr(layer, name, meanwhile)
    model(images, training=True)  # each BatchNormalization notes its own input, as those before it already change it
    for layer, name, before in held:
        setattr(layer, name, before)
    return model


def _leaves(layer: Any) -> list[Any]:
    inner = [leaf for child in getattr(layer, "layers", ()) for leaf in _leaves(child)]
    return inner or [layer]


def _drawn(weight: Any, random: np.random.Generator) -> Array:
    name, shape = weight.name.split("/")[-1].split(":")[0], tuple(weight.shape)
    if name in _SCALES:
        return random.uniform(*_SCALES[name], shape).astype(np.float32)
    if len(shape) < 2:  # statistics, counters
        return np.asarray(weight, np.float32)
    each = shape[:-2] if "depthwise" in name else shape[:-1]  # what one output is a sum of
    kernel = random.normal(0, math.sqrt(2 / math.prod(each)), shape)
    if math.prod(each) >= _MANY:  # or, after many layers, all images look the same: positive activations have a mean
        kernel = (kernel - kernel.mean(axis=tuple(range(len(each))), keepdims=True)) / math.sqrt(1 - 1 / math.pi)
    return kernel.astype(np.float32)
