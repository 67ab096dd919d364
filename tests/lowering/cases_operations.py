"""Operations between layers that a plan can hold: one small model each, of keras 3 or, with TensorFlow's functions, of
tf_keras. Shared by the tests against Keras and by docs/operations.md's.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

IMAGE = (6, 5, 3)
ROWS = (4, 6)
TABLE = np.linspace(-1, 1, 15).reshape(5, 3).astype(np.float32)
ROW = np.linspace(-1, 1, 6).astype(np.float32)
WIDE = np.linspace(-1, 1, 12).reshape(6, 2).astype(np.float32)


@dataclass(frozen=True)
class Operation:
    """compute: of keras.ops or tensorflow, and the input. range: of the input, where it matters."""

    name: str
    compute: Callable[[Any, Any], Any]
    shape: tuple[int, ...] = ROWS
    keras: str = "keras"
    range: tuple[float, float] = (-2.0, 2.0)
    dtype: str = "float32"
    tolerance: float = 1e-5  # Keras computes in float32

    def model(self) -> Any:
        keras = importlib.import_module(self.keras)
        library = keras.ops if self.keras == "keras" else importlib.import_module("tensorflow")
        x = keras.Input(self.shape, dtype=self.dtype)
        return keras.Model(x, self.compute(library, x))

    def inputs(self, batch: int = 3) -> np.ndarray:
        """Multiples of 1/8 of the range's size by 4, so that kinks and ties do occur."""
        low, high = self.range
        x = np.random.default_rng(len(self.name)).uniform(low, high, (batch, *self.shape))
        if "int" in self.dtype:
            return np.floor(x).astype(self.dtype)
        return (np.round(x * 8) / 8).astype(self.dtype)


def _ops(name: str, compute: Callable[[Any, Any], Any], shape: tuple[int, ...] = ROWS, **more: Any) -> Operation:
    return Operation(f"ops: {name}", compute, shape, **more)


def _tf(name: str, compute: Callable[[Any, Any], Any], shape: tuple[int, ...] = ROWS, **more: Any) -> Operation:
    return Operation(f"tf: {name}", compute, shape, keras="tf_keras", **more)


POSITIVE = (0.125, 4.0)

ARITHMETIC = (
    _ops("constant that enlarges", lambda ops, x: x[:, :1] + np.ones((4, 6), np.float32)),
    _ops("number less tensor", lambda ops, x: 2.0 - x),
    _ops("array less tensor", lambda ops, x: ops.subtract(ROW, x)),
    _ops("x * x", lambda ops, x: x * x),
    _ops("divide", lambda ops, x: ops.divide(x, ops.square(x) + 1.0)),
    _ops("divide, broadcast", lambda ops, x: x / (ops.sum(ops.abs(x), axis=-1, keepdims=True) + 0.5)),
    _ops("divide by what is negative", lambda ops, x: x / (ops.abs(x) * -1.0 - 0.5)),
    _ops("number by tensor", lambda ops, x: 3.0 / (x + 4.0)),
    _ops("array by tensor", lambda ops, x: ops.divide(ROW, x[:, :1] + 4.0)),
    _ops("reciprocal", lambda ops, x: ops.reciprocal(x), range=POSITIVE),
    *(
        _ops(f"power {power}", lambda ops, x, power=power: x**power, range=POSITIVE, tolerance=1e-4)
        for power in (1, 2, 3, 5, 0.5, -1, -2, -0.5)
    ),
    _ops("power of negative numbers", lambda ops, x: ops.power(x, 3)),
    _ops("maximum", lambda ops, x: ops.maximum(x, ops.flip(x, 1))),
    _ops("minimum", lambda ops, x: ops.minimum(x, ops.flip(x, 1))),
    _ops("maximum, broadcast", lambda ops, x: ops.maximum(x, x[:, :1])),
    _ops("fmax and fmin", lambda ops, x: ops.fmax(x, 0.5) + ops.fmin(x, ROW)),
    _ops("maximum with an array", lambda ops, x: ops.maximum(x, ROW)),
    _ops("logaddexp", lambda ops, x: ops.logaddexp(x, ops.flip(x, 1))),
    _ops("deg2rad", lambda ops, x: ops.rad2deg(ops.deg2rad(x))),
)

CURVES = (
    *(_ops(name, lambda ops, x, name=name: getattr(ops, name)(x)) for name in ("exp", "exp2", "expm1", "erf", "erfc")),
    *(
        _ops(name, lambda ops, x, name=name: getattr(ops, name)(x), range=POSITIVE)
        for name in ("sqrt", "rsqrt", "log", "log2", "log10", "log1p")
    ),
    _ops("abs", lambda ops, x: ops.abs(x) + ops.absolute(x) + ops.fabs(x)),
    *(_ops(name, lambda ops, x, name=name: getattr(ops, name)(x)) for name in ("sign", "floor", "ceil", "trunc")),
    _ops("mod", lambda ops, x: x % 0.75),
    _ops("floor_divide", lambda ops, x: x // 0.75),
    _ops("digitize", lambda ops, x: ops.digitize(x, np.array([-1.0, 0.25, 1.0], np.float32))),
)

ACTIVATIONS = (
    *(
        _ops(name, lambda ops, x, name=name: getattr(ops, name)(x))
        for name in (
            *("relu", "relu6", "leaky_relu", "hard_sigmoid", "hard_silu", "hard_swish", "hard_tanh", "sparse_sigmoid"),
            *("tanh", "silu", "swish", "softplus", "softsign", "elu", "celu", "selu", "gelu", "squareplus"),
            *("sparse_plus", "log_sigmoid", "tanh_shrink", "hard_shrink", "soft_shrink", "glu"),
        )
    ),
    _ops("sigmoid", lambda ops, x: ops.sigmoid(x) * 2.0),
    _ops("elu, alpha", lambda ops, x: ops.elu(x, 0.5)),
    _ops("celu, alpha", lambda ops, x: ops.celu(x, 2.0)),
    _ops("gelu, exact", lambda ops, x: ops.gelu(x, approximate=False)),
    _ops("squareplus, b", lambda ops, x: ops.squareplus(x, 1)),
    _ops("hard_shrink, threshold", lambda ops, x: ops.hard_shrink(x, 1.0)),
    _ops("soft_shrink, threshold", lambda ops, x: ops.soft_shrink(x, 0.25)),
    _ops("threshold", lambda ops, x: ops.threshold(x, 0.5, -0.25)),
    _ops("glu, axis", lambda ops, x: ops.glu(x, axis=1)),
    _ops("sparsemax", lambda ops, x: ops.sparsemax(x) + ops.sparsemax(x, axis=1)),
    _ops("softmax", lambda ops, x: ops.softmax(x) + ops.softmax(x, axis=1)),
    _ops("log_softmax", lambda ops, x: ops.log_softmax(x, axis=1)),
    _ops("relu with arguments", lambda ops, x: importlib.import_module("keras").activations.relu(x, 0.25, 1.5)),
    _ops("clip", lambda ops, x: ops.clip(x, -0.5, 1.0)),
)

COMPARISONS = (
    *(
        _ops(f"{name} of tensors", lambda ops, x, name=name: getattr(ops, name)(x, ops.flip(x, 1)))
        for name in ("less", "less_equal", "greater", "greater_equal", "equal", "not_equal")
    ),
    *(
        _ops(f"{name} and a number", lambda ops, x, name=name: getattr(ops, name)(x, 0.5))
        for name in ("less", "less_equal", "greater", "greater_equal", "equal", "not_equal")
    ),
    _ops("number and tensor", lambda ops, x: ops.less(0.5, x)),
    _ops("number, greater_equal", lambda ops, x: ops.greater_equal(0.5, x)),
    _ops("tensor and array", lambda ops, x: ops.greater(x, ROW)),
    _ops("array and tensor", lambda ops, x: ops.less_equal(ROW, x)),
    _ops("logic", lambda ops, x: ops.logical_or((x > 0) & (x < 1), ops.logical_xor(x > 1, x < -1))),
    _ops("not", lambda ops, x: ops.logical_not(x > 0)),
    _ops("not, of numbers", lambda ops, x: ops.logical_not(ops.relu(x))),
    _ops("bits as numbers", lambda ops, x: x * ops.cast(x > 0, "float32") + ops.cast(x < -1, "float32")),
    _ops("bits in a product", lambda ops, x: ops.multiply(x, x > 0)),
    _ops("bits to a layer", lambda ops, x: importlib.import_module("keras").layers.Flatten()(x > 0)),
    _ops("cast to bits", lambda ops, x: ops.cast(ops.relu(x), "bool")),
    _ops("where", lambda ops, x: ops.where(x > 0, x, ops.square(x))),
    _ops("where, numbers", lambda ops, x: ops.where(x > 0.5, 1.0, x)),
    _ops("where, broadcast", lambda ops, x: ops.where(x[:, :1] > 0.5, x, ROW)),
    _ops("where, two numbers", lambda ops, x: ops.where(x > 0.5, 1.0, -1.0)),
    _ops("where, fixed", lambda ops, x: ops.where(ROW > 0, x, -x)),
    _ops("select", lambda ops, x: ops.select([x > 1, x[:, :1] > 0], [x * 2.0, -x], 0.5)),
    _ops("zeros_like", lambda ops, x: ops.where(x > 0, ops.zeros_like(x), ops.full_like(x, 2.0)) + ops.ones_like(x)),
    _ops("one_hot", lambda ops, x: ops.one_hot(x, 5), (3,), dtype="int32", range=(0, 5)),
    _ops("one_hot, axis", lambda ops, x: ops.one_hot(x, 5, axis=1), (3, 2), dtype="int32", range=(0, 5)),
    _ops("one_hot of argmax", lambda ops, x: x * ops.one_hot(ops.argmax(x, axis=-1), 6)),
    _ops(
        "stop_gradient",
        lambda ops, x: (
            ops.saturate_cast(ops.stop_gradient(ops.convert_to_tensor(ops.nan_to_num(ops.copy(x)))), "float32") + 1.0
        ),
    ),
)

REDUCTIONS = (
    *(
        _ops(f"{name}, {said}", lambda ops, x, name=name, said=said: getattr(ops, name)(x, **said), IMAGE)
        for name in ("sum", "mean", "var", "max", "min", "ptp")
        for said in ({"axis": -1}, {"axis": (1, 3)}, {"axis": 2, "keepdims": True})
    ),
    _ops("amax and amin", lambda ops, x: ops.amax(x, axis=1) - ops.amin(x, axis=1)),
    _ops("std", lambda ops, x: ops.std(x, axis=-1), tolerance=1e-3),
    _ops("moments", lambda ops, x: ops.moments(x, [1])),
    _ops("average", lambda ops, x: ops.average(x, axis=1)),
    _ops("average, weights", lambda ops, x: ops.average(x, axis=2, weights=ROW + 2)),
    *(
        _ops(f"{name}, {said}", lambda ops, x, name=name, said=said: getattr(ops, name)(x, **said))
        for name in ("argmax", "argmin")
        for said in ({"axis": -1}, {"axis": 1, "keepdims": True})
    ),
    _ops("any", lambda ops, x: ops.any(x > 1.5, axis=-1)),
    _ops("all", lambda ops, x: ops.all(x > -1.5, axis=1, keepdims=True)),
    _ops("count_nonzero", lambda ops, x: ops.count_nonzero(ops.relu(x), axis=1)),
    _ops("prod", lambda ops, x: ops.prod(x, axis=-1)),
    _ops("prod, kept", lambda ops, x: ops.prod(x[:, :3], axis=1, keepdims=True)),
    _ops("logsumexp", lambda ops, x: ops.logsumexp(x, axis=-1)),
    *(
        _ops(f"norm {order}", lambda ops, x, order=order: ops.norm(x, ord=order, axis=-1))
        for order in (None, 1, 2, np.inf)
    ),
    _ops("norm, axes", lambda ops, x: ops.norm(x, axis=(1, 2), keepdims=True)),
    _ops("median", lambda ops, x: ops.median(x, axis=-1)),
    _ops("median of an odd number", lambda ops, x: ops.median(x, axis=2, keepdims=True), IMAGE),
)

ORDER = (
    _ops("sort", lambda ops, x: ops.sort(x)),
    _ops("sort, axis", lambda ops, x: ops.sort(x, axis=1)),
    _ops("argsort", lambda ops, x: ops.argsort(x + ops.cumsum(ops.ones_like(x), axis=2) * 0.001)),
    _ops("top_k", lambda ops, x: ops.top_k(x, 2)),
    _ops("top_k, values", lambda ops, x: ops.top_k(x, 2)[0]),
)

LINEAR = (
    _ops("matmul, a matrix first", lambda ops, x: ops.matmul(TABLE[:, :2] @ np.ones((2, 4), np.float32), x)),
    _ops("matmul with a vector", lambda ops, x: ops.matmul(x, ROW)),
    _ops("dot", lambda ops, x: ops.dot(x, WIDE)),
    _ops("inner", lambda ops, x: ops.inner(x, WIDE.T)),
    _ops("tensordot", lambda ops, x: ops.tensordot(x, WIDE, 1)),
    _ops(
        "tensordot, axes",
        lambda ops, x: ops.tensordot(x, TABLE[:, :2] @ np.ones((2, 5), np.float32), [[2], [0]]),
        (3, 5),
    ),
    _ops("einsum of one", lambda ops, x: ops.einsum("bij->bj", x)),
    _ops("einsum, turned", lambda ops, x: ops.einsum("bij->bji", x)),
    _ops("einsum of three", lambda ops, x: ops.einsum("bij,bik,bkj->bi", x, x[..., :4], x)),
    _ops("cumsum", lambda ops, x: ops.cumsum(x, axis=1)),
    _ops("diff", lambda ops, x: ops.diff(x, n=2)),
    _ops("trace", lambda ops, x: ops.trace(x, axis1=1, axis2=2)),
)

MOVES = (
    _ops("roll", lambda ops, x: ops.roll(x, 2, axis=1)),
    _ops("rot90", lambda ops, x: ops.rot90(x, axes=(1, 2)), IMAGE),
    _ops("tile", lambda ops, x: ops.tile(x, (1, 2, 3))),
    _ops("fliplr", lambda ops, x: ops.fliplr(x)),
    _ops("flip, axes", lambda ops, x: ops.flip(x, axis=(1, 2))),
    _ops("tril", lambda ops, x: ops.tril(x)),
    _ops("triu", lambda ops, x: ops.triu(x, k=1)),
    _ops("diagonal", lambda ops, x: ops.diagonal(x, axis1=1, axis2=2)),
    *(
        _ops(f"pad, {mode}", lambda ops, x, mode=mode: ops.pad(x, ((0, 0), (1, 2), (0, 1)), mode=mode))
        for mode in ("constant", "reflect", "symmetric")
    ),
    _ops("pad with a number", lambda ops, x: ops.pad(x, ((0, 0), (1, 2), (0, 1)), constant_values=1.5)),
    _ops("split", lambda ops, x: ops.split(x, 2, axis=1)),
    _ops("split at places", lambda ops, x: ops.split(x, [1, 4], axis=-1)),
    _ops("split, one used", lambda ops, x: ops.split(x, 3, axis=-1)[1] * 2.0),
    _ops("array_split", lambda ops, x: ops.array_split(x, 4, axis=2)),
    _ops("unstack", lambda ops, x: ops.unstack(x, axis=1)),
    _ops("stack of bits", lambda ops, x: ops.stack([x > 0, x > 1], axis=1)),
    _ops("concatenate bits and numbers", lambda ops, x: ops.concatenate([ops.cast(x > 0, "float32"), x], axis=1)),
    _ops("hstack", lambda ops, x: ops.hstack([x, -x])),
    _ops("hsplit", lambda ops, x: ops.hsplit(x, 2)),
    _ops("dsplit", lambda ops, x: ops.dsplit(x, 3)),
    _ops("dstack", lambda ops, x: ops.dstack([x, -x])),
    _ops("take_along_axis", lambda ops, x: ops.take_along_axis(x, np.array([[[2], [0], [1], [5]]]), axis=2)),
    _ops("extract_sequences", lambda ops, x: ops.extract_sequences(x, 3, 2)),
    _ops("append", lambda ops, x: ops.append(x, -x, axis=2)),
    _ops("take of a table", lambda ops, x: ops.take(TABLE, x, axis=0), (4,), dtype="int32", range=(0, 5)),
    _ops("depth_to_space", lambda ops, x: ops.depth_to_space(x, 2), (2, 3, 8)),
    _ops("space_to_depth", lambda ops, x: ops.space_to_depth(x, 2), (4, 6, 2)),
    _ops("unfold", lambda ops, x: ops.unfold(x, 2), (2, 4, 3)),
    _ops("extract_patches", lambda ops, x: ops.image.extract_patches(x, (2, 2)), IMAGE),
    _ops("crop_images", lambda ops, x: ops.image.crop_images(x, 1, 1, 1, 2), IMAGE),
    _ops("pad_images", lambda ops, x: ops.image.pad_images(x, 1, 1, 1, 2), IMAGE),
)

KERNEL = np.random.default_rng(3).uniform(-0.5, 0.5, (2, 3, 3, 4)).astype(np.float32)

NETWORK = (
    _ops("layer_normalization", lambda ops, x: ops.layer_normalization(x, ROW + 2, ROW), tolerance=1e-4),
    _ops("rms_normalization", lambda ops, x: ops.rms_normalization(x, scale=ROW + 2), tolerance=1e-4),
    _ops("normalize", lambda ops, x: ops.normalize(x), tolerance=1e-4),
    _ops("normalize, axis", lambda ops, x: ops.normalize(x, axis=1), tolerance=1e-4),
    _ops(
        "batch_normalization", lambda ops, x: ops.batch_normalization(x, ROW, ROW + 2, 2, ROW, ROW + 1), tolerance=1e-4
    ),
    _ops("conv", lambda ops, x: ops.conv(x, KERNEL, strides=2, padding="same"), IMAGE),
    _ops("conv of rows", lambda ops, x: ops.conv(x, WIDE.reshape(2, 6, 1)), ROWS),
    _ops("depthwise_conv", lambda ops, x: ops.depthwise_conv(x, KERNEL[..., :2]), IMAGE),
    _ops("separable_conv", lambda ops, x: ops.separable_conv(x, KERNEL[..., :1], KERNEL[:1, :1]), IMAGE),
    _ops("resize", lambda ops, x: ops.image.resize(x, (4, 7)), IMAGE),
    _ops("resize, nearest", lambda ops, x: ops.image.resize(x, (9, 3), interpolation="nearest"), IMAGE),
    _ops("max_pool", lambda ops, x: ops.max_pool(x, 2), IMAGE),
    _ops("average_pool", lambda ops, x: ops.average_pool(x, (2, 1), strides=1, padding="same"), IMAGE),
)

TENSORFLOW = (
    _tf("x ** 2", lambda tf, x: x**2 + tf.pow(x, 3)),
    _tf("x / y", lambda tf, x: x / (tf.square(x) + 1.0)),
    _tf("squared_difference", lambda tf, x: tf.math.squared_difference(x, x[:, :1])),
    _tf("add_n", lambda tf, x: tf.add_n([x, x, x])),
    _tf("x + y, x - y, x * y", lambda tf, x: tf.subtract(tf.add(x, x[:, :1]), tf.multiply(x, x))),
    _tf("x / 2", lambda tf, x: tf.divide(x, 2.0) + tf.math.truediv(x, 4.0)),
    _tf("maximum and minimum", lambda tf, x: tf.maximum(tf.minimum(x, 1.0), x[:, :1])),
    _tf("floordiv and floormod", lambda tf, x: tf.math.floordiv(x, 0.75) + tf.math.floormod(x, 0.5)),
    _tf("clip_by_value", lambda tf, x: tf.clip_by_value(x, -0.5, 1.0)),
    _tf("abs", lambda tf, x: tf.abs(x) + tf.math.expm1(x) + tf.math.erfc(x)),
    _tf("ceil", lambda tf, x: tf.math.ceil(x)),
    _tf("relu", lambda tf, x: tf.nn.relu(x) + tf.nn.relu6(x) + tf.nn.leaky_relu(x)),
    _tf("sigmoid", lambda tf, x: tf.sigmoid(x) + tf.nn.sigmoid(x) + tf.math.log_sigmoid(x)),
    _tf("tanh", lambda tf, x: tf.tanh(x) + tf.nn.tanh(x)),
    _tf("softmax", lambda tf, x: tf.nn.softmax(x) * 2.0 + tf.nn.log_softmax(x)),
    _tf("softmax of version 1", lambda tf, x: tf.compat.v1.nn.softmax(x) * 2.0 + tf.compat.v1.nn.log_softmax(x)),
    _tf("logic", lambda tf, x: tf.cast(tf.logical_or(x < 0, tf.math.logical_xor(x > 1, x > 0.5)), tf.float32)),
    _tf("not equal", lambda tf, x: tf.cast(x != 0.5, tf.float32) + tf.cast(tf.not_equal(x, 1.0), tf.float32)),
    _tf("reduce_all", lambda tf, x: tf.cast(tf.reduce_all(x > -1.5, 1), tf.float32)),
    _tf("reduce_mean and reduce_sum", lambda tf, x: tf.reduce_mean(x, 1) + tf.reduce_sum(x, axis=[1])),
    _tf("reduce_std", lambda tf, x: tf.math.reduce_std(x, 1), tolerance=1e-3),
    _tf("argmin", lambda tf, x: tf.cast(tf.argmin(x, -1), tf.float32)),
    _tf("reshape", lambda tf, x: tf.squeeze(tf.expand_dims(tf.reshape(x, (-1, 24)), 1), 1)),
    _tf("transpose", lambda tf, x: tf.transpose(x, (0, 2, 1))),
    _tf("concat", lambda tf, x: tf.concat([x, -x], axis=-1)),
    _tf("space_to_depth", lambda tf, x: tf.nn.space_to_depth(x, 2), (4, 6, 2)),
    _tf("bias_add", lambda tf, x: tf.nn.bias_add(x, ROW)),
    *(
        _tf(name, lambda tf, x, name=name: getattr(tf.math, name)(x), range=POSITIVE)
        for name in ("exp", "sqrt", "rsqrt", "log", "log1p", "erf", "reciprocal", "floor", "sign")
    ),
    *(
        _tf(name, lambda tf, x, name=name: getattr(tf.nn, name)(x))
        for name in ("elu", "selu", "gelu", "silu", "softplus", "softsign")
    ),
    _tf("comparisons", lambda tf, x: tf.where((x > 0.5) & (x <= 1.0), x, 0.0)),
    _tf("equal", lambda tf, x: tf.cast(x == 0.5, tf.float32) + tf.cast(tf.equal(x, x), tf.float32)),
    _tf("not", lambda tf, x: tf.cast(~(x >= 0), tf.float32)),
    *(
        _tf(name, lambda tf, x, name=name: getattr(tf.math, name)(x, axis=-1, keepdims=True))
        for name in ("reduce_max", "reduce_min", "reduce_variance", "reduce_logsumexp", "reduce_prod")
    ),
    _tf("reduce_any", lambda tf, x: tf.cast(tf.reduce_any(x > 1.5, 1), tf.float32)),
    _tf("norm", lambda tf, x: tf.norm(x, axis=-1)),
    _tf("l2_normalize", lambda tf, x: tf.math.l2_normalize(x, -1), tolerance=1e-4),
    _tf("argmax", lambda tf, x: tf.one_hot(tf.argmax(x, -1), 6)),
    _tf("top_k", lambda tf, x: tf.math.top_k(x, 2)[0]),
    _tf("sort", lambda tf, x: tf.sort(x, 1)),
    _tf("cumsum", lambda tf, x: tf.cumsum(x, 1)),
    _tf("einsum", lambda tf, x: tf.einsum("bij,bkj->bik", x, x)),
    _tf("matmul, turned", lambda tf, x: tf.matmul(x, x, transpose_b=True)),
    _tf("tensordot", lambda tf, x: tf.tensordot(x, WIDE, 1)),
    _tf("split", lambda tf, x: tf.split(x, 2, axis=1)),
    _tf("unstack", lambda tf, x: tf.unstack(x, axis=1)),
    _tf("stack", lambda tf, x: tf.stack([x, -x], 1)),
    _tf("tile", lambda tf, x: tf.tile(x, [1, 2, 1])),
    _tf("roll", lambda tf, x: tf.roll(x, 1, 1)),
    _tf("reverse", lambda tf, x: tf.reverse(x, [1])),
    _tf("repeat", lambda tf, x: tf.repeat(x, 2, 1)),
    _tf("gather", lambda tf, x: tf.gather(x, [0, 2], axis=1)),
    _tf("pad", lambda tf, x: tf.pad(x, [[0, 0], [1, 1], [0, 2]])),
    _tf("pad, reflect", lambda tf, x: tf.pad(x, [[0, 0], [1, 1], [0, 2]], "REFLECT")),
    _tf("band_part", lambda tf, x: tf.linalg.band_part(x, -1, 0)),
    _tf("depth_to_space", lambda tf, x: tf.nn.depth_to_space(x, 2), (2, 3, 8)),
    _tf("slice", lambda tf, x: tf.slice(x, [0, 1, 0], [-1, 2, -1])),
    _tf("identity", lambda tf, x: tf.identity(tf.stop_gradient(x)) + 1.0),
)

OPERATIONS = (
    *(ARITHMETIC + CURVES + ACTIVATIONS + COMPARISONS + REDUCTIONS + ORDER),
    *(LINEAR + MOVES + NETWORK + TENSORFLOW),
)
