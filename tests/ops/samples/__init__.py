"""Samples of every kind, in files of the families' names. The last one of a kind with messages has one value a row."""

from __future__ import annotations

import importlib
import pkgutil

from tests.ops.sample import Sample

_MODULES = {found.name: importlib.import_module(f"{__name__}.{found.name}") for found in pkgutil.iter_modules(__path__)}
FAMILIES = {name: module.SAMPLES for name, module in _MODULES.items()}
SAMPLES: dict[str, list[Sample]] = {kind: samples for family in FAMILIES.values() for kind, samples in family.items()}
BENCH: dict[str, Sample] = {
    kind: sample for module in _MODULES.values() for kind, sample in getattr(module, "BENCH", {}).items()
}
"""What `make bench` takes instead of the last sample, where that is not typical."""
