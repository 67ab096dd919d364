"""A client that gives two parties different copies of a summand is found out, by all three, for that request only."""

from __future__ import annotations

import numpy as np
import pytest

from keras_private.mpc.copies import compare_copies
from keras_private.sharing.share import Share

from .three import Three, shares_of


def test_honest_inputs_agree(three: Three) -> None:
    inputs = [shares_of(np.arange(n, dtype=np.uint64)) for n in (1, 5, 900)]
    outcome = three.run(lambda _, own: compare_copies(own), [[shares[i] for shares in inputs] for i in range(3)])
    assert outcome == [[True, True, True]] * 3
    assert three.counted() == (2, (3 * 32 + 16,) * 3)


@pytest.mark.parametrize("liar", [0, 1, 2])
@pytest.mark.parametrize("copy", ["mine", "next"])
def test_a_different_copy_is_found_by_all(three: Three, liar: int, copy: str) -> None:
    inputs = [shares_of(np.arange(10, dtype=np.uint64)) for _ in range(9)]
    given = inputs[7][liar]
    changed = getattr(given, copy).copy()
    changed[3] += np.uint64(1 << 16)
    inputs[7][liar] = Share(changed, given.next) if copy == "mine" else Share(given.mine, changed)
    outcome = three.run(lambda _, own: compare_copies(own), [[shares[i] for shares in inputs] for i in range(3)])
    assert outcome == [[True] * 7 + [False, True]] * 3
