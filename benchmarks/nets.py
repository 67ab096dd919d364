"""Large networks of `keras.applications` for images of 224 by 224: what one costs among three processes joined by TLS,
and how near the answer is to Keras'. Untrained, with activations that are alive (`tests/alive.py`)."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import numpy as np

from benchmarks.parties import ThreeProcesses
from benchmarks.row import Row, mb
from tests.alive import alive, smooth_images

SIZE = (224, 224, 3)
RUNS = 3
DIFFERENCE = 0.002  # of the logits' spread


class Net(NamedTuple):
    """One of them: the range of its inputs, and the seconds that an image may take among the parties."""

    name: str
    high: float
    seconds: float
    difference: float | None


NETS = (
    Net("ResNet50", 1.0, 7.5, DIFFERENCE),
    Net("MobileNetV2", 1.0, 3.0, DIFFERENCE),
    Net("EfficientNetB0", 255.0, 3.0, None),  # its 65 functions are read from tables, to 2^-10.5 each
)


def rows() -> list[Row]:
    found = []
    for net in NETS:
        with ThreeProcesses() as parties:  # of each its own: what a party's memory rises to
            found += of(net, parties)
    return found


def of(net: Net, parties: ThreeProcesses) -> list[Row]:
    import keras

    from keras_private.lowering import draft_of
    from keras_private.plan.optimise import optimise

    model: Any = getattr(keras.applications, net.name)(weights=None, classifier_activation=None)
    alive(model, smooth_images(12, SIZE, net.high))
    image = smooth_images(1, SIZE, net.high, seed=9)
    started = time.perf_counter()
    draft = optimise(draft_of(model, (0.0, net.high)))
    planned = time.perf_counter() - started
    measured = parties.measure(draft, image, RUNS)
    (made,) = draft.plan.outputs
    logits = np.ldexp(measured.result.view(np.int64).astype(float), -draft.plan.tensors[made.tensor].frac).reshape(-1)
    plain = model.predict(image, verbose=0).reshape(-1)
    off = float(np.abs(logits - plain).max() / np.ptp(plain))
    sent = mb(measured.bytes_sent)
    return [
        Row(f"{net.name}, one image, parties only", measured.wall_ms / 1e3, "s", net.seconds, sent, measured.cpu_ms),
        Row(f"{net.name}, rounds", measured.rounds, "", None),
        Row(f"{net.name}, until there is a plan", planned, "s", 10, "lowered, bounded, simulated"),
        Row(f"{net.name}, memory of a party", parties.resident_mb(), "MB", None, "weights, and one image"),
        Row(f"{net.name}, other class than Keras", float(logits.argmax() != plain.argmax()), "", 0),
        Row(f"{net.name}, difference of a logit", off, "", net.difference, "as a part of the logits' spread"),
    ]
