"""A model that a party holds: its plan, this party's weight shares bound to it, and whose it is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from keras_private.config import Limits
from keras_private.errors import PlanError, RefusedError
from keras_private.party.causes import Cause
from keras_private.party.messages import Part
from keras_private.party.tally import Results
from keras_private.plan.memory import Room, room
from keras_private.plan.plan import Evaluation, Plan
from keras_private.plan.scoring import Scoring, scoring
from keras_private.plan.serialise import digest, parse
from keras_private.sharing.share import Share

if TYPE_CHECKING:
    from keras_private.mpc.program import Program

SHARE_BYTES = 16
"""That a weight takes at a party: two words."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of an upload beside its plan and shares.

    Attributes:
        id: names the upload: shares of different uploads of one plan do not fit together.
        owner: their role, as in a certificate.
        version: of the models that had this name; new shares of the same weights have the same one.
        published: at the leader, which publication this was, counted over all names; the last one of a name is what it
            means. 0: none yet. Followers do not know.
        deployed: at the leader, whether it is served without its owner.
    """

    id: bytes
    name: str
    version: int
    owner: str
    digest: str
    published: int = 0
    deployed: bool = False


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
class Fitted:
    """A checked plan that keeps to a party's limits.

    Attributes:
        size: bytes of the weights' shares.
        scorings: of the evaluations that the owner allows, with the room for each.
    """

    plan: Plan
    digest: str
    size: int
    room: Room
    scorings: tuple[tuple[Evaluation, Scoring, Room], ...]


@dataclass(slots=True, eq=False)
class HeldModel:
    """A model that can run. What the leader decides about it changes, under `Shelf`'s lock; the rest does not.

    Attributes:
        id … digest: see `Facts`.
        size: bytes of its shares.
        scorers: what evaluates it, by metric.
        results: of evaluations that its owner is told of.
        served: requests that were computed with it.
        ended: what clients are told who ask for it although it is about to go; None: it stays.
        made: as its owner said, see `Load`; 0: it was here before this party's start.
    """

    id: bytes
    name: str
    version: int
    owner: str
    digest: str
    plan: Plan
    size: int
    room: Room
    program: Program = field(repr=False)
    scorers: Mapping[str, Scorer] = field(default_factory=dict)
    results: Results = field(default_factory=Results)
    published: int = 0
    deployed: bool = False
    served: int = 0
    ended: Cause | None = None
    made: int = 0

    @property
    def facts(self) -> Facts:
        return Facts(self.id, self.name, self.version, self.owner, self.digest, self.published, self.deployed)

    def __str__(self) -> str:
        return f"'{self.name}' version {self.version} of {self.owner}"

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


def fit(data: bytes, limits: Limits) -> Fitted:
    """A serialised plan, checked.

    Raises:
        PlanError: it does not parse, or is larger than the limits allow.
    """
    plan = parse(data)
    size = SHARE_BYTES * sum(math.prod(weight.shape) for weight in plan.weights.values())
    if size > limits.model_bytes:
        raise PlanError(
            f"this model's shares take {size / 2**20:.1f} MB, the limit is {limits.model_mb} MB (limits.model_mb)"
        )
    found = [(allowed, scoring(plan, allowed.metric)) for allowed in plan.evaluations]
    scorings = tuple((allowed, scored, room(scored.plan, limits)) for allowed, scored in found)
    return Fitted(plan, digest(plan), size, room(plan, limits), scorings)


def bind(facts: Facts, fitted: Fitted, shares: Mapping[str, Share]) -> HeldModel:
    """A model that can run, of what came in an upload or was kept in storage.

    Args:
        shares: this party's, of each weight by its name.

    Raises:
        PlanError: the plan is not the one that the facts tell of, or the shares are not its weights'.
    """
    from keras_private.mpc.program import Program  # numba comes with it: a party listens before it is there

    if facts.digest != fitted.digest:
        raise PlanError(f"the plan has digest {fitted.digest}, not {facts.digest}")
    program = Program(fitted.plan, shares)
    scorers = {
        allowed.metric: Scorer(allowed, scored, fits, program.followed_by(scored.plan))
        for allowed, scored, fits in fitted.scorings
    }
    return HeldModel(
        facts.id,
        facts.name,
        facts.version,
        facts.owner,
        facts.digest,
        fitted.plan,
        fitted.size,
        fitted.room,
        program,
        scorers,
        published=facts.published,
        deployed=facts.deployed,
    )
