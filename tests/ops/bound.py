"""Samples of kinds, bound and shared among three parties."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from keras_private.mpc.ops import bind
from keras_private.mpc.party import Party
from keras_private.mpc.rounds import Protocol
from keras_private.plan.ops import KINDS
from keras_private.plan.plan import Plan
from keras_private.sharing.share import Share

from .samples import SAMPLES

ALL = [(kind, number) for kind, samples in SAMPLES.items() for number in range(len(samples))]
EXECUTABLE = [(kind, number) for kind, number in ALL if KINDS[kind].executable is not None]


def sends(kind: str, number: int) -> bool:
    """Whether the sample has any message; a maximum of one value has none."""
    plan = SAMPLES[kind][number].plan(kind)
    return KINDS[kind].interactive and any(KINDS[kind].cost(plan.ops[0], plan, 1).sent)


INTERACTIVE = [(kind, number) for kind, number in EXECUTABLE if sends(kind, number)]

every_sample = pytest.mark.parametrize(("kind", "number"), ALL)
every_executable_sample = pytest.mark.parametrize(("kind", "number"), EXECUTABLE)
every_turn = pytest.mark.parametrize("turn", [0, 1, 2])


def runs_of(plan: Plan, weights: Sequence[list[Share]]) -> list[Callable[..., Protocol[Share]]]:
    """The op of a plan, bound at each party."""
    (op,) = plan.ops
    return [bind(op, plan, [shares[i] for shares in weights]) for i in range(3)]


def protocol(party: Party, run: Callable[..., Protocol[Share]], shape: tuple[int, ...], *xs: Share) -> Protocol[Share]:
    return run(party, xs, shape)


def raw_words(x: np.ndarray) -> np.ndarray:
    """What is shared of a raw input."""
    return x if x.dtype == np.uint8 else x.view(np.uint64)


def summands(random: np.random.Generator, shape: tuple[int, ...], dtype: Any = np.uint64) -> list[np.ndarray]:
    """Three of anything, of bits if they are uint8."""
    return [random.integers(0, 2 if dtype == np.uint8 else 2**64, shape, dtype) for _ in range(3)]


def held(parts: Sequence[np.ndarray]) -> list[Share]:
    """What each party holds of three summands; no array is in two parties' hands."""
    return [Share(parts[i].copy(), parts[(i + 1) % 3].copy()) for i in range(3)]
