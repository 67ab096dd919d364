"""What a run frees is kept for the next one: large arrays are not mapped anew each time."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

SCRIPT = """
import resource, threading
import numpy as np
from keras_private.party.heap import _trimmer, keep_freed

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(4):
        np.ones(5_000_000)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def in_a_thread():
    found = []
    thread = threading.Thread(target=lambda: found.append(faults()))
    thread.start()
    thread.join()
    return found[0]

def resident():
    with open("/proc/self/statm") as pages:
        return int(pages.read().split()[1]) * resource.getpagesize()

assert keep_freed()
faults()
kept, kept_by_thread, before = faults(), in_a_thread(), resident()
_trimmer()()
print(kept, kept_by_thread, before - resident())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries see to it themselves")
def test_arrays_are_made_of_memory_that_was_freed_until_it_is_given_back() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, timeout=60)
    kept, kept_by_thread, given_back = map(int, done.stdout.split())
    assert kept < 100
    assert kept_by_thread < 100  # in the one arena of all threads
    assert given_back > 30e6
