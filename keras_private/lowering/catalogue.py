"""Every layer class that Keras exports, in one of three lists: docs/layers.md.

    python -m keras_private.lowering.catalogue > docs/layers.md

The lists come from Keras itself and from the registry: nothing is written down twice. A test compares the file with
what this says, and asks for a case of every class that is said to run.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from keras_private.lowering import layers as _registers  # noqa: F401
from keras_private.lowering.hints import Ground, ground_of, hint_for_layer
from keras_private.lowering.layers.noise import lower_identity
from keras_private.lowering.registry import find_class

KERAS = ("keras", "tf_keras")

_BASES = frozenset({"Layer", "Wrapper", "AbstractRNNCell"})  # compute nothing, classes are derived from them
_NO_LAYERS = frozenset({"InputSpec"})


class Place(Enum):
    """What is done with a layer."""

    RUNS = "Runs privately"
    NOTHING = "Nothing to do at inference"
    REFUSED = "Refused"


@dataclass(frozen=True, slots=True)
class Entry:
    """One class: by its own name, what else it is called, the family it belongs to, and which of the Keras have it."""

    name: str
    aliases: tuple[str, ...]
    family: str
    keras: tuple[str, ...]


def classes(keras: str) -> dict[type, set[str]]:
    """The classes of layers that can be put into a model, each with all its names."""
    module = importlib.import_module(keras).layers
    found: dict[type, set[str]] = defaultdict(set)
    for name, cls in inspect.getmembers(module, inspect.isclass):
        if cls.__name__ not in _BASES | _NO_LAYERS:
            found[cls].add(name)
    return found


def place(cls: type) -> Place:
    """The list that a class of Keras is in."""
    lowering = find_class(cls)
    if lowering is None:
        return Place.REFUSED
    return Place.NOTHING if lowering.function is lower_identity else Place.RUNS


def catalogue() -> Mapping[Place, list[Entry]]:
    """All classes of both Keras, by list and then by name.

    Raises:
        ValueError: a class is in one list for one Keras and in another for the other.
    """
    found: dict[str, tuple[set[Place], set[str], list[str], str]] = {}
    for keras in KERAS:
        for cls, names in classes(keras).items():
            name = cls.__name__
            places, aliases, where, _ = found.setdefault(name, (set(), set(), [], _family(cls)))
            places.add(place(cls))
            aliases |= names - {name}
            where.append(keras)
    lists: dict[Place, list[Entry]] = {each: [] for each in Place}
    for name, (places, aliases, where, family) in sorted(found.items()):
        if len(places) > 1:
            raise ValueError(f"{name} is in several lists: {', '.join(sorted(each.value for each in places))}")
        lists[places.pop()].append(Entry(name, tuple(sorted(aliases)), family, tuple(where)))
    return lists


def _family(cls: type) -> str:
    """As Keras' folders name it."""
    parts = cls.__module__.split(".")
    return parts[parts.index("layers") + 1] if "layers" in parts[:-1] else "others"


def text() -> str:
    """docs/layers.md."""
    lists = catalogue()
    return "\n".join(
        [
            "# Layers",
            "",
            "Every layer class of `keras.layers` and `tf_keras.layers` is in one of three lists. The file is made by",
            "`python -m keras_private.lowering.catalogue`, from Keras and from what is registered. Classes that others "
            "are derived from",
            f"({', '.join(f'`{name}`' for name in sorted(_BASES))}) are left out. Arguments that cannot be honoured "
            "`check` and `share` name.",
            "",
            *(_counted(lists, keras) for keras in KERAS),
            "",
            f"## {Place.RUNS.value}",
            "",
            "Each is compared with Keras in the tests (`tests/lowering/cases`).",
            "",
            *_table(lists[Place.RUNS]),
            f"## {Place.NOTHING.value}",
            "",
            "Dropout, noise, regularisation, random augmentation: a prediction passes them as it is.",
            "",
            *_table(lists[Place.NOTHING]),
            f"## {Place.REFUSED.value}",
            "",
            *_refused(lists[Place.REFUSED]),
        ]
    )


def _counted(lists: Mapping[Place, Sequence[Entry]], keras: str) -> str:
    runs, nothing, refused = (sum(keras in entry.keras for entry in lists[each]) for each in Place)
    return f"- `{keras}`: {runs} run, {nothing} have nothing to do, {refused} are refused."


def _table(entries: Iterable[Entry]) -> list[str]:
    families: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        families[entry.family].append(entry)
    lines = []
    for family, members in sorted(families.items()):
        lines += [f"| {family} | {' | '.join(KERAS)} |", "|---|---|---|"]
        lines += [f"| {_named(entry)} | {' | '.join(_marks(entry))} |" for entry in members]
        lines.append("")
    return lines


def _refused(entries: Sequence[Entry]) -> list[str]:
    """Below the ground: which layers for which reason."""
    lines = []
    for ground in Ground:
        members = [entry for entry in entries if ground_of(entry.name) is ground]
        if members:
            lines += [f"| {ground.value} | {' | '.join(KERAS)} | because | instead |", "|---|---|---|---|---|"]
        for entry in members:
            hint = hint_for_layer(entry.name)
            lines.append(f"| {_named(entry)} | {' | '.join(_marks(entry))} | {hint.why} | {hint.instead} |")
        lines += [""] * bool(members)
    return lines


def _named(entry: Entry) -> str:
    also = f" ({', '.join(f'`{alias}`' for alias in entry.aliases)})" if entry.aliases else ""
    return f"`{entry.name}`{also}"


def _marks(entry: Entry) -> list[str]:
    return ["✓" if keras in entry.keras else "" for keras in KERAS]


if __name__ == "__main__":
    sys.stdout.write(text())
