"""Resizing and cropping of images to a fixed size, as Keras does it: public matrices for the rows and for the columns.

Interpolation, antialiasing, cropping and padding are linear in the image and go along each axis by itself. What the
matrices are is asked of the layer: it is called on images of a single bright row or column. So whichever way of
resizing it knows is the one that is computed; a random image must then come out the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_private.errors import PlanError
from keras_private.lowering.layout import sizes, spatial_axes, times_matrix

Array = NDArray[np.float64]
Resize = Callable[[Array], Any]  # of (1, height, width, channels)

_AT_ONCE = 1 << 22  # values of an image that is asked of, which has a channel for each row or column


@dataclass(frozen=True, slots=True)
class Matrices:
    """resized = rowsᵀ · image · columns + offset, channel by channel."""

    rows: Array
    columns: Array
    offset: Array

    def __call__(self, image: Array) -> Array:
        result: Array = np.einsum("bhwc,hr,ws->brsc", image, self.rows, self.columns) + self.offset[..., None]
        return result


def matrices_of(resize: Resize, height: int, width: int) -> Matrices:
    """What `resize` does to images of this size.

    Raises:
        PlanError: it is no such map.
    """

    def called(image: Array) -> Array:
        return np.asarray(resize(image.astype(np.float32))).astype(np.float64)

    offset = called(np.zeros((1, height, width, 1)))[0, :, :, 0]
    middle = offset.shape[0] // 2, offset.shape[1] // 2  # never of what is filled

    def asked(size: int, axis: int) -> Array:
        """(size, resized size) along rows (1) or columns (2)."""
        found, step = [], max(1, _AT_ONCE // (height * width))
        for start in range(0, size, step):
            lit = np.eye(size)[:, start : start + step]
            image = np.broadcast_to(
                lit[None, :, None] if axis == 1 else lit[None, None], (1, height, width, lit.shape[1])
            )
            made = called(image)[0] - offset[..., None]
            found.append(made[:, middle[1]] if axis == 1 else made[middle[0]])
        return np.concatenate(found, axis=1).T

    found = Matrices(asked(height, 1), asked(width, 2), offset)
    image = np.random.default_rng(0).uniform(-1, 1, (1, height, width, 1))
    if not np.allclose(found(image), called(image), atol=1e-4):
        raise PlanError("a layer that resizes does not treat rows and columns each by themselves; leave it out")
    return found


def resized(prot: Any, x: Any, resize: Resize, data_format: str) -> Any:
    """A batch of images, resized."""
    rows, columns = spatial_axes(x, data_format)
    found = matrices_of(resize, sizes(x)[rows - 1], sizes(x)[columns - 1])
    ways = [(rows, found.rows), (columns, found.columns)]
    for axis, matrix in sorted(ways, key=lambda way: way[1].shape[1] / way[1].shape[0]):  # what shrinks comes first
        x = times_matrix(prot, x, axis, matrix)
    if not np.any(found.offset):
        return x
    return prot.add(
        x, prot.define_constant(found.offset[None] if data_format == "channels_first" else found.offset[..., None])
    )
