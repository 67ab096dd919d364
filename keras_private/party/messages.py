"""The messages between owners, clients and parties: what each may hold. `wire` writes and reads them.

    everyone   Hello → Welcome, or Error
    client     Describe → Description · Query → Answer or Error · Cancel · Ping → Ping; the leader may say Retired
    owner      Load → Accepted, Weight…  → Loaded, Publish → Published (at the leader) · Serve → Progress…
               Stop → Stopped · Undeploy → Stopped · AskStatus → Status · AskTiming → Timing
               AskEvaluations → Evaluations
    parties    control (server1, server2 → server0): Holds, Drop, Holdings, LaneFailed, Leaving; back: OpenLane,
               Discard, Forget;
               both: Ping
               lane (between runs, as link control): Run

No field has a default: what is left out of a message is a mistake.
"""

from __future__ import annotations

import math
from typing import Annotated, Final

from msgspec import Meta, Struct

from keras_private.party.fields import (
    Blob,
    Discreet,
    FractionalBits,
    Id,
    Ids,
    Message,
    ModelName,
    ModelNameOrEmpty,
    Name,
    Natural,
    Naturals,
    Positive,
    Real,
    Seconds,
    Shape,
    Text,
    Texts,
)
from keras_private.plan.plan import NOTICES
from keras_private.plan.ports import MAX_PORTS
from keras_private.plan.scoring import METRICS

VERSION: Final = 5
"""Of these messages, and of what the parties send each other in a lane; both sides must speak the same one. If bytes
change, it does (`tests/vectors`).
"""

CONTROL_BYTES: Final = 1 << 20
"""Largest message that carries no shares."""

MOST_HOLDS: Final = 256
"""Requests that one message says are held."""

PIECE_BYTES: Final = 4 << 20
"""Weights travel in pieces of at most this size."""

MAX_MODELS: Final = 256
"""That a party holds at once, retired versions and uploads on their way among them."""

# Codes of an error. Those who are told REFUSED, BUSY, STOPPED or REPLACED raise a `RefusedError`, QUOTA a `QuotaError`,
# else a `PartyError`.
REFUSED: Final = "refused"
"""The party that says so does not take it, for good."""
BUSY: Final = "busy"
"""The party that says so does not take it now; asking again may help."""
QUOTA: Final = "quota"
"""The party that says so grants the client no more rows now; asking again may help after as long as it says, if it
does."""
STOPPED: Final = "stopped"
"""The model was taken away by its owner."""
REPLACED: Final = "replaced"
"""The owner shared again; asking again may help, after a new `Describe`."""
FAILED: Final = "failed"
"""The party that says so could not do it."""
BROKEN: Final = "broken"
"""A party or a connection among them went away; the text names it. Asking again may help."""
NO_MODEL: Final = "no model"
"""The party that says so does not hold the model, perhaps no longer (`NoModelError`); asking again may help, after a
new `Describe`."""

# Everyone ------------------------------------------------------------------------------------------------------------


class Hello(Message, tag="hello", frozen=True):
    """The first message of every connection. `purpose`: owner, client, control or lane; `lane` and `epoch` say which
    lane, if it is for one. Whatever the version, this one stays as it is, so that both sides can say what is wrong.
    """

    purpose: Text
    version: Natural
    cluster: Text
    lane: Natural
    epoch: Id | None

    @classmethod
    def plain(cls, purpose: str, cluster: str) -> Hello:
        """Of this version, and for no lane."""
        return cls(purpose, VERSION, cluster, 0, None)


class Welcome(Message, tag="welcome", frozen=True):
    party: Text


class Error(Message, tag="error", frozen=True):
    """`code`: see above; `request`: the query it is about, if it is about one; `after`: seconds until asking again may
    help, if that is known."""

    code: Text
    text: Text
    request: Id | None
    after: Seconds | None


# Clients -------------------------------------------------------------------------------------------------------------


class Describe(Message, tag="describe", frozen=True):
    """What is `model`? At the leader, which alone knows what names mean, None asks for the upload that has this name
    now; without a name, for the default model (`Shelf.named`)."""

    name: ModelNameOrEmpty
    model: Id | None


class InputPort(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """An input of a model, see `plan.Input`; its shape per sample, and the fractional bits that it is encoded with."""

    name: Name
    shape: Shape
    kind: Text
    frac: FractionalBits
    range: tuple[Real, Real] | None
    limit: Positive | None


class OutputPort(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """An output of a model, see `plan.Output`; its shape per sample, and the fractional bits that it has."""

    name: Name
    shape: Shape
    kind: Text
    frac: FractionalBits
    final_activation: Text
    reveal: Text


class EvaluationPort(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """An evaluation that a model's owner allows, see `plan.Evaluation` and `plan.scoring`.

    target: what a row has behind the model's inputs. counts, frac: scores of a row, and the fractional bits that their
    total has. notices: totals behind it, of rows without an answer, whose scores are 0. most: rows of an evaluation;
    batch: of one of its parts.
    """

    metric: Text
    recipient: Text
    fewest: Natural
    most: Natural
    batch: Natural
    target: InputPort
    counts: Natural
    notices: Annotated[int, Meta(ge=0, le=len(NOTICES))]
    frac: FractionalBits


class Part(Discreet, Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Of which evaluation a query's rows are a part. `start`: rows that came before it; `last`: none comes after it,
    and the total is told."""

    evaluation: Id
    metric: Text
    start: Natural
    last: bool


EvaluationPorts = Annotated[tuple[EvaluationPort, ...], Meta(max_length=len(METRICS))]
InputPorts = Annotated[tuple[InputPort, ...], Meta(min_length=1, max_length=MAX_PORTS)]
OutputPorts = Annotated[tuple[OutputPort, ...], Meta(min_length=1, max_length=MAX_PORTS)]


class Description(Message, tag="description", frozen=True):
    """All that a client is told about a model; `name` and `version` are its owner's, who is `owner` in a certificate.

    A query's words are, for each row, all inputs, flattened, one behind the other; an answer's all outputs.
    `max_batch` is for queries.
    """

    model: Id
    name: ModelName
    version: Natural
    digest: Text
    owner: Text
    takes: Text
    inputs: InputPorts
    gives: Text
    outputs: OutputPorts
    evaluations: EvaluationPorts
    max_batch: Natural

    @property
    def results(self) -> OutputPorts:
        """The outputs that are the model's; the others are notices about a query."""
        return tuple(port for port in self.outputs if port.reveal not in NOTICES)

    @property
    def input_words(self) -> int:
        """Values that all inputs of a row have together."""
        return sum(math.prod(port.shape) for port in self.inputs)

    @property
    def output_words(self) -> int:
        """Values that all outputs of a row have together."""
        return sum(math.prod(port.shape) for port in self.outputs)


class Query(Message, tag="query", frozen=True):
    """One party's package of a shared batch: each half a 32-byte seed or the words themselves. `part`: None of a query;
    of an evaluation each row has its targets behind the inputs. `patience`: milliseconds from now for which its client
    waits for the answer; None: for as long as it takes.
    """

    request: Id
    model: Id
    rows: Natural
    part: Part | None
    patience: Natural | None
    mine: Blob
    next: Blob


class Answer(Message, tag="answer", frozen=True):
    """One party's share of the output, little-endian words. To a part of an evaluation: of the total, or nothing, if
    others follow or the owner is told."""

    request: Id
    mine: Blob
    next: Blob


class Cancel(Message, tag="cancel", frozen=True):
    """`request`: or an evaluation."""

    request: Id


class Retired(Message, tag="retired", frozen=True):
    """There is a newer version of this model. It is answered still, for as long as its clients need it, or until its
    owner's memory is; `Describe` gives the new one."""

    model: Id


# Owners --------------------------------------------------------------------------------------------------------------


class Load(Message, tag="load", frozen=True):
    """`model` names this sharing of the plan: three shares only mean something together if they carry the same.

    The leader is asked first. `version`: for it, 0 asks for the next one, and another number for that one, in new
    shares; for the followers, the one that it gave. `made`: when its owner shared it first, in ns since 1970 by their
    clock: a leader that has forgotten its versions must not take an old one for the newest.
    """

    model: Id
    name: ModelName
    version: Natural
    made: Natural
    plan: Blob


class Accepted(Message, tag="accepted", frozen=True):
    """There is room for it; `version` is the one that it has."""

    version: Natural


class Weight(Message, tag="weight", frozen=True):
    """The next piece of one part of a weight's package. `part`: mine or next."""

    name: Text
    part: Text
    data: Blob
    last: bool


class Loaded(Message, tag="loaded", frozen=True):
    digest: Text


class Publish(Message, tag="publish", frozen=True):
    """For the leader: from now on the name means this upload, which all three hold. `deploy`: and it is served until
    `Undeploy`; so it is, too, if the one before was."""

    model: Id
    deploy: bool


class Published(Message, tag="published", frozen=True):
    version: Natural


class Serve(Message, tag="serve", frozen=True):
    """Answer this many requests (None: until stopped), for as long as this connection lives."""

    model: Id
    num_requests: Natural | None


class Progress(Message, tag="progress", frozen=True):
    """How serving goes on. `trouble`: why no query can be run now, such as a party that is away; empty: nothing is.
    `version`: the newest one of what is served.
    """

    served: Natural
    waiting: Natural
    done: bool
    trouble: Text
    version: Natural


class Stop(Message, tag="stop", frozen=True):
    """Forget this upload; the leader has all versions of its name forgotten, if it is the newest one."""

    model: Id


class Stopped(Message, tag="stopped", frozen=True):
    pass


class Undeploy(Message, tag="undeploy", frozen=True):
    """For the leader: do not serve the model of this name any more, and forget it, unless `keep`."""

    name: ModelName
    keep: bool


class AskStatus(Message, tag="ask-status", frozen=True):
    pass


class Figures(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A party in numbers; what is counted is counted since it started.

    release: of its software. clock: seconds since 1970, by its clock. uptime: seconds. limits: those of its
    configuration, as "name=value". unready: why it should not be sent owners and clients now; nothing: it may. due:
    lanes that there should be. clients: their connections. oldest: seconds for which the oldest request has waited.
    refused: requests; rows, runs, sent (bytes): what was run.
    """

    release: Text
    clock: Real
    uptime: Real
    limits: Texts
    unready: Texts
    due: Natural
    clients: Natural
    oldest: Real
    refused: Natural
    runs: Natural
    rows: Natural
    sent: Natural


class ModelStatus(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A model that a party holds. `state`: "held" at a follower; at the leader "loading" before it is published, then
    "deployed", "serving", "paused" or, if there is a newer version, "retired"; "incomplete": another party does not
    hold it. served, waiting: requests. clients: connections that know it. size: of its shares, in bytes."""

    name: Text
    version: Natural
    owner: Text
    digest: Text
    state: Text
    served: Natural
    waiting: Natural
    clients: Natural
    size: Natural


ModelStatuses = Annotated[tuple[ModelStatus, ...], Meta(max_length=MAX_MODELS)]


class Status(Message, tag="status", frozen=True):
    """`expires`: when the party's certificate does, seconds since 1970; None without one (in-process clusters)."""

    party: Text
    models: ModelStatuses
    served: Natural
    waiting: Natural
    peers: Texts
    lanes: Natural
    expires: Natural | None
    figures: Figures


class AskTiming(Message, tag="ask-timing", frozen=True):
    """How long did the last run of this upload take?"""

    model: Id


class Timing(Message, tag="timing", frozen=True):
    """Microseconds of each stage of the plan, waiting included, in the last run, which had so many rows; none and 0:
    there has been none."""

    rows: Natural
    stages: Naturals


class AskEvaluations(Message, tag="ask-evaluations", frozen=True):
    """What came of the evaluations of this upload that its owner is told of?"""

    model: Id


class Evaluations(Message, tag="evaluations", frozen=True):
    """One party's shares of the totals, little-endian words, in the order of the other fields; of each result as many
    words, one and one for each of the plan's notices."""

    evaluations: Ids
    clients: Texts
    metrics: Texts
    rows: Naturals
    mine: Blob
    next: Blob


# Parties -------------------------------------------------------------------------------------------------------------


class Hold(Discreet, Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A follower holds its package of this request."""

    request: Id
    client: Text
    model: Id
    digest: Text
    rows: Natural
    part: Part | None


HoldTuple = Annotated[tuple[Hold, ...], Meta(min_length=1, max_length=MOST_HOLDS)]


class Holds(Message, tag="holds", frozen=True):
    """What a follower has come to hold since it said so last."""

    held: HoldTuple


class Drop(Message, tag="drop", frozen=True):
    """A follower's client went away or changed its mind, or is refused what it asks for. Why, as `Error` says it. The
    leader decides what becomes of the request, or of the evaluation."""

    request: Id
    code: Text
    text: Text
    after: Seconds | None


class Holding(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """An upload that a follower holds, whole."""

    model: Id
    name: ModelName
    version: Natural
    owner: Text
    digest: Text


HoldingsOf = Annotated[tuple[Holding, ...], Meta(max_length=MAX_MODELS)]


class Holdings(Message, tag="holdings", frozen=True):
    """All that a follower holds after so many changes: of two reports the one of more changes is the later one."""

    changes: Natural
    models: HoldingsOf


class Forget(Message, tag="forget", frozen=True):
    """The leader does not keep these uploads, and followers forget them too; `code` and `text`: what became of them."""

    models: Ids
    code: Text
    text: Text


class LaneFailed(Message, tag="lane-failed", frozen=True):
    """A follower tore the lane down; `suspect` is the party whose fault it seemed to be."""

    lane: Natural
    epoch: Id
    suspect: Natural
    cause: Text


class OpenLane(Message, tag="open-lane", frozen=True):
    """The leader wants the lane built anew; connections of another epoch are of an older attempt."""

    lane: Natural
    epoch: Id


class Discard(Message, tag="discard", frozen=True):
    """The leader will not run these requests, or go on with these evaluations; followers forget them and tell their
    clients why, as `Error` does."""

    requests: Ids
    code: Text
    text: Text
    after: Seconds | None


class Leaving(Message, tag="leaving", frozen=True):
    """A follower finishes what runs, and then ends: the leader is to begin no run with it."""


class Ping(Message, tag="ping", frozen=True):
    pass


class Run(Message, tag="run", frozen=True):
    """The leader announces the next run of a lane: the next so many `rows` of each of these requests, in this order."""

    model: Id
    digest: Text
    requests: Ids
    rows: Naturals
