"""Secret products in Z/2^64: what a party computes alone, x·s + y·t for two matrices s and t that it has laid out.

(`mpc/ops/product.py` says which.) Both terms are contracted at once: x and y stand side by side, s stands on t, and one
product of the wide with the tall gives the sum. Where there is no second term, y has no rows, and t is not read.
Unsigned overflow is the ring's reduction.

The tall matrix is laid out in *panels* of 8 or 16 columns, each of them contiguous. `_tile` multiplies some rows by a
panel with all sums in registers. It is written in LLVM's vectors of eight words: left to itself, LLVM makes vectors of
four where a machine has both (vpmullq), and stores every sum at every step. A panel is taken in pieces that stay in the
cache for all rows.

No kernel believes a size: before its first loop it compares the arrays with each other and raises ValueError. What
remains unchecked are the geometry's numbers, and those only choose among places that are then compared with the image.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import config, njit, types
from numba.extending import intrinsic
from numpy.typing import NDArray

Words = NDArray[np.uint64]

ROWS = 64  # patches gathered at a time: the gathered block of a typical layer stays in the L2 cache
DEPTH = 512  # of a piece of a panel, likewise
CACHED = 1 << 15  # words of a table, likewise
LANES = 8  # words of a vector
TALL_TILE = 8  # rows that share each loaded line of a panel


def panels(tall: Words) -> Words:
    """(…, depth, columns) as (…, panels, depth, width), filled up with zeros to whole panels. Fewer than 8 columns are
    a panel as they are."""
    *lead, depth, columns = tall.shape
    width = min(columns, LANES) if columns % (2 * LANES) else 2 * LANES
    count = -(-columns // width)
    found = np.zeros((*lead, count, depth, width), np.uint64)
    for panel in range(count):
        some = tall[..., panel * width : (panel + 1) * width]
        found[..., panel, :, : some.shape[-1]] = some
    return found


def _tile(rows: int, vectors: int) -> Callable[..., None]:
    """A function of (left, row, at, piece, sums) for numba: sums[:rows] = left[row : row + rows, at : at + depth] @
    piece, for a piece (depth, 8·vectors), depth > 0.

    It checks nothing; all arrays are of words, contiguous, of two axes.
    """

    def plain(left: Words, row: int, at: int, piece: Words, sums: Words) -> None:
        sums[:rows] = left[row : row + rows, at : at + piece.shape[0]] @ piece

    if config.DISABLE_JIT:  # type: ignore[attr-defined]  # Python, which checks every index, has no LLVM
        return plain
    word, lane = ir.IntType(64), ir.IntType(32)
    vector = ir.VectorType(word, LANES)
    unset, zeros = ir.Constant(vector, ir.Undefined), ir.Constant(vector, [0] * LANES)
    first_lanes = ir.Constant(ir.VectorType(lane, LANES), [0] * LANES)

    def number(value: int) -> Any:
        return ir.Constant(word, value)

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        left, piece, sums = (context.make_array(signature.args[i])(context, builder, values[i]) for i in (0, 3, 4))
        stride, depth = builder.extract_value(left.shape, 1), builder.extract_value(piece.shape, 0)

        def at(array: Any, offset: Any, kind: Any) -> Any:
            return builder.bitcast(builder.gep(array.data, [offset]), kind.as_pointer())

        starts = [builder.mul(builder.add(values[1], number(row)), stride) for row in range(rows)]
        starts = [builder.add(start, values[2]) for start in starts]
        before, loop, after = builder.block, builder.append_basic_block(), builder.append_basic_block()
        builder.branch(loop)
        builder.position_at_end(loop)
        k = builder.phi(word)
        totals = [[builder.phi(vector) for _ in range(vectors)] for _ in range(rows)]
        following, line = builder.add(k, number(1)), builder.mul(k, number(LANES * vectors))
        lines = [at(piece, builder.add(line, number(LANES * v)), vector) for v in range(vectors)]
        factors = [builder.load(each, align=8) for each in lines]
        made = []
        for start, row in zip(starts, totals, strict=True):
            one = builder.load(at(left, builder.add(start, k), word), align=8)
            one = builder.insert_element(unset, one, ir.Constant(lane, 0))
            spread = builder.shuffle_vector(one, unset, first_lanes)
            for total, factor in zip(row, factors, strict=True):
                made.append(builder.add(total, builder.mul(spread, factor)))
                total.add_incoming(zeros, before)
                total.add_incoming(made[-1], loop)
        k.add_incoming(number(0), before)
        k.add_incoming(following, loop)
        builder.cbranch(builder.icmp_signed("<", following, depth), loop, after)
        builder.position_at_end(after)
        for position, total in enumerate(made):
            builder.store(total, at(sums, number(LANES * position), vector), align=8)
        return context.get_dummy_value()

    @intrinsic
    def tile(typing: Any, left: Any, row: Any, at: Any, piece: Any, sums: Any) -> Any:
        del typing
        return types.void(left, row, at, piece, sums), generate

    return tile


_tall_wide, _tall_narrow = _tile(TALL_TILE, 2), _tile(TALL_TILE, 1)
_flat_wide, _flat_narrow = _tile(1, 2), _tile(1, 1)


@njit(nogil=True, cache=True)
def _accumulate(left, tall, out, first, count):  # type: ignore[no-untyped-def]
    """out[first : first + count] += left[:count] @ what is laid out in panels; `left` may have fewer columns than the
    panels have lines."""
    depth, width = left.shape[1], tall.shape[2]
    sums = np.empty((TALL_TILE, width), np.uint64)
    for at in range(0, depth, DEPTH):
        stop = min(at + DEPTH, depth)
        for panel in range(tall.shape[0]):
            piece, j = tall[panel, at:stop], panel * width
            if width < LANES:
                for row in range(count):
                    line, factors = out[first + row], left[row, at:stop]
                    for k in range(factors.size):
                        for c in range(line.size):
                            line[c] += factors[k] * piece[k, c]
                continue
            row = 0
            while row < count:
                rows = TALL_TILE if row + TALL_TILE <= count else 1
                if rows == 1 and width == LANES:
                    _flat_narrow(left, row, at, piece, sums)
                elif rows == 1:
                    _flat_wide(left, row, at, piece, sums)
                elif width == LANES:
                    _tall_narrow(left, row, at, piece, sums)
                else:
                    _tall_wide(left, row, at, piece, sums)
                for r in range(rows):
                    line, total = out[first + row + r, j : j + width], sums[r]
                    for c in range(line.size):
                        line[c] += total[c]
                row += rows


@njit(nogil=True, cache=True)
def _copy(source, into):  # type: ignore[no-untyped-def]
    for c in range(into.size):
        into[c] = source[c]


@njit(nogil=True, cache=True, inline="always")
def _holds(tall, depth, columns):  # type: ignore[no-untyped-def]
    """Whether panels are those of a matrix of this size."""
    count, lines, width = tall.shape
    if width != LANES and width != 2 * LANES and (columns >= LANES or width != columns):
        return False
    return lines == depth and count == (columns + width - 1) // width


@njit(nogil=True, cache=True)
def matmul(first, second, tall, out):  # type: ignore[no-untyped-def]
    """out += [first | second] @ tall for each of B matrices.

    first, second (B, M, K), the second with M = 0 if there is none; tall (B, 2K, N) in panels; out (B, M, N).
    """
    batch, rows, depth = first.shape
    both = second.shape[1] > 0
    if (
        (both and second.shape != first.shape)
        or tall.shape[0] != batch
        or out.shape[:2] != (batch, rows)
        or (batch and not _holds(tall[0], 2 * depth, out.shape[2]))
    ):
        raise ValueError("matmul: the arrays' sizes do not fit together")
    left = np.empty((min(ROWS, rows), 2 * depth if both else depth), np.uint64)
    for b in range(batch):
        for start in range(0, rows, ROWS):
            count = min(ROWS, rows - start)
            for r in range(count):
                _copy(first[b, start + r], left[r, :depth])
                if both:
                    _copy(second[b, start + r], left[r, depth:])
            _accumulate(left, tall[b], out[b], start, count)


@njit(nogil=True, cache=True)
def add_rows(numbers, table, out):  # type: ignore[no-untyped-def]
    """out (M, N) += numbers (M, K) @ table (K, N): sums of a long table's rows, some of which stay in the cache for all
    M."""
    rows, depth = numbers.shape
    if table.shape[0] != depth or out.shape != (rows, table.shape[1]):
        raise ValueError("add_rows: the arrays' sizes do not fit together")
    columns = table.shape[1]
    step = max(4, CACHED // max(1, columns))
    for start in range(0, depth, step):
        stop = min(start + step, depth)
        row = 0
        while row + 4 <= rows:  # four at a time keep each loaded row of the table busy
            o0, o1, o2, o3 = out[row], out[row + 1], out[row + 2], out[row + 3]
            for k in range(start, stop):
                a0, a1, a2, a3 = numbers[row, k], numbers[row + 1, k], numbers[row + 2, k], numbers[row + 3, k]
                line = table[k]
                for j in range(columns):
                    value = line[j]
                    o0[j] += a0 * value
                    o1[j] += a1 * value
                    o2[j] += a2 * value
                    o3[j] += a3 * value
            row += 4
        while row < rows:
            o0 = out[row]
            for k in range(start, stop):
                a0 = numbers[row, k]
                line = table[k]
                for j in range(columns):
                    o0[j] += a0 * line[j]
            row += 1


@njit(nogil=True, cache=True)
def conv2d(first, second, tall, out, kernel, strides, dilation, origin):  # type: ignore[no-untyped-def]
    """out += the convolution of both terms with the tall kernel.

    first, second (B, H, W, C), the second with B = 0 if there is none; tall (2·kh·kw·C, N) in panels; out (B·OH·OW, N)
    with `kernel` = (kh, kw, OH, OW); strides (sh, sw); dilation (dh, dw); origin (pad_top, pad_left). Whatever a window
    reads outside the image is zero.
    """
    batch, height, width, channels = first.shape
    kh, kw, oh, ow = kernel
    sh, sw = strides
    dh, dw = dilation
    top, left_pad = origin
    depth = kh * kw * channels
    rows = out.shape[0]
    both = second.shape[0] > 0
    if (both and second.shape != first.shape) or rows != batch * oh * ow or not _holds(tall, 2 * depth, out.shape[1]):
        raise ValueError("conv2d: the arrays' sizes do not fit together")
    left = np.empty((ROWS, 2 * depth if both else depth), np.uint64)
    for start in range(0, rows, ROWS):
        count = min(ROWS, rows - start)
        for r in range(count):
            place, line = start + r, left[r]
            image = place // (oh * ow)
            y0 = (place // ow) % oh * sh - top
            x0 = place % ow * sw - left_pad
            k = 0
            for i in range(kh):
                y = y0 + i * dh
                for j in range(kw):
                    x = x0 + j * dw
                    here, there = line[k : k + channels], line[depth + k : depth + k + channels]
                    if 0 <= y < height and 0 <= x < width:
                        _copy(first[image, y, x], here)
                        if both:
                            _copy(second[image, y, x], there)
                    else:
                        here[:] = np.uint64(0)
                        there[:] = np.uint64(0)
                    k += channels
        _accumulate(left, tall, out, start, count)


@njit(nogil=True, cache=True)
def depthwise_conv2d(first, second, sums, lows, out, strides, dilation, origin):  # type: ignore[no-untyped-def]
    """out += each channel of both terms convolved with its own kernels.

    first, second (B, H, W, C), the second with B = 0 if there is none; their kernels sums and lows, both (kh, kw, C,
    M); out (B, OH, OW, C, M).
    """
    batch, height, width, channels = first.shape
    kh, kw, _, multiplier = sums.shape
    _, oh, ow, _, _ = out.shape
    both = second.shape[0] > 0
    if (
        (both and second.shape != first.shape)
        or lows.shape != sums.shape
        or sums.shape[2] != channels
        or out.shape != (batch, oh, ow, channels, multiplier)
    ):
        raise ValueError("depthwise_conv2d: the arrays' sizes do not fit together")
    for b in range(batch):
        for p in range(oh):
            for q in range(ow):
                for i in range(kh):
                    y = p * strides[0] + i * dilation[0] - origin[0]
                    if y < 0 or y >= height:
                        continue
                    for j in range(kw):
                        x = q * strides[1] + j * dilation[1] - origin[1]
                        if x < 0 or x >= width:
                            continue
                        for m in range(multiplier):
                            into, line, factors = out[b, p, q, :, m], first[b, y, x], sums[i, j, :, m]
                            if both:
                                other, rest = second[b, y, x], lows[i, j, :, m]
                                for c in range(channels):
                                    into[c] += line[c] * factors[c] + other[c] * rest[c]
                            else:
                                for c in range(channels):
                                    into[c] += line[c] * factors[c]


@njit(nogil=True, cache=True)
def sum_pool2d(x, out, pool, strides, origin):  # type: ignore[no-untyped-def]
    """out = sums of x over windows; x (B, H, W, C), out (B, OH, OW, C), zero outside the image."""
    batch, height, width, channels = x.shape
    _, oh, ow, _ = out.shape
    if out.shape[0] != batch or out.shape[3] != channels:
        raise ValueError("sum_pool2d: the arrays' sizes do not fit together")
    for b in range(batch):
        for p in range(oh):
            for q in range(ow):
                line = out[b, p, q]
                line[:] = np.uint64(0)
                for i in range(pool[0]):
                    y = p * strides[0] + i - origin[0]
                    if y < 0 or y >= height:
                        continue
                    for j in range(pool[1]):
                        z = q * strides[1] + j - origin[1]
                        if 0 <= z < width:
                            source = x[b, y, z]
                            for c in range(channels):
                                line[c] += source[c]
