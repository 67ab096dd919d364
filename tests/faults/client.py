"""A client in a process of its own, which may be killed: obeys one JSON command a line, and reports what came of each.

Every query is reported exactly when the library says that it is over. The parent counts the reports, compares the
answers' versions with those that were served at the time, and looks at how long each took and at what failures say.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from concurrent.futures import CancelledError, Future
from typing import Any

from keras_private.client.client import Client
from keras_private.cluster import TFECluster
from keras_private.errors import KerasPrivateError, RefusedError
from tests.faults.versions import METRIC, batch, matching, matching_score, targets

_saying = threading.Lock()


def say(**report: Any) -> None:
    with _saying:
        sys.stdout.write(json.dumps(report) + "\n")
        sys.stdout.flush()


class Asking:
    """One client, its queries, and the thread that connects it."""

    def __init__(self, cluster: TFECluster, name: str) -> None:
        self._cluster = cluster
        self._client = Client(name)
        self._tickets: dict[int, Future[Any]] = {}
        self._stale = threading.Event()  # it has to connect (anew)
        self._stale.set()
        threading.Thread(target=self._connect, daemon=True).start()

    def _connect(self) -> None:
        while True:
            self._stale.wait()
            try:
                self._client.connect_to_model(self._cluster)
            except KerasPrivateError as error:
                say(event="not connected", text=str(error))
                time.sleep(0.1)
            else:
                self._stale.clear()
                say(event="connected", digest=self._client.digest)

    def obey(self, command: dict[str, Any]) -> None:
        do = {"query": self._query, "ticket": self._ticket, "evaluate": self._evaluate}
        what, number = command["do"], command["id"]
        if what == "cancel":
            ticket = self._tickets.get(command["of"])
            say(event="cancelled" if ticket is not None and ticket.cancel() else "not cancelled", of=command["of"])
            return
        threading.Thread(target=self._run, args=(do[what], number, command), daemon=True).start()

    def _run(self, do: Any, number: int, command: dict[str, Any]) -> None:
        began = time.monotonic()
        try:
            do(number, command, began)
        except Exception as error:  # noqa: BLE001  reported
            self._failed(number, error, began)

    def _query(self, number: int, command: dict[str, Any], began: float) -> None:
        data = batch(command["rows"], number)
        found = self._client.query_model(data, command["timeout"], retries=command["retries"])
        self._answered(number, matching(data, found), began)

    def _ticket(self, number: int, command: dict[str, Any], began: float) -> None:
        data = batch(command["rows"], number)
        ticket = self._client.query_model_async(data, command["timeout"], retries=command["retries"])
        self._tickets[number] = ticket

        def done(ticket: Future[Any]) -> None:
            try:
                found = ticket.result()
            except CancelledError:
                say(id=number, outcome="cancelled", seconds=time.monotonic() - began)
            except Exception as error:  # noqa: BLE001  reported
                self._failed(number, error, began)
            else:
                self._answered(number, matching(data, found), began)

        ticket.add_done_callback(done)

    def _evaluate(self, number: int, command: dict[str, Any], began: float) -> None:
        x, y = batch(command["rows"], number), targets(command["rows"], number)
        score = self._client.evaluate_model(
            x, y, METRIC, timeout=command["timeout"], retries=command["retries"], batch=command["batch"]
        )
        self._answered(number, matching_score(x, y, float(score)), began)

    def _answered(self, number: int, versions: list[int], began: float) -> None:
        say(id=number, outcome="answered", versions=versions, seconds=time.monotonic() - began)

    def _failed(self, number: int, error: Exception, began: float) -> None:
        if isinstance(error, RefusedError) and "hold plan" in str(error):
            self._stale.set()
        seconds = time.monotonic() - began
        say(id=number, outcome="failed", error=type(error).__name__, text=str(error), seconds=seconds)


def main() -> None:
    asking = Asking(TFECluster.from_yaml(sys.argv[1]), sys.argv[2])
    say(event="up")
    for line in sys.stdin:
        asking.obey(json.loads(line))


if __name__ == "__main__":
    main()
