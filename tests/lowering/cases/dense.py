"""Dense."""

from __future__ import annotations

from .case import Case, layer

CASES: tuple[Case, ...] = (
    layer("Dense", (5,), 3),
    layer("Dense", (5,), 3, use_bias=False, activation="relu"),
    layer("Dense", (2, 5), 3, title="Dense on rank 3"),
    layer("Dense", (2, 3, 5), 4, activation="leaky_relu", title="Dense on rank 4"),
    layer("Dense", (5,), 3, activation="elu"),
    layer("EinsumDense", (3, 4), "abc,cd->abd", (None, 5), bias_axes="d", activation="relu"),
    layer("EinsumDense", (3, 4), "...x,xy->...y", 5, private=False),
    layer("EinsumDense", (3, 4), "abc,bcd->ad", 5, bias_axes="d", private=False),
    layer("EinsumDense", (3, 4), "abc,cde->adbe", (2, None, 5), bias_axes="de", private=False),
)
