"""Splines: a shared number's value in a public table, without anybody learning where in the table it is read.

Theory of operation. x = u + v, u known to the pair and v to the dealer (`party`); a table is read in the cell
of index i = (u >> s) + (v >> s) and gives T0 + T1·(u_r + v_r) with the remainders u_r, v_r (`plan/spline/table.py`).
The dealer tells the pair where v is by a distributed point function (`dpf.py`), and the pair, which knows u, sums what
the table has for every cell.

*Refined tables* (`refined`). At every level of the tree that has leaves, the payload is (1, v_r). Each of the pair has
a summand e of [x is in this leaf], and one of v_r·e, so that of (T0 + T1·u_r)·e + T1·v_r·e, whose sum over all leaves
is y. They exchange it under fresh masks, which become y_0 and y_2, as in `select`.

    round 1   P2 -> P0, P1   16 bytes a level, and 16 for each level with leaves
    later     P0 <-> P1      8 bytes each way

*Uniform tables* (`uniform`). The pair has only XOR shares t_0, t_1 of the bits [x is in cell i]. Each sums the rows of
its own ones: A = sum of T0·t, B = sum of T1·t. All terms but that of x's cell are the same at both, so P0's sum less
P1's is sigma·T with a sign sigma = t_0 - t_1 = 1 or -1 of the cell that x is in, which the dealer knows. With the sums
W = A + B·u_r and B opened under masks, W' = W + m and B' = B + n,

    y  =  sigma·W + sigma·v_r·B  =  sigma·W' + sigma·v_r·B' - (sigma·m + sigma·v_r·n),

of which the dealer shares sigma, sigma·v_r and the bracket: it knows all of them beforehand.
What lies beside the cells has a line instead of rows, c + a·x. The control bits of the nodes beside the cells, and the
bits beside them in the leaves, add up to shares p_0 ^ p_1 of [x lies there]. p ^ r is opened under a mask r
that the dealer shares, with r·v, as numbers: with p' for it, p = p' + (1 - 2p')·r, so that p·(c + a·u) + a·p·v is a sum
of products of what the pair knows and of what is shared. The offset of the lower line is taken off everything before
and added behind.

    round 1   P2 -> P0, P1   16 bytes a level and 16 for a leaf (or P2 -> P1, up to 10 bits: 2^bits bits, of which one
                             is set)
              P2 -> P1       24 bytes, and 8 or 16 a tail
    later     P0 <-> P1      16 bytes and a bit a tail
    after     P0 <-> P1      8 bytes

Sources: splines by function secret sharing: Boyle et al., *Function Secret Sharing for Mixed-Mode and Fixed-Point
Secure Computation*, EUROCRYPT 2021. Tails from parities: Storrier et al., *Grotto*, CCS 2023. That both parties sum
only the rows of their ones, and the dealer deals the sign: this project.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache

import numpy as np

from keras_private.mpc.dpf import Frontier, Hashes, Path, Span, chunks
from keras_private.mpc.kernels import bits as planes
from keras_private.mpc.party import Party
from keras_private.mpc.places import Places, deal_places
from keras_private.mpc.reshare import empty_share
from keras_private.mpc.rounds import Protocol, Words, as_words
from keras_private.plan.cost import plane_words
from keras_private.plan.spline.cost import Tail, dealt_words, key_words, tails
from keras_private.plan.spline.table import Refined, Uniform
from keras_private.sharing.random import Stream
from keras_private.sharing.share import Share


def spline(
    party: Party, x: Share, table: Uniform | Refined, *, wait: int = 0, out: Share | None = None
) -> Protocol[Share]:
    """Share of the table's value for every value of x. 2 + `wait` rounds, 3 + `wait` with a uniform table.

    Args:
        x: a share of any shape, |x| < 2^table.bound; its pair's part may be filled during the first 1 + `wait` rounds.
        wait: rounds between the dealer's messages and the first exchange.
        out: where to put the result; the dealer's part of it is there before the first round.
    """
    out = empty_share(x.shape) if out is None else out
    if isinstance(table, Refined):
        return (yield from refined(party, x, table, out, wait))
    return (yield from uniform(party, x, table, out, wait))


# --- refined tables


def refined(party: Party, x: Share, table: Refined, out: Share, wait: int) -> Protocol[Share]:
    """See `spline`."""
    count, hashes = x.mine.size, Hashes.fresh(party.masks)
    if party.is_dealer:
        seeds = party.masks.next.words(2 * count), party.masks.mine.words(2 * count)
        out.next.reshape(-1)[:] = party.masks.next.words(count)
        out.mine.reshape(-1)[:] = party.masks.mine.words(count)
        key = np.empty(key_words(table) * count, np.uint64)
        _deal_refined(hashes, (x.mine + x.next).reshape(-1), seeds, table, *_split_key(key, table, count))
        yield party.dealer_step([key], [key])
        for _ in range(wait + 1):
            yield party.dealer_step()
        return out

    seed, mask = party.outer_masks.words(2 * count), party.outer_masks.words(count)
    _, got = party.pair_received((yield party.pair_step((), 0, 8 * key_words(table) * count)))
    for _ in range(wait):
        yield party.pair_step()
    party.outer(out)[:] = mask
    part = _read_refined(party, hashes, party.inner(x), seed, table, *_split_key(as_words(got), table, count))
    part -= mask
    peer, _ = party.pair_received((yield party.pair_step([part], part.nbytes)))
    np.add(part, as_words(peer), out=party.inner(out))
    return out


def _split_key(key: Words, table: Refined, count: int) -> tuple[Words, Words]:
    """The correction words of the levels, (levels, count, 2), and of the payloads, (payloads, count, 2)."""
    levels = len(table.levels)
    whole = key.reshape(key_words(table) // 2, count, 2)
    return whole[:levels], whole[levels:]


def _deal_refined(
    hashes: Hashes, v: Words, seeds: tuple[Words, Words], table: Refined, words: Words, payloads: Words
) -> None:
    for part in chunks(v.size):
        own, pairs, payload = v[part], slice(2 * part.start, 2 * part.stop), iter(payloads)
        path = Path(hashes, (seeds[0][pairs], seeds[1][pairs]), own, table.bits, len(table.levels))
        numbers = np.ones((own.size, 2), np.uint64)
        for level, word in zip(table.levels, words, strict=True):
            path.down(word[part])
            if level.rows.size:
                numbers[:, 1] = remainder(own, level.width, level.drop)
                path.payload(numbers, next(payload)[part])


def _read_refined(
    party: Party, hashes: Hashes, u: Words, seed: Words, table: Refined, words: Words, payloads: Words
) -> Words:
    """One of the pair's summand of the results."""
    result, steps, first = np.empty(u.size, np.uint64), _steps(table), party.role == 0
    for part in chunks(u.size):
        own, pairs, payload = u[part], slice(2 * part.start, 2 * part.stop), iter(payloads)
        frontier = Frontier(hashes, seed[pairs], own, table.bits, len(steps), first=first)
        total = np.zeros_like(own)
        for level, (span, rows), word in zip(table.levels, steps, words, strict=True):
            leaves = frontier.down(word[part], *span)
            if len(rows):
                sums = np.zeros((2, own.size), np.uint64)
                leaves.weigh(next(payload)[part], rows, frontier.turns, sums)
                sums[1] *= remainder(own, level.width, level.drop)
                total += sums[0]
                total += sums[1]
        result[part] = total
    return result if first else -result


@lru_cache(maxsize=256)
def _steps(table: Refined) -> list[tuple[Span, Words]]:
    """For each level what goes on, and the rows of the leaves in the order of `Frontier.down`, (leaves + 1, 2)."""
    found, start = [], -1
    for level in table.levels:
        low, high = level.refined
        inside = np.s_[low - level.first : high - level.first]
        rows = np.delete(level.rows.view(np.uint64), inside, axis=1) if level.rows.size else level.rows.view(np.uint64)
        found.append((Span(low - start, high - low), np.ascontiguousarray(rows.T)))
        start = 2 * low
    return found


# --- uniform tables


def uniform(party: Party, x: Share, table: Uniform, out: Share, wait: int) -> Protocol[Share]:
    """See `spline`."""
    count, beside = x.mine.size, tails(table)
    of_sums, of_bits, of_shares = (2, count), (len(beside), plane_words(count)), (dealt_words(table), count)
    if party.is_dealer:
        stream_0, stream_2 = party.masks.next, party.masks.mine
        masks = _words(stream_0, of_sums) + _words(stream_2, of_sums)
        hidden = _words(stream_0, of_bits) ^ _words(stream_2, of_bits)
        out.next.reshape(-1)[:], out.mine.reshape(-1)[:] = stream_0.words(count), stream_2.words(count)
        v = (x.mine + x.next).reshape(-1)
        to_both, to_p1, chosen = deal_places(party, v, table)
        dealt = np.stack(_products(v, chosen, masks, hidden, table)) - _words(stream_0, of_shares)
        yield party.dealer_step(to_both, [*to_both, *to_p1, dealt])
        for _ in range(wait + 2):
            yield party.dealer_step()
        return out

    first = party.role == 0
    sums, crossed = _words(party.outer_masks, of_sums), _words(party.outer_masks, of_bits)
    mask, places = party.outer_masks.words(count), Places(party, table, count)
    if first:
        shared = _words(party.outer_masks, of_shares)
        _, key = party.pair_received((yield party.pair_step((), 0, places.due)))
    else:
        _, got = party.pair_received((yield party.pair_step((), 0, places.due + 8 * math.prod(of_shares))))
        key, shared = got[: places.due], as_words(got[places.due :]).reshape(of_shares)
    for _ in range(wait):
        yield party.pair_step()

    u = party.inner(x)
    own, parities = places.read(u, as_words(key))
    own[0] += own[1] * remainder(u, table.width, table.drop)
    sums += own if first else -own
    for parity, row in zip(parities, crossed, strict=True):
        plane = np.empty((1, row.size), np.uint64)
        planes.to_planes(parity, 0, plane)
        row ^= plane[0]
    peer, _ = party.pair_received((yield party.pair_step([sums, crossed], sums.nbytes + crossed.nbytes)))
    sums = sums + as_words(peer[: sums.nbytes]).reshape(of_sums)
    crossed = crossed ^ as_words(peer[sums.nbytes :]).reshape(of_bits)

    part = sums[0] * shared[0] + sums[1] * shared[1] - shared[2] - mask
    if first:
        part += np.uint64(table.below[0] % (1 << 64))
    rest = iter(shared[3:])
    for tail, row in zip(beside, crossed, strict=True):
        part += _tail_part(party, x, tail, row, rest)
    party.outer(out)[:] = mask
    peer, _ = party.pair_received((yield party.pair_step([part], part.nbytes)))
    np.add(part, as_words(peer), out=party.inner(out))
    return out


def _tail_part(party: Party, x: Share, tail: Tail, opened: Words, shared: Iterator[Words]) -> Words:
    """One of the pair's summand of p·(c + a·x); `opened` are the bits p', `shared` begins with r, and r·v if a != 0."""
    u, here = party.inner(x), np.empty(x.mine.size, np.uint64)
    planes.spread(opened, here)  # all ones where p' is 1: adding it after an exclusive or with it negates
    slope = np.uint64(tail.slope % (1 << 64))
    line = slope * u + np.uint64(tail.offset % (1 << 64))
    part: Words = ((next(shared) * line) ^ here) - here
    if party.role == 0:
        part += line & here
    if tail.slope:
        part += slope * ((party.outer(x) & here) + ((next(shared) ^ here) - here))
    return part


def _products(v: Words, chosen: Words, masks: Words, hidden: Words, table: Uniform) -> list[Words]:
    """What the dealer shares of a uniform table, in the order of `dealt_words`.

    Args:
        chosen: (n,) 0 or 1, the first party's bit of the cell that x is in.
        masks: (2, n), of the two sums.
        hidden: (tails, planes), of the tails' bits.
    """
    sign = np.uint64(2) * chosen - np.uint64(1)
    turned = sign * remainder(v, table.width, table.drop)
    found = [sign, turned, sign * masks[0] + turned * masks[1]]
    for tail, row in zip(tails(table), hidden, strict=True):
        spread = np.empty(v.size, np.uint64)
        planes.spread(row, spread)
        found.append(spread & np.uint64(1))
        if tail.slope:
            found.append(spread & v)
    return found


def remainder(values: Words, width: int, drop: int) -> Words:
    """A summand's part of the remainder in a cell."""
    return (values & np.uint64((1 << width) - 1)) >> np.uint64(drop)


def _words(stream: Stream, shape: tuple[int, ...]) -> Words:
    return stream.words(math.prod(shape)).reshape(shape)
