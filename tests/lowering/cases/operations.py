"""Operations between layers."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np

from .case import IMAGE, Case


def operation(title: str, compute: Callable[[Any], Any], shape: tuple[int, ...] = IMAGE, only: str = "") -> Case:
    """Arithmetic between layers."""
    return Case(f"x: {title}", shape, lambda keras, x: compute(x), (only,) if only else ("keras", "tf_keras"))


def ops(title: str, compute: Callable[[Any, Any], Any], shape: tuple[int, ...] = IMAGE) -> Case:
    """One of keras 3's operations."""
    return Case(f"ops: {title}", shape, lambda keras, x: compute(keras.ops, x), ("keras",))


def tf(title: str, compute: Callable[[Any, Any], Any], shape: tuple[int, ...] = IMAGE) -> Case:
    """One of TensorFlow's functions in a model of tf_keras."""
    return Case(
        f"tf: {title}", shape, lambda keras, x: compute(importlib.import_module("tensorflow"), x), ("tf_keras",)
    )


TABLE = np.linspace(-1, 1, 15).reshape(5, 3).astype(np.float32)

CASES: tuple[Case, ...] = (
    operation("x + x", lambda x: x + x),
    operation("x - 1", lambda x: x - 1),
    operation("1 - x", lambda x: 1 - x),
    operation("x * 0.5", lambda x: x * 0.5),
    operation("3 * x", lambda x: 3 * x),
    operation("x / 2", lambda x: x / 2),
    operation("-x", lambda x: -x),
    operation("x + array", lambda x: x + TABLE),
    operation("x - array of channels", lambda x: x - TABLE[0]),
    operation("x * array", lambda x: x * TABLE),
    operation("x / array", lambda x: x / (TABLE + 2)),
    operation("x * array with a batch axis of one", lambda x: x * TABLE[None, None]),
    operation("x * x", lambda x: x * x),
    operation("x * parts of x", lambda x: x * (x[:, :1] - 1)),
    operation("x + parts of x", lambda x: x + x[:, :1]),
    operation("slices", lambda x: x[:, 1:4, ::2]),
    operation("from the end", lambda x: x[:, -2:, :, -1:]),
    operation("one place", lambda x: x[:, 2]),
    operation("ellipsis", lambda x: x[..., 1]),
    ops("add", lambda ops, x: ops.add(x, 2.0)),
    ops("subtract", lambda ops, x: ops.subtract(x, x[:, :, :1])),
    ops("multiply", lambda ops, x: ops.multiply(0.1, x)),
    ops("divide", lambda ops, x: ops.divide(x, 3)),
    ops("negative", lambda ops, x: ops.negative(x)),
    ops("maximum", lambda ops, x: ops.maximum(x, ops.flip(x, 1))),
    ops("maximum with a number", lambda ops, x: ops.maximum(0.5, x)),
    ops("minimum with an array", lambda ops, x: ops.minimum(x, TABLE)),
    ops("square", lambda ops, x: ops.square(x)),
    ops("matmul of tensors", lambda ops, x: ops.matmul(x, ops.swapaxes(x, 2, 3))),
    ops("einsum", lambda ops, x: ops.einsum("bijc,bikc->bjk", x, x)),
    ops("einsum with an array", lambda ops, x: ops.einsum("kc,...c->...k", TABLE, x)),
    ops("matmul", lambda ops, x: ops.matmul(x, TABLE.T)),
    ops("relu", lambda ops, x: ops.relu(x)),
    ops("relu6", lambda ops, x: ops.relu6(x * 8)),
    ops("leaky_relu", lambda ops, x: ops.leaky_relu(x, 0.1)),
    ops("hard_sigmoid", lambda ops, x: ops.hard_sigmoid(x * 3)),
    ops("sigmoid", lambda ops, x: ops.sigmoid(x) * 2),
    ops("tanh", lambda ops, x: ops.tanh(x)),
    ops("softplus", lambda ops, x: ops.softplus(x)),
    ops("hard_tanh", lambda ops, x: ops.hard_tanh(x)),
    ops("clip", lambda ops, x: ops.clip(x, -0.5, 1)),
    ops("clip from below", lambda ops, x: ops.clip(x, 0.25, float("inf"))),
    ops("clip from above", lambda ops, x: ops.clip(x, -float("inf"), 0.25)),
    ops("clip at no end", lambda ops, x: ops.clip(x, -float("inf"), float("inf")) + 1),
    ops("abs", lambda ops, x: ops.abs(x)),
    ops("cast", lambda ops, x: ops.cast(x, "float32")),
    ops("reshape", lambda ops, x: ops.reshape(x, (-1, 5, 18))),
    ops("squeeze", lambda ops, x: ops.squeeze(x[:, :1], 1)),
    ops("expand_dims", lambda ops, x: ops.expand_dims(x, -1)),
    ops("transpose", lambda ops, x: ops.transpose(x, (0, 3, 1, 2))),
    ops("swapaxes", lambda ops, x: ops.swapaxes(x, 1, -1)),
    ops("moveaxis", lambda ops, x: ops.moveaxis(x, 1, 3)),
    ops("concatenate", lambda ops, x: ops.concatenate([x, ops.relu(x)], axis=-1)),
    ops("stack", lambda ops, x: ops.stack([x, ops.relu(x)], axis=2)),
    ops("flip", lambda ops, x: ops.flip(x, axis=2)),
    ops("repeat", lambda ops, x: ops.repeat(x, 3, axis=1)),
    ops("take", lambda ops, x: ops.take(x, [4, 0, -1], axis=1)),
    ops("take, a table of places", lambda ops, x: ops.take(x, [[3, 0], [1, 1]], axis=2)),
    ops("take, one place", lambda ops, x: ops.take(x, -2, axis=1)),
    ops("pad", lambda ops, x: ops.pad(x, ((0, 0), (1, 0), (0, 2), (0, 0)))),
    ops("mean", lambda ops, x: ops.mean(x, axis=(1, 2))),
    ops("mean, kept", lambda ops, x: ops.mean(x, axis=-2, keepdims=True)),
    ops("sum", lambda ops, x: ops.sum(x, axis=-1)),
    Case("activations.relu", (40,), lambda keras, x: keras.activations.relu(x, 0.25, 1.5)),
    tf("tanh", lambda tf, x: tf.tanh(x)),
    tf("add", lambda tf, x: tf.add(x, x)),
    tf("multiply", lambda tf, x: tf.multiply(x, y=0.1)),
    tf("maximum", lambda tf, x: tf.maximum(x, 0.25)),
    tf("minimum", lambda tf, x: tf.minimum(x, x[:, :1])),
    tf("abs", lambda tf, x: tf.abs(x)),
    tf("relu", lambda tf, x: tf.nn.relu(x)),
    tf("relu6", lambda tf, x: tf.nn.relu6(x * 8)),
    tf("leaky_relu", lambda tf, x: tf.nn.leaky_relu(x)),
    tf("clip_by_value", lambda tf, x: tf.clip_by_value(x, -0.5, 1.0)),
    tf("reshape", lambda tf, x: tf.reshape(x, (-1, 5, 18))),
    tf("squeeze", lambda tf, x: tf.squeeze(x[:, :1], 1)),
    tf("expand_dims", lambda tf, x: tf.expand_dims(x, -1)),
    tf("transpose", lambda tf, x: tf.transpose(x, (0, 3, 1, 2))),
    tf("concat", lambda tf, x: tf.concat([x, tf.nn.relu(x)], axis=-1)),
    tf("reduce_mean", lambda tf, x: tf.reduce_mean(x, axis=[1, 2])),
    tf("reduce_sum", lambda tf, x: tf.reduce_sum(x, axis=-1, keepdims=True)),
    tf("matmul", lambda tf, x: tf.matmul(x, TABLE.T)),
)
