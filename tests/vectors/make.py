"""Test vectors: what messages, plans and protocols are as bytes, so that no change of a format goes unnoticed.

    python -m tests.vectors.make                from the top folder: writes what is new, or all of a new version
    python -m tests.vectors.make --unreleased   the bytes of this version too: nobody has it yet

Three files beside this one, each with the version that its bytes belong to:

- `messages.json`: every message, from fixed values, in hex.
- `plans.json`: a plan of each kind of op, in hex. `parse` must read it and `serialise` write it back.
- `views.json`: of each kind and each party, how many bytes it sends to next and to prev, and their SHA-256; with mask
  keys and summands that depend on names only. Parties of different releases could not compute together otherwise.

If bytes change, the version must: parties compare it before anything else.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from keras_private.mpc.copies import compare_copies
from keras_private.mpc.party import Party
from keras_private.mpc.reshare import empty_share, reshare
from keras_private.mpc.rounds import Protocol, Step
from keras_private.party import messages, wire
from keras_private.party.fields import Message, kind_of
from keras_private.plan import serialise
from keras_private.plan.ops import KINDS, infer
from keras_private.plan.plan import INTEGER, REAL, Input, Op, Output, Plan, Tensor
from keras_private.sharing.random import Stream
from tests.mpc import lockstep
from tests.ops.bound import INTERACTIVE, held, runs_of
from tests.ops.samples import SAMPLES
from tests.party.samples import sample

FOLDER = Path(__file__).parent
VERSIONS = {"messages": messages.VERSION, "plans": serialise.VERSION, "views": messages.VERSION}
BATCH = 2

Vectors = dict[str, Any]
View = list[list[int | str]]


def messages_as_bytes() -> Vectors:
    return {kind_of(cls): wire.encode(sample(cls)).hex() for cls in Message.__subclasses__()}


def plans_as_bytes() -> Vectors:
    return {
        kind: serialise.serialise(plan_of_sample(kind)).hex() for kind in SAMPLES if KINDS[kind].executable is not None
    }


def plan_of_sample(kind: str) -> Plan:
    """A plan with an op of this kind that a party would take: clients neither give nor get shared bits."""
    plans = ((each.plan(kind), each.bound) for each in SAMPLES[kind])
    plan, bound = next(pair for pair in plans if pair[0].tensors["y"].frac <= serialise.MAX_PRECISION)
    (op,) = plan.ops
    tensors, ops, inputs = dict(plan.tensors), [op], []
    for name in op.inputs:
        given = f"of_{name}" if tensors[name].bit else name
        inputs.append(Input(given, given))
        if given != name:
            tensors[given] = Tensor(tensors[name].shape, plan.precision, bound)
            ops.insert(0, Op("below", (given,), (), name, {"threshold": 0.0}))
    made = op.output
    if tensors[made].bit:
        ops.append(Op("to_number", (made,), (), "number", {}))
        made = "number"
        tensors[made] = infer(ops[-1], [tensors[op.output]], [], plan.precision)
    output = Output("made", made, REAL if tensors[made].frac else INTEGER)
    precision = tensors[made].frac or plan.precision
    return replace(plan, precision=precision, tensors=tensors, ops=tuple(ops), inputs=tuple(inputs), outputs=(output,))


def views_as_bytes() -> Vectors:
    found = {f"{kind} {number}": view_of_sample(kind, number) for kind, number in INTERACTIVE}
    x = held(summands("reshare", (3, 5)))
    found["reshare"] = view_of(lambda party: reshare(party, x[party.index].mine, empty_share((3, 5))))
    found["copies"] = view_of(lambda party: compare_copies([x[party.index]] * 9))
    return found


def view_of_sample(kind: str, number: int) -> View:
    plan = SAMPLES[kind][number].plan(kind)
    (op,) = plan.ops
    weights = [held(summands(f"{kind} {name}", plan.weights[name].shape)) for name in op.weights]
    runs = runs_of(plan, weights)
    xs = [
        held(summands(f"{kind} {name}", (BATCH, *plan.tensors[name].shape), bits=plan.tensors[name].bit))
        for name in op.inputs
    ]
    shape = (BATCH, *plan.tensors[op.output].shape)
    return view_of(lambda party: runs[party.index](party, [x[party.index] for x in xs], shape))


def view_of(protocol: Callable[[Party], Protocol[Any]]) -> View:
    """For each party, how many bytes it sends to next and to prev, and the SHA-256 of all of them."""
    sent = [[b"", b""] for _ in range(3)]

    def watched(party: Party) -> Protocol[Any]:
        running = protocol(party)
        try:
            step = next(running)
            while True:
                for way, buffers in enumerate((step.to_next, step.to_prev)):
                    sent[party.index][way] += b"".join(buffer.tobytes() for buffer in buffers)
                received = yield Step(*step)
                step = running.send(received)
        except StopIteration as stop:
            return stop.value

    lockstep.run(watched, b"vectors")
    return [[*map(len, ways), hashlib.sha256(b"".join(ways)).hexdigest()] for ways in sent]


def summands(name: str, shape: tuple[int, ...], bits: bool = False) -> list[np.ndarray]:
    """Three summands of no particular secret, the same ones for the same name."""
    count = int(np.prod(shape))
    words = [Stream(hashlib.sha256(f"{name} {i}".encode()).digest()).words(count).reshape(shape) for i in range(3)]
    return [(word & np.uint64(1)).astype(np.uint8) for word in words] if bits else words


ALL: dict[str, Callable[[], Vectors]] = {
    "messages": messages_as_bytes,
    "plans": plans_as_bytes,
    "views": views_as_bytes,
}


def stored(name: str) -> tuple[int, Vectors]:
    """The version and the vectors of a file; version 0 if there is none."""
    path = FOLDER / f"{name}.json"
    if not path.exists():
        return 0, {}
    found = json.loads(path.read_text(encoding="utf-8"))
    return found["version"], found["vectors"]


def changed(name: str, made: Vectors) -> list[str]:
    """Vectors of this version whose bytes are others now, or that are gone."""
    version, vectors = stored(name)
    return [key for key in vectors if made.get(key) != vectors[key]] if version == VERSIONS[name] else []


def main(arguments: list[str]) -> None:
    for name, make in ALL.items():
        made = make()
        if "--unreleased" not in arguments and (others := changed(name, made)):
            sys.exit(f"{name}: version {VERSIONS[name]} has other bytes for {', '.join(others)}; raise VERSION first")
        lines = ",\n".join(f"{json.dumps(key)}: {json.dumps(made[key])}" for key in sorted(made))
        text = f'{{"version": {VERSIONS[name]}, "vectors": {{\n{lines}\n}}}}\n'
        (FOLDER / f"{name}.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
