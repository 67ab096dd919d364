"""docs/layers.md: every class in one list, each that runs shown by a case, and refusals only for good reasons."""

from __future__ import annotations

from pathlib import Path

import pytest

from keras_private.lowering.catalogue import KERAS, Place, catalogue, classes, text
from keras_private.lowering.hints import Ground, ground_of

from .cases import CASES

DOCUMENT = Path(__file__).parents[2] / "docs" / "layers.md"


def test_the_document_is_what_is_generated() -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == text(), "python -m keras_private.lowering.catalogue > docs/layers.md"


@pytest.mark.parametrize("keras", KERAS)
def test_every_class_is_in_exactly_one_list(keras: str) -> None:
    listed = [entry.name for entries in catalogue().values() for entry in entries if keras in entry.keras]
    assert sorted(listed) == sorted(cls.__name__ for cls in classes(keras))
    assert len(listed) > 100


@pytest.mark.parametrize("keras", KERAS)
@pytest.mark.parametrize("place", [Place.RUNS, Place.NOTHING])
def test_what_is_said_to_run_has_a_case(keras: str, place: Place) -> None:
    shown = {name for case in CASES if keras in case.keras for name in case.layers}
    said = {entry.name for entry in catalogue()[place] if keras in entry.keras}
    assert not said - shown, "list a case with these names in `layers` in tests/lowering/cases"


@pytest.mark.parametrize("keras", KERAS)
def test_most_classes_run(keras: str) -> None:
    """85 of 100."""
    refused = [entry.name for entry in catalogue()[Place.REFUSED] if keras in entry.keras]
    assert len(refused) <= 0.15 * len(classes(keras)), refused


def test_refusals_have_a_ground() -> None:
    missing = [entry.name for entry in catalogue()[Place.REFUSED] if ground_of(entry.name) is Ground.MISSING]
    assert not missing
