"""Small models, one for each layer and argument that can be lowered: shared by the plain and the private tests.

A case builds its model with the Keras it is given (`keras` or `tf_keras`). Weights are drawn at random afterwards, the
same for each run; nothing is trained. One file for each family of layers.
"""

from __future__ import annotations

from . import (
    activation,
    attention,
    audio,
    category,
    convolution,
    dense,
    embedding,
    image,
    merge,
    models,
    noise,
    normalization,
    operations,
    pooling,
    recurrent,
    shape,
    softmax,
    transformers,
)
from .case import Case, randomise

__all__ = ["CASES", "Case", "randomise"]

_FAMILIES = (
    *(dense, embedding, category, image, audio, convolution, pooling, shape, normalization),
    *(activation, softmax, noise, merge, attention, transformers, recurrent, operations, models),
)
CASES: tuple[Case, ...] = tuple(case for family in _FAMILIES for case in family.CASES)
