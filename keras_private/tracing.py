"""Spans for OpenTelemetry: what a query's time went into, at a client and at each party.

    OTEL_TRACES_EXPORTER=otlp OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4318 keras-private party …
    keras_private.tracing.use(tracer_provider)       # in a program that has set one up in code

Theory of operation. Off, which is the default, nothing of OpenTelemetry is imported, and each place that would make a
span asks one question. On, spans are made when their end is known, with the times of their parts, so that nothing is
kept open meanwhile; OpenTelemetry's batch processor sends them from a thread of its own, and drops what it has no room
for. Whatever goes wrong in it fails no query.

*No trace context travels.* A client's span and the parties' are traces of their own. A context would be a mark of the
client's choice in every message: it would tie a query to the client's other work, to whoever collects the parties'
traces, and nothing that runs needs it. Attributes are sizes, counts and the model's name; never a client's name, an
address, a request's id, or a value.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from typing import Any, Final

import keras_private
from keras_private.errors import ConfigError

EXPORTER: Final = "OTEL_TRACES_EXPORTER"
_NAME: Final = "keras_private"

_tracer: Any = None  # opentelemetry's; None: off
_nothing: Final = contextlib.nullcontext()


def on() -> bool:
    """Whether anybody wants spans."""
    return _tracer is not None


def use(provider: Any) -> None:
    """Make spans with an `opentelemetry.trace.TracerProvider`; None: no more."""
    global _tracer
    _tracer = None if provider is None else provider.get_tracer(_NAME, keras_private.__version__)


def wanted() -> bool:
    """Whether the environment, by OpenTelemetry's own variables, asks for spans."""
    off = os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    return not off and os.environ.get(EXPORTER, "").strip().lower() not in ("", "none")


def start_client() -> None:
    """If the environment asks for spans, make them with what the program has set up, or will have."""
    if on() or not wanted():
        return
    with contextlib.suppress(ImportError):
        from opentelemetry import trace

        use(trace.get_tracer_provider())


def start_party(name: str) -> None:
    """If the environment asks for spans, send them as OTLP over HTTP.

    Raises:
        ConfigError: it asks for another exporter, or the extra `otel` is not installed.
    """
    if on() or not wanted():
        return
    if (exporter := os.environ[EXPORTER].strip().lower()) != "otlp":
        raise ConfigError(f"{EXPORTER}={exporter}: a party exports spans as otlp, or none")
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise ConfigError(
            f"{EXPORTER}={exporter} needs {error.name}, which this installation lacks: "
            "pip install 'keras-private[otel]'"
        ) from None
    named = {} if "OTEL_SERVICE_NAME" in os.environ else {"service.name": f"{_NAME}.{name}"}
    provider = TracerProvider(resource=Resource.create(named))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    use(provider)


def emit(
    name: str,
    began: float,
    ended: float,
    *,
    parent: Any = None,
    links: Sequence[Any] = (),
    error: str = "",
    context: Any = None,
    **attributes: str | int | float | bool,
) -> Any:
    """A span that is over; the times are of `time.monotonic`. Raises nothing.

    Args:
        parent, links: what this has returned for other spans.
        error: the kind of error with which it ended.
        context: of OpenTelemetry, that was current when it began.

    Returns:
        what names it as another one's parent.
    """
    if _tracer is None:
        return None
    with contextlib.suppress(Exception):  # whatever it is, no query fails for it
        from opentelemetry import trace

        if parent is not None:
            context = trace.set_span_in_context(trace.NonRecordingSpan(parent))
        span = _tracer.start_span(
            f"{_NAME}.{name}",
            context=context,
            attributes={f"{_NAME}.{key}": value for key, value in attributes.items()},
            links=[trace.Link(each) for each in links if each is not None],
            start_time=_wall(began),
        )
        if error:
            span.set_status(trace.Status(trace.StatusCode.ERROR, error))
        span.end(_wall(ended))
        return span.get_span_context()
    return None


def _wall(moment: float) -> int:
    """Nanoseconds since 1970."""
    return time.time_ns() - round(1e9 * (time.monotonic() - moment))


# A client's queries


def asking() -> contextlib.AbstractContextManager[None]:
    """A query is asked, and answered or failed, within this."""
    return _asking() if on() else _nothing


@contextlib.contextmanager
def _asking() -> Iterator[None]:
    end, error = _begun(), ""
    try:
        yield
    except BaseException as failure:
        error = type(failure).__name__
        raise
    finally:
        end(error)


def asked(on_done: Callable[[Callable[[Future[Any]], None]], None]) -> None:
    """A query is asked whose answer will be a future's; `on_done` registers what is called with that one then."""
    if not on():
        return
    end = _begun()

    def done(ticket: Future[Any]) -> None:
        failure = None if ticket.cancelled() else Future.exception(ticket)
        end("cancelled" if ticket.cancelled() else type(failure).__name__ if failure else "")

    on_done(done)


def _begun() -> Callable[[str], None]:
    from opentelemetry import context

    began, current = time.monotonic(), context.get_current()

    def end(error: str) -> None:
        emit("query", began, time.monotonic(), error=error, context=current)

    return end
