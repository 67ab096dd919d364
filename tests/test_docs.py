"""The pages say what is so: the README's program runs, links lead somewhere."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from keras_private.config import ClusterConfig
from keras_private.events import EVENTS

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    *sorted(ROOT.glob("docs/*.md")),
    *sorted(ROOT.glob("examples/**/*.md")),
]


def anchors(page: Path) -> set[str]:
    """Those of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
        if link.startswith("https://"):
            continue
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def fields(section: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Every field of cluster.yaml, as its page names it: `parties.*.host`."""
    for name, field in section.model_fields.items():
        yield prefix + name
        star = "*." if "dict" in str(field.annotation) else ""
        for inner in _sections(field.annotation):
            yield from fields(inner, f"{prefix}{name}.{star}")


def _sections(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _sections(part)


def test_the_table_of_fields_is_one() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    table = page[page.index("| field | type | default") :].split("\n\n")[0]
    rows = [re.split(r" \|(?= )", line) for line in table.splitlines()[2:]]
    assert not [row for row in rows if len(row) != 4]
    named = [name for row in rows for name in re.findall(r"`(.+?)`", row[0])]
    known = set(fields(ClusterConfig))
    assert len(named) == len(set(named))
    assert set(named) <= known
    assert {name for name in known if name.startswith(("limits.", "parties.", "storage."))} <= set(named)


def example() -> str:
    """The README's program."""
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    code = re.search(r"```python\n(import threading.+?)```", page, re.DOTALL)
    assert code
    return code[1]


def test_the_log_lines_shown_are_of_the_table() -> None:
    known = {event.name: event for event in EVENTS}
    shown = re.findall(r'^\{"party".*\}$', (ROOT / "docs" / "configuration.md").read_text(), re.M)
    for line in map(json.loads, shown):
        event = known[line["event"]]
        assert line["level"] in event.levels
        fields = set(line) - {"party", "event", "level", "timestamp"}
        assert fields == set(event.fields) if event.levels == ("info",) else fields <= set(event.fields)
    assert len(shown) > 5


def test_the_example_of_the_readme_has_fifteen_lines() -> None:
    assert len([line for line in example().splitlines() if line]) <= 15


@pytest.mark.slow
def test_the_example_of_the_readme_runs() -> None:
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-c", example()]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "Traceback" not in done.stderr
    right = re.fullmatch(r"right: (0\.\d+|1\.0)", done.stdout.splitlines()[-1])
    assert right, done.stdout
    assert float(right[1]) >= 0.8
