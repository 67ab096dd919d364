"""`status --watch` and `--json`: rates from differences, and a party that is down keeps its line."""

from __future__ import annotations

import io
import json
import sys
import threading
from pathlib import Path
from typing import Any

import pexpect
import pytest
from msgspec.structs import replace
from rich.console import Console

from keras_private.config import PARTY_NAMES, ClusterConfig
from keras_private.net.roles import Role
from keras_private.status import Verdict
from keras_private.watch import Sample, Watch, picture, rates, to_json
from keras_private.worker import TFEWorker

from .test_status import ALL, DIGITS, FIGURES, GONE, GOOD, several


def drawn(what: Any) -> str:
    console = Console(file=io.StringIO(), width=120)
    console.print(what)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_rates_are_differences_by_the_partys_own_clock() -> None:
    later = replace(FIGURES, uptime=64.0, runs=FIGURES.runs + 4, rows=FIGURES.rows + 16, sent=FIGURES.sent + 4000)
    first, last = Sample(GOOD, 0.0), Sample(replace(GOOD, served=GOOD.served + 8, figures=later), 0.0)
    found = rates([first, last])
    assert found == (2.0, 4.0, 1.0, 1000.0, 0.0)
    assert rates([first]) is None
    assert rates([]) is None


def test_a_model_has_a_rate_from_its_second_answer_on(make_config: Any) -> None:
    def at(uptime: float, *models: Any) -> Sample:
        return Sample(replace(GOOD, models=models, figures=replace(FIGURES, uptime=uptime)), 0.0)

    samples = [at(60.0), at(62.0, DIGITS), at(64.0, replace(DIGITS, served=DIGITS.served + 5))]
    answers = ALL | {"server0": samples[-1].status}
    for some, rate in ((samples, "2.5"), (samples[-1:], "-")):
        text = drawn(picture(make_config(managed=False), answers, {"server0": some}))
        (line,) = [line for line in text.splitlines() if line.startswith("│ digits")]
        assert line.split("│")[5].strip() == rate


def test_what_is_said_of_each_party(make_config: Any) -> None:
    config = make_config(managed=False)
    slow = replace(FIGURES, unready=("kernels: still being compiled",), oldest=2.5)
    answers = ALL | {"server1": GONE, "server2": replace(ALL["server2"], figures=slow, waiting=3, expires=10**9)}
    text = drawn(picture(config, answers, {"server0": [Sample(GOOD, 42.4)]}))
    lines = {line.split("│")[1].strip(): line for line in text.splitlines() if line.startswith("│")}
    assert list(lines) == [*PARTY_NAMES, *dict.fromkeys(model.name for model in GOOD.models)]
    assert "deployed" in lines["faces"]
    assert " DOWN " in lines["server1"]
    assert " not ready " in lines["server2"]
    assert " 3 (2.5 s) " in lines["server2"]
    assert "server0: its clock is +42 s off this host's" in text
    assert f"server1: {GONE}" in text
    assert "server2: kernels: still being compiled" in text
    assert "server2: certificate EXPIRED on 2001-09-09" in text
    assert text.rstrip().endswith("server1: cannot be asked")


def test_several_triples_are_in_one_table(make_config: Any) -> None:
    parties = [json.loads(make_config(managed=False).to_json())["parties"] for _ in range(2)]
    config = ClusterConfig.parse({"cluster": "test", "parties": parties})
    text = drawn(picture(config, several({}, {"server2": GONE}), {}))
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in text.splitlines() if line.startswith("│")]
    assert [row[0] for row in rows[:6]] == [f"{number}.{name}" for number in (0, 1) for name in PARTY_NAMES]
    assert [row[1] for row in rows[:6]] == ["ready"] * 5 + ["DOWN"]
    assert [row[:3] for row in rows[6:]] == [
        [number, model.name, str(model.version)] for number in "01" for model in GOOD.models
    ]
    assert f"1.server2: {GONE}" in text
    assert "every model is answered, but not by every replica" in text


def test_the_terminal_obeys_nobody(make_config: Any) -> None:
    evil = replace(
        GOOD,
        models=(replace(DIGITS, owner="\x1b[2J[red]o"),),
        figures=replace(FIGURES, unready=("\x1b]0;x\x07[bold]",)),
    )
    text = drawn(picture(make_config(managed=False), ALL | {"server0": evil}, {}))
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "[red]o" in text  # and no markup either


def test_json_says_all_of_it(make_config: Any) -> None:
    config = make_config(managed=False)
    found = json.loads(json.dumps(to_json(config, ALL | {"server2": GONE})))
    assert (found["verdict"], found["exit_code"], found["says"]) == ("down", 3, "server2: cannot be asked")
    assert found["parties"]["server2"] == {"host": config.parties["server2"].host, "up": False, "error": str(GONE)}
    good = found["parties"]["server0"]
    assert (good["up"], good["served"], good["figures"]["rows"]) == (True, GOOD.served, FIGURES.rows)
    assert [(each["name"], each["state"]) for each in good["models"]] == [
        (each.name, each.state) for each in GOOD.models
    ]


def test_real_parties_one_of_which_ends(make_trio: Any, tiny: Any, serving: Any, until: Any) -> None:
    trio = make_trio()
    until(lambda: all(lane.up for server in trio.servers for lane in server.duty.lanes), "lanes are up")
    watch = Watch(trio.config, [trio.network(Role("owner", "owner"))], 0.05)
    try:
        with serving(trio, tiny), TFEWorker(name="bob") as client:
            client.connect_to_model(tiny.input_shape, tiny.output_shape, trio)
            client.query_model(tiny.batch(2))
            watch.wait()
            until(lambda: watch.verdict is Verdict.SERVING, "it is seen to be served")
            client.query_model(tiny.batch(3))
            until(lambda: watch.json()["parties"]["server1"].get("rates", {}).get("rows"), "a rate is there")
            assert "refused/s" in drawn(watch.picture())
            trio.servers[1].stop()
            until(lambda: watch.verdict is Verdict.DOWN, "it is seen to be down")
            assert {name for name, each in watch.json()["parties"].items() if each["up"]} == {"server0", "server2"}
    finally:
        watch.close()
    until(lambda: not [t for t in threading.enumerate() if t.name.startswith("watch ")], "its threads end", 10)


@pytest.mark.slow
def test_in_a_terminal_until_ctrl_c(make_trio: Any, tmp_path: Path) -> None:
    trio = make_trio()
    (tmp_path / "cluster.yaml").write_text(trio.config.to_json())
    command = [
        "-m",
        "keras_private.cli",
        "status",
        "--watch",
        "--every",
        "0.2",
        "--config",
        str(tmp_path / "cluster.yaml"),
    ]
    child = pexpect.spawn(
        sys.executable, command, cwd=str(Path(__file__).parent.parent), dimensions=(30, 120), timeout=60
    )
    child.expect("cluster test")
    child.expect("server2")
    child.expect("the owner must share it")
    child.sendintr()
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == Verdict.NO_MODEL
