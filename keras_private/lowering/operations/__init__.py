"""The lowerings of operations between layers, one file per family. Importing this registers them."""

from keras_private.lowering.operations import (  # noqa: F401
    activations,
    arithmetic,
    comparisons,
    curves,
    linear,
    moves,
    network,
    order,
    places,
    reductions,
)
