"""Frames that make no sense, from somebody with a client's certificate, beside clients that ask.

The frames are sent within TLS: before a hello, instead of one, and after a good one; headers that lie, messages with
bytes changed, cut off or doubled, and sound messages that are out of place. A party ends such a connection; the next
one follows at once. Strangers without a certificate are another part's matter.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.row import Row
from benchmarks.serving.checked import asking
from benchmarks.serving.operators import ROOT, Operators, serving
from keras_private.config import PARTY_NAMES, ClusterConfig
from keras_private.errors import KerasPrivateError
from keras_private.net.frames import FrameType, pack_header
from keras_private.net.roles import Role
from keras_private.party.fields import Message
from keras_private.party.messages import AskStatus, Cancel, Describe, Hello, Ping, Query, Serve, Stop
from keras_private.party.network import TLSNetwork, credentials
from keras_private.party.wire import encode

_CLIENTS = 4
_ID = bytes(16)


def rows(options: argparse.Namespace, folder: Path) -> list[Row]:
    """`--frames` in all, a share of them to each party; throughput beside them to that without, measured in turns."""
    alone: list[float] = []
    beside: list[float] = []
    sent, took = 0, 0.0
    with (
        Operators(folder, "limits: {timeout_s: 10}\n") as operators,
        serving(operators) as model,
        asking(operators.path, model, _CLIENTS) as watch,
    ):
        pids = {name: process.pid for name, process in operators.parties.items()}
        for turn in range(options.turns):
            began = time.monotonic()
            time.sleep(options.seconds)
            alone.append(watch.rate(began, time.monotonic()))
            began = time.monotonic()
            senders = [_sender(operators.path, index, options, turn) for index in range(len(PARTY_NAMES))]
            sent += sum(int(sender.communicate()[0]) for sender in senders)
            took += time.monotonic() - began
            beside.append(watch.rate(began, time.monotonic()))
        crashes = sum(not process.is_running() or process.pid != pids[n] for n, process in operators.parties.items())
        broken, failed, wrong = operators.tracebacks(), sum(watch.failures.values()), watch.wrong
    without, with_ = statistics.median(alone), statistics.median(beside)
    return [
        Row(
            "fuzzed frames: crashes and tracebacks",
            crashes + broken,
            "",
            0,
            f"{sent} frames, {sent / took:.0f} a second",
        ),
        Row("fuzzed frames: queries lost or wrong", failed + wrong, "", 0),
        Row(
            "fuzzed frames: throughput beside them",
            100 * with_ / without,
            "%",
            70,
            f"{with_:.0f} a second, {without:.0f} without",
            at_least=True,
        ),
    ]


def _sender(config: Path, index: int, options: argparse.Namespace, turn: int) -> subprocess.Popen[str]:
    count = options.frames // (len(PARTY_NAMES) * options.turns)
    command = [sys.executable, "-m", "benchmarks.serving.hostile", str(config), str(index), str(count), str(turn)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)  # noqa: S603


def _frames(source: random.Random) -> Iterator[bytes]:
    """One connection's worth: headers and payloads, the sequence numbers right as long as nothing lies."""
    hello = encode(Hello.plain("client", "cluster"))
    number = 0
    if source.random() < 0.7:
        yield pack_header(len(hello), FrameType.MESSAGE, 0, number) + hello
        number += 1
    while True:
        payload = _spoilt(encode(_message(source)), source)
        header = bytearray(pack_header(len(payload), FrameType.MESSAGE, 0, number))
        if source.random() < 0.1:
            header[source.randrange(len(header))] = source.randrange(256)
        yield bytes(header) + payload
        number += 1


def _message(source: random.Random) -> Message:
    id_ = source.randbytes(16)
    query = Query(*_fields(Query, {"request": id_, "rows": source.choice((0, 1, 128, 1 << 40))}))
    return source.choice((Describe(*_fields(Describe)), Cancel(id_), query, query, Stop(*_fields(Stop)), *_FOREIGN))


def _fields(kind: type[Message], given: dict[str, object] | None = None) -> list[object]:
    """A value for each field of a message, by the name of its type; whatever fields there are."""
    plain = {"Id": _ID, "Blob": bytes(32), "Text": "", "Natural": 1, "bool": True}
    found = []
    for name, annotation in kind.__annotations__.items():
        usual = None if "None" in str(annotation) else plain.get(str(annotation), "")
        found.append((given or {}).get(name, usual))
    return found


_FOREIGN = (AskStatus(), Ping(), Serve(*_fields(Serve)))


def _spoilt(data: bytes, source: random.Random) -> bytes:
    what, at = source.randrange(5), source.randrange(len(data))
    if what == 0:
        return data[:at] + bytes([source.randrange(256)]) + data[at + 1 :]
    if what == 1:
        return data[:at]
    if what == 2:
        return data + data[:at]
    return data


def _send(config: str, index: int, count: int, seed: int) -> None:
    """Send so many frames to one party; prints how many it were, once they are.

    Strangers have machines of their own: here they only get what the parties and the clients leave of this one.
    """
    os.nice(10)
    source = random.Random(f"{index} {seed}")  # noqa: S311  the same frames each time
    cluster = ClusterConfig.load(config)
    network = TLSNetwork(cluster, credentials(cluster, Role("client", "mallory")))
    sent = 0
    while sent < count:
        try:
            channel = network.connect(index, 10.0)
        except KerasPrivateError:
            time.sleep(0.05)
            continue
        sock = channel.detach().sock
        sock.settimeout(10.0)
        try:
            for frame in _frames(source):
                sock.sendall(frame)
                sent += 1
                if sent == count or source.random() < 0.02:
                    break
        except OSError:  # the party hung up, as it should
            pass
        sock.close()
    print(sent)


if __name__ == "__main__":
    _send(sys.argv[1], *map(int, sys.argv[2:5]))
