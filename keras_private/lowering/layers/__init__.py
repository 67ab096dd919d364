"""The lowerings of Keras' own layers, one file per family. Importing this registers them."""

from keras_private.lowering.layers import (  # noqa: F401
    activation,
    convolution,
    dense,
    embedding,
    merge,
    noise,
    normalization,
    norms,
    pooling,
    shape,
    softmax,
)
