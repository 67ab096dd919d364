"""The dashboard and the alerts ask for metrics that there are, as they are; and no metric is left out."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from keras_private.party.metrics import FAMILIES

DEPLOY = Path(__file__).parents[1] / "deploy"
DASHBOARD = json.loads((DEPLOY / "grafana" / "keras-private.json").read_text(encoding="utf-8"))
ALERTS = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text(encoding="utf-8"))
SCRAPE = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text(encoding="utf-8"))

PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
SHOWN = [target["expr"] for panel in PANELS for target in panel["targets"]]
WATCHED = [rule["expr"] for group in ALERTS["groups"] for rule in group["rules"]]
ASKED = SHOWN + WATCHED + [each["definition"] for each in DASHBOARD["templating"]["list"] if "definition" in each]

SUFFIXES = {"histogram": ("_bucket", "_sum", "_count"), "counter": ("",), "gauge": ("",)}
NAMES = {family.full_name + suffix: family for family in FAMILIES for suffix in SUFFIXES[family.kind]}
OUTSIDE = {"process_resident_memory_bytes", "process_cpu_seconds_total", "process_open_fds", "up"}
TARGET = {"job", "instance"}  # labels that Prometheus itself puts there


def names(expression: str) -> set[str]:
    return set(re.findall(r"\b(?:keras_private|process)_\w+|\bup\b", expression))


def labels(expression: str) -> Iterator[str]:
    for inside in re.findall(r"\{(.*?)\}", expression):
        yield from re.findall(r"(\w+)\s*(?:=|!)", inside)
    for inside in re.findall(r"\b(?:by|on) \((.*?)\)", expression):
        yield from re.findall(r"\w+", inside)


@pytest.mark.parametrize("expression", ASKED)
def test_what_is_asked_for_is_there(expression: str) -> None:
    found = names(expression)
    assert found
    assert found - OUTSIDE <= NAMES.keys()
    families = [NAMES[name] for name in found - OUTSIDE]
    allowed = TARGET | {family.label for family in families} | {"le"}
    assert set(labels(expression)) <= allowed
    for name in found:  # a counter alone says nothing
        if name.endswith(("_total", "_bucket", "_sum", "_count")):
            for before in re.findall(rf"(\w*)\({name}\b", expression) or [""]:
                assert before in ("rate", "increase"), expression
    for family in families:
        for value in re.findall(rf'\b{family.label}="([^"]+)"', expression) if family.values else ():
            assert value in family.values
    for opening, closing in ("()", "{}", "[]"):
        assert expression.count(opening) == expression.count(closing)


def test_every_metric_is_shown() -> None:
    shown = {name for expression in SHOWN for name in names(expression)}
    assert {family.name for family in FAMILIES} == {NAMES[name].name for name in shown - OUTSIDE}


def test_panels_stand_beside_each_other() -> None:
    cells = [
        (x, y)
        for panel in DASHBOARD["panels"]
        for place in [panel["gridPos"]]
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    for panel in PANELS:
        assert all(target["datasource"]["uid"] == "${datasource}" for target in panel["targets"])
        for target in panel["targets"]:  # what the legend names, the answer has
            for label in re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]):
                expression = target["expr"]
                kept = set(re.findall(r"\w+", " ".join(re.findall(r"by \((.*?)\)", expression))))
                whole = TARGET | {NAMES[name].label for name in names(expression) - OUTSIDE}
                assert label in (kept or whole), panel["title"]


def test_alerts_say_what_to_do() -> None:
    for group in ALERTS["groups"]:
        for rule in group["rules"]:
            assert {"alert", "expr", "labels", "annotations"} <= rule.keys()
            assert rule["annotations"]["do"]
            assert rule["labels"]["severity"] in ("page", "ticket")
    assert SCRAPE["rule_files"] == ["alerts.yml"]


def test_alerts_compare_sums_where_a_label_is_left_out() -> None:
    """Prometheus compares series of equal labels: a part, by its label, with the same part, never with the whole."""
    for expression in WATCHED:
        for name, chosen in re.findall(r"(keras_private_\w+)\{(.+?)\}", expression):
            if re.search(rf"{name}(?!\w|\{{)", expression):
                assert expression.count("sum by (job, instance) (rate(") == expression.count("rate("), (name, chosen)
