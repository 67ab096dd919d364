"""Parties whose log cannot be written: the work goes on, and they end when told to. Real processes and files."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from keras_private.cluster import TFECluster
from keras_private.config import PARTY_NAMES
from keras_private.logs import BURST
from keras_private.worker import TFEWorker
from tests.checks import goes_on

Start = Callable[..., contextlib.AbstractContextManager[tuple[TFECluster, list[subprocess.Popen[bytes]]]]]


@pytest.fixture
def start(make_config: Any, tmp_path: Path, until: Any) -> Start:
    """Three parties started by hand, with the standard error given; stopped by SIGTERM in the end."""

    @contextlib.contextmanager
    def run(stderr: Any, redirect: str = "") -> Iterator[tuple[TFECluster, list[subprocess.Popen[bytes]]]]:
        config = make_config(managed=False)
        path = tmp_path / "cluster.yaml"
        path.write_text(config.to_json())  # JSON is YAML
        processes = []
        for name in PARTY_NAMES:
            command = [sys.executable, "-m", "keras_private.party", "--config", str(path), "--name", name]
            if redirect:
                command = ["sh", "-c", f'exec "$@" {redirect}', "sh", *command]
            processes.append(
                subprocess.Popen(
                    command,
                    cwd=Path(__file__).parent.parent,
                    env=os.environ | {"KERAS_PRIVATE_LOG": "debug"},
                    stderr=stderr,
                )
            )
        try:
            with TFECluster.from_config(config) as cluster:
                until(lambda: all(getattr(each, "lanes", 0) for each in cluster.status().values()), "the lane is up")
                yield cluster, processes
                for process in processes:
                    process.send_signal(signal.SIGTERM)
                assert [process.wait(60) for process in processes] == [0, 0, 0]
        finally:
            for process in processes:
                process.kill()
                process.wait(15)

    return run


def knock(cluster: TFECluster, times: int) -> None:
    """Strangers call every party, and are refused."""
    for index in range(len(PARTY_NAMES)):
        for _ in range(times):
            address = cluster.config.party(index).address
            with socket.create_connection(address, 10) as sock, contextlib.suppress(OSError):
                sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
                while sock.recv(100):
                    pass


def work(cluster: TFECluster, tiny: Any, serving: Any) -> None:
    """Queries, refused strangers meanwhile, a lane that is built anew, and queries again."""
    with serving(cluster, tiny), TFEWorker() as client:
        client.connect_to_model(tiny.input_shape, tiny.output_shape, cluster)
        knock(cluster, 3)
        for _ in range(100):
            client.query_model_async(tiny.batch(1))
        for _ in range(100):
            client.query_model_join()
        assert client.query_model(tiny.batch(2)).shape == (2, 3)
    goes_on(cluster, tiny, serving)
    assert [getattr(each, "lanes", 0) for each in cluster.status().values()] == [1, 1, 1]


def test_standard_error_is_closed(start: Start, tiny: Any, serving: Any) -> None:
    with start(None, redirect="2>&- >&- <&-") as (cluster, _):
        work(cluster, tiny, serving)


def test_the_reader_of_the_log_is_gone(start: Start, tiny: Any, serving: Any) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        with start(writer) as (cluster, _):
            work(cluster, tiny, serving)
    finally:
        os.close(writer)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_the_disk_is_full(start: Start, tiny: Any, serving: Any) -> None:
    with open("/dev/full", "wb") as full, start(full) as (cluster, _):
        work(cluster, tiny, serving)


@pytest.fixture
def full_pipe() -> Iterator[tuple[int, int]]:
    """Both ends of a pipe into which not a byte fits."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writer, b"\n" * 4096)
    os.set_blocking(writer, True)
    yield reader, writer
    os.close(reader)


def test_nobody_reads_the_log(start: Start, tiny: Any, serving: Any, full_pipe: tuple[int, int]) -> None:
    """They go on, and end when told to, though their standard error blocks."""
    with start(full_pipe[1]) as (cluster, _):
        work(cluster, tiny, serving)
    os.close(full_pipe[1])


def test_a_late_reader_finds_every_line(start: Start, tiny: Any, serving: Any, full_pipe: tuple[int, int]) -> None:
    reader, writer = full_pipe
    text = bytearray()

    def read() -> None:
        while piece := os.read(reader, 1 << 16):
            text.extend(piece)

    thread = threading.Thread(target=read)
    with start(writer) as (cluster, _):
        work(cluster, tiny, serving)
        thread.start()
    os.close(writer)
    thread.join(20)
    events = {(line["party"], line["event"]) for line in map(json.loads, filter(None, text.decode().split("\n")))}
    for name in PARTY_NAMES:
        assert (name, "listening") in events
        assert (name, "stopped") in events


def test_strangers_do_not_fill_the_disk(start: Start, tmp_path: Path) -> None:
    path, times = tmp_path / "log", 300
    with path.open("wb") as file, start(file) as (cluster, _):
        knock(cluster, times)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for name in PARTY_NAMES:
        refused = [line for line in lines if line["party"] == name and line["event"] == "refused"]
        windows = sum("repeated" in line for line in refused)
        # A party that is told to stop may have hung up on the last one and not yet said so.
        assert times - 1 <= sum(line.get("repeated", 1) for line in refused) <= times
        assert len(refused) <= (BURST + 1) * max(windows, 1)
