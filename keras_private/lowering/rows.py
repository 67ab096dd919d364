"""Functions of rows of numbers along an axis, as calls on a protocol."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_private.lowering.layout import sizes


def at_the_end(prot: Any, x: Any, axis: int) -> tuple[Any, Any]:
    """`x` with this axis (batch first) as the last one; and the way back for what has as many axes."""
    rank = len(x.shape)
    axis %= rank
    if axis == rank - 1:
        return x, lambda y: y
    order = [*(each for each in range(rank) if each != axis), axis]
    return prot.transpose(x, order), lambda y: prot.transpose(y, [order.index(each) for each in range(rank)])


def glu(prot: Any, x: Any, axis: int = -1) -> Any:
    """One half of the axis times the sigmoid of the other."""
    left, right = prot.split(x, 2, axis=axis % len(x.shape))
    return prot.mul(left, prot.spline(right, "sigmoid"))


def descending(prot: Any, x: Any, k: int) -> Any:
    """The k largest along the last axis, the largest first."""
    return x if sizes(x)[-1] == 1 else prot.top_k(x, k, places=False)


def largest(prot: Any, x: Any) -> Any:
    """Along the last axis, which then is gone; it may have one value only."""
    return prot.reduce_max(x, -1) if sizes(x)[-1] > 1 else prot.reduce_sum(x, [len(x.shape) - 1])


def smallest(prot: Any, x: Any) -> Any:
    """Along the last axis, which then is gone; it may have one value only."""
    return prot.reduce_min(x, -1) if sizes(x)[-1] > 1 else prot.reduce_sum(x, [len(x.shape) - 1])


def sparsemax(prot: Any, x: Any, axis: int = -1) -> Any:
    """max(x - tau, 0), with tau as Keras computes it.

    Let z_1 >= z_2 >= … be the numbers in order and S_k = z_1 + … + z_k. The first k* of them, those with
    k·z_k - S_k + 1 > 0, are the support. Keras takes tau = (S_1 + … + S_k* - 1) / k*. (The paper has S_k* alone; but
    whoever trained with Keras' function means that.) With t_k for that at any k, and the bits b_k of the
    support, tau = t_1 + sum of b_k·(t_k - t_(k - 1)): all of it local but the order, one comparison and one select.

    Source of the support: Martins and Astudillo, *From Softmax to Sparsemax*, ICML 2016, section 2.
    """
    x, back = at_the_end(prot, x, axis)
    count = sizes(x)[-1]
    if count == 1:
        return back(prot.relu(prot.add(prot.mul(x, 0.0), 1.0)))
    ordered, order = descending(prot, x, count), np.arange(1, count + 1)
    sums = np.triu(np.ones((count, count)))
    inside = prot.add(prot.matmul(ordered, prot.define_constant(np.diag(order) - sums)), 1.0)
    taus, ones = sums @ sums / order, -1.0 / order
    taus[:, 1:], ones[1:] = np.diff(taus), np.diff(ones)
    grown = prot.add(
        prot.matmul(ordered, prot.define_constant(taus)), prot.define_private_variable(ones, name="shares")
    )
    kept = prot.select(prot.above(inside, 0.0), grown, prot.mul(grown, 0.0))
    tau = prot.reduce_sum(kept, [len(x.shape) - 1], keepdims=True)
    return back(prot.relu(prot.sub(x, tau)))
