"""An owner in a process of its own, which may be killed: shares and serves the version that it was told last.

An even version replaces the one before, which clients that know it may go on asking; before an odd one that is stopped.
"""

from __future__ import annotations

import json
import sys
import threading
from typing import Any

from keras_private.cluster import TFECluster
from keras_private.errors import KerasPrivateError
from keras_private.owner import OwnedModel
from tests.faults.versions import drafts

_saying = threading.Lock()


def say(**report: Any) -> None:
    with _saying:
        sys.stdout.write(json.dumps(report) + "\n")
        sys.stdout.flush()


class Sharing:
    """Brings the parties the wanted version, however often it takes, and serves it until another one is wanted."""

    def __init__(self, cluster: TFECluster) -> None:
        self._cluster = cluster
        self._changed = threading.Condition()  # around the next field
        self._wanted: int | None = None
        threading.Thread(target=self._live, daemon=True).start()

    def want(self, version: int) -> None:
        with self._changed:
            self._wanted = version
            self._changed.notify_all()

    def _next(self, than: int | None, seconds: float | None) -> int | None:
        """The wanted version, once it is another one `than` that, or after some seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self._wanted != than, seconds)
            return self._wanted

    def _live(self) -> None:
        model: OwnedModel | None = None
        version = self._next(None, None)
        while True:
            stopped = model is not None and version is not None and version % 2 == 1
            try:
                if model is not None and stopped:
                    model.stop()
                model = self._share(version)
            except KerasPrivateError as error:
                say(event="not shared", version=version, text=str(error))
                version = self._next(-1, 0.2)
                continue
            say(event="shared", version=version, stopped=stopped)
            threading.Thread(target=self._serve, args=(model, version), daemon=True).start()
            version = self._next(version, None)

    def _share(self, version: int | None) -> OwnedModel:
        assert version is not None
        made = drafts(version)[1]
        return OwnedModel.upload(self._cluster, made.plan, made.values)

    def _serve(self, model: OwnedModel, version: int) -> None:
        try:
            model.serve(on_trouble=lambda text: say(event="trouble", version=version, text=text))
            say(event="served", version=version)
        except KerasPrivateError as error:
            say(event="not served", version=version, text=str(error))


def main() -> None:
    cluster = TFECluster.from_yaml(sys.argv[1]).start()
    sharing = Sharing(cluster)
    say(event="up")
    for line in sys.stdin:
        sharing.want(json.loads(line)["version"])


if __name__ == "__main__":
    main()
