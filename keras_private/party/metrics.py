"""What a party counts for its operator: every metric is declared here, once.

Theory of operation. `FAMILIES` is all there is: `docs/metrics.md` is made of it (`python -m
keras_private.party.metrics`), and the tests compare it with what a party shows and with the dashboard. What happens is
told to `Metrics` by methods named after it, beside the log's calls; what simply *is* (the queue's length, lanes that
are up) is looked at when somebody asks (`monitor.Monitor.gauges`), and costs nothing until then.

No label holds anything of a client's data, and none a client's name: names are without bound, and who asks how often is
not a monitoring system's business; the log has it. Each party has a registry of its own, as several may live in one
process.

Without `metrics` in cluster.yaml prometheus_client is not loaded, and nothing is counted but `Totals`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal

from keras_private.party.messages import BROKEN, BUSY, FAILED, NO_MODEL, QUOTA, REFUSED, REPLACED, STOPPED, Part

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.metrics_core import Metric

PREFIX: Final = "keras_private_"
OTHER: Final = "other"
REASONS: Final = (REFUSED, BUSY, QUOTA, STOPPED, REPLACED, FAILED, BROKEN, NO_MODEL, OTHER)
"""Why a request was refused: the codes of `messages.Error`."""
_SECONDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_ROWS: Final = tuple(2.0**power for power in range(13))


@dataclass(frozen=True, slots=True)
class Family:
    """One metric. `label`: the one that it has, and `values`, all that it can be; none: what models there are."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    label: str = ""
    values: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()

    @property
    def full_name(self) -> str:
        """As queries and dashboards name it; of a histogram, without `_bucket`, `_sum`, `_count`."""
        return f"{PREFIX}{self.name}{'_total' if self.kind == 'counter' else ''}"


def _counter(name: str, help_: str, label: str = "", values: Sequence[str] = ()) -> Family:
    return Family(name, "counter", help_, label, tuple(values))


def _gauge(name: str, help_: str, label: str = "", values: Sequence[str] = ()) -> Family:
    return Family(name, "gauge", help_, label, tuple(values))


def _histogram(name: str, help_: str, buckets: tuple[float, ...] = _SECONDS) -> Family:
    return Family(name, "histogram", help_, buckets=buckets)


FAMILIES: Final = (
    # requests
    _counter("requests_received", "Requests taken into the queue.", "kind", ("query", "evaluation part")),
    _counter("queries_answered", "Queries that this party gave its share of the answer to."),
    _counter("evaluations_answered", "Evaluations that came to their end."),
    _counter("refusals", "Requests that got an error instead of an answer, by its code.", "reason", REASONS),
    _histogram("queue_seconds", "From a request's arrival to the beginning of its first run."),
    _histogram("answer_seconds", "From the end of a request's last run until its answer was handed to the connection."),
    _histogram("request_seconds", "From a request's arrival until its answer was handed to the connection."),
    _gauge("queue_requests", "Requests in the queue, those that run included."),
    _gauge("queue_limit_requests", "Requests that the queue has room for (limits.queue)."),
    _gauge("queue_oldest_seconds", "Age of the oldest request in the queue; 0: there is none."),
    # runs
    _counter("runs", "Runs of a plan.", "outcome", ("done", "failed")),
    _counter("rows", "Rows that were run."),
    _counter("rounds", "Rounds of communication, in all runs."),
    _counter("sent_bytes", "Bytes sent to the two other parties in runs."),
    _histogram("run_rows", "Rows of a run: the size of a batch.", _ROWS),
    _histogram("run_seconds", "What a run took."),
    _gauge("lanes_up", "Lanes that are up."),
    _gauge("lanes", "Lanes that there should be."),
    _counter("lane_failures", "Lanes that broke, or could not be built."),
    # what is held
    _gauge("models", "Models held."),
    _gauge("model_bytes", "Memory that a model's shares take, by the name under which it was shared.", "model"),
    _gauge("client_memory_bytes", "Memory that clients' messages and requests take."),
    _gauge("client_memory_limit_bytes", "Memory that they may take: half of limits.memory_mb."),
    # callers
    _gauge("connections", "Connections of those who proved who they are.", "role", ("client", "owner", "party")),
    _gauge("handshakes", "Callers who shake hands at the moment."),
    _counter("handshakes_refused", "Callers without a certificate that is good here, or too slow."),
    _counter("sessions_refused", "Callers with a good certificate who asked for what they may not, or spoke nonsense."),
    # the party
    _gauge("ready", "Whether /readyz says so: 1 or 0."),
    _gauge("serving", "At the leader, whether queries are run at the moment: 1 or 0."),
    _gauge("peers", "Parties with which there is control."),
    _gauge("certificate_expiry_timestamp_seconds", "When the certificate in use ends, seconds since 1970."),
    _gauge("start_timestamp_seconds", "When this party started, seconds since 1970."),
    _gauge("build_info", "Always 1; the label says which release this is.", "version"),
)

_INTRODUCTION: Final = """# Metrics

What a party shows at `/metrics`, if [cluster.yaml says where](configuration.md#metrics-and-health). Names and labels
are stable. All values of a label are there from the start, at 0. Metrics of the process (`process_open_fds`,
`process_resident_memory_bytes`, `process_cpu_seconds_total`, …) are shown beside these. This page is made by
`python -m keras_private.party.metrics`.
"""

Gauges = Callable[[], Iterable[tuple[str, str, float]]]
"""(name, the label's value or nothing, value) of all gauges, now."""


class _Nothing:
    """In a metric's place while nothing is counted."""

    def labels(self, _value: str) -> _Nothing:
        return self

    def inc(self, _amount: float = 1) -> None:
        pass

    def observe(self, _amount: float) -> None:
        pass


class Totals:
    """What an owner's status shows, and is counted in any case. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.refused = self.runs = self.rows = self.sent = 0

    def add(self, refused: int = 0, runs: int = 0, rows: int = 0, sent: int = 0) -> None:
        with self._lock:
            self.refused += refused
            self.runs += runs
            self.rows += rows
            self.sent += sent


class Metrics:
    """What happens at a party, event by event. From any thread. Without a registry it is told and forgotten."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.totals = Totals()
        found = {family.name: _made(family, registry) for family in FAMILIES if family.kind != "gauge"}

        def each(name: str, values: Iterable[str]) -> dict[str, Any]:
            return {value: found[name].labels(value) for value in values}  # all are there, at 0, from the start

        self._received = each("requests_received", ("query", "evaluation part"))
        self._refusals = each("refusals", REASONS)
        self._runs = each("runs", ("done", "failed"))
        self._queries, self._evaluations = found["queries_answered"], found["evaluations_answered"]
        self._queue_seconds, self._answer_seconds = found["queue_seconds"], found["answer_seconds"]
        self._request_seconds, self._run_seconds = found["request_seconds"], found["run_seconds"]
        self._rows, self._rounds, self._bytes = found["rows"], found["rounds"], found["sent_bytes"]
        self._run_rows, self._lane_failures = found["run_rows"], found["lane_failures"]
        self._handshakes, self._sessions = found["handshakes_refused"], found["sessions_refused"]

    # Requests

    def received(self, *, part: bool) -> None:
        """A request went into the queue; of an evaluation it is a part."""
        self._received["evaluation part" if part else "query"].inc()

    def refused(self, code: str) -> None:
        """A client got an error instead of an answer."""
        self.totals.add(refused=1)
        self._refusals.get(code, self._refusals[OTHER]).inc()

    def answered(self, part: Part | None, arrived: float, ran: float) -> None:
        """A request, or such a part of an evaluation, got its answer; the times are of `time.monotonic`."""
        now = time.monotonic()
        self._answer_seconds.observe(now - ran)
        self._request_seconds.observe(now - arrived)
        if part is None:
            self._queries.inc()
        elif part.last:
            self._evaluations.inc()

    # Runs

    def began(self, waited: Iterable[float]) -> None:
        """A run begins with requests of which these have waited so many seconds for their first."""
        for seconds in waited:
            self._queue_seconds.observe(seconds)

    def ran(self, *, rows: int, rounds: int, sent_bytes: int, seconds: float) -> None:
        """A run has ended well."""
        self.totals.add(runs=1, rows=rows, sent=sent_bytes)
        self._runs["done"].inc()
        self._rows.inc(rows)
        self._rounds.inc(rounds)
        self._bytes.inc(sent_bytes)
        self._run_rows.observe(rows)
        self._run_seconds.observe(seconds)

    def run_failed(self) -> None:
        self._runs["failed"].inc()

    def lane_failed(self) -> None:
        self._lane_failures.inc()

    # Callers

    def handshake_refused(self) -> None:
        self._handshakes.inc()

    def session_refused(self) -> None:
        self._sessions.inc()


def _made(family: Family, registry: CollectorRegistry | None) -> Any:
    if registry is None:
        return _Nothing()
    from prometheus_client import Counter, Histogram

    name, labels = PREFIX + family.name, [family.label] if family.label else []
    if family.kind == "histogram":
        return Histogram(name, family.help, labels, buckets=family.buckets, registry=registry)
    return Counter(name, family.help, labels, registry=registry)


def counting(gauges: Gauges) -> tuple[Metrics, CollectorRegistry]:
    """Metrics that are counted, and the registry in which they are, with the gauges and the process' own figures."""
    from prometheus_client import CollectorRegistry, ProcessCollector, disable_created_metrics

    disable_created_metrics()  # type: ignore[no-untyped-call]  # `start_timestamp_seconds` says it once for all
    registry = CollectorRegistry()
    registry.register(_Gauges(gauges))
    ProcessCollector(registry=registry)
    return Metrics(registry), registry


def exposition(registry: CollectorRegistry) -> tuple[Callable[[], bytes], str]:
    """What makes the text that Prometheus reads, and its content type."""
    from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

    return partial(generate_latest, registry), CONTENT_TYPE_LATEST


class _Gauges:
    """What prometheus_client asks for what is now."""

    def __init__(self, look: Gauges) -> None:
        self._look = look

    def describe(self) -> Iterator[Metric]:
        """Without it, registering would already look."""
        return iter(self._families().values())

    def collect(self) -> Iterator[Metric]:
        made = self._families()
        for name, label, value in self._look():
            made[name].add_metric([label] if label else [], value)
        return iter(made.values())

    def _families(self) -> dict[str, Any]:
        from prometheus_client.core import GaugeMetricFamily

        return {
            family.name: GaugeMetricFamily(
                PREFIX + family.name, family.help, labels=[family.label] if family.label else []
            )
            for family in FAMILIES
            if family.kind == "gauge"
        }


def table() -> str:
    """docs/metrics.md."""
    lines = [_INTRODUCTION, "| metric | kind | label | what |", "|---|---|---|---|"]
    for family in FAMILIES:
        label = f"`{family.label}`" if family.label else ""
        label += f": {', '.join(family.values)}" if family.values else ""
        lines.append(f"| `{family.full_name}` | {family.kind} | {label} | {family.help} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(table(), end="")  # noqa: T201
