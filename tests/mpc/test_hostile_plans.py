"""Random hostile plans (`hostile.py`): whatever is accepted keeps to its rows, its arrays and its declared shapes.

Kernels have to check every index for that, so the plans are run in a process of their own: in the short test kernels
are not compiled, and numpy looks at the indices; in the long one numba does.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from keras_private.mpc.kernels import ring
from keras_private.mpc.ops import registry
from keras_private.plan.ops import KINDS

from . import hostile

ROOT = Path(__file__).parents[2]


def hunt(seed: int, count: int, timeout: int, processes: int = 1, **variables: str) -> Counter[str]:
    """How often each op kind was among the plans that processes with these variables ran, `count` in all."""
    command = [sys.executable, "-W", "ignore::RuntimeWarning", "-m", "tests.mpc.hostile"]
    starts = [seed + count * part // processes for part in range(processes + 1)]
    running = [
        subprocess.Popen(
            [*command, str(start), str(stop - start)],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for start, stop in pairwise(starts)
    ]
    kinds: Counter[str] = Counter()
    try:
        for process in running:
            output, errors = process.communicate(timeout=timeout)
            assert process.returncode == 0, errors
            kinds.update({kind: int(number) for kind, number in (pair.split("=") for pair in output.split())})
    finally:
        for process in running:
            process.kill()
            process.communicate()
    return kinds


def test_no_plan_of_many_breaks_a_promise() -> None:
    kinds = hunt(1_000, 300, 120, NUMBA_DISABLE_JIT="1")
    assert kinds.keys() == {name for name, kind in KINDS.items() if kind.executable is not None}


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_no_plan_of_very_many_breaks_a_promise(tmp_path: Path) -> None:
    """Some five milliseconds each on a core that is free."""
    checked = {"NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(tmp_path)}
    hunt(900, 100, 500, **checked)  # compiles the kernels, once for all processes
    kinds = hunt(1_000, 100_000, 1700, os.cpu_count() or 1, **checked)
    assert kinds.keys() == {name for name, kind in KINDS.items() if kind.executable is not None}
    assert min(kinds.values()) > 300


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
