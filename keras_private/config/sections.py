"""What every section of a configuration file has in common, and how a file is read: YAML, one explanation per mistake.

A section is a pydantic model of its own, in a file of its own. It is found from its parent's annotations, so that a
misspelt field is explained by the fields of the section it is in.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from keras_private.errors import ConfigError


def no_bool(value: Any) -> Any:
    """pydantic would take `true` for 1."""
    if isinstance(value, bool):
        raise ValueError(f"{str(value).lower()} is not a number")
    return value


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


Found = TypeVar("Found", bound=Section)


def read_yaml(path: str | Path) -> tuple[Path, object]:
    """A file's path, `~` taken for one's home, and what it says: plain data, no key twice.

    Raises:
        ConfigError: it cannot be read, or is not such YAML.
    """
    try:
        path = placed(Path(path))
    except TypeError:
        raise ConfigError(f"a configuration file is named by its path, not by {type(path).__name__}") from None
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None
    try:
        return path, yaml.load(text, Loader=_Loader)  # noqa: S506  a SafeLoader that also refuses duplicate keys
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: is not valid YAML: {error}") from None


def placed(path: Path, folder: Path = Path()) -> Path:
    """A path, `~` taken for a home, relative ones for what is in `folder`.

    Raises:
        ConfigError: it begins with `~` and a name that nobody has here.
    """
    try:
        return folder / path.expanduser()
    except RuntimeError:
        raise ConfigError(f"{path}: there is no user of that name here, or they have no home") from None


def checked(section: type[Found], data: Mapping[Any, Any], source: str) -> Found:
    """The section that the data describe; `source` names them in errors.

    Raises:
        ConfigError: all that is wrong with them, a line each.
    """
    try:
        return section.model_validate(dict(data))
    except ValidationError as error:
        raise ConfigError(_explain(error, section, source)) from None


class _Loader(yaml.SafeLoader):
    """YAML data only, and no key twice in one mapping (YAML itself silently keeps the last)."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = key_node.value
            if not isinstance(key, str):
                line = key_node.start_mark.line + 1
                raise yaml.MarkedYAMLError(problem=f"a key must be a word, not a list or mapping (line {line})")
            if key in seen:
                line = key_node.start_mark.line + 1
                raise yaml.MarkedYAMLError(problem=f"the key {key!r} appears twice (line {line})")
            seen.add(key)
        return super().construct_mapping(node, deep)


def nearest(name: str, known: Sequence[str]) -> str:
    """What to say of a name that is not known, if one that is known is like it."""
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""


def _known_fields(top: type[BaseModel], path: Sequence[int | str]) -> list[str]:
    """The fields that the section at `path` has."""
    section = top
    for step in path:
        by_alias = {field.validation_alias: field for field in section.model_fields.values()}
        # None: the name of one of several alike, as of a party
        field = section.model_fields.get(str(step)) or by_alias.get(str(step))
        section = next(_sections(field.annotation), section) if field else section
    return [name for name, field in section.model_fields.items() if not field.exclude]


def _sections(annotation: Any) -> Iterator[type[BaseModel]]:
    """The sections in an annotation such as `dict[str, PartyConfig] | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _sections(inner)


def _explain(error: ValidationError, top: type[BaseModel], source: str) -> str:
    """pydantic's findings in words that who wrote the file understands."""
    lines = []
    for finding in error.errors():
        path, kind, value = finding["loc"], finding["type"], finding.get("input")
        context = finding.get("ctx", {})
        field = ".".join(str(part) for part in path)
        if kind == "extra_forbidden":
            known = _known_fields(top, path[:-1])
            what = f"is not a known field{nearest(str(path[-1]), known)} (known are {', '.join(known)})"
        elif kind == "missing":
            what = "is missing"
        elif kind == "value_error":
            what = str(context.get("error", finding["msg"]))
        elif kind in {"greater_than", "greater_than_equal", "less_than", "less_than_equal"}:
            what = f"{value!r} is out of range: {finding['msg'].removeprefix('Input ')}"
        elif kind.startswith(("int", "float", "finite")):
            what = f"{value!r} is not a {'whole ' if kind.startswith('int') else ''}number"
        elif kind.startswith("bool"):
            what = f"{value!r} is neither true nor false"
        elif kind == "literal_error":
            what = f"{value!r} is none of {context.get('expected', '').replace(' or ', ', ')}"
        elif kind.startswith(("model", "dict")):
            what = f"{value!r} is not a mapping of fields"
        else:
            what = f"{value!r} is not text" if kind == "string_type" else f"{value!r} is not valid"
        lines.append(f"{field}: {what}" if field else what)
    return "\n".join(f"{source}: {line}" for line in lines)
