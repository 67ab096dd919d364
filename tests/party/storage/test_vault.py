"""Sealed files: what was written comes back, and whatever else is in the file is found, wherever it was changed."""

from __future__ import annotations

import io
import os

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from keras_private.errors import StorageError
from keras_private.party.storage import vault
from keras_private.party.storage.vault import HEADER_BYTES, Opener, Sealer, StorageKey, context

CHUNK, TAG = 64, 16
KEY = StorageKey(bytes(range(32)))
WHERE = context("test", "server0", "model", bytes(16))


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vault, "CHUNK_BYTES", CHUNK)


def seal(data: bytes, key: StorageKey = KEY, where: bytes = WHERE) -> bytes:
    file = io.BytesIO()
    sealer = Sealer(file, key, where)
    for start in range(0, len(data), 23):  # fits no chunk
        sealer.write(data[start : start + 23])
    sealer.finish()
    return file.getvalue()


def unseal(sealed: bytes, size: int, key: StorageKey = KEY, where: bytes = WHERE) -> bytes:
    opener = Opener(io.BytesIO(sealed), key, where)
    data = b"".join(opener.read(min(17, size - start)) for start in range(0, size, 17))
    opener.finish()
    return data


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 3 * CHUNK + 5])
def test_what_was_written_comes_back(size: int) -> None:
    data = os.urandom(size)
    sealed = seal(data)
    chunks = max(1, -(-size // CHUNK))
    assert len(sealed) == HEADER_BYTES + size + TAG * chunks
    opener = Opener(io.BytesIO(sealed), KEY, WHERE)
    assert opener.size == size
    assert unseal(sealed, size) == data


def test_nothing_of_it_is_in_the_file_and_nothing_repeats() -> None:
    data = bytes(2 * CHUNK)
    first, second = seal(data), seal(data)
    assert bytes(8) not in first[HEADER_BYTES:]
    blocks = [each[at : at + 16] for each in (first, second) for at in range(16, len(first) - 16)]
    assert len(set(blocks)) == len(blocks)


@given(st.data())
def test_any_changed_byte_is_found(draw: st.DataObject) -> None:
    size = draw.draw(st.sampled_from([0, 10, CHUNK, 2 * CHUNK + 7]))
    sealed = bytearray(seal(bytes(size)))
    at = draw.draw(st.integers(0, len(sealed) - 1))
    sealed[at] ^= draw.draw(st.integers(1, 255))
    with pytest.raises(StorageError):
        unseal(bytes(sealed), size)


@given(st.integers(0, 4), st.integers(0, CHUNK + TAG), st.integers(0, 3 * CHUNK))
@example(3, 0, 3 * CHUNK)  # cut where a chunk ends
@example(1, 0, CHUNK)
@example(0, 0, 0)
def test_a_file_that_was_cut_is_found(chunks: int, more: int, size: int) -> None:
    sealed = seal(bytes(4 * CHUNK))
    cut = HEADER_BYTES + chunks * (CHUNK + TAG) + more
    if cut < len(sealed):
        with pytest.raises(StorageError):
            unseal(sealed[:cut], size)


def test_a_file_that_goes_on_is_found() -> None:
    sealed = seal(bytes(2 * CHUNK))
    for more in (b"\0", sealed[HEADER_BYTES:], sealed[-(CHUNK + TAG) :]):
        with pytest.raises(StorageError):
            unseal(sealed + more, 2 * CHUNK)
    for fewer in (0, CHUNK, 2 * CHUNK - 1):
        with pytest.raises(StorageError, match="beyond its end"):
            unseal(sealed, fewer)


@given(st.permutations(range(4)), st.lists(st.integers(0, 3), min_size=1, max_size=6))
def test_chunks_in_another_order_doubled_or_left_out_are_found(order: list[int], some: list[int]) -> None:
    data = b"".join(bytes([number]) * CHUNK for number in range(4))
    sealed = seal(data)
    chunks = [sealed[at : at + CHUNK + TAG] for at in range(HEADER_BYTES, len(sealed), CHUNK + TAG)]
    for chosen in (order, some):
        if list(chosen) != [0, 1, 2, 3]:
            with pytest.raises(StorageError):
                unseal(sealed[:HEADER_BYTES] + b"".join(chunks[each] for each in chosen), len(chosen) * CHUNK)


def test_nothing_is_taken_from_another_file() -> None:
    """Neither its header nor any of its chunks, though key and context be the same."""
    one, two = seal(bytes(2 * CHUNK)), seal(bytes(2 * CHUNK))
    for cut in (HEADER_BYTES - 7, HEADER_BYTES, HEADER_BYTES + CHUNK + TAG):
        with pytest.raises(StorageError):
            unseal(one[:cut] + two[cut:], 2 * CHUNK)


@pytest.mark.parametrize(
    "where",
    [
        context("other", "server0", "model", bytes(16)),
        context("test", "server1", "model", bytes(16)),
        context("test", "server0", "note", bytes(16)),
        context("test", "server0", "model", bytes(15) + b"\1"),
        context("testserver0", "", "model", bytes(16)),
    ],
)
def test_a_file_belongs_where_it_was_written(where: bytes) -> None:
    with pytest.raises(StorageError, match="belongs elsewhere") as failure:
        unseal(seal(b"x"), 1, where=where)
    assert not failure.value.damaged  # a party that was started with another's folder leaves it as it is


def test_another_key_and_a_later_format_are_told_from_damage() -> None:
    other = StorageKey(bytes(range(1, 33)))
    with pytest.raises(StorageError, match=f"another storage key \\({KEY.id.hex()}\\)") as failure:
        unseal(seal(b"x"), 1, key=other)
    assert not failure.value.damaged
    later = bytearray(seal(b"x"))
    later[7] += 1
    with pytest.raises(StorageError, match="version 2 of the format, this release knows version 1") as failure:
        unseal(bytes(later), 1)
    assert not failure.value.damaged
    with pytest.raises(StorageError, match="not a file that a party wrote") as failure:
        unseal(b"#!/bin/sh\n" * 20, 1)
    assert failure.value.damaged


def test_nothing_is_allocated_for_a_size_that_the_file_does_not_have() -> None:
    opener = Opener(io.BytesIO(seal(b"x")), KEY, WHERE)
    with pytest.raises(StorageError, match="ends too early"):
        opener.read(1 << 60)


def test_a_key_shows_its_id_alone() -> None:
    assert repr(KEY) == f"StorageKey({KEY.id.hex()})"
    assert bytes(range(8)).hex() not in repr(KEY)
