"""Metrics, `/healthz` and `/readyz` of real parties: what they show is what happened, and nobody can pile them up."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from keras_private.config import PARTY_NAMES
from keras_private.errors import LinkError
from keras_private.net.roles import Role
from keras_private.party import exporter, messages, monitor
from keras_private.party.dial import ask, call
from keras_private.party.exporter import CALLERS, HEAD_BYTES, Exporter, Reply, health
from keras_private.party.messages import Hello
from keras_private.party.metrics import FAMILIES, OTHER, PREFIX, REASONS, counting, table
from keras_private.party.wire import decode, encode
from keras_private.worker import TFEWorker
from tests.conftest import Trio

DOCS = Path(__file__).parents[2] / "docs"


def get(port: int, path: str = "/metrics", method: str = "GET") -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def values(port: int) -> dict[str, float]:
    """Every sample by its name without prefix, and its label's value behind a colon."""
    status, text = get(port)
    assert status == 200
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            label = ":".join(["", *sample.labels.values()]) if "le" not in sample.labels else f"<{sample.labels['le']}"
            found[sample.name.removeprefix(PREFIX) + label] = sample.value
    return found


@pytest.fixture(scope="module")
def shown(make_config: Any, free_ports: Any) -> Iterator[tuple[Trio, Sequence[int]]]:
    """Three parties, and where each shows its metrics."""
    ports, config = free_ports(), make_config(managed=False, max_batch=16)
    parties = {
        name: party.model_copy(update={"metrics": f"localhost:{port}"})
        for (name, party), port in zip(config.parties.items(), ports, strict=True)
    }
    trio = Trio(config.model_copy(update={"parties": parties}))
    yield trio, ports
    trio.stop()


def test_what_is_shown_is_what_happened(shown: Any, tiny: Any, serving: Any, until: Any) -> None:
    trio, ports = shown
    until(lambda: all(get(port, "/readyz")[0] == 200 for port in ports), "all are ready", 60)
    before = [values(port) for port in ports]
    assert {each["ready"] for each in before} == {1}
    assert {each["models"] for each in before} == {0}  # none is needed to be ready
    with serving(trio, tiny), TFEWorker(name="bob") as client:
        client.connect_to_model(tiny.input_shape, tiny.output_shape, trio)
        for rows in (1, 3, 16):
            client.query_model(tiny.batch(rows))
        until(lambda: all(values(port)["queries_answered_total"] == 3 for port in ports), "all have counted")
        too_large(trio)
        until(lambda: all(values(port)["refusals_total:refused"] == 1 for port in ports), "all have counted")
        found = [values(port) for port in ports]
    for now in found:
        assert now["connections:client"] >= 1
        assert now["models"] == 1
        assert sum(value for name, value in now.items() if name.startswith("model_bytes:")) == 16 * (6 * 4 + 4 * 3)
        assert now["requests_received_total:query"] == now["runs_total:done"] == now["request_seconds_count"] == 3
        assert now["rows_total"] == now["run_rows_sum"] == 20
        assert now["run_rows_bucket<1.0"] == 1
        assert now["queue_seconds_count"] == now["answer_seconds_count"] == 3
        assert 0 < now["run_seconds_sum"] < now["request_seconds_sum"]
        assert now["queue_requests"] == now["queue_oldest_seconds"] == 0
        assert now["refusals_total:broken"] == 0  # there from the start
        assert now["process_open_fds"] > 0
    (rounds,) = {each["rounds_total"] for each in found}
    assert rounds > 0
    assert sum(each["sent_bytes_total"] for each in found) > 3 * 20 * 8
    assert found[0]["serving"] == 1
    assert [each["peers"] for each in found] == [2, 1, 1]


def too_large(trio: Trio) -> None:
    """Ask each party for more rows than a query may have, which no client library does."""
    network, asked = trio.network(Role("client", "bob")), messages.Describe("", None)
    for index in range(len(PARTY_NAMES)):
        channel = call(network, index, Hello.plain("client", "test"), 20)
        try:
            described = ask(channel, asked, messages.Description, 20)
            asked = messages.Describe("", described.model)
            channel.send(encode(messages.Query(os.urandom(16), described.model, 17, None, None, bytes(32), bytes(32))))
            assert isinstance(decode(channel.receive(20)), messages.Error)
        finally:
            channel.close()


def test_names_labels_and_values_are_those_declared(shown: Any) -> None:
    """And so none can hold a client's name, or its data."""
    _, ports = shown
    _, text = get(ports[0])
    families = {family.full_name: family for family in FAMILIES}
    for found in text_string_to_metric_families(text):
        if found.name.startswith("process_"):
            continue
        family = families.pop(found.name + ("_total" if found.type == "counter" else ""))
        assert found.documentation == family.help
        for sample in found.samples:
            assert sample.labels.keys() - {"le"} == ({family.label} - {""})
            assert not family.values or sample.labels[family.label] in family.values
    assert families.keys() <= {f"{PREFIX}certificate_expiry_timestamp_seconds"}  # a `Trio` looks after none
    assert "bob" not in text


def test_every_code_is_a_reason() -> None:
    codes = {value for name, value in vars(messages).items() if name.isupper() and isinstance(value, str)}
    assert codes == set(REASONS) - {OTHER}


def test_names_keep_to_what_prometheus_asks_for() -> None:
    assert len({family.name for family in FAMILIES}) == len(FAMILIES)
    for family in FAMILIES:
        assert family.name.isidentifier()
        assert family.name.islower()
        assert not family.full_name.endswith(("_ms", "_mb", "_days", "_count", "_sum", "_bucket"))
        assert family.help.endswith(".")
        if family.kind == "histogram":
            assert family.name.endswith(("_seconds", "_rows"))


def test_the_page_of_metrics_is_what_is_declared() -> None:
    """Else: python -m keras_private.party.metrics > docs/metrics.md"""
    assert (DOCS / "metrics.md").read_text(encoding="utf-8") == table()


def test_nothing_is_loaded_and_nothing_shown_unless_asked_for() -> None:
    code = (
        "import sys; from keras_private.party import server; from keras_private.party.metrics import Metrics; "
        "Metrics().ran(rows=1, rounds=1, sent_bytes=1, seconds=1.0); "
        "assert not [name for name in sys.modules if 'prometheus' in name]"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_every_event_moves_its_numbers_and_no_others() -> None:
    metrics, registry = counting(list)
    seen: dict[str, float] = {}

    def moved() -> dict[str, float]:
        now = {
            sample.name.removeprefix(PREFIX) + "".join(f":{value}" for value in sample.labels.values()): sample.value
            for family in registry.collect()
            for sample in family.samples
            if sample.name.startswith(PREFIX) and "le" not in sample.labels
        }
        found = {name: value - seen.get(name, 0) for name, value in now.items() if value != seen.get(name, 0)}
        seen.update(now)
        return found

    assert moved() == {}  # all begin at 0
    metrics.received(part=False), metrics.received(part=True), metrics.received(part=True)
    assert moved() == {"requests_received_total:query": 1, "requests_received_total:evaluation part": 2}
    metrics.refused(messages.QUOTA), metrics.refused("a code of some later release")
    assert moved() == {"refusals_total:quota": 1, "refusals_total:other": 1}
    metrics.began([0.25, 0.5])
    assert moved() == {"queue_seconds_count": 2, "queue_seconds_sum": 0.75}
    metrics.ran(rows=5, rounds=14, sent_bytes=1000, seconds=0.5)
    assert moved() == {
        "runs_total:done": 1, "rows_total": 5, "rounds_total": 14, "sent_bytes_total": 1000,
        "run_rows_count": 1, "run_rows_sum": 5, "run_seconds_count": 1, "run_seconds_sum": 0.5,
    }  # fmt: skip
    now = time.monotonic()
    for part, counted in (
        (None, {"queries_answered_total": 1}),
        (last(False), {}),
        (last(True), {"evaluations_answered_total": 1}),
    ):
        metrics.answered(part, now, now)
        found = moved()
        assert found.pop("answer_seconds_count") == found.pop("request_seconds_count") == 1
        assert found.pop("answer_seconds_sum") <= found.pop("request_seconds_sum") + 1e-3
        assert found == dict.fromkeys(counted, 1)
    metrics.run_failed(), metrics.lane_failed(), metrics.handshake_refused(), metrics.session_refused()
    assert moved() == {
        "runs_total:failed": 1, "lane_failures_total": 1, "handshakes_refused_total": 1, "sessions_refused_total": 1,
    }  # fmt: skip
    totals = metrics.totals
    assert (totals.refused, totals.runs, totals.rows, totals.sent) == (2, 1, 5, 1000)


def last(is_: bool) -> messages.Part:
    return messages.Part(bytes(16), "accuracy", 0, last=is_)


# Health


def test_a_party_alone_lives_and_is_not_ready(make_config: Any, free_ports: Any, until: Any) -> None:
    config, port = make_config(managed=False), free_ports()[0]
    shown = config.parties["server0"].model_copy(update={"metrics": f"localhost:{port}"})
    config = config.model_copy(update={"parties": config.parties | {"server0": shown}})
    leader = Trio(config, start=[0]).servers[0]
    try:
        until(lambda: "kernels" not in get(port, "/readyz")[1], "the kernels are compiled", 60)
        assert get(port, "/healthz") == (200, "ok\n")
        lines = ["control: no connection with server1", "control: no connection with server2", "lane 0: down"]
        assert get(port, "/readyz") == (503, "".join(f"{line}\n" for line in lines))
        assert values(port)["ready"] == 0

        leader.node.warm.clear()
        assert get(port, "/readyz")[1].startswith("kernels: still being compiled\n")
        with pytest.raises(LinkError, match=rf"server1 cannot show its metrics at 127.0.0.1:{port}: Address"):
            Exporter(("127.0.0.1", port), {}, "server1")
    finally:
        leader.stop()
    with pytest.raises(OSError, match="refused"):
        get(port)


def test_a_stuck_party_is_found_out(make_config: Any) -> None:
    """Whoever holds a queue's lock for ever stops upkeep, and upkeep is what `/healthz` looks at."""
    server = Trio(make_config(managed=False), start=[]).servers[0]
    assert server._monitor.unhealthy() == []
    server._monitor.beaten -= monitor.STUCK_S + 1
    assert re.fullmatch(r"upkeep: has not come round for 6[12] s", *server._monitor.unhealthy())
    server._keep_up()
    assert server._monitor.unhealthy() == []
    over = threading.Thread(target=lambda: None)
    over.start()
    over.join()
    server.duty.lanes[0]._thread = server._entrance._accepting = over
    assert server._monitor.unhealthy() == ["entrance: nobody accepts callers", "lane 0: its thread has ended"]
    server.node.leaving.set()
    assert server._monitor.unready() == ["stopping"]
    server.node.closing.set()
    assert server._monitor.unhealthy() == []  # threads end then


# The server itself


@pytest.mark.parametrize(
    ("bind", "calls"), [("::", ["127.0.0.1", "::1"]), ("0.0.0.0", ["127.0.0.1"]), ("::1", ["::1"])]
)
def test_where_it_listens(bind: str, calls: list[str]) -> None:
    if not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no IPv6")
    made = Exporter((bind, 0), {b"/good": health(list, "ok")}, "server0")
    try:
        for host in calls:
            socket.create_connection((host, made.address[1]), 20).close()
    finally:
        made.close()


@pytest.fixture
def served() -> Iterator[Exporter]:
    def fails() -> Reply:
        raise ValueError("secret")

    good: dict[bytes, exporter.Page] = {b"/good": health(list, "ok"), b"/bad": health(lambda: ["a: b", "c"], "ok")}
    made = Exporter(("127.0.0.1", 0), good | {b"/fails": fails}, "server0")
    yield made
    made.close()
    assert not made._thread.is_alive()


def raw(served: Exporter, request: bytes) -> bytes:
    with socket.create_connection(served.address, 20) as sock:
        sock.sendall(request)
        found = b""
        while data := sock.recv(4096):
            found += data
    return found


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /good HTTP/1.1\r\nHost: a\r\n\r\n", b"200 OK"),
        (b"GET /good?name=x HTTP/1.0\r\n\r\n", b"200 OK"),
        (b"GET /bad HTTP/1.1\r\n\r\n", b"503 Service Unavailable"),
        (b"GET /fails HTTP/1.1\r\n\r\n", b"500 Internal Server Error"),
        (b"GET /../../etc/passwd HTTP/1.1\r\n\r\n", b"404 Not Found"),
        (b"GET /good/%2e%2e/bad HTTP/1.1\r\n\r\n", b"404 Not Found"),
        (b"POST /good HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello", b"405 Method Not Allowed"),
        (b"nonsense\r\n\r\n", b"400 Bad Request"),
        (b"\x16\x03\x01\r\n\r\n", b"400 Bad Request"),
        (b"GET /good HTTP/1.1\r\nX: " + b"x" * 2 * HEAD_BYTES + b"\r\n\r\n", b"431 Request Header Fields Too Large"),
    ],
)
def test_one_answer_to_every_request(served: Exporter, request_: bytes, status: bytes) -> None:
    answer = raw(served, request_)
    assert answer.startswith(b"HTTP/1.1 " + status + b"\r\n")
    assert b"secret" not in answer
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"Content-Length: %d\r\n" % len(body) in head


def test_callers_who_say_nothing_make_room(served: Exporter) -> None:
    """Three times as many as there is room for, and somebody honest is answered all the same."""
    before = threading.active_count()
    with contextlib.ExitStack() as stack:
        silent = [stack.enter_context(socket.create_connection(served.address, 20)) for _ in range(3 * CALLERS)]
        for each in silent[::2]:
            each.sendall(b"GET /good HTTP/1.1\r\nX: ")
        assert raw(served, b"GET /good HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.1 200")
        assert silent[0].recv(1) == b""  # the oldest had to go
        assert len(served._callers) <= CALLERS
        assert threading.active_count() == before


def test_patience_ends(served: Exporter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporter, "PATIENCE_S", 0.05)
    with socket.create_connection(served.address, 20) as sock:
        sock.sendall(b"GET /go")
        assert sock.recv(1) == b""
