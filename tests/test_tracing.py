"""Spans: what a query's time went into, where somebody asks for them; nothing is loaded where nobody does."""

from __future__ import annotations

import gzip
import http.server
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from keras_private import tracing
from keras_private.errors import ConfigError, InputError
from keras_private.worker import TFEWorker

ALLOWED = {
    "keras_private.query": set(),
    "keras_private.run": {"lane", "model", "version", "digest", "requests", "rows", "rounds", "bytes"},
    "keras_private.request": {"rows", "evaluation"},
    **{f"keras_private.{part}": set() for part in ("take in", "queue", "runs", "answer")},
}


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracing.use(provider)
    yield exporter
    tracing.use(None)


def named(spans: InMemorySpanExporter, name: str) -> list[ReadableSpan]:
    return [span for span in spans.get_finished_spans() if span.name == f"keras_private.{name}"]


def test_a_query_in_spans(
    spans: InMemorySpanExporter, memory_cluster: Any, tiny: Any, serving: Any, until: Any
) -> None:
    with serving(memory_cluster, tiny) as model, TFEWorker(name="bob") as client:
        client.connect_to_model(tiny.input_shape, tiny.output_shape, memory_cluster)
        client.query_model(tiny.batch(3))
        client.query_model_async(tiny.batch(2)).result()
        with pytest.raises(InputError):
            client.query_model("nonsense")
        until(lambda: len(named(spans, "answer")) == 6 and len(named(spans, "query")) == 3, "all have ended")
    assert {span.name for span in spans.get_finished_spans()} == ALLOWED.keys()
    for span in spans.get_finished_spans():
        assert {key.removeprefix("keras_private.") for key in span.attributes or {}} == ALLOWED[span.name]
        assert span.start_time <= span.end_time  # type: ignore[operator]
        assert "bob" not in span.to_json()
    runs = named(spans, "run")
    assert sorted(run.attributes["keras_private.rows"] for run in runs) == [2, 2, 2, 3, 3, 3]  # type: ignore[index]
    assert {run.attributes["keras_private.digest"] for run in runs} == {model.digest}  # type: ignore[index]
    for request in named(spans, "request"):
        parts = [span for span in spans.get_finished_spans() if span.parent and span.parent == request.context]
        assert [part.name.removeprefix("keras_private.") for part in parts] == ["take in", "queue", "runs", "answer"]
        assert parts[0].start_time == pytest.approx(request.start_time, abs=1e6)
        assert all(link.context in [run.context for run in runs] for link in request.links)
        assert len(request.links) == 1
    failed = [span for span in named(spans, "query") if not span.status.is_ok and span.status.description]
    assert [span.status.description for span in failed] == ["InputError"]


def test_no_context_travels(
    spans: InMemorySpanExporter, memory_cluster: Any, tiny: Any, serving: Any, until: Any
) -> None:
    """What a client's program traces is no part of what the parties do, and no query is either."""
    from opentelemetry import trace

    with serving(memory_cluster, tiny), TFEWorker(name="bob") as client:
        client.connect_to_model(tiny.input_shape, tiny.output_shape, memory_cluster)
        with TracerProvider().get_tracer("app").start_as_current_span("app") as outer:
            client.query_model(tiny.batch(1))
        until(lambda: len(named(spans, "request")) == 3, "all have ended")
    (query,) = named(spans, "query")
    assert query.context.trace_id == outer.get_span_context().trace_id  # in its own process it is the program's
    traces = {span.context.trace_id for name in ("request", "run") for span in named(spans, name)}
    assert len(traces) == 6
    assert query.context.trace_id not in traces
    assert trace.get_current_span().get_span_context().is_valid is False


def test_what_goes_wrong_in_it_fails_no_query(memory_cluster: Any, tiny: Any, serving: Any) -> None:
    class Broken:
        def get_tracer(self, *_: object) -> Broken:
            return self

        def start_span(self, *_: object, **__: object) -> None:
            raise RuntimeError("no room")

    tracing.use(Broken())
    try:
        with serving(memory_cluster, tiny), TFEWorker(name="bob") as client:
            client.connect_to_model(tiny.input_shape, tiny.output_shape, memory_cluster)
            assert client.query_model(tiny.batch(1)).shape == (1, 3)
    finally:
        tracing.use(None)


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("OTEL_")}
    return subprocess.run(
        [sys.executable, "-c", code], env=kept | environment, capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize(
    "environment",
    [{}, {"OTEL_TRACES_EXPORTER": "none"}, {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_SDK_DISABLED": "true"}],
)
def test_off_nothing_is_imported(environment: dict[str, str]) -> None:
    code = (
        "import sys, keras_private as kp\n"
        "import keras_private.party.server, keras_private.party.batch\n"
        "from keras_private import tracing\n"
        "kp.Client(name='bob'); tracing.start_party('server0')\n"
        "with tracing.asking(): pass\n"
        "assert tracing.emit('x', 0, 0) is None and not tracing.on()\n"
        "assert not [name for name in sys.modules if name.startswith('opentelemetry')]"
    )
    done = run(code, **environment)
    assert done.returncode == 0, done.stderr


def test_on_by_opentelemetrys_own_variables() -> None:
    """A real export: what a collector is sent when the process ends."""
    heard: list[tuple[str, bytes]] = []

    class Collector(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            heard.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Collector) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        code = "from keras_private import tracing as t; t.start_party('server0'); t.emit('run', 0, 1, rows=3)"
        where = f"http://127.0.0.1:{server.server_port}"
        done = run(code, OTEL_TRACES_EXPORTER="otlp", OTEL_EXPORTER_OTLP_ENDPOINT=where)
        server.shutdown()
    assert done.returncode == 0, done.stderr
    ((path, body),) = heard
    assert path == "/v1/traces"
    found = ExportTraceServiceRequest.FromString(gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body)
    (resource,) = found.resource_spans
    assert "keras_private.server0" in str(resource.resource)
    assert resource.scope_spans[0].spans[0].name == "keras_private.run"

    code = "import keras_private as kp; from keras_private import tracing; kp.Client(); assert tracing.on()"
    assert run(code, OTEL_TRACES_EXPORTER="otlp").returncode == 0


def test_what_cannot_be_is_said_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(tracing.EXPORTER, "zipkin")
    with pytest.raises(ConfigError, match="OTEL_TRACES_EXPORTER=zipkin: a party exports spans as otlp, or none"):
        tracing.start_party("server0")
    monkeypatch.setenv(tracing.EXPORTER, "otlp")
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(ConfigError, match=r"needs opentelemetry.sdk.trace, .* 'keras-private\[otel\]'"):
        tracing.start_party("server0")
    assert not tracing.on()
