"""Every event that is logged is in the table, as it is logged; and none is there that is not."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from keras_private import logs
from keras_private.events import EVENTS, LOST, table

ROOT = Path(__file__).parents[1]
LEVELS = ("debug", "info", "warning", "error")


def logged(tree: ast.AST) -> Iterator[tuple[str, str, set[str]]]:
    """(event, level, fields) of every call on something called `log`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in LEVELS:
            of = node.func.value
            name = of.id if isinstance(of, ast.Name) else of.attr if isinstance(of, ast.Attribute) else ""
            if name in ("log", "_log"):
                event, *rest = node.args
                assert isinstance(event, ast.Constant), f"an event is named where it is logged: {ast.unparse(node)}"
                assert not rest, ast.unparse(node)
                fields = {keyword.arg or "" for keyword in node.keywords}
                assert "" not in fields, f"fields are named where they are logged: {ast.unparse(node)}"
                yield str(event.value), node.func.attr, {"exception" if f == "exc_info" else f for f in fields}


def test_the_table_is_what_is_logged() -> None:
    levels, fields = defaultdict(set), defaultdict(set)
    for path in (ROOT / "keras_private").rglob("*.py"):
        for event, level, those in logged(ast.parse(path.read_text(encoding="utf-8"))):
            levels[event].add(level)
            fields[event] |= those
    assert logs.LOST is LOST  # written by the log itself
    levels[LOST], fields[LOST] = {"warning"}, {"lost", "cause"}
    assert {event.name: (set(event.levels), set(event.fields)) for event in EVENTS} == {
        event: (levels[event], fields[event]) for event in levels
    }


def test_the_scan_sees_events() -> None:
    """A table that holds nothing would agree with a scan that finds nothing."""
    code = "self._node.log.warning('a', b=1, exc_info=e)\nlog.info('c') if d else log.error('e')\nother.info('f')"
    assert list(logged(ast.parse(code))) == [
        ("a", "warning", {"b", "exception"}),
        ("c", "info", set()),
        ("e", "error", set()),
    ]


def test_what_ought_to_be_done_is_said() -> None:
    assert len({event.name for event in EVENTS}) == len(EVENTS)
    for event in EVENTS:
        assert event.meaning or event.name == "model loaded"
        assert event.do or "error" not in event.levels, event.name


def test_the_page_is_the_table() -> None:
    """Else: python -m keras_private.events > docs/logs.md"""
    assert (ROOT / "docs" / "logs.md").read_text(encoding="utf-8") == table()
