"""The mask stream: right, and never twice."""

import copy
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_private.errors import InputError
from keras_private.sharing.random import Stream

quick = settings(derandomize=True, deadline=None, max_examples=60)


def test_known_answer() -> None:
    # AES-256 with an all-zero key: blocks 0 (FIPS 197 / NIST CAVP) and 1 of the counter.
    stream = Stream(bytes(32)).take(32).tobytes()
    assert stream[:16].hex() == "dc95c078a2408989ad48a21492842087"
    assert stream[16:].hex() == "530f8afbc74536b9a963b4f1c4cb738b"


@quick
@given(st.lists(st.integers(0, 300_000), max_size=8))
def test_cutting_does_not_change_the_stream(counts: list[int]) -> None:
    whole = Stream(b"k" * 32).words(sum(-(-count // 8) for count in counts))
    stream = Stream(b"k" * 32)
    at = 0
    for count in counts:
        part = stream.take(count)
        assert part.ctypes.data % 8 == 0
        assert part.tobytes() == whole.view(np.uint8)[8 * at : 8 * at + count].tobytes()
        at += -(-count // 8)


def test_never_hands_out_the_same_bytes_twice() -> None:
    stream = Stream(os.urandom(32))
    parts = [stream.words(count) for count in (1, 5, 8190, 3, 0, 20_000, 7, 8192, 1, 100_000)]
    before = [part.copy() for part in parts]
    everything = np.concatenate(parts)
    assert len(np.unique(everything)) == len(everything)
    for part in parts:
        part[:] = 0  # the caller's to overwrite; no other part and no later take changes
    assert not np.isin(stream.words(50_000), everything).any()
    assert all(len(part) == len(old) for part, old in zip(parts, before, strict=True))


def test_parts_do_not_overlap_in_memory() -> None:
    stream = Stream(os.urandom(32))
    a, b = stream.words(10), stream.words(10)
    kept = b.copy()
    a[:] = 0
    assert np.array_equal(b, kept)


def test_cannot_be_copied_pickled_or_printed() -> None:
    key = b"a very secret key of 32 bytes !!"
    stream = Stream(key)
    for attempt in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="used twice"):
            attempt(stream)
    assert "secret" not in repr(stream)
    assert key.hex() not in repr(stream)


_FORK = """
import os, sys
from keras_private.errors import StateError
from keras_private.sharing.random import Stream

stream = Stream(os.urandom(32))
stream.words(1)
child = os.fork()
if child == 0:
    try:
        stream.words(1)
    except StateError:
        os._exit(7)
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
stream.words(1)  # the parent goes on
"""


def test_is_dead_in_a_forked_child() -> None:
    subprocess.run([sys.executable, "-c", _FORK], check=True, timeout=60)


def test_refuses_wrong_sizes() -> None:
    with pytest.raises(InputError, match="32 bytes"):
        Stream(b"short")
    with pytest.raises(InputError):
        Stream(bytes(32)).take(-1)
    with pytest.raises(InputError):
        Stream(bytes(32)).words(-1)
