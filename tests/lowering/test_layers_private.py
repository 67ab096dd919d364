"""Every layer, over its arguments, computed on shares by three parties, against Keras."""

from __future__ import annotations

import importlib
from collections.abc import Iterator

import numpy as np
import pytest

from keras_private.lowering import draft_of
from keras_private.plan.optimise import optimise
from keras_private.sharing import fixed
from keras_private.sharing.share import reconstruct
from tests.mpc.test_program import programs_of
from tests.mpc.three import Three, shares_of

from .cases import CASES, Case


@pytest.fixture(scope="module")
def three() -> Iterator[Three]:
    parties = Three()
    yield parties
    parties.close()


@pytest.mark.parametrize("input_range", [(-2.0, 2.0), None], ids=["range", "contract"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_parties_compute_what_keras_computes(
    three: Three, case: Case, input_range: tuple[float, float] | None
) -> None:
    model = case.model(importlib.import_module(case.keras[0]))
    x = case.inputs(3)
    draft = optimise(draft_of(model, input_range))
    programs = programs_of(draft)
    outputs = three.run(
        lambda party, share: programs[party.index].protocol(party, share), shares_of(fixed.encode(x, 16))
    )
    np.testing.assert_allclose(fixed.decode(reconstruct(outputs), 16), np.asarray(model(x)), atol=2e-3)
