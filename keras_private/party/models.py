"""The model a party holds: the plan, this party's weight shares, and whose it is."""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from keras_private.config import Limits
from keras_private.errors import InputError, PlanError, RefusedError
from keras_private.party.messages import Load, Part, Weight
from keras_private.party.tally import Results
from keras_private.plan.memory import Room, room
from keras_private.plan.plan import Evaluation, Plan
from keras_private.plan.scoring import Scoring, scoring
from keras_private.plan.serialise import digest, parse
from keras_private.sharing.share import Package, Share

if TYPE_CHECKING:
    from keras_private.mpc.program import Program


@dataclass(frozen=True, slots=True)
class Scorer:
    """What an evaluation runs: the model's program, with what scores its output behind it."""

    allowed: Evaluation
    scoring: Scoring
    room: Room
    program: Program = field(repr=False)

    @property
    def plan(self) -> Plan:
        return self.scoring.plan


@dataclass(frozen=True, slots=True)
class HeldModel:
    """A loaded model. `id` names the upload: shares of different uploads of one plan do not fit together.

    Attributes:
        scorers: what evaluates it, by metric.
        results: of evaluations that its owner is told of.
    """

    id: bytes
    digest: str
    owner: str
    plan: Plan
    room: Room
    program: Program = field(repr=False)
    scorers: Mapping[str, Scorer] = field(default_factory=dict)
    results: Results = field(default_factory=Results)

    @property
    def nbytes(self) -> int:
        """What this party's shares of its weights take."""
        return 16 * sum(math.prod(weight.shape) for weight in self.plan.weights.values())

    def what_runs(self, part: Part | None) -> HeldModel | Scorer:
        """What a query runs, or a part of an evaluation.

        Raises:
            RefusedError: the owner allows no such evaluation.
        """
        if part is None:
            return self
        scorer = self.scorers.get(part.metric)
        if scorer is None:
            allowed = ", ".join(self.scorers) or "none"
            raise RefusedError(f"the owner allows no evaluation by {part.metric[:40]!r} of this model, but {allowed}")
        return scorer


class Shelf:
    """Where a party keeps its one model. Thread-safe.

    A model belongs to the owner who loaded it: nobody else may replace it or take it away.

    Args:
        changed: called, without a lock, after every change.
    """

    def __init__(self, changed: Callable[[HeldModel | None], None]) -> None:
        self._lock = threading.Lock()
        self._upload = threading.Lock()
        self._model: HeldModel | None = None
        self._changed = changed

    @property
    def model(self) -> HeldModel | None:
        return self._model

    @contextlib.contextmanager
    def uploading(self) -> Iterator[None]:
        """The one upload that a party takes in at a time: so no more than one model's memory waits for its end.

        Raises:
            RefusedError: there is one already.
        """
        if not self._upload.acquire(blocking=False):
            raise RefusedError("another model is being uploaded; try again").again()
        try:
            yield
        finally:
            self._upload.release()

    def check_owner(self, owner: str) -> None:
        """Raises:
        RefusedError: the model here is somebody else's.
        """
        model = self._model
        if model is not None and model.owner != owner:
            raise RefusedError(f"the model loaded here belongs to {model.owner}; only they can replace or stop it")

    def put(self, model: HeldModel) -> None:
        """Hold this model instead of the one before.

        Raises:
            RefusedError: the one before is somebody else's.
        """
        with self._lock:
            self.check_owner(model.owner)
            self._model = model
        self._changed(model)

    def owned(self, id_: bytes, owner: str) -> HeldModel | None:
        """The model here if it is this upload, else None.

        Raises:
            RefusedError: it is this upload, and somebody else's.
        """
        model = self._model
        if model is None or model.id != id_:
            return None
        self.check_owner(owner)
        return model

    def remove(self, id_: bytes, owner: str) -> bool:
        """Forget this upload; whether it was here. Raises as `owned`."""
        with self._lock:
            if self.owned(id_, owner) is None:
                return False
            self._model = None
        self._changed(None)
        return True


class Upload:
    """A model on its way in: the plan first, then each weight's package in pieces, in the order the plan names them.

    Nothing is allocated beyond what the checked plan calls for.

    Raises:
        PlanError: the plan does not parse, or is larger than the limits allow.
    """

    def __init__(self, load: Load, owner: str, limits: Limits) -> None:
        self.id = load.model
        self._owner = owner
        self._plan = parse(bytes(load.plan))
        words = sum(math.prod(weight.shape) for weight in self._plan.weights.values())
        if 16 * words > limits.model_bytes:
            size = f"{16 * words / 2**20:.1f} MB"
            raise PlanError(f"this model's shares take {size}, the limit is {limits.model_mb} MB (limits.model_mb)")
        self._room = room(self._plan, limits)
        found = [(allowed, scoring(self._plan, allowed.metric)) for allowed in self._plan.evaluations]
        self._scorings = [(allowed, scored, room(scored.plan, limits)) for allowed, scored in found]
        self._shares: dict[str, Share] = {}
        self._due = [(name, part) for name in self._plan.weights for part in ("mine", "next")]
        self.parts = len(self._due)
        self._pieces = bytearray()
        self._first: bytes = b""

    @property
    def complete(self) -> bool:
        return not self._due

    def add(self, piece: Weight) -> None:
        """Take the next piece in.

        Raises:
            PlanError: it is not the one that is due, or has the wrong size.
        """
        if not self._due or (piece.name, piece.part) != self._due[0]:
            raise PlanError("a weight arrived out of turn; send them in the plan's order")
        shape = self._plan.weights[piece.name].shape
        if len(self._pieces) + len(piece.data) > max(8 * math.prod(shape), 32):
            raise PlanError(f"weight {piece.name!r} is larger than the plan says")
        self._pieces += piece.data
        if not piece.last:
            return
        self._due.pop(0)
        whole, self._pieces = bytes(self._pieces), bytearray()
        if piece.part == "mine":
            self._first = whole
            return
        try:
            self._shares[piece.name] = Package(self._first, whole).expand(shape)
        except InputError as error:
            raise PlanError(f"weight {piece.name!r}: {error}") from None

    def finish(self) -> HeldModel:
        """The whole model, bound to a program that can run."""
        from keras_private.mpc.program import Program  # numba comes with it: a party listens before it is there

        program = Program(self._plan, self._shares)
        scorers = {}
        for allowed, scored, fits in self._scorings:
            scorers[allowed.metric] = Scorer(allowed, scored, fits, program.followed_by(scored.plan))
        return HeldModel(self.id, digest(self._plan), self._owner, self._plan, self._room, program, scorers)
