"""The table: complete, readable, at most 100 columns."""

from dataclasses import replace

import numpy as np
import pytest

from keras_private.plan.cost import Cost
from keras_private.plan.layers import Timing
from keras_private.plan.networks import NETWORKS, estimate
from keras_private.plan.optimise import optimise
from keras_private.plan.origins import reaches
from keras_private.plan.schedule import stages, total
from keras_private.plan.scoring import evaluations_of, scoring
from keras_private.plan.summary import private_summary, size, unproven
from tests.plans import with_input

from . import models


@pytest.mark.parametrize("name", list(models.ALL))
@pytest.mark.parametrize("batch", [1, 128])
def test_fits_and_is_complete(name: str, batch: int) -> None:
    plan = optimise(models.ALL[name]()).plan
    text = private_summary(plan, batch=batch, title="a model")
    assert max(map(len, text.splitlines())) <= 100
    assert "a model" in text
    for op in plan.ops:
        assert op.kind in text
        assert op.layer[:20] in text
    cost = total(plan, batch)
    (line,) = (line for line in text.splitlines() if line.startswith("│total"))
    assert f" {cost.rounds}│" in line
    assert size(max(cost.sent)) in line
    assert "proven for every value" in text


def test_says_what_is_not_proven() -> None:
    draft = models.mnist()
    plan = optimise(with_input(draft, range=None)).plan
    text = " ".join(private_summary(plan).split())
    assert unproven(plan)
    assert "any range" in text
    assert "not proven for" in text
    assert "no input_range was declared" in text
    assert "stays below 2^2" in text


def test_says_where_the_worst_case_grew_too_large() -> None:
    model = models.Model((4,), (-1.0, 1.0), size=1.4)
    for number in range(36):
        model.dense(4, layer=f"dense{number}")
        model.relu()
    text = " ".join(private_summary(optimise(model.draft()).plan).split())
    assert "worst case grows too large" in text
    assert "and " in text
    assert "more" in text


def test_long_names_are_cut() -> None:
    model = models.Model((4,))
    model.dense(4, layer="a_layer_with_quite_a_long_name_indeed")
    text = private_summary(optimise(model.draft()).plan)
    assert "a_layer_with_quite_a_l…" in text


def test_no_weight_is_shown() -> None:
    model = models.Model((4,))
    model.op("matmul", weights=[model.builder.weight([[0.123456]] * 4, "w")])
    assert "0.1234" not in private_summary(optimise(model.draft()).plan)


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (99_400, "99.4 kB"), (999_600, "1.0 MB"), (12_345_678, "12.3 MB")],
)
def test_sizes(count: int, text: str) -> None:
    assert size(count) == text


def test_computing_is_not_counted_and_it_says_so() -> None:
    text = " ".join(private_summary(optimise(models.mnist()).plan).split())
    assert "Waiting for the network alone: loopback (10 Gb/s, 35 µs) " in text
    assert "LAN (1 Gb/s, 0.2 ms) " in text
    assert "WAN (100 Mb/s, 40 ms) " in text
    assert "The parties' computing comes on top" in text


def test_estimate_takes_the_busiest_party() -> None:
    _, lan, wan = NETWORKS
    cost = Cost(10, (1_000_000, 0, 500_000))
    assert estimate(cost, lan) == pytest.approx(0.001 + 0.008)
    assert estimate(cost, wan) == pytest.approx(0.2 + 0.08)


def test_where_the_time_went() -> None:
    """Operations of one stage share one number; a stage that took next to nothing has none."""
    plan = optimise(models.mnist()).plan
    found = stages(plan)
    seconds = [1e-6] * len(found)
    seconds[0], seconds[-1] = 0.003, 0.001
    text = private_summary(plan, timing=Timing(2, tuple(seconds)))
    rows = [line.split("│")[-2].strip() for line in text.splitlines() if line.startswith("│")]
    assert rows.count("75 %") == rows.count("25 %") == 1
    assert "The last run, of 2 rows, took the parties 4.0 ms." in text
    assert max(map(len, text.splitlines())) <= 100


def test_says_what_may_be_evaluated() -> None:
    plan = optimise(models.mnist()).plan
    assert "Evaluation" not in private_summary(plan)
    allowed = replace(plan, evaluations=evaluations_of({"accuracy": ("owner", 70)}, plan))
    text = " ".join(private_summary(allowed).split())
    cost = total(scoring(plan, "accuracy").plan, 50)
    assert "Evaluation by accuracy: told to the owner, of 70 rows or more." in text
    assert f"A run of 50 rows takes {cost.rounds} rounds and {size(max(cost.sent))} of the busiest party" in text
    assert f"a query of as many {total(plan, 50).rounds} and" in text
    assert max(map(len, private_summary(allowed).splitlines())) <= 100


def test_bounds_that_are_not_proved_say_how_they_are_known() -> None:
    draft = with_input(models.mnist(), range=None)
    data = [np.full((4, *draft.plan.shape(draft.plan.inputs[0])), 0.5)]
    for given, sign, other in ((None, "?", "~"), (data, "~", "?")):
        done = optimise(draft, calibration=given)
        text = private_summary(done.plan, reaches=reaches(done))
        bounds = [line.split("│")[-3].strip() for line in text.splitlines() if line.startswith("│")]
        assert any(bound.startswith(f"{sign}2^") for bound in bounds)
        assert not any(bound.startswith(f"{other}2^") for bound in bounds)
        assert "?2^k is guessed" in " ".join(text.split())
