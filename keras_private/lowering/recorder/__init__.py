"""The recorder: one file for each family of calls."""

from keras_private.lowering.recorder.recorder import Recorder

__all__ = ["Recorder"]
