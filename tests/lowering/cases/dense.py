"""Dense."""

from __future__ import annotations

from .case import Case, layer

CASES: tuple[Case, ...] = (
    layer("Dense", (5,), 3),
    layer("Dense", (5,), 3, use_bias=False, activation="relu"),
    layer("Dense", (2, 5), 3, title="Dense on rank 3"),
    layer("Dense", (2, 3, 5), 4, activation="leaky_relu", title="Dense on rank 4"),
    layer("Dense", (5,), 3, activation="elu"),
)
