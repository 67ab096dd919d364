"""Attention: products of queries and keys, a softmax, and what it weighs of the values.

All layers are brought to one form, (batch, …, heads, places, width): `_weigh` then is two products of tensors and a
softmax. A mask that everybody may know, causal or given as an array, leaves the masked scores out of the softmax: no
power of theirs is computed. What scales the scores goes into the weights of the queries.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_private.lowering.layout import sizes
from keras_private.lowering.operation import Operand
from keras_private.lowering.registry import Refusal, array, lowers, secret

Mask = NDArray[np.bool_]

_MANY = ("MultiHeadAttention", "GroupedQueryAttention")
_ONE = ("return_attention_scores", "use_causal_mask", "mask")
_NO_MASK = Refusal("its mask depends on the data", "pad without a mask and train again, or give the mask as an array")


# --- masks


def causal(queries: int, keys: int) -> Mask:
    """No place looks at one behind it."""
    return np.tril(np.ones((queries, keys), bool))


def _band(queries: int, keys: int, width: int) -> Mask:
    return np.asarray(np.abs(np.arange(queries)[:, None] - np.arange(keys)) < width, bool)


def _check_public(mask: Any) -> Iterable[Refusal]:
    if isinstance(mask, Operand):
        yield _NO_MASK
    elif mask is not None and np.ndim(array(mask)) > 2 and np.shape(array(mask))[0] != 1:
        yield Refusal("its mask has more rows than one along the batch axis", "give one mask for all rows")


def _public(mask: Any, rank: int) -> Mask | None:
    """A mask of an array of (1, …, queries, keys), without the batch, and with as many axes as this."""
    if mask is None:
        return None
    found: Mask = np.asarray(array(mask) != 0, bool)
    found = found[0] if found.ndim > 2 else found
    return found.reshape(*found.shape[:-2], *(1,) * (rank - found.ndim), *found.shape[-2:])


def _both(masks: Iterable[Mask | None]) -> Mask | None:
    given = [mask for mask in masks if mask is not None]
    return None if not given else np.asarray(np.logical_and.reduce(np.broadcast_arrays(*given)), bool)


def _check_rows(mask: Mask | None) -> Iterable[Refusal]:
    if mask is not None and not np.all(mask.any(axis=-1)):
        yield Refusal("its mask leaves a query without any key", "let every query see one key at least")


# --- one form for all


def _weigh(prot: Any, query: Any, key: Any, value: Any, mask: Mask | None) -> tuple[Any, Any]:
    """What every query gets of the values, and the shares of each: (…, queries, width of a value), (…, queries, keys).

    query: (batch, …, queries, width). key, value: (batch, …, keys, width), with the same axes before.
    """
    letters = "abcdefg"[: len(query.shape) - 2]
    scores = prot.einsum(f"{letters}tw,{letters}sw->{letters}ts", query, key)
    return _applied(prot, scores, value, mask)


def _applied(prot: Any, scores: Any, value: Any, mask: Mask | None) -> tuple[Any, Any]:
    letters = "abcdefg"[: len(scores.shape) - 2]
    shares = prot.softmax(scores, -1, None if mask is None else _fitted(mask, sizes(scores)))
    return prot.einsum(f"{letters}ts,{letters}sw->{letters}tw", shares, value), shares


def _fitted(mask: Mask, shape: Sequence[int]) -> Mask:
    """The mask without leading axes of one, and with the others as long as those of the scores."""
    while mask.ndim > 2 and mask.shape[0] == 1:
        mask = mask[0]
    return np.broadcast_to(mask, shape[len(shape) - mask.ndim :])


# --- Attention, AdditiveAttention


def _check_dense(layer: Any, **arguments: Any) -> Iterable[Refusal]:
    del layer
    masks = arguments.get("mask")
    for mask in masks if isinstance(masks, list | tuple) else [masks]:
        if mask is not None:
            yield _NO_MASK


@lowers("Attention", check=_check_dense, arguments=_ONE, several=True)
def lower_attention(prot: Any, layer: Any, xs: Any, **arguments: Any) -> Any:
    query, value, key = xs[0], xs[1], xs[-1]
    scale = None if layer.scale is None else secret(prot, layer.scale, "scale")
    if layer.score_mode == "dot":
        letters = "abcdefg"[: len(query.shape) - 2]
        scaled = query if scale is None else prot.mul(query, scale)
        scores = prot.einsum(f"{letters}tw,{letters}sw->{letters}ts", scaled, key)
    else:
        met = _met(prot, query, key)
        bent = prot.spline(met if scale is None else prot.mul(met, scale), "tanh")
        scores = prot.mul(prot.reduce_sum(bent, [-1]), secret(prot, layer.concat_score_weight, "concat_score_weight"))
    return _of_dense(prot, layer, scores, value, arguments)


@lowers("AdditiveAttention", check=_check_dense, arguments=_ONE, several=True)
def lower_additive_attention(prot: Any, layer: Any, xs: Any, **arguments: Any) -> Any:
    query, value, key = xs[0], xs[1], xs[-1]
    bent = prot.spline(_met(prot, query, key), "tanh")
    if layer.scale is None:
        return _of_dense(prot, layer, prot.reduce_sum(bent, [-1]), value, arguments)
    weighed = prot.matmul(bent, secret(prot, array(layer.scale)[:, None], "scale"))
    return _of_dense(prot, layer, prot.reshape(weighed, [-1, *sizes(bent)[:-1]]), value, arguments)


def _met(prot: Any, query: Any, key: Any) -> Any:
    """Every query and every key, added."""
    (*lead, queries, width), keys = sizes(query), sizes(key)[-2]
    return prot.add(prot.reshape(query, [-1, *lead, queries, 1, width]), prot.reshape(key, [-1, *lead, 1, keys, width]))


def _of_dense(prot: Any, layer: Any, scores: Any, value: Any, arguments: Any) -> Any:
    towards = arguments.get("use_causal_mask") or getattr(layer, "causal", False)  # tf_keras once had it there
    mask = causal(*sizes(scores)[-2:]) if towards else None
    made, shares = _applied(prot, scores, value, mask)
    return [made, shares] if arguments.get("return_attention_scores") else made


# --- several heads


def _axes(layer: Any, rank: int) -> list[int]:
    """Along which places look at each other; of queries and keys alike."""
    return [axis % rank for axis in getattr(layer, "_attention_axes", (1,))]


def _mask(layer: Any, queries: int, keys: int, rank: int, arguments: Any) -> Mask | None:
    """All public masks of a layer as one; `rank`: axes of a sample's scores."""
    window = getattr(layer, "_sliding_window", None) or getattr(layer, "sliding_window", None)
    return _both(
        [
            _public(arguments.get("attention_mask"), rank),
            causal(queries, keys) if arguments.get("use_causal_mask") else None,
            None if window is None else _band(queries, keys, window),
        ]
    )


def _check_heads(layer: Any, **arguments: Any) -> Iterable[Refusal]:
    if any(arguments.get(name) is not None for name in ("query_mask", "value_mask", "key_mask")):
        yield _NO_MASK
        return
    refusals = list(_check_public(arguments.get("attention_mask")))
    yield from refusals or _check_rows(_public(arguments.get("attention_mask"), 2))
    axes = getattr(layer, "_attention_axes", (1,))
    if any(axis < 1 for axis in axes):
        yield Refusal(f"attention_axes {tuple(axes)} are not counted from the front", "count them from 1 on")
    elif (
        not refusals
        and len(axes) > 1
        and any(arguments.get(name) is not None for name in ("attention_mask", "use_causal_mask"))
    ):
        yield Refusal("it has a mask over several attention_axes", "join these axes with Reshape, and use one")


@lowers(
    *_MANY,
    check=_check_heads,
    arguments=(
        *("value", "key", "query_mask", "value_mask", "key_mask", "attention_mask"),
        *("return_attention_scores", "use_causal_mask"),
    ),
    several=True,
)
def lower_heads(prot: Any, layer: Any, query: Any, value: Any, key: Any = None, **arguments: Any) -> Any:
    """Groups of heads that share their keys and values are one head with more queries."""
    key = value if key is None else key
    axes, rank = _axes(layer, len(query.shape)), len(query.shape)
    heads = sizes_of(layer._query_dense)[0]
    groups, width = sizes_of(layer._key_dense)
    q = _split(prot, query, layer._query_dense, axes, "query", 1.0 / math.sqrt(width))
    k = _split(prot, key, layer._key_dense, axes, "key")
    v = _split(prot, value, layer._value_dense, axes, "value")
    *lead, _, places, _ = sizes(q)
    q = prot.reshape(q, [-1, *lead, groups, heads // groups * places, width])
    mask = _mask(layer, places, sizes(k)[-2], rank, arguments)
    if mask is not None and heads > groups:
        mask = _grouped(mask, heads, groups)
    made, shares = _weigh(prot, q, k, v, mask)
    made = prot.reshape(made, [-1, *lead, heads, places, sizes(v)[-1]])
    made = _joined(prot, made, [sizes(query)[axis - 1] for axis in axes], axes, rank)
    if getattr(layer, "_use_gate", False) or getattr(layer, "use_gate", False):
        gate = _projected(prot, query, layer._gate_dense, "gate")
        made = prot.mul(made, prot.spline(prot.reshape(gate, [-1, *sizes(made)]), "sigmoid"))
    made = _out(prot, made, layer._output_dense)
    if not arguments.get("return_attention_scores"):
        return made
    shape = [sizes(query)[axis - 1] for axis in axes] + [sizes(key)[axis - 1] for axis in axes]
    return [made, prot.reshape(shares, [-1, *lead, heads, *shape])]


def sizes_of(dense: Any) -> tuple[int, int]:
    """Heads, and the width of one, of a projection's kernel of (width, heads, width of a head)."""
    _, heads, width = dense.kernel.shape
    return int(heads), int(width)


def _grouped(mask: Mask, heads: int, groups: int) -> Mask:
    """A mask of (heads or 1, queries, keys), or without heads, for heads that are joined in groups."""
    queries, keys = mask.shape[-2:]
    whole = np.broadcast_to(mask, (heads, queries, keys))
    return whole.reshape(groups, heads // groups * queries, keys)


def _projected(prot: Any, x: Any, dense: Any, name: str, factor: float = 1.0) -> Any:
    """(batch, …, heads · width of a head)."""
    kernel = array(dense.kernel) * factor
    y = prot.matmul(x, secret(prot, kernel.reshape(kernel.shape[0], -1), f"{name}/kernel"))
    if dense.bias is not None:
        y = prot.add(y, secret(prot, array(dense.bias).reshape(-1) * factor, f"{name}/bias"))
    return y


def _split(prot: Any, x: Any, dense: Any, axes: Sequence[int], name: str, factor: float = 1.0) -> Any:
    """The projection as (batch, axes left alone, heads, attention axes as one, width of a head)."""
    whole, (heads, width) = sizes(x)[:-1], sizes_of(dense)
    y = prot.reshape(_projected(prot, x, dense, name, factor), [-1, *whole, heads, width])
    others = [axis for axis in range(1, len(whole) + 1) if axis not in axes]
    end = len(whole) + 1
    y = prot.transpose(y, [0, *others, end, *axes, end + 1])
    places = math.prod(whole[axis - 1] for axis in axes)
    return prot.reshape(y, [-1, *(whole[axis - 1] for axis in others), heads, places, width])


def _joined(prot: Any, y: Any, places: Sequence[int], axes: Sequence[int], rank: int) -> Any:
    """The way back, for the places that queries have: (batch, …, heads, width)."""
    *lead, heads, _, width = sizes(y)
    y = prot.reshape(y, [-1, *lead, heads, *places, width])
    others = [axis for axis in range(1, rank - 1) if axis not in axes]
    now = [0, *others, rank - 1, *axes, rank]
    return prot.transpose(y, [now.index(axis) for axis in range(rank + 1)])


def _out(prot: Any, made: Any, dense: Any) -> Any:
    """From all heads to the result."""
    *lead, heads, width = sizes(made)
    kernel = array(dense.kernel)
    shape = kernel.shape[2:]
    y = prot.reshape(made, [-1, *lead, heads * width])
    y = prot.matmul(y, secret(prot, kernel.reshape(heads * width, -1), "attention_output/kernel"))
    if dense.bias is not None:
        y = prot.add(y, secret(prot, array(dense.bias).reshape(-1), "attention_output/bias"))
    return y if len(shape) == 1 else prot.reshape(y, [-1, *lead, *shape])
