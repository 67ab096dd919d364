"""Models that live, with real processes: two owners, three models, two versions, and clients on all of them while a
version is switched."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from keras_private.cli import app
from keras_private.cluster import TFECluster
from keras_private.errors import NoModelError, RefusedError
from keras_private.worker import TFEWorker
from tests.conftest import Tiny, make_tiny
from tests.processes import ROOT

DEPLOYED_AND_GONE = """
import sys
from keras_private.cluster import TFECluster
from tests.conftest import make_tiny
cluster = TFECluster.from_yaml(sys.argv[1], owner="bob").start()
print(make_tiny(seed=3).upload(cluster, owner="bob", name="bobs", deploy=True).version)
"""


def held(cluster: TFECluster) -> list[set[tuple[str, int]]]:
    """Names and versions, party by party."""
    return [{(each.name, each.version) for each in status.models} for status in cluster.status().values()]


class Asking(threading.Thread):
    """Asks until it is told to stop; every answer must be that of the version that was asked."""

    def __init__(self, cluster: TFECluster, name: str, versions: dict[int, Tiny], *, anew: bool) -> None:
        super().__init__(name=f"asks {name}")
        self.cluster, self.model, self.versions, self.anew = cluster, name, versions, anew
        self.enough, self.failure = threading.Event(), ""
        self.seen: list[int] = []

    def run(self) -> None:
        try:
            while not self.enough.is_set():
                with TFEWorker(name="client") as client:
                    client.connect_to_model((1, 6), (1, 3), self.cluster, model=self.model)
                    while not self.enough.is_set():
                        self.ask(client)
                        if self.anew:
                            break
        except BaseException as error:  # noqa: BLE001  shown by the test
            self.failure = f"{self.name}: {error!r}"

    def ask(self, client: Any) -> None:
        data = next(iter(self.versions.values())).batch(2, seed=len(self.seen))
        before = client.model[1]
        answer = client.query_model(data, retries=0)
        right = {
            version
            for version in {before, client.model[1]}  # it may have gone over meanwhile
            if np.allclose(answer, self.versions[version].expected(data), atol=1e-3)
        }
        assert right, "a wrong answer"
        (version,) = right
        self.seen.append(version)


@pytest.fixture
def config(process_cluster: TFECluster, tmp_path: Path) -> Path:
    """The cluster.yaml of the parties that run, for who did not start them."""
    parties = {
        name: party.model_copy(update={"auto_managed": False}) for name, party in process_cluster.config.parties.items()
    }
    path = tmp_path / "cluster.yaml"
    path.write_text(process_cluster.config.model_copy(update={"parties": parties}).to_json())
    return path


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_a_version_is_switched_under_load(process_cluster: TFECluster, config: Path, until: Callable[..., Any]) -> None:
    cluster = process_cluster
    old, new, faces, bobs = (make_tiny(seed=seed) for seed in (1, 2, 5, 3))
    first = old.upload(cluster, name="digits", deploy=True)
    other = faces.upload(cluster, name="faces", deploy=True)
    done = subprocess.run(
        [sys.executable, "-c", DEPLOYED_AND_GONE, str(config)], cwd=ROOT, check=True, capture_output=True, text=True
    )
    assert done.stdout.split()[-1] == "1"
    with pytest.raises(RefusedError, match="the name 'bobs' belongs to owner:bob"):
        faces.upload(cluster, name="bobs")
    versions = {first.version: old, first.version + 1: new}
    asking = [
        Asking(cluster, "digits", versions, anew=False),
        Asking(cluster, "digits", versions, anew=True),
        Asking(cluster, "faces", {other.version: faces}, anew=False),
        Asking(TFECluster.from_yaml(config), "bobs", {1: bobs}, anew=False),
    ]
    for each in asking:
        each.start()

    def answered(more: int) -> None:
        before = [len(each.seen) for each in asking]
        until(
            lambda: (
                any(each.failure for each in asking)
                or all(len(each.seen) >= count + more for each, count in zip(asking, before, strict=True))
            ),
            "all are answered",
        )

    try:
        answered(5)
        second = new.upload(cluster, name="digits")
        assert second.version == first.version + 1
        after = len(asking[1].seen)
        answered(8)
    finally:
        for each in asking:
            each.enough.set()
            each.join(30)
    assert not [each.failure for each in asking if each.failure]
    asked_before, asked_after = asking[1].seen[: after + 1], asking[1].seen[after + 1 :]
    assert asked_before[0] == first.version
    assert set(asked_after) == {second.version}  # one query may have been on its way
    assert {len({*each.seen}) for each in asking[2:]} == {1}
    everything = {("digits", second.version), ("faces", other.version), ("bobs", 1)}
    until(lambda: held(cluster) == [everything] * 3, "nobody needs the old version any more")
    states = {each.name: each.state for each in cluster.status()["server0"].models}
    assert set(states.values()) == {"deployed"}  # the new version, too: what is deployed is the name

    undeploy = ["undeploy", "bobs", "--config", str(config)]
    with pytest.raises(RefusedError, match="belongs to owner:bob; only they"):
        raise CliRunner().invoke(app, undeploy).exception or AssertionError
    done_well = CliRunner().invoke(app, [*undeploy, "--owner", "bob"])
    assert (done_well.exit_code, done_well.output) == (0, "bobs is not served any more, and gone\n")
    with TFEWorker() as client, pytest.raises(NoModelError, match="holds no model 'bobs'"):
        client.connect_to_model((1, 6), (1, 3), TFECluster.from_yaml(config), model="bobs")
    second.stop()
    other.stop()
    until(lambda: held(cluster) == [set()] * 3, "all is gone")
