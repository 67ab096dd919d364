"""Every exception that keras_private raises on purpose, in one tree.

KerasPrivateError
├── ConfigError (ValueError)       cluster.yaml, a worker's host, a certificate folder, a missing extra: wrong before
│                                  anything starts
├── UnsupportedModelError          layers that cannot be lowered: every one of them, why, and what to use instead
├── PlanError (ValueError)         a plan that is malformed, was tampered with, or does not fit the limits
├── StateError (RuntimeError)      a call out of order: `serve` before `share`, `share` before `start`
├── InputError (ValueError)        a query refused before anything left the client
├── RangeError (ValueError)        a query whose answer would be wrong, or that the parties refuse: some value is out of
│                                  range; names the rows
├── ClusterError                   the cluster, or one party of it, could not do what was asked
│   ├── StartError                 a party did not start
│   ├── RefusedError               a party said no: not allowed, queue full, other shapes
│   │   ├── NoModelError           a party holds no model: nothing was shared, it was stopped, or the party restarted
│   │   └── QuotaError             a party has answered as much as this client may ask; says when to come again
│   └── PartyError                 a party failed or fell silent during a run; names party, phase, cause
│       └── StorageError           a party cannot keep a model, or not read what it kept
├── LinkError                      a connection: closed, refused, timed out; names both sides and the phase
│   ├── LinkTimeoutError (TimeoutError)
│   ├── TrustError                 one side does not accept the other: certificate, role, no TLS; retrying does not help
│   └── FrameError                 bytes that are not the frame that was due
└── IntegrityError                 doubly held shares disagree: some party is faulty

Messages say what was wrong and what to do. They never hold a share, a key or a weight.
"""

from __future__ import annotations

from typing import Self


class KerasPrivateError(Exception):
    """Base of every error this package raises on purpose.

    Attributes:
        transient: whether asking again may help: a party went away, a queue is full. `query_model` has asked again
            already, as often as its `retries` say.
        after: seconds from then on, before which asking again is no use; None: nobody has said. `query_model` waits
            for so long itself, if its timeout allows.
    """

    transient = False
    after: float | None = None

    def again(self, after: float | None = None) -> Self:
        """This error, and asking again may help (`after` so many seconds)."""
        self.transient = True
        self.after = after
        return self


class ConfigError(KerasPrivateError, ValueError):
    """A configuration value is missing, malformed, unknown or contradictory."""


class UnsupportedModelError(KerasPrivateError):
    """The model holds layers or arguments that cannot be lowered; lists all of them.

    problems: one line each, as in the message.
    """

    def __init__(self, message: str, problems: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.problems = problems


class PlanError(KerasPrivateError, ValueError):
    """A plan does not parse, does not add up, or exceeds a limit."""


class PrecisionWarning(UserWarning):
    """Private answers are expected to differ from plain ones by more than they should; nothing is refused."""


class StateError(KerasPrivateError, RuntimeError):
    """A call came before the one it depends on."""


class InputError(KerasPrivateError, ValueError):
    """A query's array has the wrong shape, dtype, range or size; nothing was sent."""


class RangeError(KerasPrivateError, ValueError):
    """A query has no answer because a value of it is out of range; the message says what that means and what to do.

    Attributes:
        rows: which rows of the query it is about, from 0 on; what the others' answers are can be asked again without
            them.
        causes: the same rows by what was out of range: "range", their inputs; "guard", a value inside the model.
    """

    def __init__(
        self, message: str, rows: tuple[int, ...] = (), causes: dict[str, tuple[int, ...]] | None = None
    ) -> None:
        super().__init__(message)
        self.rows = rows
        self.causes = dict(causes or {})


class ClusterError(KerasPrivateError):
    """The cluster, or one party of it, could not do what was asked."""


class StartError(ClusterError):
    """A party did not start; names the party and the cause."""


class RefusedError(ClusterError):
    """A party refused the request; the message gives its reason."""


class NoModelError(RefusedError):
    """A party holds no model: nothing was shared, it was stopped, or the party was restarted; sharing again helps."""


class QuotaError(RefusedError):
    """A client has asked for as many rows as a party grants it; `after` says when to come again, None: not at all."""


class PartyError(ClusterError):
    """A party failed or fell silent during a run; names party, phase and cause."""


class StorageError(PartyError):
    """What a party keeps over a restart cannot be written or read.

    Attributes:
        damaged: whether the file is of no use to anybody, rather than to another key or release.
    """

    def __init__(self, message: str, *, damaged: bool = False) -> None:
        super().__init__(message)
        self.damaged = damaged


class LinkError(KerasPrivateError):
    """A connection failed; names both sides, the phase and the cause.

    Attributes:
        party: the name of the party at the far end, if there is one; if that one gave up because of another party,
            the name of the other. Empty: no party is to blame, or this side is.
    """

    def __init__(self, message: str, party: str = "") -> None:
        super().__init__(message)
        self.party = party


class LinkTimeoutError(LinkError, TimeoutError):
    """The other side of a connection said nothing for too long."""


class TrustError(LinkError):
    """One side does not accept who the other is: its certificate or role, or it speaks no TLS. Retrying is no use."""


class FrameError(LinkError):
    """The bytes that arrived are not the frame that was due."""


def party_of(error: BaseException) -> str:
    """The name of the party that an error blames; empty: none, or whoever raised it."""
    return error.party if isinstance(error, LinkError) else ""


class IntegrityError(KerasPrivateError):
    """The two copies of a share disagree: some party is faulty."""
