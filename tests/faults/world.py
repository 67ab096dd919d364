"""Three parties, an owner and two clients, real processes behind a proxy; what may befall them; what must hold after.

Theory of operation. A *sequence* is a list of operations, each with a pause before it. `World.run` applies them one by
one, heals everything (what a supervisor does: dead processes are started again, the network is whole), and then looks
whether

- each query was answered or failed, once, in time; failures say of whom or why;
- each answer is that of a version that was served between question and answer;
- the service came back by itself, soon;
- nothing waits at a party, and its descriptors, threads and memory are what they were before the sequence;
- no party wrote a traceback into its log.

What does not hold is a `Finding`. The world lives on, so that many sequences can use one set of processes; after a
finding, a new one is the better start.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from keras_private.config import PARTY_NAMES, ClusterConfig
from keras_private.errors import KerasPrivateError
from keras_private.net.roles import Role
from keras_private.owner import ask_status
from keras_private.party.messages import Status
from keras_private.party.network import TLSNetwork, credentials
from tests.faults import versions
from tests.faults.actor import Actor, Usage
from tests.faults.proxy import Proxy

CLIENTS: Final = ("ann", "bob")
OWNER: Final = "owner"
LINKS: Final = (
    *(f"{PARTY_NAMES[i]}-{PARTY_NAMES[j]}" for i in range(3) for j in range(i)),
    *(f"{who}-{party}" for who in (*CLIENTS, OWNER) for party in PARTY_NAMES),
)
"""Who calls whom: each is broken alone."""

TIMEOUT_S: Final = 3.0  # limits.timeout_s: how long a party puts up with silence
QUERY_S: Final = 8.0  # a query's own timeout
SLACK_S: Final = 6.0  # on top of it: connecting may take timeout_s more, and two cores run six processes here
_LONG_S: Final = 2 * (QUERY_S + SLACK_S)
LOAD: Final = 3  # queries that each client has on its way all the time
BACK_S: Final = 30.0  # until the service is back: silence is noticed after timeout_s, pauses grow to 5 s
SETTLE_S: Final = 25.0  # until nothing waits and what was taken is given back: heap.PAUSE_S, keeping up, timeouts
MORE_BYTES: Final = 24 << 20  # resident: glibc's arenas of threads that came and went, pools that grew to their size
_NAMED = re.compile(r"server[012]|owner|party|parties|this client is not connected|this query was taken back|closed")


@dataclass(frozen=True)
class Finding:
    """Something that must not be."""

    what: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.what}: {self.detail}" if self.detail else self.what


@dataclass
class Asked:
    """A query on its way: who asked it, what served then, and every report on it."""

    client: str
    life: int
    began: float
    seconds: float  # within which it must be over
    reports: list[tuple[float, dict[str, Any]]] = field(default_factory=list)


@dataclass
class Shared:
    """A version that the owner was told to share. A version that is replaced stays for clients that know it; one that
    was stopped is gone.

    Attributes:
        held: when all parties had it.
        stopped: whether the one before was stopped.
    """

    version: int
    wanted: float
    held: float | None = None
    stopped: bool = False


@dataclass
class Outcome:
    """What came of a sequence."""

    findings: list[Finding]
    answered: int = 0
    failed: int = 0
    lost: int = 0  # with their client, which was killed
    back_s: float = 0.0
    causes: list[str] = field(default_factory=list)


class World:
    """See the top of this file.

    Args:
        folder: for configuration, certificates and logs.
        limits: of cluster.yaml, beside `timeout_s`.
    """

    def __init__(self, folder: Path, limits: Mapping[str, Any] | None = None) -> None:
        self.folder = folder
        self._limits = {"timeout_s": TIMEOUT_S, **(limits or {})}
        self._heard = threading.Condition()  # around what the processes said, the next fields
        self._asked: dict[int, Asked] = {}
        self._events: list[tuple[float, str, int, dict[str, Any]]] = []
        self._shares: list[Shared] = []
        self._next = 0
        self._version = 0
        self._first: dict[str, Usage] = {}
        self._lives: dict[tuple[str, int], Usage] = {}  # of each life of a party, at its first rest
        own = _free_ports(3)
        self.proxy = Proxy({link: own[PARTY_NAMES.index(link.partition("-")[2])] for link in LINKS})
        self._direct = self._write("direct", own)
        self.actors: dict[str, Actor] = {}
        for index, name in enumerate(PARTY_NAMES):
            ports = [self.proxy.ports[f"{name}-{PARTY_NAMES[j]}"] if j < index else own[j] for j in range(3)]
            arguments = ["--config", str(self._write(name, ports)), "--name", name]
            self.actors[name] = self._actor("keras_private.party", arguments, name)
        for name in (*CLIENTS, OWNER):
            path = self._write(name, [self.proxy.ports[f"{name}-{party}"] for party in PARTY_NAMES])
            module = "tests.faults.owner" if name == OWNER else "tests.faults.client"
            self.actors[name] = self._actor(module, [str(path), name], name)
        self._config = ClusterConfig.load(self._direct)
        self._network = TLSNetwork(self._config, credentials(self._config, Role("owner", OWNER)))

    def _write(self, name: str, ports: Sequence[int]) -> Path:
        path = self.folder / f"{name}.yaml"
        parties = "".join(
            f"  {party}: {{host: '127.0.0.1:{port}'}}\n" for party, port in zip(PARTY_NAMES, ports, strict=True)
        )
        path.write_text(f"cluster: faults\nparties:\n{parties}limits: {json.dumps(self._limits)}\n")
        return path

    def _actor(self, module: str, arguments: Sequence[str], name: str) -> Actor:
        def heard(line: str, life: int) -> None:
            with contextlib.suppress(json.JSONDecodeError):  # what people are told
                self._hear(name, life, json.loads(line))

        return Actor(module, arguments, self.folder / f"{name}.log", heard)

    # What the processes say

    def _hear(self, name: str, life: int, report: dict[str, Any]) -> None:
        now = time.monotonic()
        with self._heard:
            if "id" in report:
                self._asked[report["id"]].reports.append((now, report))
            else:
                self._events.append((now, name, life, report))
            if report.get("event") == "shared" and self._shares:
                last = self._shares[-1]
                if last.version == report["version"] and last.held is None:
                    last.held = now
                    last.stopped = report["stopped"]
            self._heard.notify_all()

    def _wait(self, condition: Any, seconds: float) -> bool:
        with self._heard:
            return bool(self._heard.wait_for(condition, seconds))

    def _served(self, began: float, ended: float) -> set[int]:
        """The versions of which an answer may be, to a query of that time."""
        found: set[int] = set()
        for share in self._shares:
            if share.stopped and share.held is not None and share.held < began:
                found.clear()  # the one before was stopped first, so nobody has that any more
            if share.wanted < ended:
                found.add(share.version)
        return found

    # Life

    def start(self) -> World:
        """Start everybody, share a version, and wait for the first answers."""
        for name in PARTY_NAMES:
            self.actors[name].start()
        self.actors[OWNER].start()
        self._share(0)
        for name in CLIENTS:
            self.actors[name].start()
        if trouble := self._await_service(120.0)[1]:
            raise AssertionError(f"the world did not start: {trouble}")
        for _ in range(3):  # pools, arenas and caches have their size after these
            for name in CLIENTS:
                self._ask(name, {"do": "query", "rows": 8, "retries": 2})
                self._ask(name, {"do": "evaluate", "rows": versions.ROWS, "retries": 2, "batch": 10})
        self._wait(lambda: all(asked.reports for asked in self._asked.values()), 30.0)
        findings, self._first = self._settled()
        if findings:
            raise AssertionError(f"the world did not come to rest: {findings}")
        return self

    def stop(self) -> None:
        for actor in self.actors.values():
            actor.kill()
        self.proxy.stop()

    def __enter__(self) -> World:
        try:
            return self.start()
        except BaseException:
            self.stop()
            raise

    def __exit__(self, *_: object) -> None:
        self.stop()

    # Operations

    def apply(self, operation: Sequence[Any]) -> list[Finding]:
        """Do one operation; see `sequences.py` for what there is."""
        what, *rest = operation
        findings: list[Finding] = []
        if what in ("start", "kill", "pause", "resume"):
            actor = self.actors[rest[0]]
            if what == "start" and not actor.running and rest[0] == OWNER:
                self._share(self._version)
            else:
                getattr(actor, what)()
        elif what == "term":
            if self.actors[rest[0]].terminate(15.0) is None:
                findings.append(Finding(f"{rest[0]} did not end within 15 s of SIGTERM"))
        elif what == "link":
            link, do, more = rest
            self.proxy.do(link, do, **more)
        elif what == "share":
            self._share(rest[0])
        elif what in ("query", "ticket", "evaluate"):
            who, more = rest
            self._ask(who, {"do": what, **more})
        elif what == "cancel":
            mine = [number for number, asked in self._asked.items() if asked.client == rest[0]]
            if mine:
                self.actors[rest[0]].tell(do="cancel", id=-1, of=mine[-1])
        else:
            raise ValueError(f"no such operation: {what}")
        return findings

    def _share(self, version: int) -> None:
        self._version = version
        with self._heard:
            self._shares.append(Shared(version, time.monotonic()))
        self.actors[OWNER].start()
        self.actors[OWNER].tell(version=version)

    def _ask(self, client: str, command: dict[str, Any]) -> int:
        actor = self.actors[client]
        number, self._next = self._next, self._next + 1
        with self._heard:
            if actor.running:
                self._asked[number] = Asked(client, actor.life, time.monotonic(), QUERY_S + SLACK_S)
        actor.tell(id=number, timeout=QUERY_S, **command)
        return number

    # A sequence

    def run(self, sequence: Sequence[Sequence[Any]]) -> Outcome:
        """Apply a sequence, heal, and look what holds; `[ms, operation, …]` each."""
        with self._heard:
            self._asked.clear()
            self._events.clear()
            while any(share.stopped for share in self._shares[1:]):  # nobody has what was before that
                del self._shares[0]
        marks = {name: (self.folder / f"{name}.log").stat().st_size for name in PARTY_NAMES}
        outcome = Outcome([])
        with self._load():
            for pause, *operation in sequence:
                time.sleep(pause / 1000)
                outcome.findings += self.apply(operation)
            self.heal()
        outcome.back_s, trouble = self._await_service(BACK_S)
        if trouble:
            outcome.findings.append(Finding("the service did not come back", trouble))
        self._judge_queries(outcome)
        outcome.findings += self._settled()[0]
        outcome.findings += self._tracebacks(marks)
        return outcome

    @contextlib.contextmanager
    def _load(self) -> Iterator[None]:
        """Each client has some queries on its way at any time, so that whatever happens happens to one."""
        over = threading.Event()

        def ask(name: str, number: int) -> None:
            actor, kinds = self.actors[name], itertools.cycle(("query", "ticket"))
            while not over.is_set():
                mine = self._asked.get(self._ask(name, {"do": next(kinds), "rows": 1 + number, "retries": number}))
                life = actor.life
                self._wait(lambda mine=mine, life=life: not mine or mine.reports or actor.life != life, _LONG_S)
                if not mine or not mine.reports or mine.reports[0][1]["outcome"] != "answered":
                    over.wait(0.05)

        threads = [threading.Thread(target=ask, args=(name, i)) for name in CLIENTS for i in range(LOAD)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            over.set()
            for thread in threads:
                thread.join()

    def heal(self) -> None:
        """The network is whole, who was paused goes on, who died is started again."""
        self.proxy.do(None, "heal")
        for actor in self.actors.values():
            if actor.paused:
                actor.resume()
        for name in PARTY_NAMES:
            self.actors[name].start()
        if not self.actors[OWNER].running:
            self._share(self._version)
        for name in CLIENTS:
            self.actors[name].start()

    def _await_service(self, seconds: float) -> tuple[float, str]:
        """Ask as each client until all are answered; seconds it took, and why not if they were not."""
        began, missing, text = time.monotonic(), set(CLIENTS), ""
        while missing and (left := began + seconds - time.monotonic()) > 0:
            numbers = [self._ask(name, {"do": "query", "rows": 1, "retries": 0}) for name in missing]
            asked = [self._asked[number] for number in numbers if number in self._asked]
            self._wait(lambda asked=asked: all(each.reports for each in asked), min(left, QUERY_S + SLACK_S))
            with self._heard:
                for each in asked:
                    name = each.client
                    for _, report in each.reports:
                        if report["outcome"] == "answered":
                            missing.discard(name)
                        else:
                            text = f"{name}: {report.get('error')}: {report.get('text')}"
            if missing:
                time.sleep(0.1)
        if not missing:
            return time.monotonic() - began, ""
        with self._heard:
            said = [f"{name}: {report}" for _, name, _, report in self._events[-8:]]
        return seconds, f"{sorted(missing)} had no answer in {seconds} s; the last was {text or 'none'}; {said}"

    def _judge_queries(self, outcome: Outcome) -> None:
        with self._heard:
            asked = dict(self._asked)
        last = max((each.began + each.seconds for each in asked.values()), default=0.0)

        def alive(each: Asked) -> bool:
            return self.actors[each.client].life == each.life

        self._wait(
            lambda: all(each.reports for each in asked.values() if alive(each)), max(0.0, last - time.monotonic())
        )
        with self._heard:
            for number, each in asked.items():
                outcome.findings += self._judge(number, each, alive(each), outcome)

    def _judge(self, number: int, asked: Asked, alive: bool, outcome: Outcome) -> Iterator[Finding]:
        who = f"query {number} of {asked.client}"
        if not asked.reports:
            if alive:
                yield Finding("a query was neither answered nor failed", who)
            outcome.lost += not alive
            return
        if len(asked.reports) > 1:
            yield Finding("a query was settled more than once", f"{who}: {[report for _, report in asked.reports]}")
        ended, report = asked.reports[0]
        if report["seconds"] > asked.seconds:
            yield Finding("a query took longer than it may", f"{who}: {report}")
        if report["outcome"] == "answered":
            outcome.answered += 1
            if not set(report["versions"]) & (served := self._served(asked.began, ended)):
                yield Finding("a wrong answer", f"{who}: that of {report['versions']}, and {served} were served")
        elif report["outcome"] == "failed":
            outcome.failed += 1
            outcome.causes.append(report["text"])
            if report["error"] not in ("PartyError", "RefusedError", "NoModelError", "StateError", "LinkTimeoutError"):
                yield Finding("a query failed otherwise than it may", f"{who}: {report}")
            if not _NAMED.search(report["text"]):
                yield Finding("a failure names neither party nor cause", f"{who}: {report}")

    # The parties afterwards

    def status(self) -> dict[str, Status | KerasPrivateError]:
        """What each party says of itself, asked directly."""
        found: dict[str, Status | KerasPrivateError] = {}
        for index, name in enumerate(PARTY_NAMES):
            try:
                found[name] = ask_status(self._config, self._network, index)
            except KerasPrivateError as error:
                found[name] = error
        return found

    def _settled(self) -> tuple[list[Finding], dict[str, Usage]]:
        """Waits until nothing waits at any party and each is as small as it was; what is not by then."""
        deadline = time.monotonic() + SETTLE_S
        while True:
            usage = {name: self.actors[name].usage() for name in PARTY_NAMES if self.actors[name].running}
            findings = [*self._at_rest(), *self._grown(usage)]
            if not findings or time.monotonic() > deadline:
                return findings, usage
            time.sleep(0.2)

    def _at_rest(self) -> Iterator[Finding]:
        for name, status in self.status().items():
            if not isinstance(status, Status):
                yield Finding(f"{name} says nothing of itself", str(status))
            elif status.waiting or not status.lanes:
                yield Finding(f"{name} is not at rest", str(status))

    def _grown(self, usage: Mapping[str, Usage]) -> Iterator[Finding]:
        """Descriptors and threads are as many as when the world began; memory is as at this life's first rest."""
        for name, now in usage.items():
            first = self._first.get(name, now)
            life = self._lives.setdefault((name, self.actors[name].life), now)
            if now.files > first.files:
                yield Finding(f"{name} has {now.files} descriptors, and had {first.files}")
            if now.threads > first.threads:
                yield Finding(f"{name} has {now.threads} threads, and had {first.threads}")
            if now.memory > life.memory + MORE_BYTES:
                yield Finding(f"{name} has {now.memory >> 20} MiB, and had {life.memory >> 20}")

    def _tracebacks(self, marks: Mapping[str, int]) -> Iterator[Finding]:
        for name, start in marks.items():
            with (self.folder / f"{name}.log").open() as log:
                log.seek(start)
                for line in log:
                    if "Traceback" in line or '"exception"' in line:
                        yield Finding(f"{name} wrote a traceback", line[-1500:])


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
