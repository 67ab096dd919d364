"""Arrays of ring elements for hypothesis: random shapes, and values that crowd the edges of what is allowed."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

SHAPES = st.one_of(
    st.sampled_from([(1,), (63,), (64,), (65,), (128,), (2, 3, 5), (1, 1, 1, 7)]),
    st.lists(st.integers(1, 9), min_size=1, max_size=4).map(tuple),
)


@st.composite
def ring_arrays(draw: st.DrawFn, bits: int = 64, shapes: st.SearchStrategy[tuple[int, ...]] = SHAPES) -> np.ndarray:
    """Signed values, |x| < 2^(bits - 1) (the whole ring for 64), as int64; a third of them at an edge."""
    shape = draw(shapes)
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    high = 2 ** (bits - 1)
    values = generator.integers(-high + (bits < 64), high, shape, dtype=np.int64)
    magnitudes = generator.integers(0, bits - 1, shape)
    values >>= np.where(generator.random(shape) < 0.3, magnitudes, 0)
    edges = np.array([0, 1, -1, 2, -2, high - 1, -high + (bits < 64)], np.int64)
    return np.where(generator.random(shape) < 0.3, generator.choice(edges, shape), values)
