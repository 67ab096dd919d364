"""The lowerings of Keras' own layers, one file per family. Importing this registers them."""

from keras_private.lowering.layers import (  # noqa: F401
    activation,
    applications,
    attention,
    audio,
    bidirectional,
    category,
    convolution,
    dense,
    embedding,
    image,
    locally_connected,
    merge,
    noise,
    normalization,
    norms,
    pooling,
    recurrent,
    shape,
    softmax,
)
