"""Rows of a table."""

from __future__ import annotations

from typing import Any

from .case import Case, layer


def _there_and_back(**settings: Any) -> Any:
    def build(keras: Any, x: Any) -> Any:
        both = keras.layers.ReversibleEmbedding(5, 3, **settings)
        return both(both(x) * 2, reverse=True)

    return build


CASES: tuple[Case, ...] = (
    layer("Embedding", (4,), 5, 3, whole=(0, 4)),
    Case("ReversibleEmbedding", (4,), _there_and_back(), ("keras",), ("ReversibleEmbedding",), whole=(0, 4)),
    Case("two tables", (4,), _there_and_back(tie_weights=False), ("keras",), (), private=False, whole=(0, 4)),
    Case("soft cap", (4,), _there_and_back(logit_soft_cap=3.0), ("keras",), (), private=False, whole=(0, 4)),
)
