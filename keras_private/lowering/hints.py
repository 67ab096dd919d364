"""Why a layer of Keras cannot be lowered, and what to use instead: only ways that work.

For most of these no lowering can be registered either, because the recorder has no call for what they compute.
"""

from __future__ import annotations

from keras_private.lowering.layers.activation import hint_for
from keras_private.lowering.registry import Refusal

REGISTER = "register a lowering with keras_private.lowering.lowers (see examples/custom_layer.py)"


def hint_for_layer(kind: str) -> Refusal:
    """The refusal of one of Keras' own layers, by the name of its class."""
    return _HINTS.get(kind, Refusal("no lowering is known for this kind of layer", f"replace it, or {REGISTER}"))


def _hints(why: str, instead: str, *kinds: str) -> dict[str, Refusal]:
    return dict.fromkeys(kinds, Refusal(why, instead))


_HINTS: dict[str, Refusal] = {
    **_hints("softmax inside a model is not supported", hint_for("softmax"), "Softmax"),
    **_hints(
        "recurrent layers run step by step, and there is no lowering for that",
        "use Conv1D with padding='causal' over the steps and train again",
        *("LSTM", "GRU", "SimpleRNN", "RNN", "Bidirectional", "LSTMCell", "GRUCell", "SimpleRNNCell"),
        *("StackedRNNCells", "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D"),
    ),
    **_hints(
        "attention needs a softmax of values inside a model, which is not supported yet",
        "use Conv1D or Dense over the steps and train again",
        *("Attention", "AdditiveAttention", "MultiHeadAttention", "GroupQueryAttention"),
    ),
    **_hints(
        "no lowering is known for this kind of layer",
        "use keras.ops.einsum or keras.ops.matmul",
        "Dot",
    ),
    **_hints(
        "it divides by statistics of each input, and no lowering is known for that",
        "use BatchNormalization and train again",
        *("LayerNormalization", "GroupNormalization", "RMSNormalization", "UnitNormalization"),
    ),
    **_hints(
        "no lowering is known for this kind of layer",
        "use Embedding, and Dense with the transposed table for the way back",
        "ReversibleEmbedding",
    ),
    **_hints(
        "convolution and pooling over three axes are not supported",
        "fold one axis into the channels (Permute, Reshape) and use the 2D layer",
        *("Conv3D", "Conv3DTranspose", "AveragePooling3D", "MaxPooling3D"),
    ),
    **_hints(
        "no lowering is known for this kind of layer",
        "use AveragePooling or MaxPooling with the pool size that gives this output",
        *("AdaptiveAveragePooling1D", "AdaptiveAveragePooling2D", "AdaptiveAveragePooling3D"),
        *("AdaptiveMaxPooling1D", "AdaptiveMaxPooling2D", "AdaptiveMaxPooling3D"),
    ),
    **_hints(
        "what it does is Python code",
        "write it with layers or with operations (+, -, *, keras.ops.relu, …) between them, or as a "
        f"Layer subclass and {REGISTER}",
        "Lambda",
    ),
    **_hints(
        "no lowering is known for this kind of layer",
        "if it wraps a Dense: that does the same without it, on inputs of any rank",
        *("TimeDistributed", "Wrapper"),
    ),
    **_hints(
        "masks are not supported",
        "pad and train without one",
        "Masking",
    ),
    **_hints(
        "it resizes, also at inference",
        "at the start of the model, leave it out and let clients do it; inside, use Cropping2D",
        *("Resizing", "CenterCrop", "RandomCrop"),
    ),
    **_hints(
        "it works on every input, in ways that cannot be computed on shares",
        "at the start of the model, leave it out and let clients do it before they query",
        *("AutoContrast", "Equalization", "ContrastLimitedAdaptiveHistogramEqualization", "CategoryEncoding"),
        *("Discretization", "Hashing", "HashedCrossing", "IntegerLookup", "StringLookup", "TextVectorization"),
        *("MelSpectrogram", "STFTSpectrogram", "MaxNumBoundingBoxes"),
    ),
    **_hints("no lowering is known for this kind of layer", "write its layers out one after the other", "Pipeline"),
}
