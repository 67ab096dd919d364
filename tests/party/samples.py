"""One of every message, from fixed values."""

from __future__ import annotations

from keras_private.party import messages
from keras_private.party.fields import Message, kind_of

ID = bytes(range(16))
INPUT = messages.InputPort("x", (28, 28, 1), "real", 16, None, 1024.0)
SAMPLES: dict[str, object] = {
    "Natural": 7,
    "Natural | None": None,
    "Seconds | None": 0.5,
    "Text": "text",
    "bool": True,
    "Positive | None": 0.25,
    "Id": ID,
    "Id | None": None,
    "Blob": b"\x00" * 40,
    "Naturals": (28, 28, 1),
    "Texts": ("server1",),
    "Figures": messages.Figures("0.1.0", 1.5e9, 60.0, ("queue=512",), ("stopping",), 1, 2, 0.5, 3, 4, 5, 6),
    "Ids": (ID, ID),
    "InputPorts": (INPUT, messages.InputPort("b", (), "bit", 0, (0.0, 1.0), None)),
    "EvaluationPorts": (messages.EvaluationPort("accuracy", "client", 20, 1 << 32, 128, INPUT, 1, 0, 0),),
    "ModelName": "digits",
    "ModelNameOrEmpty": "",
    "ModelStatuses": (messages.ModelStatus("digits", 2, "owner:alice", "ab" * 32, "deployed", 3, 1, 2, 1 << 20),),
    "HoldingsOf": (messages.Holding(ID, "digits", 2, "owner:alice", "ab" * 32),),
    "Part | None": messages.Part(ID, "accuracy", 100, last=True),
    "HoldTuple": (
        messages.Hold(ID, "client:bob", ID, "text", 7, None),
        messages.Hold(ID, "client:bob", ID, "text", 7, messages.Part(ID, "accuracy", 100, last=True)),
    ),
    "OutputPorts": (messages.OutputPort("y", (3,), "real", 16, "softmax", "values"),),
}
KINDS = {kind_of(cls): cls for cls in Message.__subclasses__()}


def sample(cls: type[Message]) -> Message:
    return cls(*(SAMPLES[kind] for kind in cls.__annotations__.values()))
