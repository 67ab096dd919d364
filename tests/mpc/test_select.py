"""Selection against plain multiplication by a bit."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from keras_private.mpc.bits import SharedBits
from keras_private.mpc.party import Party
from keras_private.mpc.rounds import Protocol
from keras_private.mpc.select import select
from keras_private.plan import cost
from keras_private.sharing.share import Share

from .strategies import ring_arrays
from .three import Three, shares_of


def shared_bits(bits: np.ndarray, generator: np.random.Generator) -> list[SharedBits]:
    words = cost.plane_words(bits.size)
    plane = np.zeros(8 * words, np.uint8)
    packed = np.packbits(bits.ravel(), bitorder="little")
    plane[: packed.size] = packed
    first, second = (generator.integers(0, 2**64, words, dtype=np.uint64) for _ in range(2))
    parts = [first, second, plane.view(np.uint64) ^ first ^ second]
    return [SharedBits(parts[i], parts[(i + 1) % 3]) for i in range(3)]


@given(x=ring_arrays(), seed=st.integers(0, 2**32), flip=st.booleans())
def test_select_multiplies_by_the_bit(three: Three, x: np.ndarray, seed: int, flip: bool) -> None:
    generator = np.random.default_rng(seed)
    bits = generator.integers(0, 2, x.shape).astype(bool)

    def protocol(party: Party, x: Share, b: SharedBits) -> Protocol[Share]:
        return (yield from select(party, x, b, negated=flip))

    y = three.value(protocol, shares_of(x.view(np.uint64)), shared_bits(bits, generator))
    assert np.array_equal(y.view(np.int64), np.where(bits ^ flip, x, 0))
    declared = cost.select(x.size)
    assert three.counted() == (declared.rounds, declared.sent)
