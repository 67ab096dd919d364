"""Products along axes, of tensors and constants; and sums along an axis that are products with a public matrix."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from keras_private.errors import PlanError
from keras_private.lowering.layout import sizes, times_matrix
from keras_private.lowering.operation import Operand, Operation, operates
from keras_private.lowering.operations.values import BATCH, is_tensor, numbers
from keras_private.lowering.registry import Refusal, array, secret
from keras_private.plan.ops.equation import without_batch

_ROWS = Refusal("it would multiply the rows of a batch with each other", "give both tensors the batch as first axis")
_LETTERS = "cdefgijklmnopqrstuvwxyz"


def _check_matmul(op: Operation, x: Any, y: Any) -> Iterator[Refusal]:
    del op
    if isinstance(x, Operand) and isinstance(y, Operand):
        if len(x.shape) != len(y.shape) or len(x.shape) < 3:
            yield Refusal("it would multiply the rows of a batch with each other", "give both tensors the same axes")
    elif isinstance(y, Operand):
        if np.ndim(array(x)) != 2 or len(y.shape) < 3:
            yield Refusal("only a fixed matrix times a tensor of three axes or more is possible", "use einsum")
    elif np.ndim(array(y)) not in (1, 2) or len(x.shape) < 2:
        yield Refusal("only a tensor times a tensor or a fixed matrix is possible", "use Dense or einsum")


@operates("Matmul", check=_check_matmul)
def lower_matmul(prot: Any, op: Operation, x: Any, y: Any) -> Any:
    x, y = (_factor(prot, each, turned) for each, turned in ((x, op["transpose_a"]), (y, op["transpose_b"])))
    if not is_tensor(x):
        return prot.einsum("ij,...jk->...ik", secret(prot, x, "matrix"), y)
    if is_tensor(y):
        return prot.matmul(x, y)
    if np.ndim(y) == 1:
        return prot.reshape(prot.matmul(x, secret(prot, y[:, None], "vector")), [-1, *sizes(x)[:-1]])
    return prot.matmul(x, secret(prot, y, "matrix"))


def _factor(prot: Any, x: Any, turned: Any) -> Any:
    """A factor; `turned`: its last two axes."""
    if not is_tensor(x):
        return array(x).swapaxes(-1, -2) if turned else array(x)
    x, rank = numbers(prot, x), len(x.shape)
    return prot.transpose(x, [*range(rank - 2), rank - 1, rank - 2]) if turned else x


# --- einsum


def _check_einsum(op: Operation, *operands: Any) -> Iterator[Refusal]:
    subscripts = "".join(str(op["subscripts"]).split())
    if len(operands) == 2 and any(isinstance(each, Operand) for each in operands):
        tensors = [isinstance(each, Operand) for each in operands]
        ranks = [len(each.shape) if isinstance(each, Operand) else np.ndim(array(each)) for each in operands]
        try:
            without_batch(subscripts, ranks, tensors)
        except PlanError as error:
            yield Refusal(str(error), "keep the batch where it is")
        return
    parts, arrow, out = subscripts.partition("->")[0].split(","), "->" in subscripts, subscripts.partition("->")[2]
    labels = "".join((*parts, out))
    if not arrow or "." in labels or len(parts) != len(operands) or not out:
        yield Refusal("with one factor or more than two, its equation must name every axis", "spell it out")
    elif not all(isinstance(each, Operand) for each in operands):
        yield Refusal("of more than two factors one is a constant", "take two at a time")
    elif any(part[0:1] != out[0] or part.count(out[0]) > 1 for part in (*parts, out)):
        yield BATCH
    elif any(len(set(part)) < len(part) for part in (*parts, out)) or not set(out) <= set("".join(parts)):
        yield Refusal("it takes a diagonal, or names an axis that is not there", "use another equation")


@operates("Einsum", check=_check_einsum)
def lower_einsum(prot: Any, op: Operation, *factors: Any) -> Any:
    """Two at a time, from left to right."""
    subscripts = "".join(str(op["subscripts"]).split())
    xs = [numbers(prot, each) if is_tensor(each) else secret(prot, each, "factor") for each in factors]
    if len(xs) == 2:
        return prot.einsum(subscripts, *xs)
    parts, out = subscripts.partition("->")[0].split(","), subscripts.partition("->")[2]
    x, labels = xs[0], parts[0]
    for at in range(1, len(xs)):
        wanted = set(out).union(*parts[at + 1 :])
        kept = "".join(label for label in dict.fromkeys(labels + parts[at]) if label in wanted)
        kept = out if at == len(xs) - 1 else kept
        x, labels = prot.einsum(f"{labels},{parts[at]}->{kept}", x, xs[at]), kept
    gone = [axis for axis, label in enumerate(labels) if label not in out]
    x = prot.reduce_sum(x, gone) if gone else x
    labels = "".join(label for label in labels if label in out)
    return x if labels == out else prot.transpose(x, [labels.index(label) for label in out])


# --- contractions of a tensor and a constant, or of two tensors


def _contraction(op: Operation, x: Any, y: Any) -> tuple[list[int], list[int]]:
    """The axes of both that meet."""
    left, right = (len(each.shape) if hasattr(each, "shape") else np.ndim(each) for each in (x, y))
    if op.kind == "Inner":
        return [left - 1], [right - 1]
    if op.kind == "Dot":
        return [left - 1], [max(right - 2, 0)]
    axes = op["axes"] if op["axes"] is not None else 2
    if isinstance(axes, int):
        return list(range(left - axes, left)), list(range(axes))
    first, second = ([each] if isinstance(each, int) else list(each) for each in axes)
    return [int(axis) % left for axis in first], [int(axis) % right for axis in second]


def _check_contraction(op: Operation, x: Any, y: Any) -> Iterator[Refusal]:
    if not isinstance(x, Operand) or isinstance(y, Operand):
        yield Refusal("only a tensor and a constant, in this order, are possible", "use einsum or matmul")
    elif np.ndim(array(y)) == 0 or 0 in _contraction(op, x, array(y))[0] or len(x.shape) < 2:
        yield _ROWS


@operates("Tensordot", "Dot", "Inner", check=_check_contraction)
def lower_contraction(prot: Any, op: Operation, x: Any, y: Any) -> Any:
    x, y = numbers(prot, x), array(y)
    first, second = _contraction(op, x, y)
    left = "b" + _LETTERS[: len(x.shape) - 1]
    right = list(_LETTERS[len(left) : len(left) + y.ndim])
    for mine, theirs in zip(first, second, strict=True):
        right[theirs] = left[mine]
    kept = [label for axis, label in enumerate(left) if axis not in first]
    kept += [label for axis, label in enumerate(right) if axis not in second]
    return prot.einsum(f"{left},{''.join(right)}->{''.join(kept)}", x, secret(prot, y, "factor"))


# --- sums along an axis


def _check_along(op: Operation, x: Operand) -> Iterator[Refusal]:
    if not isinstance(op["axis"], int) or op["axis"] % len(x.shape) == 0:
        yield BATCH


@operates("Cumsum", check=_check_along)
def lower_cumsum(prot: Any, op: Operation, x: Any) -> Any:
    x, axis = numbers(prot, x), int(op["axis"])
    count = sizes(x)[axis % len(x.shape) - 1]
    return times_matrix(prot, x, axis % len(x.shape), np.triu(np.ones((count, count))))


def _check_diff(op: Operation, x: Operand) -> Iterator[Refusal]:
    yield from _check_along(op, x)
    if not op["n"] >= 1:
        yield Refusal(f"it takes {op['n']} differences", "take one or more")


@operates("Diff", check=_check_diff)
def lower_diff(prot: Any, op: Operation, x: Any) -> Any:
    x, axis = numbers(prot, x), int(op["axis"])
    count = sizes(x)[axis % len(x.shape) - 1]
    return times_matrix(prot, x, axis % len(x.shape), np.diff(np.eye(count), n=int(op["n"]), axis=1))
