"""TF Encrypted's own ABY3, made to run on current TensorFlow in one process: the reference for the lowering.

Its custom operations are compiled for TensorFlow 2.9. Here they are written with plain TensorFlow ops instead. FOR
TESTS ONLY: tf.random is no secure generator, and its masks would not hide anything.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import tensorflow as tf

from keras_private.lowering import lower, tfe


def run(model: Any, x: np.ndarray) -> np.ndarray:
    """The model on a batch, lowered to and computed by TF Encrypted's ABY3."""
    library = tfe.load()
    _provide_operations()
    prot = library.protocol.ABY3()
    library.set_protocol(prot)
    private = prot.define_private_variable(tf.constant(x, tf.float32))
    return np.asarray(lower(model, prot, private).reveal().to_native())


def _provide_operations() -> None:
    from tf_encrypted.operations import aux
    from tf_encrypted.operations.secure_random import secure_random
    from tf_encrypted.tensor import native  # noqa: F401  imports the names that are set below through `aux`

    secure_random.secure_random_module = SimpleNamespace(
        secure_seed=_seed,
        secure_seeded_random_uniform=_seeded,
        secure_random_uniform=_uniform,
    )
    aux.bit_reverse = _bit_reverse
    aux.bit_gather = _bit_gather
    aux.bit_split_and_gather = _bit_split_and_gather
    aux.xor_indices = _xor_indices


def _seed(name: str | None = None) -> tf.Tensor:
    del name
    return tf.random.uniform([2], tf.int64.min, tf.int64.max, tf.int64)


def _seeded(shape: Any, seed: Any, low: Any, high: Any, name: str | None = None) -> tf.Tensor:
    del name
    low, high, dtype = tf.cast(low, tf.int64), tf.cast(high, tf.int64), low.dtype
    return tf.cast(tf.random.stateless_uniform(shape, seed=seed, minval=low, maxval=high, dtype=tf.int64), dtype)


def _uniform(shape: Any, low: Any, high: Any, name: str | None = None) -> tf.Tensor:
    del name
    return _seeded(shape, _seed(), low, high)


def _bits(x: tf.Tensor) -> tf.Tensor:
    """The bits of each value, lowest first, along a new last axis."""
    return tf.bitwise.bitwise_and(tf.bitwise.right_shift(x[..., None], _positions(x.dtype.size * 8, x.dtype)), 1)


def _packed(bits: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(tf.bitwise.left_shift(bits, _positions(bits.shape[-1], bits.dtype)), axis=-1)


def _positions(count: int, dtype: tf.DType) -> tf.Tensor:
    return tf.constant(np.arange(count), dtype)


def _bit_reverse(x: tf.Tensor) -> tf.Tensor:
    return _packed(tf.reverse(_bits(x), [-1]))


def _bit_gather(x: tf.Tensor, start: int, stride: int) -> tf.Tensor:
    """Bits start, start + stride, …, packed into the low end."""
    return _packed(_bits(x)[..., start::stride])


def _bit_split_and_gather(x: tf.Tensor, stride: int) -> tf.Tensor:
    return tf.stack([_bit_gather(x, start, stride) for start in range(stride)])


def _xor_indices(x: tf.Tensor) -> tf.Tensor:
    """XOR of the positions of all bits that are set."""
    chosen = _bits(x) * _positions(x.dtype.size * 8, x.dtype)
    result = chosen[..., 0]
    for index in range(1, chosen.shape[-1]):
        result = tf.bitwise.bitwise_xor(result, chosen[..., index])
    return result
