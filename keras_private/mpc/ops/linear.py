"""Linear layers: z_i = x_i·(w_i + w_{i+1}) + x_{i+1}·w_i locally, then one `reshare` (Araki et al. 2016, section 2.2).

The truncation and the ReLU that follow a layer start in the very round that opens its product, see `reshare`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_private.errors import PlanError
from keras_private.mpc.kernels import ring
from keras_private.mpc.ops.registry import Opening, Run, runs
from keras_private.mpc.party import Party
from keras_private.mpc.relu import relu
from keras_private.mpc.reshare import empty_share, reshare
from keras_private.mpc.rounds import Protocol, Words, together
from keras_private.mpc.truncation import truncation
from keras_private.plan.cost import parts, product_bound
from keras_private.plan.ops import describe
from keras_private.plan.plan import Op, Plan, Shape
from keras_private.sharing.share import Share


class LinearLayer(Opening):
    """A secret product with its weights laid out once, when the model is loaded.

    Args:
        op: matmul, conv2d, depthwise_conv2d or mul of an executable plan.
        weight: this party's share of w.
        bias: this party's share of b, or None.
    """

    def __init__(self, op: Op, weight: Share, bias: Share | None) -> None:
        self._op = op
        self._bias = None if bias is None else bias.mine
        self._sums, self._lows = weight.mine + weight.next, weight.mine
        if op.kind in {"matmul", "conv2d"}:
            columns = weight.shape[-1]
            self._tall = ring.stack(self._sums.reshape(-1, columns), self._lows.reshape(-1, columns))

    def __call__(self, party: Party, xs: Sequence[Share], shape: Shape) -> Protocol[Share]:
        """The layer's output share, of `shape` (batch included)."""
        return (yield from self.into(party, xs, empty_share(shape)))

    def into(self, party: Party, xs: Sequence[Share], out: Share) -> Protocol[Share]:
        z = self.product(xs[0], out.shape).reshape(-1)
        result = Share(out.mine.reshape(-1), out.next.reshape(-1))
        seats = party.seats() if len(party.turns) > 1 else [party]
        running: list[Protocol[Share]] = []
        for seat, (start, stop) in zip(seats, parts(z.size, len(seats)), strict=True):
            if start < stop or start == 0:
                running += self._opened(seat, z[start:stop], Share(result.mine[start:stop], result.next[start:stop]))
        yield from together(*running)
        return out

    def _opened(self, party: Party, z: Words, out: Share) -> list[Protocol[Share]]:
        """What opens a part of the product and does what follows, in the same rounds."""
        drop = int(self._op.attrs["drop"])
        relu_follows = bool(self._op.attrs.get("relu"))
        if not drop and not relu_follows:
            return [reshare(party, z, out)]
        opened = empty_share(out.shape)
        if relu_follows:
            follow = relu(party, opened, product_bound(self._op), drop, out=out)
        else:
            follow = truncation(party, opened, drop, out)
        return [reshare(party, z, opened), follow]

    def product(self, x: Share, shape: tuple[int, ...]) -> Words:
        """This party's additive summand of the product, bias included. Local."""
        attrs, kind = self._op.attrs, self._op.kind
        z = np.zeros(shape, np.uint64)
        if self._bias is not None:
            z += self._bias
        if kind == "mul":
            z += x.mine * self._sums + x.next * self._lows
        elif kind == "matmul":
            depth, columns = x.shape[-1], shape[-1]
            ring.matmul(x.mine.reshape(-1, depth), x.next.reshape(-1, depth), self._tall, z.reshape(-1, columns))
        elif kind == "conv2d":
            kernel = (*self._sums.shape[:2], *shape[1:3])
            flat = z.reshape(-1, shape[-1])
            ring.conv2d(x.mine, x.next, self._tall, flat, kernel, *_geometry(attrs))
        elif kind == "depthwise_conv2d":
            by_channel = z.reshape(*shape[:3], *self._sums.shape[2:])
            ring.depthwise_conv2d(x.mine, x.next, self._sums, self._lows, by_channel, *_geometry(attrs))
        else:
            raise PlanError(f"{describe(self._op)} is no secret product")
        return z

    def __repr__(self) -> str:
        return f"LinearLayer({self._op.kind}, {self._sums.shape})"


@runs("matmul", "conv2d", "depthwise_conv2d", "mul")
def bind_product(op: Op, _: Plan, weights: Sequence[Share]) -> Run:
    return LinearLayer(op, weights[0], weights[1] if len(weights) > 1 else None)


def _geometry(attrs: Any) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
    pads = attrs["pads"]
    return tuple(attrs["strides"]), tuple(attrs["dilation"]), (pads[0], pads[2])
