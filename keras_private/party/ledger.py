"""Rows in all that each client has asked for of each model, kept over a restart if the party keeps anything.

Theory of operation. A query must not wait for a disk, and a crash must not give a client its rows again. So what is
written down says more than was counted: for each number a *mark*, up to which it may rise before all is written anew.
`keep`, every few seconds, sets each mark as far ahead as the number rose since the last time, twice over; a client that
is quicker than that is waited for by one write, which doubles what is ahead. After a crash counting goes on from the
marks: on the side of too many. When the party ends in good order, the marks are the numbers.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable
from typing import Final

from keras_private.errors import KerasPrivateError

Key = tuple[str, str]

LEAST_AHEAD: Final = 100
"""Rows that a mark is ahead at least, once a client has gone beyond it."""
_VERSION = 1


class Ledger:
    """Thread-safe.

    Args:
        write: writes down what a later `Ledger` shall read, once it returns; None: nothing outlives the process.
        written: what was written last; None: nothing.
        failed: told when that could not be done; counting goes on.

    Raises:
        ValueError: `written` is not what a ledger writes.
    """

    def __init__(
        self,
        write: Callable[[bytes], None] | None = None,
        written: bytes | None = None,
        failed: Callable[[Exception], None] = lambda _: None,
    ) -> None:
        self._write = write
        self._failed = failed
        self._writing = threading.Lock()  # around a new setting of the marks
        self._lock = threading.Lock()  # around the fields below; never held while something is written
        self._rows: Counter[Key] = Counter() if written is None else _read(written)
        self._of_client: Counter[str] = Counter()
        for (client, _), rows in self._rows.items():
            self._of_client[client] += rows
        self._marks: Counter[Key] = Counter(self._rows)
        self._before: Counter[Key] = Counter(self._rows)  # what `keep` found last

    def rows(self, client: str, model: str | None = None) -> int:
        """What a client has asked for, of one model or of all."""
        with self._lock:
            return self._of_client[client] if model is None else self._rows[client, model]

    def add(self, client: str, model: str, rows: int) -> None:
        """Count so many more, or fewer."""
        key = client, model
        with self._lock:
            self._rows[key] += rows
            self._of_client[client] += rows
            beyond = self._write is not None and self._rows[key] > self._marks[key]
        if beyond:
            self._set(lambda: self._further(key))

    def keep(self) -> None:
        """Set the marks ahead, if anything was counted since the last time."""
        self._set(self._ahead)

    def close(self) -> None:
        """The party ends in good order: what is written down is what was counted."""
        self._set(lambda: Counter(self._rows) if self._marks != self._rows else None)

    # New marks, or None; called under the lock

    def _further(self, key: Key) -> Counter[Key] | None:
        rows = self._rows[key]
        if rows <= self._marks[key]:  # meanwhile
            return None
        return Counter({**self._marks, key: rows + max(LEAST_AHEAD, rows - self._before[key])})

    def _ahead(self) -> Counter[Key] | None:
        if self._rows == self._before:
            return None
        before, self._before = self._before, Counter(self._rows)
        return Counter({key: rows + 2 * max(0, rows - before[key]) for key, rows in self._rows.items()})

    def _set(self, marks: Callable[[], Counter[Key] | None]) -> None:
        """Write marks down. Whoever counts meanwhile goes by the lower ones of before and afterwards, and waits for
        nobody unless beyond those."""
        with self._writing:
            with self._lock:
                new = marks()
                if new is None:
                    return
                self._marks = Counter({key: min(count, self._marks[key]) for key, count in new.items()})
            if self._write is not None:
                rows: dict[str, dict[str, int]] = {}
                for (client, model), count in sorted(new.items()):
                    rows.setdefault(client, {})[model] = count
                try:
                    self._write(json.dumps({"version": _VERSION, "rows": rows}, separators=(",", ":")).encode())
                except (KerasPrivateError, OSError) as error:
                    self._failed(error)
            with self._lock:
                self._marks = new


def _read(written: bytes) -> Counter[Key]:
    data = json.loads(written)
    found: Counter[Key] = Counter()
    try:
        if data["version"] != _VERSION:
            raise ValueError(f"usage of version {data['version']} is not known to this release")
        for client, models in data["rows"].items():
            for model, rows in models.items():
                if not isinstance(rows, int) or isinstance(rows, bool) or rows < 0:
                    raise ValueError("a number of rows is none")
                found[client, model] = rows
    except (KeyError, TypeError, AttributeError):
        raise ValueError("not what clients have asked for") from None
    return found
