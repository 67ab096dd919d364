"""Distributed point functions: what both parties' keys come to, what they are bit for bit, and how they are spread.

That keys tell nothing rests on an assumption about AES, which no test can show. What tests can show is that nothing
is missing: no seed serves twice, and nothing that a party can compute of its key prefers one value.
"""

from __future__ import annotations

import json
from pathlib import Path as File

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_private.mpc.dpf import Frontier, Hashes, Leaves, Path, spans
from keras_private.mpc.places import _unit_bits

from . import reference_dpf as reference
from .test_privacy import LIMIT, chi_square

VECTORS = json.loads((File(__file__).parent / "vectors" / "dpf_1.json").read_text())
WORD = 1 << 64
HASHES = Hashes(np.frombuffer(reference.KEYS["tree"] + reference.KEYS["pad"], np.uint64))


def words_of(blocks: list[int]) -> np.ndarray:
    """(n, 2) words of blocks."""
    return np.array([[block % WORD, block >> 64] for block in blocks], np.uint64).reshape(-1, 2)


def blocks_of(words: np.ndarray) -> list[int]:
    return [int(low) | int(high) << 64 for low, high in words.reshape(-1, 2)]


def random_seeds(seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    first, second = random.integers(0, WORD, (2, 2 * count), np.uint64)
    return first, second


class Dealt:
    """Keys of `places` that end in 128 bits at the level `levels`, and in a number."""

    def __init__(self, seeds: tuple[np.ndarray, np.ndarray], places: np.ndarray, bits: int, levels: int) -> None:
        self.bits, self.levels = bits, levels
        path = Path(HASHES, seeds, places, bits, levels)
        self.words = np.empty((levels, places.size, 2), np.uint64)
        for word in self.words:
            path.down(word)
        self.bits_word = np.empty((places.size, 2), np.uint64)
        self.chosen = path.bits(_unit_bits(places, 7), self.bits_word)
        self.number_word = np.empty((places.size, 2), np.uint64)
        path.payload(np.stack([places + np.uint64(77), places], axis=1), self.number_word)

    def nodes(self, seed: np.ndarray, u: np.ndarray, *, first: bool) -> Leaves:
        """All nodes of the last level."""
        frontier = Frontier(HASHES, seed, u, self.bits, self.levels, first=first)
        for level, word in enumerate(self.words, 1):
            others = frontier.down(word, 0, 1 << level)
            assert not others.masks.size
        return frontier.nodes


# --- what they come to


@given(bits=st.integers(7, 12), seed=st.integers(0, 2**32))
def test_one_bit_and_one_number(bits: int, seed: int) -> None:
    """All places, moved by u: those of index i = place + (u's bits) follow one another, from -2^(levels - 1) on."""
    count, levels = 3, bits - 7
    random = np.random.default_rng(seed)
    places, u = random.integers(0, 1 << bits, (2, count), np.uint64)
    seeds = random_seeds(seed, count)
    dealt = Dealt(seeds, places, bits, max(levels, 1))
    if not levels:
        return
    one, other = (dealt.nodes(seeds[i], u, first=not i) for i in range(2))
    bits_found = one.bits(dealt.bits_word) ^ other.bits(dealt.bits_word)
    numbers = one.numbers(dealt.number_word[:, 0].copy()) - other.numbers(dealt.number_word[:, 0].copy())
    for k in range(count):
        at = ((int(places[k]) >> 7) + (int(u[k]) >> 7) + (1 << levels - 1)) % (1 << levels)
        assert numbers[k].tolist() == [int(places[k]) + 77 if i == at else 0 for i in range(1 << levels)]
        row = int.from_bytes(bits_found[k].tobytes(), "little")
        assert row == 1 << (128 * at + int(places[k]) % 128)


@given(
    bits=st.integers(3, 40),
    levels=st.integers(3, 12),
    first=st.floats(0, 1),
    size=st.integers(0, 300),
)
def test_spans_hold_all_places_and_are_never_more_than_the_parents_have(
    bits: int, levels: int, first: float, size: int
) -> None:
    levels, edge = min(levels, bits), 1 << (bits - 2)
    begin = -edge - 1 + round(first * 3 * edge)
    stop = min(begin + size, 2 * edge)
    found, start = spans(begin, stop, bits, levels)
    count = 1
    for span in found:
        assert 0 <= span.first <= span.first + span.size <= 2 * count
        assert span.first or span.size == 2 * count  # the first child's place may be the one behind the last
        count = span.size
    below = bits - levels
    for place in (begin, stop - 1):
        if begin < stop:
            for low in (0, (1 << below) - 1):  # whatever u's lower bits are, the node of the place is among them
                assert start <= (place - low) >> below < start + count


# --- what they are, bit for bit


@given(bits=st.integers(8, 20), seed=st.integers(0, 2**32))
def test_they_are_what_the_definition_says(bits: int, seed: int) -> None:
    levels, place = min(bits - 7, 4), seed % (1 << bits)
    top = place >> (bits - levels)
    seeds = random_seeds(seed, 1)
    dealt = Dealt(seeds, np.array([place], np.uint64), bits, levels)
    both = tuple(blocks_of(seed)[0] for seed in seeds)
    words, ends = reference.deal((both[0], both[1]), place, bits, levels)
    assert blocks_of(dealt.words) == words
    assert blocks_of(dealt.bits_word) == [reference.bits_word(ends, place)]
    assert dealt.number_word[:, 0].tolist() == [reference.number_word(ends, place + 77)]
    u = np.array([1 << bits - 1], np.uint64)  # so that the first node's index is -2^(levels - 1)
    for i, root in enumerate(reference.roots((both[0], both[1]))):
        leaves = dealt.nodes(seeds[i], u, first=not i)
        nodes = [reference.node_at(root, words, number) for number in range(1 << levels)]
        word = reference.bits_word(ends, place)
        assert blocks_of(leaves.bits(dealt.bits_word)) == [reference.bits_of(node, word) for node in nodes]
        number_word = reference.number_word(ends, place + 77)
        expected = [reference.number_of(node, number_word) for node in nodes]
        assert leaves.numbers(dealt.number_word[:, 0].copy())[0].tolist() == expected
        if i == 0:
            assert dealt.chosen[0] == reference.bits_of(nodes[top], word) >> (place & 127) & 1


@pytest.mark.parametrize("vector", VECTORS["keys"])
def test_vectors(vector: dict[str, object]) -> None:
    """Keys of another version of the protocol would not fit the other parties'."""
    assert VECTORS["version"] == 1
    assert vector == made(int(str(vector["place"])), int(str(vector["bits"])), str(vector["seed"]))


def made(place: int, bits: int, seed: str) -> dict[str, object]:
    levels = bits - 7
    blocks = [int.from_bytes(bytes.fromhex(seed)[at : at + 16], "little") for at in (0, 16)]
    seeds = words_of(blocks[:1]).reshape(-1), words_of(blocks[1:]).reshape(-1)
    dealt = Dealt(seeds, np.array([place], np.uint64), bits, levels)
    u = np.array([1 << bits - 1], np.uint64)
    leaves = [dealt.nodes(seeds[i], u, first=not i) for i in range(2)]
    return {
        "seed": seed,
        "place": place,
        "bits": bits,
        "words": dealt.words.astype("<u8").tobytes().hex(),
        "bits_word": dealt.bits_word.astype("<u8").tobytes().hex(),
        "number_word": dealt.number_word.astype("<u8").tobytes().hex(),
        "shares_of_bits": [one.bits(dealt.bits_word).astype("<u8").tobytes().hex() for one in leaves],
        "shares_of_the_number": [
            one.numbers(dealt.number_word[:, 0].copy()).astype("<u8").tobytes().hex() for one in leaves
        ],
    }


def test_nodes_show_no_blocks() -> None:
    seeds = random_seeds(1, 2)
    dealt = Dealt(seeds, np.array([1, 2], np.uint64), 9, 2)
    assert repr(dealt.nodes(seeds[0], np.zeros(2, np.uint64), first=True)) == "Leaves((4, 2))"


# --- how they are spread

COUNT = 16_384


def keys(place: int, seeds: tuple[np.ndarray, np.ndarray]) -> Dealt:
    return Dealt(seeds, np.full(seeds[0].size // 2, place, np.uint64), 10, 3)


def seen(dealt: Dealt, seeds: tuple[np.ndarray, np.ndarray], i: int) -> list[np.ndarray]:
    """What a party gets and makes of it, every array with one entry a value: (COUNT, …)."""
    leaves = dealt.nodes(seeds[i], np.zeros(dealt.chosen.size, np.uint64), first=not i)
    words = [*dealt.words, dealt.bits_word, dealt.number_word]
    return [*words, leaves.bits(dealt.bits_word), leaves.numbers(dealt.number_word[:, 0].copy())]


def worst(dealt: Dealt, seeds: tuple[np.ndarray, np.ndarray], i: int) -> float:
    """The largest chi-square of any byte of what a party sees, over values: each byte by its place."""
    columns = [column for array in seen(dealt, seeds, i) for column in array.reshape(COUNT, -1).view(np.uint8).T]
    return max(chi_square(np.ascontiguousarray(column)) for column in columns)


@pytest.mark.parametrize("place", [0, 700, 1023])
@pytest.mark.parametrize("i", [0, 1])
def test_every_byte_is_uniform_whatever_the_place_is(place: int, i: int) -> None:
    """At the place too: neither which words there are nor which bits a party has says where it is."""
    seeds = random_seeds(place, COUNT)
    assert worst(keys(place, seeds), seeds, i) < LIMIT


def test_the_same_place_twice_has_nothing_in_common() -> None:
    found = [keys(700, random_seeds(seed, 1000)) for seed in (1, 2)]
    sets = [
        {word for array in (dealt.words, dealt.bits_word, dealt.number_word) for word in array.reshape(-1).tolist()}
        for dealt in found
    ]
    assert len(sets[0]) == len(sets[1]) == 1000 * 10
    assert not sets[0] & sets[1]


def test_another_place_has_no_word_in_common_but_those_of_the_way_there() -> None:
    """For the same seeds, which never happens: the words of one level say where the path went in the ones above."""
    seeds = random_seeds(1, 100)
    one, other = keys(0b0101 << 6, seeds), keys(0b0111 << 6, seeds)
    assert np.array_equal(one.words[:2], other.words[:2])
    assert not np.any(one.words[2] == other.words[2])


# That the tests can fail.


def test_a_seed_that_serves_twice_would_be_noticed() -> None:
    first, second = random_seeds(1, COUNT)
    seeds = np.tile(first[:2], COUNT), np.tile(second[:2], COUNT)
    assert worst(keys(700, seeds), seeds, 0) > LIMIT


def test_a_party_that_always_has_the_one_would_be_noticed() -> None:
    """A dealer that draws seeds again until the sign is the same for all has no need to share it, and tells it all."""
    first, second = random_seeds(1, 3 * COUNT)
    chosen = np.flatnonzero(keys(700, (first, second)).chosen)[:COUNT]
    seeds = first.reshape(-1, 2)[chosen].reshape(-1), second.reshape(-1, 2)[chosen].reshape(-1)
    assert worst(keys(700, seeds), seeds, 0) > LIMIT
