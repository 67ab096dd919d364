"""Every kind of op that parties run has a protocol, and every protocol a kind."""

from __future__ import annotations

import pytest

from keras_private.errors import PlanError
from keras_private.mpc import ops as protocols
from keras_private.mpc.ops import PROTOCOLS, registry
from keras_private.mpc.program import Program
from keras_private.plan import ops as kinds
from keras_private.plan.ops import KINDS
from keras_private.plan.plan import Op, Tensor
from tests.plans import plan_of


def test_kinds_and_protocols_are_the_same() -> None:
    assert PROTOCOLS.keys() == {name for name, kind in KINDS.items() if kind.executable is not None}


def test_a_kind_and_its_protocol_are_in_files_of_one_name() -> None:
    for name, kind in KINDS.items():
        if kind.executable is not None:
            family = type(kind).__module__.removeprefix(kinds.__name__)
            local = PROTOCOLS[name].__closure__
            found = [cell.cell_contents.__module__ for cell in local] if local else [PROTOCOLS[name].__module__]
            assert found == [protocols.__name__ + family]


def test_a_kind_without_a_protocol_is_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    tensors = {"x": Tensor((2,), 16), "y": Tensor((2,), 16)}
    plan = plan_of(16, ["x"], ["y"], tensors, [Op("relu", ("x",), (), "y", {"drop": 0})])
    monkeypatch.delitem(registry._PROTOCOLS, "relu")
    with pytest.raises(PlanError, match="relu: there is no protocol for ops of this kind"):
        Program(plan, {})


def test_no_kind_has_two_protocols() -> None:
    with pytest.raises(TypeError, match="two protocols for relu"):
        registry.runs("relu")(PROTOCOLS["relu"])
