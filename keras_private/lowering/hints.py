"""Why a layer of Keras cannot be lowered, and what to use instead: only ways that work.

A layer is refused for one of a few grounds, which no protocol does away with; `Ground.MISSING` says that nobody has
written its lowering yet. For most of these no lowering can be registered either, because the recorder has no call for
what they compute.
"""

from __future__ import annotations

from enum import Enum

from keras_private.lowering.registry import Refusal

REGISTER = "register a lowering with keras_private.lowering.lowers (see examples/custom_layer.py)"


class Ground(Enum):
    """What keeps a layer from being computed on shares."""

    DATA = "what it does, or how large its result is, depends on the data"
    STRINGS = "strings and hashes"
    SPARSE = "sparse or ragged data"
    CODE = "code of one's own"
    MISSING = "not written yet"


def hint_for_layer(kind: str) -> Refusal:
    """The refusal of one of Keras' own layers, by the name of its class."""
    return _HINTS.get(kind, (Ground.MISSING, _UNKNOWN))[1]


def ground_of(kind: str) -> Ground:
    """Why one of Keras' own layers, by the name of its class, is refused if it is."""
    return _HINTS.get(kind, (Ground.MISSING, _UNKNOWN))[0]


_UNKNOWN = Refusal("no lowering is known for this kind of layer", f"replace it, or {REGISTER}")


def _hints(ground: Ground, why: str, instead: str, *kinds: str) -> dict[str, tuple[Ground, Refusal]]:
    return dict.fromkeys(kinds, (ground, Refusal(why, instead)))


_AT_THE_CLIENT = "at the start of the model, leave it out and let clients do it before they query"

_HINTS: dict[str, tuple[Ground, Refusal]] = {
    **_hints(
        Ground.CODE,
        "what it does is Python code",
        "write it with layers or with operations (+, -, *, keras.ops.relu, …) between them, or as a "
        f"Layer subclass and {REGISTER}",
        "Lambda",
    ),
    **_hints(
        Ground.CODE,
        "it wraps a program of another library",
        "build the same of Keras' layers and copy the weights",
        *("TFSMLayer", "JaxLayer", "FlaxLayer", "TorchModuleWrapper"),
    ),
    **_hints(
        Ground.STRINGS,
        "it works on strings or hashes",
        _AT_THE_CLIENT,
        *("Hashing", "HashedCrossing", "StringLookup", "TextVectorization"),
    ),
    **_hints(
        Ground.DATA,
        "which value goes where depends on a histogram of every image",
        _AT_THE_CLIENT,
        *("Equalization", "ContrastLimitedAdaptiveHistogramEqualization"),
    ),
    **_hints(
        Ground.SPARSE,
        "it takes bounding boxes, as many as an image happens to have",
        _AT_THE_CLIENT,
        "MaxNumBoundingBoxes",
    ),
    **_hints(
        Ground.SPARSE,
        "it takes columns of features, strings and sparse ones among them",
        "use an input and an Embedding or Dense for each",
        "DenseFeatures",
    ),
    **_hints(
        Ground.DATA,
        "which steps count depends on the data",
        "pad and train without a mask",
        "Masking",
    ),
}
