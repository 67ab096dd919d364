"""Dense and EinsumDense, on inputs of any rank."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from keras_private.lowering.layers.activation import activate, check_activation
from keras_private.lowering.registry import Refusal, lowers, secret


def _check(layer: Any) -> Iterable[Refusal]:
    return check_activation(layer.activation)


@lowers("Dense", check=_check)
def lower_dense(prot: Any, layer: Any, x: Any) -> Any:
    y = prot.matmul(x, secret(prot, layer.kernel, "kernel"))
    if layer.use_bias:
        y = prot.add(y, secret(prot, layer.bias, "bias"))
    return activate(prot, layer.activation, y)


@lowers("EinsumDense", check=_check)
def lower_einsum_dense(prot: Any, layer: Any, x: Any) -> Any:
    y = prot.einsum(layer.equation, x, secret(prot, layer.kernel, "kernel"))
    if layer.bias is not None:
        y = prot.add(y, secret(prot, layer.bias, "bias"))
    return activate(prot, layer.activation, y)
