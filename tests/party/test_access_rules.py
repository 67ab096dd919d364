"""Rules at work: three parties over TLS, of whom each keeps to its own."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from keras_private.config import AccessConfig, ClusterConfig, Rules
from keras_private.errors import ConfigError, QuotaError, RefusedError
from keras_private.party.access import Access, AccessWatch
from keras_private.worker import TFEWorker
from tests.conftest import LogLines, Tiny
from tests.test_evaluation import X, Y, draft

ALL = {"models": "*"}


def rule(trio: Any, index: int, clients: dict[str, Any], owners: dict[str, Any] | None = None) -> None:
    found = {"clients": clients, "owners": {"*": ALL} if owners is None else owners}
    trio.servers[index].node.access.replace(Rules.model_validate(found))


def rows(trio: Any) -> list[int]:
    return [server.node.access.ledger.rows("client:client") for server in trio.servers]


@pytest.mark.parametrize("strict", [0, 1, 2])
def test_one_party_refuses_and_the_query_ends_at_all_three(
    make_trio: Any, tiny: Any, serving: Any, until: Any, strict: int
) -> None:
    trio = make_trio(timeout_s=30)
    for index in range(3):
        rule(trio, index, {"*": ALL})
    with serving(trio, tiny), TFEWorker() as client:
        client.connect_to_model(tiny.input_shape, tiny.output_shape, trio)
        np.testing.assert_allclose(client.query_model(tiny.batch(3)), tiny.expected(tiny.batch(3)), atol=1e-3)
        until(lambda: rows(trio) == [3, 3, 3], "each party has counted")

        rule(trio, strict, {"*": {"models": "*", "rows_per_minute": 4}})
        started = time.monotonic()
        with pytest.raises(QuotaError, match=f"server{strict}.*: client:client may ask for 4 rows a minute") as caught:
            client.query_model(tiny.batch(2), retries=0)
        assert time.monotonic() - started < 10  # and not the parties' patience
        assert caught.value.after is not None
        assert 0 < caught.value.after <= 61
        until(lambda: trio.waiting() == [0, 0, 0], "nothing of it waits anywhere")
        until(lambda: rows(trio) == [3, 3, 3], "what did not run is counted nowhere")
        client.query_model(tiny.batch(1))

        rule(trio, strict, {"bob": ALL})  # the connection that is there goes on, its next query does not
        with pytest.raises(RefusedError, match="there is no model 'model' that client:client may query"):
            client.query_model(tiny.batch(1))
        with TFEWorker() as other, pytest.raises(RefusedError, match="there is no model 'model' that client:client"):
            other.connect_to_model(tiny.input_shape, tiny.output_shape, trio)
        with TFEWorker(name="bob") as bob:
            bob.connect_to_model(tiny.input_shape, tiny.output_shape, trio).query_model(tiny.batch(1))
        assert rows(trio) == [4, 4, 4]


def test_a_client_that_waits_as_told_is_answered(make_trio: Any, tiny: Any, serving: Any) -> None:
    trio = make_trio()
    for index in range(3):
        rule(trio, index, {"*": {"models": "*", "rows_per_minute": 4}})
    clocks = [server.node.access for server in trio.servers]
    with serving(trio, tiny), TFEWorker() as client:
        client.connect_to_model(tiny.input_shape, tiny.output_shape, trio)
        client.query_model(tiny.batch(4))
        for access in clocks:
            access._clock = lambda: time.monotonic() + 60.5  # almost a minute and a slot have passed
        client.query_model(tiny.batch(4), timeout=20)


def test_who_does_not_see_a_model_is_told_the_same_whether_or_not_it_is_there(
    make_trio: Any, tiny: Any, serving: Any
) -> None:
    trio, said = make_trio(), []
    for index in range(3):
        rule(trio, index, {"bob": {"models": ["other"]}})
    client = TFEWorker(name="bob")
    with pytest.raises(RefusedError) as caught:
        client.connect_to_model(tiny.input_shape, tiny.output_shape, trio)
    said.append(str(caught.value))
    with serving(trio, tiny):
        with pytest.raises(RefusedError) as caught:
            client.connect_to_model(tiny.input_shape, tiny.output_shape, trio)
        said.append(str(caught.value))
    assert said[0] == said[1]


def test_owners_share_what_they_may(make_trio: Any, tiny: Any) -> None:
    trio = make_trio()
    rule(trio, 1, {"*": ALL}, {"ann": ALL})
    with pytest.raises(RefusedError, match="server1: owner:owner may not share or serve a model 'model' here"):
        tiny.upload(trio)
    rule(trio, 1, {"*": ALL}, {"owner": {"models": ["model"]}})
    model = tiny.upload(trio)
    rule(trio, 0, {"*": ALL}, {})
    for deed in (lambda: model.serve(1), model.deploy):
        with pytest.raises(RefusedError, match="server0: owner:owner may not share or serve"):
            deed()
    model.stop()


def test_evaluations_count_their_rows(make_trio: Any, serving: Any) -> None:
    trio, made = make_trio(), draft()
    for index in range(3):
        rule(trio, index, {"*": {"models": "*", "rows_total": 250}})
    with serving(trio, Tiny(made, made)), TFEWorker() as client:
        client.connect_to_model(cluster=trio)
        assert client.evaluate_model(X, Y, batch=50).total == 150
        assert rows(trio) == [200] * 3
        with pytest.raises(QuotaError, match="may ask for 250 rows in all and has had 250"):
            client.evaluate_model(X, Y, batch=50)
        assert rows(trio) == [250] * 3  # what ran of the second one


def test_rows_in_all_are_not_asked_for_again(make_trio: Any, tiny: Any, serving: Any) -> None:
    trio = make_trio()
    for index in range(3):
        rule(trio, index, {"*": {"models": "*", "rows_total": 10}})
    with serving(trio, tiny), TFEWorker() as client:
        client.connect_to_model(tiny.input_shape, tiny.output_shape, trio)
        for _ in range(5):
            client.query_model(tiny.batch(2))
        with pytest.raises(QuotaError, match="may ask for 10 rows in all and has had 10") as caught:
            client.query_model(tiny.batch(1))
        assert caught.value.after is None
        assert not caught.value.transient


GOOD = 'clients:\n  bob: {models: [digits], rows_per_minute: 6}\nowners: {"*": {models: "*"}}\n'
BAD = 'clients:\n  bob: {models: digits, rows_per_minutes: 6}\n  "b b": {models: []}\nowners:\n  ann: {models: 3}\n'


def test_changed_rules_are_taken_over(tmp_path: Path) -> None:
    path, log = tmp_path / "access.yaml", LogLines()
    path.write_text(GOOD)
    config = AccessConfig(file=path)
    access = Access(config.rules)
    watch = AccessWatch(config, access, log)
    access.check_client("client:bob", "digits")
    path.write_text(GOOD.replace("digits", "weather"))
    watch.look()  # perhaps still being written
    access.check_client("client:bob", "digits")
    watch.look()
    access.check_client("client:bob", "weather")
    with pytest.raises(RefusedError):
        access.check_client("client:bob", "digits")
    for text in (BAD, "", "clients: {}\n"):
        path.write_text(text)
        watch.look(now=True)
        access.check_client("client:bob", "weather")  # as before
    path.unlink()
    watch.look(now=True)
    assert [event for _, event, _ in log.lines] == ["access reloaded", *["access kept"] * 4]
    assert log.causes("access kept")[1].endswith("must be a mapping with the fields 'clients' and 'owners'")
    assert log.causes("access kept")[2].endswith("access.yaml: owners: is missing")


def test_all_mistakes_at_once(tmp_path: Path) -> None:
    path = tmp_path / "access.yaml"
    other = "  carol: {models: [1]}\n  dave: {models: {a: {rows: 1}}}\n"
    path.write_text(BAD.replace('  "b b": {models: []}\n', other))
    with pytest.raises(ConfigError) as caught:
        Rules.load(path)
    lines = [line.removeprefix(f"{path}: ") for line in str(caught.value).splitlines()]
    assert lines == [
        "clients.bob.rows_per_minutes: is not a known field; did you mean 'rows_per_minute'? (known are "
        "rows_per_minute, rows_total, models)",
        "clients.carol.models: a list of models' names, or '*' for all of them, is wanted, not [1]",
        "clients.dave.models.a.rows: is not a known field; did you mean 'rows_total'? (known are rows_per_minute, "
        "rows_total)",
        "owners.ann.models: 3 is not a mapping of fields",
    ]
    path.write_text(BAD)
    with pytest.raises(ConfigError, match=r"clients: 'b b' names no participant: give its name, or '\*'"):
        Rules.load(path)


PARTIES = "parties:\n" + "".join(f"  server{i}: {{host: localhost:{4000 + i}}}\n" for i in range(3))


def test_rules_in_cluster_yaml_or_in_a_file_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "cluster.yaml"
    path.write_text(PARTIES + "access: {clients: {bob: {models: [digits]}}, owners: {}}\n")
    within = ClusterConfig.load(path)
    assert within.access is not None
    assert within.access.source == path
    assert list(within.access.rules.clients) == ["bob"]
    path.write_text(PARTIES + "access: {clients: {carol: {models: [digits]}}, owners: {}}\n")
    assert list(within.access.read_again().clients) == ["carol"]
    path.write_text(PARTIES + "access: {clients: {carol: {model: [digits]}}, owners: {}}\n")
    with pytest.raises(ConfigError, match=r"access\.clients.carol.model: is not a known field; did you mean 'models'"):
        within.access.read_again()
    path.write_text(PARTIES + "access: access.yaml\n")
    beside = ClusterConfig.load(path).access
    assert beside is not None
    (tmp_path / "access.yaml").write_text(GOOD)
    assert beside.source == tmp_path / "access.yaml"
    assert beside.rules.clients["bob"].rows_per_minute == 6
    path.write_text(PARTIES + "access: {clients: {}}\n")
    with pytest.raises(ConfigError, match=r"access: needs 'clients' and 'owners', .* owners is missing"):
        ClusterConfig.load(path)
    path.write_text(PARTIES + "access: {file: a.yaml, clients: {}}\n")
    with pytest.raises(ConfigError, match="not both"):
        ClusterConfig.load(path)
