"""Every event that the log knows: what it means, and what to do about it.

The names are stable: an event keeps its name, and its fields keep their names and meanings, so that an alarm can be
built on them; there may be further events and fields later. `docs/logs.md` is made of this table (`python -m
keras_private.events`), and a test holds it against every call that logs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Event:
    """One kind of line. `fields`: what it may have beside `party`, `event`, `level` and `timestamp`; `do`: nothing need
    be done if it is empty."""

    name: str
    levels: tuple[str, ...]
    fields: tuple[str, ...]
    meaning: str
    do: str = ""


def _event(name: str, levels: str, fields: str, meaning: str, do: str = "") -> Event:
    return Event(name, tuple(levels.split()), tuple(fields.split()), meaning, do)


DEFECT: Final = "report it, with the traceback"
LOST: Final = "log lines lost"

EVENTS: Final = (
    # the party
    _event("listening", "info", "host bind", "started; `host` is where others call it, `bind` where it listens"),
    _event("leaving", "info", "waiting drain_s", "asked to end: takes nothing new in, and finishes what runs"),
    _event("stopped", "info", "", "ended in good order"),
    _event("warm-up failed", "error", "exception", "the kernels could not be compiled", "see the exception: often a "
           "cache folder that cannot be written, else a defect"),
    _event("upkeep failed", "error", "what exception", "looking after requests, memory or the certificate failed once; "
           "it goes on", DEFECT),
    _event(LOST, "warning", "lost cause", "so many lines before this one could not be written", "see to what takes "
           "standard error: a full disk, a reader that is stuck"),
    # certificates
    _event("certificate", "warning error", "cause", "its own certificate ends within 30 days (warning), or has ended "
           "(error: nobody can connect any more); daily", "issue a new one: keras-private certs"),
    _event("certificate reloaded", "info", "expires", "changed certificate files are in use from now on"),
    _event("certificate kept", "warning", "cause", "changed certificate files are of no use, the old ones stay in use",
           "put files there that fit together; the cause says what is wrong"),
    # access
    _event("access reloaded", "info", "", "changed rules about who may do what apply from now on"),
    _event("access kept", "warning", "cause", "changed rules are of no use, the old ones apply", "correct the file: "
           "the cause lists its mistakes"),
    # callers
    _event("refused", "warning", "peer request cause", "somebody was not let in, or not allowed to do what they asked",
           "look at whose fault it is; of strangers, keep the port behind a firewall"),
    _event("closed", "warning", "peer cause", "somebody with a good certificate sent what makes no sense",
           "ask them which release they run"),
    _event("gone", "debug", "peer cause", "a connection ended"),
    _event("session failed", "error", "peer exception", "a defect met while somebody was attended to; their connection "
           "ended", DEFECT),
    _event("cannot accept", "error", "cause", "the system gives no more connections or threads", "raise the limits of "
           "open files and processes (`keras-private doctor` looks at them)"),
    # the other parties
    _event("peer up", "info", "peer", "a control connection between leader and follower is there"),
    _event("peer down", "warning", "peer cause", "it ended; it is built anew", "if it lasts, look at that party"),
    _event("leader away", "warning", "cause", "a follower cannot reach server0; said once, it keeps trying",
           "if server0 is up: compare host, cluster name and certificates (`keras-private doctor`)"),
    _event("lane up", "info", "lane", "the three parties have a lane to run in"),
    _event("lane down", "warning", "lane", "at the leader: it ended, and is built anew"),
    _event("lane failed", "info warning error", "lane cause exception", "info: a lane broke between runs, and is built "
           "anew. Warning: it cannot be built, for a cause that is said once. Error: a defect", "of a warning: as the "
           "cause says, often an address in one party's cluster.yaml; of an error: report it, with the traceback"),
    # models
    _event("model loaded", "info", "owner model version digest ops", "this party holds its shares of a model"),
    _event("model published", "info", "owner model version deployed", "at the leader: all three hold it, and its name "
           "means this version from now on"),
    _event("model undeployed", "info", "owner model version kept", "it is not served without its owner any more, and "
           "kept or taken away"),
    _event("model retired", "info", "owner model version", "a version that was replaced has no clients left, and "
           "is let go"),
    _event("model stopped", "info", "owner model version", "its owner took it away"),
    _event("model forgotten", "info", "owner model version cause", "a follower let a model go, because the leader does "
           "not keep it"),
    _event("model lost", "warning", "owner model version cause", "another party holds its share of a model that the "
           "leader does not hold any more", "its owner shares it again; with `storage` models outlive a restart"),
    _event("model incomplete", "warning", "owner model version cause", "a party does not hold its share of it any more",
           "its owner shares it again, as `serve` does by itself; with `storage` models outlive a restart"),
    _event("serving", "info", "owner model version requests", "an owner serves so many requests; null: without end"),
    _event("serving stalled", "warning", "cause", "no query can be run; the owner is told the same", "see to the party "
           "that the cause names"),
    _event("serving resumed", "info", "", "queries are run again"),
    _event("serving ended", "info", "served cause", "`done`, or what went wrong"),
    _event("serving paused", "info", "owner", "the owner's connection ended while it served; queries wait"),
    # what is kept over a restart
    _event("model restored", "info", "owner model version digest", "a model that was kept is held again, at a start"),
    _event("stored model not shredded", "error", "file cause", "a model that was taken away is on the disk still",
           "remove the file"),
    _event("stored model unreadable", "error", "file cause", "a model that was kept could not be read, and is not held",
           "its owner shares it again; see to the disk, or whether the key is the one it was written with"),
    _event("usage not kept", "error", "cause", "what clients have asked for could not be written down; a restart would "
           "give them some of it again", "make room on the disk, or see what ails it"),
    _event("stored note unreadable", "error", "file cause", "one of the party's own notes could not be read: of "
           "`usage` it begins anew; without `published` it holds no model", "see to the disk, or whether the key is "
           "the one it was written with, and start it again"),
    # runs
    _event("run done", "info", "lane requests rows rounds bytes ms", "one batch; `bytes` are those that this party "
           "sent to its peers"),
    _event("run stopped", "info", "lane layer", "where in the plan a run failed at this party; clients are not told"),
    _event("run failed", "error", "lane cause", "a batch failed; its clients got the cause, and may ask again",
           "one, when a party goes away, is usual; look at the party that the cause names if they go on"),
    _event("answer failed", "error", "lane peer exception", "a defect met while one client was answered; the others "
           "were answered all the same", DEFECT),
    # of the process that started a party (auto_managed)
    _event("party ended", "warning", "code restart_s", "a managed party died, with this exit code (negative: the "
           "signal that killed it); after so many seconds another is started", "see that party's last lines"),
    _event("party restarted", "warning", "pid", "another one was started; `serve` shares the model again"),
    _event("party not restarted", "error", "cause", "that failed; it is tried again", "as the cause says"),
)  # fmt: skip

_INTRODUCTION: Final = """# Events of the log

Every line has `party`, `event`, `level` and `timestamp` (UTC, ISO 8601); the table has what else it may hold. **Names
are stable**: an event and its fields keep their names and meanings, so alarms can be built on them; later releases may
have further ones. `repeated` says how many lines one stands for ([summing up](configuration.md#logs)), `exception` is a
traceback. No line ever holds a share, a key, a weight or a value of anybody's data.

This page is made by `python -m keras_private.events`.
"""


def table() -> str:
    """docs/logs.md."""
    lines = [_INTRODUCTION, "| event | level | fields | meaning | what to do |", "|---|---|---|---|---|"]
    lines += [
        f"| `{event.name}` | {', '.join(event.levels)} | {', '.join(event.fields)} | {event.meaning} | {event.do} |"
        for event in EVENTS
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(table(), end="")  # noqa: T201
