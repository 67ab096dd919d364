"""Random hostile plans (`hostile.py`): whatever is accepted keeps to its rows, its arrays and its declared shapes.

Kernels have to check every index for that, so the plans are run in a process of their own: in the short test kernels
are not compiled, and numpy looks at the indices; in the long one numba does.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from keras_private.mpc.kernels import ring
from keras_private.mpc.ops import registry
from keras_private.plan.ops import KINDS

from . import hostile

ROOT = Path(__file__).parents[2]


def hunt(seed: int, count: int, timeout: int, **variables: str) -> dict[str, int]:
    """How often each op kind was among the plans that a process with these variables ran."""
    ran = subprocess.run(
        [sys.executable, "-W", "ignore::RuntimeWarning", "-m", "tests.mpc.hostile", str(seed), str(count)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **variables},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return {kind: int(number) for kind, number in (pair.split("=") for pair in ran.stdout.split())}


def test_no_plan_of_many_breaks_a_promise() -> None:
    kinds = hunt(0, 150, 120, NUMBA_DISABLE_JIT="1")
    assert kinds.keys() == {name for name, kind in KINDS.items() if kind.executable is not None}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_no_plan_of_very_many_breaks_a_promise(tmp_path: Path) -> None:
    kinds = hunt(1_000, 1_500, 550, NUMBA_BOUNDSCHECK="1", NUMBA_CACHE_DIR=str(tmp_path))
    assert min(kinds.values()) > 80


# That the hunt can fail: ops and kernels that are wrong in a way of their own.


def with_the_batch_turned(op: Any, xs: Sequence[np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    return np.roll(xs[0], 1, axis=0).reshape(shape)


def with_an_axis_too_many(op: Any, xs: Sequence[np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    return xs[0].reshape(*shape, 1)


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [(with_the_batch_turned, "depends on the other rows"), (with_an_axis_too_many, "reshape has shape")],
)
def test_a_wrong_op_would_be_noticed(wrong: Any, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry._PROTOCOLS, "reshape", registry._locally(wrong))
    with pytest.raises(AssertionError, match=reason):
        hostile.hunt(0, 20)


def test_a_kernel_that_reads_too_far_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def further(x: np.ndarray, out: np.ndarray, *geometry: Any) -> None:
        out[:] = x[x.shape[0], 0, 0, 0]

    monkeypatch.setattr(ring, "sum_pool2d", further)
    with pytest.raises(AssertionError, match="IndexError"):
        hostile.hunt(0, 50)
