"""Fixed point: a real v becomes the integer round(v · 2^frac) in Z/2^64, two's complement.

Rounding is half to even, so the error of one encoding is at most 2^-(frac+1).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from keras_private.errors import InputError

CONTRACT_BITS = 62  # the contract of every protocol: before its truncation every value is below 2^62 in size
MAX_FRAC = 62


def encode(values: ArrayLike, frac: int) -> NDArray[np.uint64]:
    """Encode reals with `frac` fractional bits.

    Args:
        values: any real array, any shape, memory order or float dtype.
        frac: fractional bits, 0 … 62.

    Returns:
        uint64 array of the same shape, C order.

    Raises:
        InputError: a value is not a number, not finite, or at least 2^(62-frac) in size.
    """
    _check_frac(frac)
    try:
        reals = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError("cannot encode: the values are not a rectangular array of real numbers") from error
    if not np.all(np.isfinite(reals)):
        bad = int(reals.size - np.count_nonzero(np.isfinite(reals)))
        raise InputError(f"cannot encode: {bad} of {reals.size} values are NaN or infinite; remove them first")
    scaled = np.rint(np.ldexp(reals, frac))
    if np.any(np.abs(scaled) >= 2.0**CONTRACT_BITS):
        raise InputError(
            f"cannot encode: a value is 2^{CONTRACT_BITS - frac} or larger in size, too large for {frac} fractional "
            "bits; scale the values down or lower precision_fractional"
        )
    return np.ascontiguousarray(scaled.astype(np.int64)).view(np.uint64).reshape(reals.shape)


def decode(raw: NDArray[np.uint64], frac: int) -> NDArray[np.float64]:
    """Decode two's complement `raw` (uint64, any shape) with `frac` fractional bits to float64."""
    _check_frac(frac)
    if raw.dtype != np.uint64:
        raise InputError(f"cannot decode: expected uint64 values, got {raw.dtype}")
    result: NDArray[np.float64] = np.ldexp(np.ascontiguousarray(raw).view(np.int64).astype(np.float64), -frac)
    return result.reshape(raw.shape)


def _check_frac(frac: int) -> None:
    if not 0 <= frac <= MAX_FRAC:
        raise InputError(f"fractional bits must be 0 … {MAX_FRAC}, not {frac}")
