"""Splines of numbers that may be far beside the table's cells (`Compared`, `plan/spline/table.py`).

Theory of operation. The table of the cells about 0 is read with the place modulo 2^bits alone (`spline`), as if x were
in one of them, which gives some T whatever x is. In the same rounds x is compared with both ends of the cells and
truncated to t: then, as in `clip`,

    y  =  T  +  [x < low]·(c + a·t - T)  +  [high < x]·(c' + a'·t - T)

with the lines c + a·t and c' + a'·t, and one exchange selects and adds up. About either end is a cell in which row and
line are both near enough, so that comparisons need not look at bits below half a cell. A bit of x above the cells costs
a comparison a few bits, and a place in a tree 32 bytes.

    round 1   P2 -> P1     one of 2^bits bits, 24 bytes, what comparisons and a truncation take, and 32 bytes
    then      P0 <-> P1    two exchanges of the table, beside those of the comparisons
    after     P0 <-> P1    8 bytes
"""

from __future__ import annotations

import numpy as np

from keras_private.mpc.bits import SharedBits, empty_bits
from keras_private.mpc.later import later
from keras_private.mpc.party import Party
from keras_private.mpc.reshare import empty_share
from keras_private.mpc.rounds import Protocol, Words, together
from keras_private.mpc.select import choose
from keras_private.mpc.sign import sign
from keras_private.mpc.spline import uniform
from keras_private.mpc.truncation import truncation
from keras_private.plan.cost import plane_words
from keras_private.plan.spline.cost import compared_values, seen
from keras_private.plan.spline.table import Compared
from keras_private.sharing.share import Share

_READ = 2  # exchanges of a uniform table


def compared(party: Party, x: Share, table: Compared, out: Share) -> Protocol[Share]:
    """Share of the table's value for every value of x, in `out`, the dealer's part of it before the first round.

    As many rounds as `plan.spline.cost.spline` says.

    Args:
        x: a share of any shape, |x| < 2^table.bound; its pair's part may be filled during the first round.
    """
    count, words = x.mine.size, plane_words(x.mine.size)
    rows = (2, 64 * words)  # each comparison begins at a new word of the planes
    beyond = Share(np.zeros(rows, np.uint64), np.zeros(rows, np.uint64))
    outside, window = empty_bits(compared_values(count)), seen(count, table)
    read, t = empty_share(x.shape), empty_share(x.shape) if table.down else x
    to_lines, gain = empty_share((1, 2, count)), empty_share((1, count))
    wait = max(window.levels, _READ)

    def compare() -> None:
        for whole, difference in ((x.mine, beyond.mine), (x.next, beyond.next)):
            difference[0, :count] = whole.reshape(-1)
            np.negative(whole.reshape(-1), out=difference[1, :count])
        if not party.is_dealer:
            inner = party.inner(beyond).reshape(rows)
            inner[0, :count] -= _word(table.low)
            inner[1, :count] += _word(table.high)

    def aim() -> None:
        for number, (_, slope) in enumerate((table.below, table.above)):
            for off, line, at in ((to_lines.mine, t.mine, read.mine), (to_lines.next, t.next, read.next)):
                _line(off[0, number], slope, line.reshape(-1), at.reshape(-1))
        if not party.is_dealer:
            inner = party.inner(to_lines).reshape(to_lines.shape)
            for number, (offset, _) in enumerate((table.below, table.above)):
                inner[0, number] += _word(offset)

    def add() -> None:
        for whole, one, more in ((out.mine, read.mine, gain.mine), (out.next, read.next, gain.next)):
            np.add(one.reshape(-1), more[0], out=whole.reshape(-1))

    bits = SharedBits(outside.mine.reshape(2, words), outside.next.reshape(2, words))
    running: list[Protocol[object]] = [later(party, 1, compare)]
    if table.down:
        running.append(truncation(party, x, table.down, t))
    running += [
        sign(party, beyond, window, out=outside),
        uniform(party, x, table.inner, read, 0),
        later(party, 1 + wait, aim),
        choose(party, to_lines, bits, wait=wait, out=gain),
        later(party, 2 + wait, add),
    ]
    yield from together(*running)
    return out


def _line(off: Words, slope: int, t: Words, read: Words) -> None:
    """off = slope·t - read."""
    if slope:
        np.multiply(t, _word(slope), out=off)
        off -= read
    else:
        np.negative(read, out=off)


def _word(number: int) -> np.uint64:
    return np.uint64(number % (1 << 64))
