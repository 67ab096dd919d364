"""Every message that a party receives is masked by a piece of the stream that it lacks, and each piece masks one.

Theory of operation. P_i holds the streams k_i and k_(i+1); k_(i+2) is known to the two others alone. Hold the inputs
and all that P_i knows, and let the pieces of k_(i+2) vary: P_i's messages are then a function of those pieces. If there
is an order in which each message is its own piece, added or exclusive-or'd, plus something that depends on earlier
pieces only, that function is one-to-one, so that the messages are as uniform as the stream *whatever the inputs are*:
P_i could have drawn them itself. That is the whole argument of docs/protocols.md, "Why no party learns anything".

The order is found by experiment. A run is repeated with one piece replaced, at both of its holders, for each of the
pieces; which messages change, and by how much, says what depends on what. Inputs are random, so that what depends on
a piece at all shows in some of the many values.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest

from keras_private.mpc.absolute import absolute
from keras_private.mpc.beside import compared
from keras_private.mpc.bits import SharedBits
from keras_private.mpc.clip import clip
from keras_private.mpc.floor import floor
from keras_private.mpc.gates import gates
from keras_private.mpc.masks import Masks
from keras_private.mpc.maximum import maximum
from keras_private.mpc.number import number
from keras_private.mpc.one_hot import one_hot
from keras_private.mpc.ops.product import SecretProduct, lay_values
from keras_private.mpc.party import Party
from keras_private.mpc.program import Program
from keras_private.mpc.ranks import top
from keras_private.mpc.relu import relu
from keras_private.mpc.reshare import empty_share
from keras_private.mpc.rounds import Protocol, Received, Step
from keras_private.mpc.select import choose
from keras_private.mpc.sign import sign
from keras_private.mpc.spline import spline
from keras_private.mpc.winner import winner
from keras_private.plan.builder import PlanBuilder
from keras_private.plan.cost import GROUP_SIZES, RADICES, Window, plane_words
from keras_private.plan.gates import WINNER
from keras_private.plan.optimise import optimise
from keras_private.plan.plan import Op
from keras_private.sharing.random import Stream
from keras_private.sharing.share import Share
from tests.plan.spline import handmade

from .lockstep import in_lockstep
from .test_joint_view import PROTOCOLS, reshare_with_a_mask_twice
from .test_program import beside, branches, depthwise, joined, programs_of, small_cnn, wide

COUNT = 192  # values, in three words of a plane
Make = Callable[[Party, int], Protocol[Any]]


class Piece(NamedTuple):
    """What was drawn at once: in which segment of the run, and what."""

    segment: int
    data: np.ndarray


class Tapped:
    """A stream that remembers its pieces, one of which may be replaced; `party` says in which segment it is drawn."""

    def __init__(self, name: str, replaced: tuple[str, int] | None, segment: list[int]) -> None:
        self._stream, self._other = (Stream(hashlib.sha256((name + more).encode()).digest()) for more in ("", " other"))
        self._replaced = replaced[1] if replaced and replaced[0] == name else -1
        self._segment = segment
        self.pieces: list[Piece] = []

    def take(self, nbytes: int) -> np.ndarray:
        taken, other = self._stream.take(nbytes), self._other.take(nbytes)
        if not nbytes:
            return taken
        chosen = other if len(self.pieces) == self._replaced else taken
        self.pieces.append(Piece(self._segment[0], chosen.copy()))
        return chosen

    def words(self, count: int) -> np.ndarray:
        return self.take(8 * count).view(np.uint64)


class Run:
    """A protocol at all three parties, in one thread: what each was sent and what each drew."""

    def __init__(self, make: Make, turn: int, replaced: tuple[str, int] | None = None) -> None:
        self.messages: list[list[np.ndarray]] = [[], [], []]  # by receiver
        self.drawn: list[tuple[list[Piece], list[Piece]]] = []  # by party: of mine, of next
        protocols, streams = [], []
        for i in range(3):
            segment = [0]
            mine, next_ = (Tapped(f"k{k % 3}", replaced, segment) for k in (i, i + 1))
            masks: Any = Masks(mine, next_, Tapped("common", replaced, segment))  # type: ignore[arg-type]
            link: Any = SimpleNamespace(index=i)
            party = Party(link, masks)
            party.take_turn(turn)
            streams.append((mine, next_))
            protocols.append(self._watched(i, make(party, i), segment))
        in_lockstep(protocols)
        self.drawn = [(mine.pieces, next_.pieces) for mine, next_ in streams]

    def _watched(self, i: int, protocol: Protocol[Any], segment: list[int]) -> Protocol[Any]:
        try:
            step = next(protocol)
            while True:
                for receiver, buffers in (((i + 1) % 3, step.to_next), ((i - 1) % 3, step.to_prev)):
                    sent = [np.array(buffer).reshape(-1).view(np.uint8) for buffer in buffers]
                    self.messages[receiver] += [message for message in sent if message.size]
                received: Received = yield Step(*step)
                segment[0] += 1
                step = protocol.send(received)
        except StopIteration as stop:
            return stop.value


def masks_it(before: Sequence[np.ndarray], after: Sequence[np.ndarray]) -> bool:
    """Whether a message (second) changed just as much as a piece (first), but for the sign."""
    if before[0].size != before[1].size:
        return False
    used = before[1].size  # what fills a message up to whole words is zero and has no mask
    while used and before[1].size - used < 8 and not before[1][used - 1] and not after[1][used - 1]:
        used -= 1
    for width in (8, 4, 2):
        size = -(-used // width) * width
        (piece, message), (new_piece, new_message) = (
            [array[:size].view(f"u{width}") for array in pair] for pair in (before, after)
        )
        if (
            np.array_equal(piece ^ new_piece, message ^ new_message)
            or np.array_equal(new_piece - piece, new_message - message)
            or np.array_equal(piece - new_piece, new_message - message)
        ):
            return True
    return False


def check_streams(run: Run) -> None:
    """Both holders of a stream draw the same pieces in the same segments."""
    for i in range(3):
        ours, theirs = run.drawn[i][1], run.drawn[(i + 1) % 3][0]
        assert [(piece.segment, piece.data.size) for piece in ours] == [(p.segment, p.data.size) for p in theirs]
        assert all(np.array_equal(a.data, b.data) for a, b in zip(ours, theirs, strict=True))


def unmasked(make: Make, turn: int) -> list[tuple[int, int]]:
    """For each party: how many messages, and pieces of the stream that it lacks, are left without their counterpart."""
    base = Run(make, turn)
    check_streams(base)
    found = []
    for i in range(3):
        lacked = (i + 2) % 3
        pieces = base.drawn[lacked][0]
        own: list[set[int]] = [set() for _ in base.messages[i]]  # by message: the pieces that may be its mask
        touching: list[set[int]] = [set() for _ in base.messages[i]]  # the pieces that it depends on
        for at_piece in range(len(pieces)):
            again = Run(make, turn, (f"k{lacked}", at_piece))
            piece, other = pieces[at_piece].data, again.drawn[lacked][0][at_piece].data
            for at, (message, changed) in enumerate(zip(base.messages[i], again.messages[i], strict=True)):
                if not np.array_equal(message, changed):
                    touching[at].add(at_piece)
                    if masks_it((piece, message), (other, changed)):
                        own[at].add(at_piece)
        left, unused = set(range(len(own))), set(range(len(pieces)))
        while ready := [at for at in left if len(touching[at] & unused) == 1 and touching[at] & unused <= own[at]]:
            left.remove(ready[0])
            unused -= touching[ready[0]]
        found.append((len(left), len(unused)))
    return found


def random_shares(seed: int, *shape: int) -> list[Share]:
    noise = np.random.default_rng(seed)
    parts = [noise.integers(0, 2**64, shape, np.uint64) for _ in range(3)]
    return [Share(parts[i], parts[(i + 1) % 3]) for i in range(3)]


def on_shares(protocol: Callable[[Party, Share], Protocol[Any]]) -> Make:
    shares = random_shares(1, COUNT)
    return lambda party, i: protocol(party, shares[i])


ALL_MASKED = [(0, 0)] * 3


@pytest.mark.parametrize("turn", [0, 1, 2])
@pytest.mark.parametrize("name", PROTOCOLS)
def test_every_message_of_a_protocol_has_a_mask_of_its_own(name: str, turn: int) -> None:
    assert unmasked(on_shares(PROTOCOLS[name]), turn) == ALL_MASKED


SHAPES = [(groups, size, 2) for size in GROUP_SIZES for groups in (1, 2)]
SHAPES += [(groups, 2, radix) for radix in RADICES for groups in (radix, radix + 1, 2 * radix + 1)]


@pytest.mark.parametrize("shape", SHAPES)
def test_every_message_of_every_kind_of_window(shape: tuple[int, int, int]) -> None:
    assert unmasked(on_shares(lambda party, x: sign(party, x, Window(3, *shape), wait=1)), 0) == ALL_MASKED


@pytest.mark.parametrize("candidates", [2, 5, 9])
def test_every_message_of_a_tournament(candidates: int) -> None:
    shares = random_shares(2, candidates, COUNT)

    def protocol(party: Party, i: int) -> Protocol[Share]:
        return (yield from maximum(party, Share(shares[i].mine[None], shares[i].next[None]), 30, 29))

    assert unmasked(protocol, 1) == ALL_MASKED


WORDS = plane_words(COUNT)


def planes_of(share: Share, rows: int, *axes: int) -> SharedBits:
    """The first words of a share, as planes of COUNT bits."""
    size = rows * WORDS
    return SharedBits(share.mine[:size].reshape(rows, *axes, WORDS), share.next[:size].reshape(rows, *axes, WORDS))


ON_BITS: dict[str, Callable[[Party, Share], Protocol[Any]]] = {
    "gates": lambda party, x: gates(party, WINNER, planes_of(x, 6, 1), wait=1),
    "number": lambda party, x: number(party, planes_of(x, 1), COUNT),
    "short numbers, added up": lambda party, x: number(
        party, planes_of(x, 1), COUNT - 3, combine=lambda n: n[:7] - n[7:14], results=7, short=True
    ),
    "choose": lambda party, x: choose(party, in_channels(x), planes_of(x, 3), wait=1),
    "winner": lambda party, x: winner(party, in_channels(x), planes_of(x, 6), out=empty_share((2, COUNT))),
    "absolute": lambda party, x: absolute(party, x, 30),
    "clip": lambda party, x: clip(party, x, -3, 9, 30),
    "clip with truncation": lambda party, x: clip(party, x, -3, 9, 40, 17),
    "floor": lambda party, x: floor(party, x, 17),
    "spline, compared": lambda party, x: compared(party, x, BESIDE, empty_share(x.shape)),
    "top": lambda party, x: top(party, in_rows(x), 2, 30, places=False),
    "places of the top": lambda party, x: top(party, in_rows(x), 2, 30, places=True),
}


BESIDE = handmade.compared(40, 12, 8, -3, 6, 5)


def in_channels(x: Share) -> Share:
    """(2, 3, COUNT), all different."""
    factors = np.arange(1, 7, dtype=np.uint64).reshape(2, 3, 1)
    return Share(x.mine * factors, x.next * factors)


def in_rows(x: Share) -> Share:
    return Share(x.mine.reshape(4, -1), x.next.reshape(4, -1))


@pytest.mark.parametrize("name", ON_BITS)
def test_every_message_of_comparisons_and_selections(name: str) -> None:
    assert unmasked(on_shares(ON_BITS[name]), 0) == ALL_MASKED


def test_every_message_of_two_layers_on_one_tensor() -> None:
    """Other windows, other turns, and both results used together."""
    weight = random_shares(3, 1)

    def protocol(party: Party, i: int) -> Protocol[Share]:
        x, outputs = random_shares(1, COUNT)[i], []
        for turn, (drop, bits) in enumerate([(16, 40), (33, 62), (1, 5)]):
            party.take_turn(party.role - party.index + turn)
            op = Op("mul", ("x",), ("w",), "y", {"drop": drop, "relu": True, "bound": bits})
            outputs.append((yield from SecretProduct(op, lay_values, [weight[i]])(party, [x], x.shape)))
        both = Share(outputs[0].mine - outputs[1].mine, outputs[0].next - outputs[1].next)
        return (yield from relu(party, both, None))

    assert unmasked(protocol, 0) == ALL_MASKED


@pytest.mark.parametrize(
    ("model", "input_range"),
    [
        (small_cnn, (-1.0, 2.0)),
        (branches, None),
        (depthwise, (-1.0, 2.0)),
        (joined, None),
        (wide, None),
        (beside, (-1.0, 2.0)),
    ],
)
def test_every_message_of_a_whole_plan(model: Any, input_range: Any) -> None:
    builder = PlanBuilder((9, 8, 2), input_range)
    programs: list[Program] = programs_of(optimise(builder.finish(model(builder)), precision=16))
    x = random_shares(4, 1, 9 * 8 * 2)
    assert unmasked(lambda party, i: programs[i].protocol(party, x[i]), 0) == ALL_MASKED


@pytest.mark.slow
def test_every_message_of_a_plan_with_checks_and_exact_truncations() -> None:
    """Nothing is opened to a party, not even whether a row is out of range."""
    random, builder = np.random.default_rng(3), PlanBuilder((6,), (-1.0, 1.0))
    at = builder.input
    for layer in range(13):
        weight = builder.weight(random.normal(size=(builder.shape(at)[0], 6)) * 2.0, f"w{layer}")
        at = builder.op("relu", builder.op("matmul", at, weights=weight))
    checked = {"guard": True, "enforce_range": True, "exact_truncation": True}
    draft = optimise(builder.finish(at), precision=16, **checked)  # type: ignore[arg-type]
    assert [made.reveal for made in draft.plan.outputs] == ["values", "guard", "range"]
    programs, x = programs_of(draft), random_shares(4, 1, 6)
    assert unmasked(lambda party, i: programs[i].protocol(party, x[i]), 0) == ALL_MASKED


BY_TREES: dict[str, Callable[[Party, Share], Protocol[Any]]] = {
    "spline, refined table": lambda party, x: spline(party, x, handmade.refined(30, 2, [(-3, 2), (-2, 3)])),
    "spline, uniform table": lambda party, x: spline(party, x, handmade.uniform(30, 18, 5, -70, 131)),
    "index as numbers": lambda party, x: one_hot(party, x, 9, 4),
}


@pytest.mark.parametrize("turn", [0, 1])
@pytest.mark.parametrize("name", BY_TREES)
def test_every_correction_word_depends_on_a_root_that_its_receiver_lacks(name: str, turn: int) -> None:
    """Through AES: they are no masked messages (`mpc/dpf.py`). And on the hashes, which are new in every run."""
    make = on_shares(BY_TREES[name])
    base = Run(make, turn)
    check_streams(base)

    def all_changed(receiver: int, replaced: tuple[str, int]) -> bool:
        before, after = (run.messages[receiver][0].view(np.uint64) for run in (base, Run(make, turn, replaced)))
        return bool(np.all(before != after))

    for receiver in ((role - turn) % 3 for role in (0, 1)):
        lacked = (receiver + 2) % 3
        pieces = base.drawn[lacked][0]
        roots = [piece for at, piece in enumerate(pieces) if all_changed(receiver, (f"k{lacked}", at))]
        assert [piece.data.size for piece in roots] == [16 * COUNT]
        assert all_changed(receiver, ("common", 0))


def test_a_mask_that_serves_twice_would_be_noticed() -> None:
    found = unmasked(on_shares(reshare_with_a_mask_twice), 0)
    assert found[0][0] > 0
