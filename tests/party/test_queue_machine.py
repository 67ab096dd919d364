"""The three queues as a state machine: whatever happens in whatever order, nothing is lost and nothing is said twice.

The queues are the real ones. Around them is a model of what the parties' threads do with them: clients' packages come
to each party on their own, control messages are on their way for a while, connections and lanes break in the middle of
anything, and each party ends a run, well or badly, when it likes. Time is what the machine says it is.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import NamedTuple
from unittest import mock

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from keras_private.config import FOLLOWERS, LEADER, PARTY_NAMES
from keras_private.errors import RefusedError
from keras_private.party.causes import SHARED_AGAIN, STOPPED, TAKEN_BACK, Cause, broken, gone
from keras_private.party.leader import queue as leader_queue
from keras_private.party.leader import turns
from keras_private.party.leader.queue import LeaderQueue, Serving
from keras_private.party.messages import Discard, Drop, Hold
from keras_private.party.queue import Piece, Request, RequestQueue
from keras_private.sharing.share import Share

PARTIES = range(len(PARTY_NAMES))
PLACES = 12
TIMEOUT_S = 30.0


class Ends(NamedTuple):
    """How a run ends: in which order at the parties, after how long, and where it goes well. Whoever has got the last
    bytes is done, whatever becomes of the others.
    """

    order: list[int]
    seconds: float
    well: set[int]


ENDS = st.builds(
    Ends,
    st.permutations(PARTIES),
    st.sampled_from([0.001, 0.01, 1.0]),
    st.just({*PARTIES}) | st.just({*PARTIES}) | st.sets(st.sampled_from(PARTIES)),
)
MEANWHILE = st.sampled_from(["taken back", "messages", "control", "serving", "model", "all models"])


WHAT = st.tuples(
    st.sampled_from(["client:ann", "client:bob"]),
    st.integers(1, 5),  # rows
    st.integers(0, 9).map(bool),  # honest
    st.sampled_from([None] * 9 + [*PARTIES]),  # liar_at
    st.sampled_from(["client", "rows"]),  # lie
)


class Clock:
    """Stands in for the module `time` where the queues look at it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@dataclass(eq=False)
class Asked:
    """What one client asks all three parties; a liar tells one of them something else."""

    id: bytes
    model: int
    client: str
    rows: int
    honest: bool
    liar_at: int | None
    lie: str

    def to(self, index: int) -> tuple[str, int]:
        """The client's name and the rows, as party `index` gets to know them."""
        if index != self.liar_at:
            return self.client, self.rows
        return ("client:eve", self.rows) if self.lie == "client" else (self.client, self.rows + 1)


@dataclass(eq=False)
class Control:
    """A follower's connection to the leader. Either side may notice first that it is broken."""

    to_leader: deque[Hold | Drop] = field(default_factory=deque)
    to_follower: deque[Discard] = field(default_factory=deque)
    broken: bool = False
    leader_knows: bool = False
    follower_knows: bool = False


@dataclass(eq=False)
class Run:
    """A run that was announced; `at`: the parties that have not ended it yet."""

    pieces: list[Piece]
    at: set[int] = field(default_factory=lambda: set(PARTIES))
    started: dict[int, list[Request]] = field(default_factory=dict)

    @property
    def ids(self) -> list[bytes]:
        return [piece.request.id for piece in self.pieces]


class Queues(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.clock = Clock()
        self.patches = ExitStack()
        for module in (leader_queue, turns):
            self.patches.enter_context(mock.patch.object(module, "time", self.clock))
        self.leader = LeaderQueue(PLACES, TIMEOUT_S, self.tell_followers)
        self.leader.changed.wait = self.wait  # type: ignore[method-assign]
        self.queues: list[RequestQueue] = [self.leader, RequestQueue(PLACES), RequestQueue(PLACES)]
        self.control = {index: Control() for index in FOLLOWERS}
        self.models = [0, 0, 0]
        self.uploads = 0
        self.asked: dict[bytes, Asked] = {}
        self.coming: list[tuple[Asked, int]] = []
        self.given: list[set[bytes]] = [set(), set(), set()]
        self.settled: list[Counter[bytes]] = [Counter(), Counter(), Counter()]
        self.answered: list[set[bytes]] = [set(), set(), set()]
        self.servings: list[tuple[Serving, int | None]] = []
        self.lane_up = False  # for the leader's queue
        self.lane_broken = False  # at whichever party
        self.run: Run | None = None
        self.quiet_until = 1
        self.all_well()

    def wait(self, timeout: float | None = None) -> bool:
        """Instead of waiting for others, of whom there are none: time passes."""
        self.clock.now += timeout or 0.0
        return False

    # What a client's session does

    def note(self, index: int, id_: bytes, *, answered: bool = False) -> None:
        self.settled[index][id_] += 1
        assert self.settled[index][id_] == 1, "said twice"
        if answered:
            self.answered[index].add(id_)

    def come(self, asked: Asked, index: int) -> None:
        self.given[index].add(asked.id)
        client, rows = asked.to(index)
        if asked.model != self.models[index] or (index != LEADER and self.control[index].follower_knows):
            self.note(index, asked.id)
            return
        words = np.zeros((rows, 1), np.uint64)
        model, digest = asked.model.to_bytes(16, "big"), "d" * 64
        request = Request(
            asked.id,
            client,
            model,
            digest,
            rows,
            Share(words, words),
            lambda id_, _: self.note(index, id_, answered=True),
            lambda id_, _code, text, _after=None: self.note(index, id_) if text else pytest.fail("no reason"),
            self.clock.now,
        )
        try:
            self.queues[index].add(request)
        except RefusedError:
            self.note(index, asked.id)
            return
        if index != LEADER:
            self.tell_leader(index, Hold(asked.id, client, model, digest, rows, None))

    # Control

    def tell_leader(self, index: int, message: Hold | Drop) -> None:
        if not self.control[index].broken:
            self.control[index].to_leader.append(message)

    def tell_followers(self, ids: Iterable[bytes], cause: Cause) -> None:
        for control in self.control.values():
            if not control.broken:
                control.to_follower.append(Discard(tuple(ids), *cause))

    def deliver_to_leader(self, index: int) -> None:
        message = self.control[index].to_leader.popleft()
        if isinstance(message, Hold):
            self.leader.hold(index, message)
            if message.model != self.models[LEADER].to_bytes(16, "big"):  # as `Leader` does with what it does not hold
                self.leader.discard([message.request], *SHARED_AGAIN)
        else:
            self.leader.drop(message.request)

    def deliver_to_follower(self, index: int) -> None:
        message = self.control[index].to_follower.popleft()
        self.queues[index].refuse(message.requests, message.code, message.text, message.after)

    # What a lane does

    def fail_at(self, index: int) -> None:
        """A party's part of the run fails, or its lane does between runs."""
        self.lane_broken = True
        run = self.run
        if run is None or index not in run.at:
            return
        run.at.remove(index)
        if index == LEADER:
            self.refuse_run(run.pieces, broken(PARTY_NAMES[LEADER], "a test"))
        else:
            self.queues[index].refuse(run.ids, *broken(PARTY_NAMES[index], "a test"))

    def refuse_run(self, pieces: list[Piece], cause: Cause) -> None:
        ids = [piece.request.id for piece in pieces]
        for request in self.leader.finish(ids, served=False):
            request.refuse(request.id, *cause)
        self.tell_followers(ids, cause)

    def start_at(self, index: int, run: Run) -> bool:
        """A follower reads the announcement. As long as nothing broke, it holds what is announced, and the same."""
        requests = self.queues[index].peek(run.ids)
        if self.models[index] != int.from_bytes(run.pieces[0].request.model, "big"):
            return False
        assert [request.id for request in requests] == run.ids, "a run of what a follower does not hold"
        for request, piece in zip(requests, run.pieces, strict=True):
            ours = piece.request
            assert (request.client, request.model, request.digest) == (ours.client, ours.model, ours.digest)
            assert request.rows == ours.rows
            assert 1 <= piece.rows <= request.rows - request.done
        run.started[index] = requests
        return True

    def end_at(self, index: int, run: Run, seconds: float) -> None:
        """A party's part of the run went well."""
        run.at.remove(index)
        requests = [piece.request for piece in run.pieces] if index == LEADER else run.started[index]
        for request, piece in zip(requests, run.pieces, strict=True):
            words = np.zeros((piece.rows, 1), np.uint64)
            request.collect(Share(words, words), self.asked[request.id].honest)
        if index == LEADER:
            rows = sum(piece.rows for piece in run.pieces)
            over = self.leader.finish(run.ids, served=True, seconds=seconds, rows=rows)
        else:
            over = self.queues[index].pick([request.id for request in requests if request.over])
        for request in over:
            assert request.over
            if request.honest:
                assert request.output.shape[0] == request.rows
                request.answer(request.id, request.output)
            else:
                request.refuse(request.id, "refused", "two copies")

    def take_down(self) -> None:
        """The leader's lane ends, which it does once its run has."""
        self.lane_broken = True
        if self.run is not None:
            for index in sorted(self.run.at):
                self.fail_at(index)
            self.run = None
        if self.lane_up:
            self.lane_up = False
            self.leader.lane_is(0, up=False)

    # Rules

    @rule(what=st.lists(WHAT, min_size=1, max_size=3), how=st.sampled_from(["heard", "at once", "later", "heard"]))
    def ask(self, what: list[tuple[str, int, bool, int | None, str]], how: str) -> None:
        for each in what:
            asked = Asked(len(self.asked).to_bytes(16, "big"), self.models[LEADER], *each)
            self.asked[asked.id] = asked
            for index in PARTIES:
                if how == "later":
                    self.coming.append((asked, index))
                else:
                    self.come(asked, index)
        if how == "heard":
            for index in FOLLOWERS:
                self.messages_arrive(index, 1000, to_leader=True, package=0)

    @precondition(lambda self: self.asked)
    @rule(which=st.integers(0, 1000), at=st.sets(st.sampled_from(PARTIES), min_size=1))
    def a_client_takes_back(self, which: int, at: set[int]) -> None:
        id_ = list(self.asked)[which % len(self.asked)]
        for index in at:
            if id_ not in self.given[index] or self.settled[index][id_]:
                continue
            if index == LEADER:
                self.leader.drop(id_)
            else:
                self.tell_leader(index, Drop(id_, *TAKEN_BACK))

    @precondition(lambda self: self.coming or any(each.to_leader or each.to_follower for each in self.control.values()))
    @rule(
        index=st.sampled_from(FOLLOWERS), many=st.integers(1, 20), to_leader=st.booleans(), package=st.integers(0, 99)
    )
    def messages_arrive(self, index: int, many: int, to_leader: bool, package: int) -> None:
        """Some of what is on its way to a party from another one, and one client's package."""
        if self.coming and package:
            self.come(*self.coming.pop(package % len(self.coming)))
        control = self.control[index]
        messages, gone_ = (
            (control.to_leader, control.leader_knows) if to_leader else (control.to_follower, control.follower_knows)
        )
        while many and messages and not gone_:
            (self.deliver_to_leader if to_leader else self.deliver_to_follower)(index)
            many -= 1

    @precondition(lambda self: len(self.asked) >= self.quiet_until)
    @rule(
        what=st.sampled_from(["control", "lane", "serving", "model", "all models"]),
        index=st.sampled_from(PARTIES),
        stopped=st.booleans(),
    )
    def it_breaks(self, what: str, index: int, stopped: bool) -> None:
        """At one party, or for all of them; not again before more was asked."""
        self.quiet_until = len(self.asked) + 4
        if what == "control" and index != LEADER:
            self.control[index].broken = True
        elif what == "lane":
            self.take_down()
        elif what == "serving" and self.servings:
            serving, _ = self.servings[-1 - index % len(self.servings)]
            was = serving in self.leader._servings.values()
            assert self.leader.stop_serving(serving, "a test") == was
        elif what == "all models":
            self.uploads += 1
            for each in PARTIES:
                self.change_model(each, stopped)
        elif what == "model":
            self.uploads += 1
            self.change_model(index, stopped)

    def change_model(self, index: int, stopped: bool) -> None:
        old, new = (number.to_bytes(16, "big") for number in (self.models[index], self.uploads))
        self.models[index] = self.uploads
        if index == LEADER:
            if not stopped:
                self.leader.cover(old, new)
            self.leader.uncover(old)
            self.leader.discard_model(old, STOPPED if stopped else SHARED_AGAIN)

    @precondition(lambda self: not (self.lane_up and self.leader.serving) or self.lane_broken or self.control_broken)
    @rule(followers_first=st.booleans(), total=st.none() | st.integers(1, 9))
    def it_goes_on(self, followers_first: bool, total: int | None) -> None:
        """One step on the way back: a side notices that control is broken, the lane is built, the owner serves."""
        for index in FOLLOWERS:
            if self.control[index].broken:
                self.control_goes_on(index, followers_first)
                return
        if self.lane_broken and self.lane_up:
            self.take_down()
        elif not self.lane_up and self.run is None:
            self.lane_up, self.lane_broken = True, False
            self.leader.lane_is(0, up=True)
        elif not self.leader.serving:
            model = self.models[LEADER].to_bytes(16, "big")
            serving = self.leader.start_serving(model, total)
            serving.since = self.clock.now
            self.servings.append((serving, total))
            with pytest.raises(RefusedError):
                self.leader.start_serving(model, total)

    def control_goes_on(self, index: int, follower_first: bool) -> None:
        control = self.control[index]
        if not control.follower_knows and (follower_first or control.leader_knows):
            control.follower_knows = True
            self.lane_broken = True  # it closes its lane
            self.queues[index].refuse_all(*gone(PARTY_NAMES[LEADER]))
        elif not control.leader_knows:
            control.leader_knows = True
            self.lane_broken = True  # it interrupts the lane
            self.leader.forget_party(index)
        else:
            self.control[index] = Control()

    @property
    def control_broken(self) -> bool:
        return any(control.broken for control in self.control.values())

    def all_well(self) -> None:
        for _ in range(10):
            self.it_goes_on(followers_first=True, total=None)

    @precondition(lambda self: self.lane_up and self.run is None and self.leader.waiting)
    @rule(room=st.integers(1, 8), meanwhile=st.lists(MEANWHILE, max_size=2), ends=st.none() | ENDS | ENDS)
    def a_run_is_announced(self, room: int, meanwhile: list[str], ends: Ends | None) -> None:
        self.announce(room)
        if self.run is None:
            return
        for event in meanwhile:
            if event == "taken back":
                self.a_client_takes_back(list(self.asked).index(self.run.ids[-1]), {*PARTIES})
            elif event == "messages":
                for index in FOLLOWERS:
                    self.messages_arrive(index, 1000, to_leader=True, package=0)
            elif event == "control":
                self.control[2].broken = True
                self.control_goes_on(2, follower_first=False)
            else:
                self.it_breaks(event, LEADER, stopped=False)
        if ends and self.run:
            self.a_run_ends(ends)

    def announce(self, room: int) -> None:
        looks = iter([False] * 3)
        pieces = self.leader.take(0, lambda _: room, lambda _: None, lambda: next(looks, True))
        if not pieces:
            return
        assert self.leader.serving
        assert sum(piece.rows for piece in pieces) <= room
        assert len({piece.request.id for piece in pieces}) == len(pieces)
        assert len({piece.request.model for piece in pieces}) == 1
        for piece in pieces:
            assert not self.settled[LEADER][piece.request.id]
            assert self.asked[piece.request.id].liar_at is None, "the parties were told different things"
        assert self.models[LEADER] == int.from_bytes(pieces[0].request.model, "big"), "a run of a model that is gone"
        self.run = Run(pieces)
        for index in FOLLOWERS:
            if not self.lane_broken and not self.start_at(index, self.run):
                self.fail_at(index)

    @precondition(lambda self: self.run is not None)
    @rule(ends=ENDS)
    def a_run_ends(self, ends: Ends) -> None:
        run = self.run
        assert run is not None
        self.clock.now += ends.seconds
        for index in ends.order:
            if index in ends.well and len(run.started) == len(FOLLOWERS):
                self.end_at(index, run, ends.seconds)
            else:
                self.fail_at(index)
        self.run = None
        # The leader may not have noticed a follower's failure: then its next run is announced to nobody.

    @precondition(lambda self: self.leader.waiting or self.leader._holds)
    @rule(seconds=st.sampled_from([0.1, 1.0, 1.0, 3.0, 3.0, 40.0]))
    def time_passes(self, seconds: float) -> None:
        self.clock.now += seconds
        self.leader.expire()

    # What always holds

    @invariant()
    def the_books_agree(self) -> None:
        for index, queue in enumerate(self.queues):
            assert queue.places.used == queue.waiting <= PLACES
            waiting = {request.id for request in queue.peek(self.asked)}
            assert waiting | {id_ for id_ in self.given[index] if self.settled[index][id_]} == self.given[index]
            assert not any(self.settled[index][id_] for id_ in waiting)
        running = set(self.run.ids) if self.run and LEADER in self.run.at else set()
        assert self.leader._running.keys() == running
        assert self.leader._doomed.keys() <= running
        for serving, total in self.servings:
            assert serving.claimed == sum(each is serving for each in self.leader._running.values())
            assert total is None or serving.served + serving.claimed <= total

    @invariant()
    def answers_are_whole(self) -> None:
        """Only what was equal everywhere is answered, by anybody."""
        for answered in self.answered:
            for id_ in answered:
                assert self.asked[id_].liar_at is None
                assert self.asked[id_].honest

    def teardown(self) -> None:
        """Once everything has come and everybody is back, nobody waits for anything."""
        if not hasattr(self, "leader"):
            return
        with self.patches:
            self.take_down()
            for _ in range(3):
                self.all_well()
                for index in FOLLOWERS:
                    for to_leader in (True, False):
                        self.messages_arrive(index, 1000, to_leader, package=0)
                self.clock.now += 2 * TIMEOUT_S
                self.leader.expire()
                for _ in range(len(self.asked)):
                    if self.lane_up and not self.lane_broken:
                        self.a_run_is_announced(12, [], Ends([*PARTIES], 0.01, {*PARTIES}))
            self.the_books_agree()
            for index, queue in enumerate(self.queues):
                assert queue.waiting == queue.places.used == 0
                assert self.settled[index] == Counter(self.given[index])
            assert not self.leader._holds
            assert not self.leader._running
            assert not self.leader._doomed
            assert not any(serving.claimed for serving, _ in self.servings)


def machine(examples: int, steps: int) -> None:
    run_state_machine_as_test(
        Queues,
        settings=settings(
            derandomize=True,
            deadline=None,
            max_examples=examples,
            stateful_step_count=steps,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.timeout(900)  # if it fails, hypothesis looks for a short example for up to five minutes
def test_nothing_is_lost_and_nothing_said_twice() -> None:
    machine(100, 40)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_nothing_is_lost_and_nothing_said_twice_at_length() -> None:
    machine(1000, 80)
