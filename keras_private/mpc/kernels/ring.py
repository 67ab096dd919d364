"""Secret products in Z/2^64: what a party computes alone for z_i = x_i·(w_i + w_{i+1}) + x_{i+1}·w_i.

Both terms are contracted at once: the two shares of x stand side by side, the two matrices (w_i + w_{i+1}) and w_i
stand on top of each other, and one product of the wide with the tall gives z_i. Unsigned overflow is the ring's
reduction.

The inner loop runs over the columns of the tall matrix, which LLVM turns into vector multiplications (vpmullq where
the machine has AVX-512DQ); four rows at a time keep each loaded row of it busy.

No kernel believes a size: before its first loop it compares the arrays with each other and raises ValueError. What
remains unchecked are the geometry's numbers, and those only choose among places that are then compared with the image.
"""

from __future__ import annotations

import numpy as np
from numba import njit

ROWS = 64  # patches gathered at a time: the gathered block of a typical layer stays in the L2 cache
CACHED = 1 << 15  # words of a table, likewise


@njit(nogil=True, cache=True)
def _accumulate(left, tall, out, first, count):  # type: ignore[no-untyped-def]
    """out[first : first + count] += left[:count] @ tall."""
    depth, columns = tall.shape
    row = 0
    while row + 4 <= count:
        o0, o1, o2, o3 = out[first + row], out[first + row + 1], out[first + row + 2], out[first + row + 3]
        for k in range(depth):
            a0, a1, a2, a3 = left[row, k], left[row + 1, k], left[row + 2, k], left[row + 3, k]
            line = tall[k]
            for j in range(columns):
                value = line[j]
                o0[j] += a0 * value
                o1[j] += a1 * value
                o2[j] += a2 * value
                o3[j] += a3 * value
        row += 4
    while row < count:
        o0 = out[first + row]
        for k in range(depth):
            a0 = left[row, k]
            line = tall[k]
            for j in range(columns):
                o0[j] += a0 * line[j]
        row += 1


@njit(nogil=True, cache=True)
def matmul(mine, next_, tall, out):  # type: ignore[no-untyped-def]
    """out += [mine | next_] @ tall for each of B matrices: mine, next_ (B, M, K), tall (B, 2K, N), out (B, M, N); all
    uint64."""
    batch, rows, depth = mine.shape
    if (
        next_.shape != mine.shape
        or tall.shape[0] != batch
        or tall.shape[1] != 2 * depth
        or out.shape != (batch, rows, tall.shape[2])
    ):
        raise ValueError("matmul: the arrays' sizes do not fit together")
    left = np.empty((min(ROWS, rows), 2 * depth), np.uint64)
    for b in range(batch):
        for first in range(0, rows, ROWS):
            count = min(ROWS, rows - first)
            for r in range(count):
                for k in range(depth):
                    left[r, k] = mine[b, first + r, k]
                    left[r, depth + k] = next_[b, first + r, k]
            _accumulate(left, tall[b], out[b], first, count)


@njit(nogil=True, cache=True)
def add_rows(numbers, table, out):  # type: ignore[no-untyped-def]
    """out (M, N) += numbers (M, K) @ table (K, N): sums of a long table's rows, some of which stay in the cache for all
    M."""
    rows, depth = numbers.shape
    if table.shape[0] != depth or out.shape != (rows, table.shape[1]):
        raise ValueError("add_rows: the arrays' sizes do not fit together")
    step = max(4, CACHED // max(1, table.shape[1]))
    for start in range(0, depth, step):
        stop = min(start + step, depth)
        _accumulate(numbers[:, start:stop], table[start:stop], out, 0, rows)


@njit(nogil=True, cache=True)
def conv2d(mine, next_, tall, out, kernel, strides, dilation, origin):  # type: ignore[no-untyped-def]
    """out += the convolution of both shares with the tall kernel.

    mine, next_ (B, H, W, C); tall (2·kh·kw·C, N); out (B·OH·OW, N) with `kernel` = (kh, kw, OH, OW);
    strides (sh, sw); dilation (dh, dw); origin (pad_top, pad_left). Whatever a window reads outside the image is
    zero.
    """
    batch, height, width, channels = mine.shape
    kh, kw, oh, ow = kernel
    sh, sw = strides
    dh, dw = dilation
    top, left_pad = origin
    depth = kh * kw * channels
    rows = out.shape[0]
    if (
        next_.shape != mine.shape
        or tall.shape[0] != 2 * depth
        or rows != batch * oh * ow
        or out.shape[1] != tall.shape[1]
    ):
        raise ValueError("conv2d: the arrays' sizes do not fit together")
    left = np.empty((ROWS, 2 * depth), np.uint64)
    for first in range(0, rows, ROWS):
        count = min(ROWS, rows - first)
        for r in range(count):
            place = first + r
            image = place // (oh * ow)
            y0 = (place // ow) % oh * sh - top
            x0 = place % ow * sw - left_pad
            k = 0
            for i in range(kh):
                y = y0 + i * dh
                for j in range(kw):
                    x = x0 + j * dw
                    if 0 <= y < height and 0 <= x < width:
                        for c in range(channels):
                            left[r, k + c] = mine[image, y, x, c]
                            left[r, depth + k + c] = next_[image, y, x, c]
                    else:
                        for c in range(channels):
                            left[r, k + c] = np.uint64(0)
                            left[r, depth + k + c] = np.uint64(0)
                    k += channels
        _accumulate(left, tall, out, first, count)


@njit(nogil=True, cache=True)
def depthwise_conv2d(mine, next_, sums, lows, out, strides, dilation, origin):  # type: ignore[no-untyped-def]
    """out += each channel of both shares convolved with its own kernels.

    mine, next_ (B, H, W, C); sums = w_i + w_{i+1} and lows = w_i, both (kh, kw, C, M); out (B, OH, OW, C, M).
    """
    batch, height, width, channels = mine.shape
    kh, kw, _, multiplier = sums.shape
    _, oh, ow, _, _ = out.shape
    if (
        next_.shape != mine.shape
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
                        for c in range(channels):
                            a, b_next = mine[b, y, x, c], next_[b, y, x, c]
                            for m in range(multiplier):
                                out[b, p, q, c, m] += a * sums[i, j, c, m] + b_next * lows[i, j, c, m]


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
