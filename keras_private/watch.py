"""`keras-private status --watch`: the parties in a table that is drawn again and again, or as JSON lines.

Theory of operation. Each party is asked by a thread of its own over a connection that stays, so one that hangs delays
no other's line; the table shows the latest of each. Rates are differences of what the parties have counted, over the
latest `WINDOW` answers of one and the same process: one that was started again counts from zero, and has no rate until
its second answer. A party that is down keeps its place in the table, with the cause beneath.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from keras_private.config import LEADER, PARTY_NAMES, ClusterConfig
from keras_private.errors import ClusterError, KerasPrivateError, LinkError
from keras_private.net.frames import printable
from keras_private.party.dial import ask, call
from keras_private.party.messages import AskStatus, Hello, ModelStatus, Status
from keras_private.party.network import Channel, Network
from keras_private.status import Answers, Verdict, ends_soon, judge, triples

if TYPE_CHECKING:
    from rich.console import RenderableType

ASK_S: Final = 5.0
WINDOW: Final = 6
SKEW_S: Final = 5.0
"""A party's clock may be so far off ours before it is said: certificates are looked at by it."""


class Sample(NamedTuple):
    """An answer, and how far the party's clock is ahead of ours, seconds."""

    status: Status
    ahead: float


class Rates(NamedTuple):
    """Of a second."""

    queries: float
    rows: float
    runs: float
    sent: float
    refused: float


def rates(samples: list[Sample]) -> Rates | None:
    """What came to pass between the first and the last of one process' answers; None: that cannot be said yet."""
    if not samples:
        return None
    then, now = samples[0].status, samples[-1].status
    old, new = then.figures, now.figures
    seconds = new.uptime - old.uptime  # by the party's own clock: how long the answers travelled does not matter
    if seconds <= 0:
        return None
    counts = (
        now.served - then.served,
        new.rows - old.rows,
        new.runs - old.runs,
        new.sent - old.sent,
        new.refused - old.refused,
    )
    return Rates(*(count / seconds for count in counts))


class Watched:
    """One party, asked every so many seconds by a thread of its own until `ending` is set."""

    def __init__(
        self, config: ClusterConfig, network: Network, index: int, seconds: float, ending: threading.Event
    ) -> None:
        self._config, self._network, self._index, self._seconds, self._ending = config, network, index, seconds, ending
        self._changed = threading.Condition()
        self._samples: deque[Sample] = deque(maxlen=WINDOW)
        self._error: KerasPrivateError | None = None
        self._asked = False
        threading.Thread(target=self._live, name=f"watch {PARTY_NAMES[index]}", daemon=True).start()

    @property
    def answer(self) -> Status | KerasPrivateError:
        with self._changed:
            return self._error or self._samples[-1].status

    @property
    def samples(self) -> list[Sample]:
        with self._changed:
            return list(self._samples)

    def wait(self, timeout: float) -> None:
        """Wait until it has answered, or failed to, for the first time."""
        with self._changed:
            self._changed.wait_for(lambda: self._asked, timeout)
            if not self._asked:
                self._error = LinkError(f"{PARTY_NAMES[self._index]}: it has not answered yet")

    def _live(self) -> None:
        channel: Channel | None = None
        while not self._ending.is_set():
            try:
                if channel is None:
                    channel = call(self._network, self._index, Hello.plain("owner", self._config.cluster), ASK_S)
                before = time.time()
                status = ask(channel, AskStatus(), Status, ASK_S)
                ahead = status.figures.clock - (before + time.time()) / 2
                self._tell(Sample(status, ahead), None)
            except (LinkError, ClusterError) as error:
                if channel is not None:
                    channel.close()
                channel = None
                self._tell(None, error)
            self._ending.wait(self._seconds)
        if channel is not None:
            channel.close()

    def _tell(self, sample: Sample | None, error: KerasPrivateError | None) -> None:
        with self._changed:
            if sample:
                if self._samples and sample.status.figures.uptime < self._samples[-1].status.figures.uptime:
                    self._samples.clear()  # it was started again
                self._samples.append(sample)
            self._error, self._asked = error, True
            self._changed.notify_all()


def to_json(config: ClusterConfig, answers: Answers, found: Mapping[str, Rates | None] | None = None) -> dict[str, Any]:
    """The answers, and the verdict, for machines. Keys are those of `messages.Status`; more may come."""
    verdict, sentence = judge(answers)
    parties: dict[str, Any] = {}
    hosts = {name: party.host for name, party in config.named()}
    for name, answer in answers.items():
        entry: dict[str, Any] = {"host": hosts[name], "up": isinstance(answer, Status)}
        if isinstance(answer, Status):
            entry |= msgspec.structs.asdict(answer)
            entry["models"] = [msgspec.structs.asdict(model) for model in answer.models]
            entry["figures"] = msgspec.structs.asdict(answer.figures)
            rate = (found or {}).get(name)
            if rate is not None:
                entry["rates"] = rate._asdict()
        else:
            entry["error"] = str(answer)
        parties[name] = entry
    said: dict[str, Any] = {"verdict": verdict.name.lower(), "exit_code": int(verdict), "says": sentence}
    if config.further:
        each = {number: judge(part) for number, part in triples(answers).items()}
        said["replicas"] = {number: {"verdict": its.name.lower(), "says": why} for number, (its, why) in each.items()}
    return said | {"parties": parties}


class Watch:
    """All parties, until `close`.

    Args:
        networks: each triple, as the owner sees it.
    """

    def __init__(self, config: ClusterConfig, networks: Sequence[Network], seconds: float) -> None:
        self._config = config
        self.ending = threading.Event()
        self.seconds = seconds
        self._watched = {
            config.called(number, name): Watched(config, network, index, seconds, self.ending)
            for number, network in enumerate(networks)
            for index, name in enumerate(PARTY_NAMES)
        }

    def close(self) -> None:
        self.ending.set()

    def wait(self) -> None:
        """Until each party has been asked once."""
        for each in self._watched.values():
            each.wait(2 * ASK_S)

    @property
    def answers(self) -> Answers:
        return {name: each.answer for name, each in self._watched.items()}

    @property
    def verdict(self) -> Verdict:
        return judge(self.answers)[0]

    def json(self) -> dict[str, Any]:
        found = {name: rates(each.samples) for name, each in self._watched.items()}
        return to_json(self._config, self.answers, found)

    def picture(self) -> RenderableType:
        """The table, as rich draws it."""
        return picture(self._config, self.answers, {name: each.samples for name, each in self._watched.items()})


_Row = tuple[str, ...]
_COLUMNS: Final = (
    "party",
    "state",
    "lanes",
    "queue",
    "clients",
    "queries/s",
    "rows/s",
    "rows/run",
    "MB/s",
    "refused/s",
)
_OF_MODEL: Final = ("replica", "model", "version", "owner", "state", "queries/s", "waiting", "clients", "MB")


def picture(config: ClusterConfig, answers: Answers, samples: Mapping[str, list[Sample]]) -> RenderableType:
    """The table, and beneath it the verdict and what is to be said of each party."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(title=f"cluster {config.cluster}", title_justify="left", expand=False)
    for column in _COLUMNS:  # a narrow terminal cuts figures short, and never who it is and how it is
        left = {"party": max(map(len, answers)), "state": 9}.get(column)
        table.add_column(column, justify="left" if left else "right", no_wrap=True, min_width=left)
    notes = []
    for name, answer in answers.items():
        state, style, said = _state(answer, samples.get(name, []))
        cells = _cells(answer, rates(samples.get(name, []))) if isinstance(answer, Status) else ("-",) * 8
        table.add_row(name, Text(state, style=style), *cells)
        notes += [Text(f"{name}: {printable(text.encode())}", style=style) for text in said]
    verdict, sentence = judge(answers)
    good = (
        "bold green" if verdict is Verdict.SERVING else "bold yellow" if verdict is Verdict.NOT_SERVED else "bold red"
    )
    models = _models(answers, samples)
    return Group(table, models, *notes, Text(sentence, style=good))


def _state(answer: Status | KerasPrivateError, samples: list[Sample]) -> tuple[str, str, list[str]]:
    """A word for it, its colour, and what else is to be said."""
    if not isinstance(answer, Status):
        return "DOWN", "red", [str(answer)]
    said = list(answer.figures.unready)
    if samples and abs(samples[-1].ahead) > SKEW_S:
        said.append(f"its clock is {samples[-1].ahead:+.0f} s off this host's")
    if ends := ends_soon(answer):
        said.append(ends)
    if answer.figures.unready:
        return "not ready", "yellow", said
    return "ready", "yellow" if said else "green", said


def _cells(status: Status, rate: Rates | None) -> _Row:
    figures = status.figures
    oldest = f" ({figures.oldest:.1f} s)" if status.waiting else ""
    counted: _Row = ("-",) * 5
    if rate:
        batch = f"{rate.rows / rate.runs:.1f}" if rate.runs else "-"
        counted = (
            f"{rate.queries:.1f}",
            f"{rate.rows:.1f}",
            batch,
            f"{rate.sent / 1e6:.2f}",
            f"{rate.refused:.1f}",
        )
    return (f"{status.lanes}/{figures.due}", f"{status.waiting}{oldest}", str(figures.clients), *counted)


def _models(answers: Answers, samples: Mapping[str, list[Sample]]) -> RenderableType:
    """What the leaders hold, or that they hold nothing."""
    from rich.table import Table
    from rich.text import Text

    leaders = {called: answer for called, answer in answers.items() if called.endswith(PARTY_NAMES[LEADER])}
    there = {called: answer for called, answer in leaders.items() if isinstance(answer, Status)}
    if not any(leader.models for leader in there.values()):
        return Text("no model" if there else "")
    several = len(leaders) > 1
    table = Table(expand=False)
    for column in _OF_MODEL if several else _OF_MODEL[1:]:
        left = column in ("model", "owner", "state")
        table.add_column(column, justify="left" if left else "right", no_wrap=not left, overflow="fold")
    for called, leader in there.items():
        for model in leader.models:
            rate = _rate(model, samples.get(called, []))
            style = {"serving": "green", "deployed": "green", "incomplete": "red"}.get(model.state, "yellow")
            state = Text(printable(model.state.encode()), style=style)
            named = (model.name, str(model.version), model.owner)
            counted = (
                "-" if rate is None else f"{rate:.1f}",
                str(model.waiting),
                str(model.clients),
                f"{model.size / 2**20:.1f}",
            )
            number = [called.rpartition(".")[0]] if several else []
            table.add_row(*number, *(Text(printable(each.encode())) for each in named), state, *counted)
    return table


def _rate(model: ModelStatus, samples: list[Sample]) -> float | None:
    """Its answers a second, since the first of these in which it is."""
    for sample in samples[:-1]:
        for before in sample.status.models:
            if (before.name, before.version, before.digest) == (model.name, model.version, model.digest):
                seconds = samples[-1].status.figures.uptime - sample.status.figures.uptime
                return (model.served - before.served) / seconds if seconds > 0 else None
    return None


def follow(watch: Watch, as_json: bool) -> Verdict:
    """Show it again and again until Ctrl-C: a table in a terminal; else, or for machines, a JSON line each time.

    Returns:
        the verdict at the end.
    """
    from rich.console import Console
    from rich.live import Live

    console = Console()
    with contextlib.suppress(KeyboardInterrupt), contextlib.closing(watch):
        watch.wait()
        if as_json or not console.is_terminal:
            while True:
                print(json.dumps(watch.json()), flush=True)  # noqa: T201  it is what was asked for
                time.sleep(watch.seconds)
        with Live(watch.picture(), console=console, screen=True, auto_refresh=False) as live:
            while True:
                time.sleep(watch.seconds)
                live.update(watch.picture(), refresh=True)
    console.print(watch.picture()) if console.is_terminal and not as_json else None
    return watch.verdict
