"""Embedding: a row of a secret table for every index."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from keras_private.lowering.registry import Refusal, lowers, secret


def _check(layer: Any) -> Iterable[Refusal]:
    if layer.mask_zero:
        yield Refusal("mask_zero=True makes a mask of the input", "pad with an index of its own and train without it")


def _indices(layer: Any) -> tuple[float, float]:
    return 0.0, layer.input_dim - 1.0


@lowers("Embedding", check=_check, takes=_indices)
def lower_embedding(prot: Any, layer: Any, x: Any) -> Any:
    return prot.lookup(x, secret(prot, layer.embeddings, "embeddings"))
