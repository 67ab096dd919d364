"""The op kinds, one file per family; `KINDS` has them all."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from keras_private.plan.ops import (  # noqa: F401 - registers their kinds
    bits,
    compare,
    composite,
    elementwise,
    linear,
    lookup,
    move,
    order,
    piecewise,
    product,
    public,
    quotient,
    softmax,
    window,
)
from keras_private.plan.ops.infer import infer
from keras_private.plan.ops.kind import (
    KINDS,
    MAX_ELEMENTS,
    Kind,
    describe,
    dropped,
    kind_of,
    rectified,
    shape_fits,
)
from keras_private.plan.ops.linear import Convolution, Linear, with_weight
from keras_private.plan.ops.product import Bilinear, Product
from keras_private.plan.ops.windows import window_count
from keras_private.plan.ops.writer import Later, Writer
from keras_private.plan.plan import CONTRACT_BITS

__all__ = [
    "CONTRACT_BITS",
    "DEFAULTS",
    "KINDS",
    "MAX_ELEMENTS",
    "Bilinear",
    "Convolution",
    "Kind",
    "Later",
    "Linear",
    "Product",
    "Writer",
    "describe",
    "dropped",
    "infer",
    "kind_of",
    "rectified",
    "shape_fits",
    "window_count",
    "with_weight",
]

# What a recorded op may leave out.
DEFAULTS: Mapping[str, object] = MappingProxyType(
    {"pads": (0, 0, 0, 0), "dilation": (1, 1), "data_format": "NHWC", "relu": False, "kept": 1}
)
