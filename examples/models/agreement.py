"""What every example here does once its model is trained: share it, query it as a client would, and compare.

The model is shared with three parties, processes of their own that talk TLS; answers are held against plain Keras.
A *decision* is the likeliest class, or yes or no. Where the plain model's own margin is larger than twice the error
that `kp.check` expects of a score (two scores may both be off), decisions must be the same, all of them.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

import keras_private as kp

Array = np.ndarray[Any, np.dtype[Any]]


def free_ports(count: int) -> list[int]:
    """Ports on this machine that nothing listens on."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]


@contextlib.contextmanager
def served(model: keras.Model, **choices: Any) -> Iterator[kp.TFECluster]:
    """Three local parties that answer queries of this model, as long as the block lasts."""
    kp.KerasHook(keras)
    workers = [kp.TFEWorker(f"localhost:{port}", auto_managed=True) for port in free_ports(3)]
    with kp.TFECluster(*workers) as cluster, model.share(cluster, verbose=0, **choices):
        serving = threading.Thread(target=lambda: model.serve(verbose=0))
        serving.start()
        try:
            yield cluster
        finally:
            model.stop()  # ends serving
            serving.join()


def private_answers(cluster: kp.TFECluster, x: Array, batch: int) -> tuple[Array, float]:
    """What a client is given for these rows, and the seconds a row took."""
    with kp.TFEWorker() as client:
        client.connect_to_model(cluster)
        client.query_model(x[:1])  # the first one waits until the model is served
        began = time.perf_counter()
        answers = [client.query_model(x[start : start + batch]) for start in range(0, len(x), batch)]
        return np.concatenate(answers), (time.perf_counter() - began) / len(x)


def logits(answers: Array, activation: str) -> Array:
    """What went into the last activation, up to one number a row for a softmax."""
    answers = answers.astype(np.float64)
    with np.errstate(divide="ignore"):
        if activation == "softmax":
            return np.log(answers)
        return np.log(answers) - np.log1p(-answers) if activation == "sigmoid" else answers


def decisions(scores: Array, *, yes_or_no: bool) -> tuple[Array, Array]:
    """The decision of every row (or pixel), and by what margin it was taken."""
    if yes_or_no:
        return scores > 0, np.abs(scores)
    best = np.sort(scores, axis=-1)
    return scores.argmax(axis=-1), best[..., -1] - best[..., -2]


def compare(
    model: keras.Model,
    x: Array,
    y: Array | None,
    *,
    input_range: Any,
    calibration: Array,
    activation: str = "",
    yes_or_no: bool = False,
    batch: int = 50,
) -> None:
    """Share the model, query these rows, and print how the answers compare with plain Keras.

    Args:
        y: right decisions; None: the model makes none, its outputs are what is asked for.
        calibration: inputs as the model will see them, for the fractional bits.
        activation: what the model ends in: "softmax", "sigmoid" or "".

    Exits with a message if a decision with a margin above twice the error differs.
    """
    choices = {"input_range": input_range, "calibration": calibration}
    report = kp.check(model, batch=batch, **choices)
    if report.accuracy is None:
        sys.exit(str(report))
    error = report.accuracy.error
    plain = model.predict(x, batch_size=256, verbose=0)
    with served(model, **choices) as cluster:
        private, seconds = private_answers(cluster, x, batch)
    print(f"  a query of {batch} rows: {report.rounds} rounds, {max(report.sent) / 1e6:.2f} MB from the busiest party")
    print(f"  {1e3 * seconds:.2f} ms a row at the client, in queries of {batch} rows")
    print(f"  largest difference from plain Keras: {np.max(np.abs(private - plain)):.2g}")
    if y is None:
        return
    wanted, margin = decisions(logits(plain, activation), yes_or_no=yes_or_no)
    found, _ = decisions(logits(private, activation), yes_or_no=yes_or_no)
    y = np.reshape(y, wanted.shape)
    sure = margin > 2 * error
    print(f"  right: plain {np.mean(wanted == y):.2%}, private {np.mean(found == y):.2%} of {wanted.size:,} decisions")
    same = np.mean(found[sure] == wanted[sure])
    count = np.count_nonzero(sure)
    print(f"  as plain Keras: {same:.2%} of the {count:,} whose margin is above twice the error expected ({error:.2g})")
    print(f"  and {np.count_nonzero((found == wanted) & ~sure)} of the {np.count_nonzero(~sure)} others", flush=True)
    if same < 1:
        sys.exit("a decision with a margin above twice the error differs: that must not be")
