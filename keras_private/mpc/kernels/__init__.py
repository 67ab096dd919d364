"""Numba kernels: a party's local work, fused into as few passes over memory as possible.

They are compiled on first use and kept on disk by numba. `warm_up` (or `python -m keras_private.mpc.kernels`)
compiles all of them ahead of time, so that nobody waits for a compiler in the middle of a query.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import platformdirs

from keras_private.errors import ConfigError


def check_cache() -> None:
    """Make sure that there is a folder for what is compiled: without one, numba compiles nothing at all.

    Raises:
        ConfigError: nothing can be written to any of the places where numba would put it; names them.
    """
    places = [Path(__file__).parent / "__pycache__", Path(platformdirs.user_cache_dir("numba", appauthor=False))]
    if named := os.environ.get("NUMBA_CACHE_DIR"):
        places.insert(0, Path(named))
    if not any(map(_writable, places)):
        raise ConfigError(
            f"what numba compiles can be kept nowhere ({', '.join(map(str, places))} cannot be written to); set "
            "NUMBA_CACHE_DIR to a folder that is this user's alone"
        )


def _writable(path: Path) -> bool:
    """Whether a file can be made in a folder, which may have to be made first."""
    there = next(each for each in (path, *path.absolute().parents) if each.exists())
    return there.is_dir() and os.access(there, os.W_OK | os.X_OK)


def warm_up() -> None:
    """Compile every kernel for the types that the protocols call it with, or load it from the cache.

    Raises:
        ConfigError: see `check_cache`.
    """
    check_cache()
    from keras_private.mpc.kernels import bits, dpf, elementwise, positions, ring

    def words(*shape: int) -> np.ndarray:
        return np.zeros(shape, np.uint64)

    ring.matmul(words(1, 1, 1), words(1, 1, 1), words(1, 1, 2, 8), words(1, 1, 1))
    ring.add_rows(words(1, 1), words(1, 1), words(1, 1))
    image = words(1, 1, 1, 1)
    ring.conv2d(image, image, words(1, 2, 8), words(1, 1), (1, 1, 1, 1), (1, 1), (1, 1), (0, 0))
    ring.depthwise_conv2d(image, image, image, image, words(1, 1, 1, 1, 1), (1, 1), (1, 1), (0, 0))
    ring.sum_pool2d(image, words(1, 1, 1, 1), (1, 1), (1, 1), (0, 0))
    bits.to_planes(words(1), 0, words(4, 1))
    bits.deal(words(4, 1), words(8, 1), 3, words(8, 1))
    bits.combine(words(4, 1), words(8, 1), words(1, 1), 3, 1, words(1, 1))
    bits.deal_level(words(3, 1), words(4, 1), 2, words(4, 1))
    bits.combine_level(words(3, 1), words(4, 1), words(1, 1), 2, 1, words(1, 1))
    bits.spread(words(1), words(1))
    bits.pack(np.zeros(1, np.uint8), words(1))
    bits.unpack(words(1), np.zeros(1, np.uint8))
    for short in (np.uint16, np.uint32, np.uint64):
        small = np.zeros(4, short)
        elementwise.top_masks(words(1), 0, small[:1])
        elementwise.truncation_deal(words(1), words(1), 1, words(1), small, small, words(1), small, words(1))
        elementwise.lift_mask(words(1), small, 1, words(1))
        elementwise.truncation_part(small, small, small, small)
        elementwise.truncation_join(words(1), small, small, 1, words(1))
    each = words(1, 1, 1)
    elementwise.select_deal(each, each, words(1, 1), words(2, 1, 1), words(2, 1, 1))
    elementwise.select_part(each, each, words(1, 1), words(2, 1, 1), words(1, 1), words(1, 1))
    block, blocks, one, none, line = words(1, 2), words(2, 2), words(1), words(0, 1), words(1, 1)
    cube = words(1, 1, 2)
    dpf.bit_masks(one, np.zeros(1, np.int64), line)
    dpf.enter(block, block, one)
    dpf.correct(blocks, blocks, words(3, 2), words(2), one, block)
    dpf.expand(cube, cube, blocks, line, block, one, 1, cube, cube, line, cube, line)
    dpf.payload_word(blocks, words(3, 2), words(2), block, block)
    dpf.weigh(cube, blocks, line, block, blocks, one, words(2, 1))
    dpf.leaf_numbers(cube, blocks, line, one, line)
    dpf.leaf_bits(cube, blocks, line, block, block)
    dpf.leaf_word(blocks, words(3, 2), words(2), block, block, one)
    dpf.add_controls(line, 1, one, one, one)
    positions.unit_bits(one, none, line)
    positions.bits_at(line, line, one)
    positions.move_down(line, one, none, True, line)
    positions.add_parities(line, 0, 1, one)
    positions.sum_rows(line, words(2, 1), words(2, 1))
