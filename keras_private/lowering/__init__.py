"""Keras layers as calls on a TF Encrypted protocol. The owner's side: nothing of this is imported by a party or client.

`lowers` registers a lowering of one's own; `draft_of` records a model as a plan; `lower` runs it on any protocol.
"""

from keras_private.lowering import layers, operations, wrappers  # noqa: F401  each registers its own
from keras_private.lowering.model import compare_lowerings, draft_of, lower
from keras_private.lowering.registry import Refusal, array, lowers, pair, secret
from keras_private.lowering.reveal import LOGITS

__all__ = ["LOGITS", "Refusal", "array", "compare_lowerings", "draft_of", "lower", "lowers", "pair", "secret"]
