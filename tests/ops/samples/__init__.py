"""Samples of every kind, in files of the families' names. The last one of a kind with messages has one value a row."""

from __future__ import annotations

import importlib
import pkgutil

from tests.ops.sample import Sample

FAMILIES = {
    found.name: importlib.import_module(f"{__name__}.{found.name}").SAMPLES for found in pkgutil.iter_modules(__path__)
}
SAMPLES: dict[str, list[Sample]] = {kind: samples for family in FAMILIES.values() for kind, samples in family.items()}
