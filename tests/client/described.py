"""Descriptions of models, as parties send them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from keras_private.party.messages import Description, InputPort, OutputPort

INPUT = InputPort("x", (4,), "real", 16, None, None)
OUTPUT = OutputPort("y", (3,), "real", 16, "", "values")


def described(
    inputs: Sequence[InputPort] = (), outputs: Sequence[OutputPort] = (), takes: str = "", gives: str = "", **given: Any
) -> Description:
    """A model of these inputs and outputs; without any, of one each, the input changed as `given` says."""
    inputs, outputs = tuple(inputs) or (replace(INPUT, **given),), tuple(outputs) or (OUTPUT,)
    takes, gives = (form or ("list" if len(of) > 1 else "array") for form, of in ((takes, inputs), (gives, outputs)))
    return Description(bytes(16), "model", 1, "a" * 64, "alice", takes, inputs, gives, outputs, (), 128)
