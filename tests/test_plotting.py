"""Pictures of plans: what they say, and what cannot be drawn."""

from __future__ import annotations

from pathlib import Path

import pytest

from keras_private.errors import ConfigError
from keras_private.plan.layers import Timing, by_layer
from keras_private.plan.optimise import optimise
from keras_private.plan.schedule import costs, stages, total
from keras_private.plotting import plot_plan

from .plan import models

PLAN = optimise(models.mnist()).plan


def test_layers_add_up_to_the_plan() -> None:
    timing = Timing(1, tuple(float(number + 1) for number in range(len(stages(PLAN)))))
    layers = by_layer(PLAN, 5, timing)
    assert sum(layer.cost.rounds for layer in layers) == total(PLAN, 5).rounds
    for party in range(3):
        assert sum(layer.cost.sent[party] for layer in layers) == sum(cost.sent[party] for cost in costs(PLAN, 5))
    assert sum(layer.seconds for layer in layers) == pytest.approx(sum(timing.seconds))


def test_a_picture_names_its_layers(tmp_path: Path) -> None:
    file = tmp_path / "plan.svg"
    plot_plan(PLAN, file, batch=2, title="a model", timing=Timing(3, (0.1,) * len(stages(PLAN))))
    text = file.read_text()
    for words in ("a model: a query of 2 rows", "measured in a run of 3 rows", *{op.layer for op in PLAN.ops}):
        assert words in text


def test_many_layers_are_gathered(tmp_path: Path) -> None:
    model = models.Model((4,), (-1.0, 1.0))
    for number in range(50):
        model.dense(4, layer=f"dense{number}")
    plot_plan(optimise(model.draft()).plan, tmp_path / "plan.svg")
    assert "11 others" in (tmp_path / "plan.svg").read_text()


@pytest.mark.parametrize("name", ["plan.txt", "absent/plan.png"])
def test_files_that_cannot_be(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=r"must end in one of|cannot be written"):
        plot_plan(PLAN, tmp_path / name)
