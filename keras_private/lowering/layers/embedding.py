"""Embedding: a row of a secret table for every index. ReversibleEmbedding, which also leads back to indices."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from keras_private.lowering.registry import Refusal, array, lowers, secret
from keras_private.plan.spline.request import MAX_GOAL


def _check(layer: Any) -> Iterable[Refusal]:
    if layer.mask_zero:
        yield Refusal("mask_zero=True makes a mask of the input", "pad with an index of its own and train without it")


def _indices(layer: Any) -> tuple[float, float]:
    return 0.0, layer.input_dim - 1.0


@lowers("Embedding", check=_check, takes=_indices)
def lower_embedding(prot: Any, layer: Any, x: Any) -> Any:
    return prot.lookup(x, secret(prot, layer.embeddings, "embeddings"))


def _check_reversible(layer: Any, reverse: Any = False) -> Iterable[Refusal]:
    return () if reverse else _check(layer)


@lowers("ReversibleEmbedding", check=_check_reversible, takes=_indices, arguments=("reverse",))
def lower_reversible_embedding(prot: Any, layer: Any, x: Any, reverse: bool = False) -> Any:
    """Backwards: a logit for every index, held below a size by a tanh if the layer says so."""
    if not reverse:
        return lower_embedding(prot, layer, x)
    matrix = array(layer.embeddings).T if layer.tie_weights else array(layer.reverse_embeddings)
    logits = prot.matmul(x, secret(prot, matrix, "embeddings"))
    cap = layer.logit_soft_cap
    if cap is None:
        return logits
    goal = min(MAX_GOAL, 21 + max(0, 2 * math.ceil(math.log2(cap))))  # an error is multiplied by the size
    return prot.mul(prot.spline(prot.mul(logits, 1.0 / cap), "tanh", goal=goal), float(cap))
