"""Numbers as categories: Discretization, CategoryEncoding, IntegerLookup.

What stands for a category is a row of zeros with a single one. Counting rows is a sum, which is free.

Bins are found by one comparison with every boundary, all at once: [x >= b_0], [x >= b_1], … are ones up to the bin of
x, so their sum is its number, and the differences of neighbours are its row.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_private.errors import PlanError
from keras_private.lowering.layout import sizes, times_matrix
from keras_private.lowering.registry import Refusal, lowers, secret

MAX_TABLE = 1 << 22  # numbers in one
MAX_WORDS = 1 << 10  # of a vocabulary


def _check_dense(layer: Any) -> Iterable[Refusal]:
    if getattr(layer, "sparse", False):
        yield Refusal("its results are sparse tensors", "use sparse=False")


def _joined(prot: Any, rows: Any, mode: str, weights: Any = None) -> Any:
    """(places, categories) as the layer's output mode has them."""
    if len(sizes(rows)) == 1:  # of a single place
        return rows
    if mode == "one_hot":
        return prot.reshape(rows, [-1, *sizes(rows)[:-2], sizes(rows)[-1]]) if sizes(rows)[-2] == 1 else rows
    if len(sizes(rows)) != 2:
        raise PlanError(
            f"categories of {len(sizes(rows)) - 1} axes of numbers cannot be put together; use Reshape before"
        )
    if weights is not None:
        return prot.einsum("bpc,bp->bc", rows, weights)
    count = prot.reduce_sum(rows, [1])
    return prot.to_number(prot.above(count, 0.5)) if mode == "multi_hot" and sizes(rows)[0] > 1 else count


# --- bins


def _check_discretization(layer: Any) -> Iterable[Refusal]:
    if not layer.bin_boundaries:
        yield Refusal("it has no boundaries", "call adapt, or give bin_boundaries")
    yield from _check_dense(layer)


@lowers("Discretization", check=_check_discretization)
def lower_discretization(prot: Any, layer: Any, x: Any) -> Any:
    """The boundaries may come from data, so they are secret."""
    bounds = np.asarray(layer.bin_boundaries, np.float64)
    x = prot.reshape(x, [-1, *sizes(x), 1])
    x = prot.gather(x, [0] * len(bounds), len(x.shape) - 1) if len(bounds) > 1 else x
    reached = prot.to_number(prot.logical_not(prot.below(prot.sub(x, secret(prot, bounds, "bin_boundaries")), 0.0)))
    if layer.output_mode == "int":
        return prot.reduce_sum(reached, [-1])
    steps = np.zeros((len(bounds), len(bounds) + 1))
    np.fill_diagonal(steps[:, 1:], 1.0)  # a boundary leads from its bin to the next
    np.fill_diagonal(steps, -1.0)
    rows = times_matrix(prot, reached, len(x.shape) - 1, steps)
    rows = prot.add(rows, prot.define_constant(np.eye(len(bounds) + 1)[0]))
    return _joined(prot, rows, layer.output_mode)


# --- whole numbers


def _check_category_encoding(layer: Any, count_weights: Any = None) -> Iterable[Refusal]:
    del count_weights
    if layer.num_tokens**2 > MAX_TABLE:
        yield Refusal(f"{layer.num_tokens} categories are too many for rows of all of them", "use Embedding")
    yield from _check_dense(layer)


def _tokens(layer: Any) -> tuple[float, float]:
    return 0.0, layer.num_tokens - 1.0


@lowers("CategoryEncoding", check=_check_category_encoding, takes=_tokens, arguments=("count_weights",))
def lower_category_encoding(prot: Any, layer: Any, x: Any, count_weights: Any = None) -> Any:
    rows = prot.lookup(x, secret(prot, np.eye(layer.num_tokens), "categories"))
    return _joined(prot, rows, layer.output_mode, count_weights)


def _check_integer_lookup(layer: Any) -> Iterable[Refusal]:
    yield from _check_dense(layer)
    if layer.num_oov_indices != 1 and not layer.invert:
        yield Refusal(
            f"num_oov_indices={layer.num_oov_indices}: unknown numbers are an error, or hashed", "use num_oov_indices=1"
        )
    elif not 1 <= len(_known(layer)) <= MAX_WORDS:
        yield Refusal(
            f"its vocabulary has {len(_known(layer))} numbers, and each is compared with all of them",
            f"use one of 1 to {MAX_WORDS}, or let clients number the categories",
        )


def _known(layer: Any) -> NDArray[np.int64]:
    """The numbers that it knows."""
    if layer.invert:
        return np.arange(layer.vocabulary_size(), dtype=np.int64)
    found = np.asarray(layer.get_vocabulary(include_special_tokens=False), np.int64).reshape(-1)
    return found if layer.mask_token is None else np.append(found, np.int64(layer.mask_token))


@lowers("IntegerLookup", check=_check_integer_lookup)
def lower_integer_lookup(prot: Any, layer: Any, x: Any) -> Any:
    """The vocabulary may come from data, so it is secret; compared with all of it, a number is equal to one or none."""
    known = _known(layer)
    asked = np.append(known, known.max() + 1)[:, None]  # the last one is not known
    rows = np.asarray(layer(asked)).astype(np.float64).reshape(len(asked), -1)
    x = prot.reshape(x, [-1, *sizes(x), 1])
    x = prot.gather(x, [0] * len(known), len(x.shape) - 1) if len(known) > 1 else x
    equal = prot.to_number(prot.equal_to(prot.sub(x, secret(prot, known, "vocabulary")), 0.0))
    matrix = rows[:-1] - rows[-1]
    if layer.output_mode == "tf_idf":
        found = prot.add(prot.matmul(equal, secret(prot, matrix, "idf")), secret(prot, rows[-1], "idf"))
        return _joined(prot, found, "count")
    found = prot.add(times_matrix(prot, equal, len(x.shape) - 1, matrix), prot.define_constant(rows[-1]))
    if layer.output_mode == "int":
        return prot.reshape(found, [-1, *sizes(found)[:-1]])
    return _joined(prot, found, layer.output_mode)
