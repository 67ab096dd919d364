"""Changes msgpack as a tree, so that what comes out is still msgpack and gets past the first check."""

from __future__ import annotations

import copy
import random
from typing import Any

import msgpack

_VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 31, 63, 64, 127, 1 << 16, 1 << 31, (1 << 63) - 1, 1 << 63, -(1 << 63), 0.0, -0.5,
    1e308, float("inf"), float("nan"), "", "x", "x" * 70, "\x00", "mine", "add", "matmul", b"", bytes(16), bytes(32),
    [], [0], [1] * 33, {}, {"x": 1},
)  # fmt: skip


def mutated(data: bytes, seed: int, longest: int) -> bytes | None:
    """`data` with one to three of its values replaced, removed, doubled or swapped; None if it is no msgpack."""
    try:
        tree = msgpack.unpackb(data, use_list=True, strict_map_key=False)
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException):
        return None
    source = random.Random(seed)  # noqa: S311  the fuzzer's own seed: what it finds can be found again
    try:
        for _ in range(source.randint(1, 3)):
            _change(tree, source)
        packed: bytes = msgpack.packb(tree)
    except (ValueError, TypeError, OverflowError, RecursionError):
        return None
    return packed if len(packed) <= longest else None


def _change(tree: Any, source: random.Random) -> None:
    places = list(_places(tree))
    if not places:
        return
    holder, key = source.choice(places)
    value, what = holder[key], source.randrange(8)
    if what == 0 and isinstance(holder, list):
        holder.insert(key, value)
    elif what == 1:
        del holder[key]
    elif what == 2:
        other, where = source.choice(places)
        holder[key] = copy.deepcopy(other[where])  # not itself: a list in itself has no end
    elif what == 3 and isinstance(value, int):
        holder[key] = value + source.choice((-1, 1, 7, 1 << 20))
    elif what == 4 and isinstance(value, list):
        source.shuffle(value)
    elif what == 5 and isinstance(value, float):
        holder[key] = value * source.choice((-1.0, 2.0, 1e300))
    elif what == 6 and isinstance(value, str):
        holder[key] = value + source.choice("0_:/x")
    else:
        holder[key] = source.choice(_VALUES)


def _places(tree: Any) -> Any:
    """Every (list or dict, index or key) of a tree."""
    children = enumerate(tree) if isinstance(tree, list) else tree.items() if isinstance(tree, dict) else ()
    for key, value in list(children):
        yield tree, key
        yield from _places(value)
