"""Samples of every kind, in files of the families' names. The last one of a kind with messages has one value a row."""

from __future__ import annotations

from tests.ops.sample import Sample

from . import elementwise, linear, move, piecewise, public, window

SAMPLES: dict[str, list[Sample]] = {
    **linear.SAMPLES,
    **elementwise.SAMPLES,
    **move.SAMPLES,
    **piecewise.SAMPLES,
    **public.SAMPLES,
    **window.SAMPLES,
}
