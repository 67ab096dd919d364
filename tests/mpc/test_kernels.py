"""No kernel believes a size: with any one array a little smaller than it should be, it refuses before it reads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from keras_private.mpc.kernels import bits, dpf, elementwise, positions, ring


def words(*shape: int) -> np.ndarray:
    return np.ones(shape, np.uint64)


def shorts(count: int) -> np.ndarray:
    return np.ones(count, np.uint16)


GEOMETRY: Any = ((2, 1), (1, 1), (1, 0))  # strides, dilation, origin
CALLS: dict[str, tuple[Any, ...]] = {
    "matmul": (ring.matmul, words(2, 3, 5), words(2, 3, 5), words(2, 2, 10, 8), words(2, 3, 9)),
    "add_rows": (ring.add_rows, words(3, 5), words(5, 4), words(3, 4)),
    "conv2d": (
        ring.conv2d,
        *(words(2, 6, 5, 3), words(2, 6, 5, 3), words(2, 36, 8), words(24, 9), (3, 2, 3, 4)),
        *GEOMETRY,
    ),
    "depthwise_conv2d": (
        ring.depthwise_conv2d,
        *(words(2, 6, 5, 3), words(2, 6, 5, 3), words(3, 2, 3, 4), words(3, 2, 3, 4), words(2, 3, 4, 3, 4)),
        *GEOMETRY,
    ),
    "sum_pool2d": (ring.sum_pool2d, words(2, 6, 5, 3), words(2, 3, 4, 3), (2, 2), (2, 1), (0, 0)),
    "to_planes": (bits.to_planes, words(130), 7, words(5, 3)),
    "pack": (bits.pack, np.ones(129, np.uint8), words(3)),
    "unpack": (bits.unpack, words(3), np.ones(129, np.uint8)),
    "spread": (bits.spread, words(3), words(129)),
    "deal": (bits.deal, words(7, 2), words(15, 2), 3, words(15, 2)),
    "combine": (bits.combine, words(7, 2), words(15, 2), words(3, 2), 3, 1, words(3, 2)),
    # Five groups in nodes of three: one of three with 10 rows dealt and 1 result, one of two with 6 and 2.
    "deal_level": (bits.deal_level, words(9, 2), words(16, 2), 3, words(16, 2)),
    "combine_level": (bits.combine_level, words(9, 2), words(16, 2), words(3, 2), 3, 1, words(3, 2)),
    "top_masks": (elementwise.top_masks, words(9), 0, shorts(9)),
    "truncation_deal": (
        elementwise.truncation_deal,
        *(words(9), words(9), 5, words(9), shorts(9), shorts(9), words(9), shorts(9), words(9)),
    ),
    "lift_mask": (elementwise.lift_mask, words(9), shorts(9), 5, words(9)),
    "truncation_part": (elementwise.truncation_part, shorts(9), shorts(9), shorts(9), shorts(9)),
    "truncation_join": (elementwise.truncation_join, words(9), shorts(9), shorts(9), 5, words(9)),
    "select_deal": (
        elementwise.select_deal,
        *(words(2, 3, 9), words(2, 3, 9), words(3, 9), words(3, 3, 9), words(3, 3, 9)),
    ),
    "select_part": (
        elementwise.select_part,
        *(words(2, 3, 9), words(2, 3, 9), words(3, 9), words(3, 3, 9), words(2, 9), words(2, 9)),
    ),
    "bit_masks": (dpf.bit_masks, words(9), np.arange(3), words(3, 9)),
    "enter": (dpf.enter, words(9, 2), words(9, 2), words(9)),
    "correct": (dpf.correct, words(18, 2), words(18, 2), words(19, 2), words(18), words(9), words(9, 2)),
    # Nine trees of three nodes, of whose six children two go on.
    "expand": (
        dpf.expand,
        *(words(3, 9, 2), words(3, 9, 2), words(28, 2), words(3, 9), words(9, 2), words(9), 1),
        *(words(2, 9, 2), words(2, 9, 2), words(2, 9), words(4, 9, 2), words(4, 9)),
    ),
    "payload_word": (dpf.payload_word, words(18, 2), words(19, 2), words(18), words(9, 2), words(9, 2)),
    "weigh": (
        dpf.weigh,
        *(words(3, 9, 2), words(28, 2), words(3, 9), words(9, 2), words(4, 2), words(9), words(2, 9)),
    ),
    "leaf_numbers": (dpf.leaf_numbers, words(3, 9, 2), words(28, 2), words(3, 9), words(9), words(9, 3)),
    "leaf_bits": (dpf.leaf_bits, words(3, 9, 2), words(28, 2), words(3, 9), words(9, 2), words(9, 6)),
    "leaf_word": (dpf.leaf_word, words(18, 2), words(19, 2), words(18), words(9, 2), words(9, 2), words(9)),
    "add_controls": (dpf.add_controls, words(4, 9), 4, words(9), words(9), words(9)),
    "unit_bits": (positions.unit_bits, words(9), words(2, 9), words(9, 4)),
    "bits_at": (positions.bits_at, words(9, 4), words(9, 4), words(9)),
    "move_down": (positions.move_down, words(9, 4), words(9), words(2, 9), True, words(9, 4)),
    "add_parities": (positions.add_parities, words(9, 4), 3, 256, words(9)),
    "sum_rows": (positions.sum_rows, words(9, 2), words(2, 128), words(2, 9)),
}
# Smaller images have fewer windows, and what a window reads outside an image counts as zero: any size will do.
FREE = {
    *(("sum_pool2d", argument, axis) for argument in (0, 1) for axis in (1, 2)),
    *(("depthwise_conv2d", 4, axis) for axis in (1, 2)),
    ("sum_rows", 1, 1),  # the first cells only
    *(("truncation_part", 0, 0), ("to_planes", 0, 0), ("to_planes", 2, 0)),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_kernel_compares_sizes_before_it_reads(name: str) -> None:
    kernel, *arguments = CALLS[name]
    kernel(*arguments)
    arrays = [position for position, argument in enumerate(arguments) if isinstance(argument, np.ndarray)]
    for position in arrays:
        for axis in range(arguments[position].ndim):
            shape = list(arguments[position].shape)
            shape[axis] -= 1
            changed = list(arguments)
            changed[position] = np.ones(shape, arguments[position].dtype)
            if (name, position, axis) in FREE:
                kernel(*changed)
                continue
            with pytest.raises(ValueError, match=f"^{name}: the arrays' sizes do not fit together$"):
                kernel(*changed)


def test_every_kernel_is_here() -> None:
    from .test_constant_time import all_kernels

    assert {name.partition(".")[2] for name in all_kernels() if "._" not in name} == CALLS.keys()


@pytest.mark.parametrize("low", [-1, 60])
def test_planes_of_bits_that_a_word_does_not_have(low: int) -> None:
    with pytest.raises(ValueError, match="to_planes"):
        bits.to_planes(words(64), low, words(5, 1))
