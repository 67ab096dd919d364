"""The protocols of the op kinds, in the files of their families; `plan/ops/` has everything else about them."""

from __future__ import annotations

from keras_private.mpc.ops import (  # noqa: F401 - registers their protocols
    bits,
    compare,
    elementwise,
    linear,
    lookup,
    move,
    order,
    piecewise,
    product,
    public,
    window,
)
from keras_private.mpc.ops.registry import PROTOCOLS, Opening, Run, bind

__all__ = ["PROTOCOLS", "Opening", "Run", "bind"]
