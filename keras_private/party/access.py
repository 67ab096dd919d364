"""Who may do what at a party, and how much: the operator's rules, and the rows that each client has asked for.

Theory of operation. Every party has rules of its own and keeps to them, whatever the others' say: what one of them
refuses runs nowhere, since a run takes all three. A party looks at a query when it comes in, so rules that change apply
to the next query of a connection that is there already.

A query's rows are *taken* when it is let in, and given back when it ends without having run: what counts is what ran,
and what is on its way. Two kinds of numbers are kept of each client and model:

- Rows of the last minute, in seconds' slots (`Window`). A slot counts until all of it is a minute old. So there is no
  minute, wherever it begins, in which more rows were taken than allowed.
- Rows in all (`Ledger`). They are counted as long as there are rules, limit or not, so that a limit which is set later
  finds them. Where the party keeps models over a restart, it keeps them too.

A client is the name in a certificate, over all its connections.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from keras_private.config import ANY, AccessConfig, ClientAccess, Quota, Rules
from keras_private.errors import ConfigError, QuotaError, RefusedError
from keras_private.logs import Log
from keras_private.net.roles import Role
from keras_private.net.watched import Watched
from keras_private.party.ledger import Ledger

MINUTE: Final = 60  # slots of a second
_SWEEP = 1024  # windows at which those that are empty are let go


class Window:
    """Rows of the last minute. Not thread-safe. Times are whole seconds of a clock that never goes back."""

    def __init__(self) -> None:
        self._slots: deque[list[int]] = deque()  # (second, rows), in order
        self.rows = 0

    def pass_to(self, second: int) -> None:
        """Forget what is a minute old. The slot of a second is that old a minute after its end."""
        while self._slots and self._slots[0][0] < second - MINUTE:
            self.rows -= self._slots.popleft()[1]

    def add(self, second: int, rows: int) -> None:
        if not self._slots or self._slots[-1][0] != second:
            self._slots.append([second, 0])
        self._slots[-1][1] += rows
        self.rows += rows

    def give_back(self, second: int, rows: int) -> None:
        """So many rows of that second did not run."""
        for slot in self._slots:
            if slot[0] == second:
                slot[1] -= rows
                self.rows -= rows
                return

    def room_at(self, rows: int) -> int:
        """The second from which on so many rows are forgotten."""
        for second, count in self._slots:
            rows -= count
            if rows <= 0:
                return second + MINUTE + 1
        raise AssertionError("more than there is")


@dataclass(frozen=True, slots=True)
class Grant:
    """Rows that a client's query has taken. `settle` has to be called once."""

    access: Access
    client: str
    model: str
    rows: int
    second: int

    def settle(self, ran: int) -> None:
        """The query has ended; so many of its rows have run."""
        self.access.give_back(self, self.rows - ran)


class Access:
    """The rules of one party and what they count. Thread-safe.

    Args:
        rules: None: everybody may do what their role allows, and nothing is counted.
        ledger: where rows in all are kept.
        clock: seconds, never going back.
    """

    def __init__(
        self, rules: Rules | None = None, ledger: Ledger | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._rules = rules
        self._ledger = ledger or Ledger()
        self._clock = clock
        self._lock = threading.Lock()  # around the windows, and around looking at the ledger and taking of it
        self._windows: dict[tuple[str, str], Window] = {}

    @property
    def rules(self) -> Rules | None:
        return self._rules

    def replace(self, rules: Rules) -> None:
        """From now on these apply. What was counted stays."""
        self._rules = rules

    @property
    def ledger(self) -> Ledger:
        return self._ledger

    # Clients

    def check_client(self, client: str, model: str) -> None:
        """Whether a client may query a model of that name, and so know of it.

        Raises:
            RefusedError: they may not; in the same words whether or not there is one.
        """
        if self._rules is not None:
            self._granted(self._rules, client, model)

    def take(self, client: str, model: str, rows: int) -> Grant | None:
        """Let a client's query of so many rows in. None: nothing is counted.

        Raises:
            RefusedError: the client may not query the model.
            QuotaError: not so many rows; `after` says when to come again, if that will help.
        """
        if self._rules is None:
            return None
        access, quota = self._granted(self._rules, client, model)
        with self._lock:
            now = self._clock()
            for whose, limit, counted in (("", access, ANY), (f" of {model!r}", quota, model)):
                self._check_total(client, whose, limit, counted, rows)
                self._check_minute(client, whose, limit, counted, rows, now)
            second = int(now)
            for counted in (ANY, model):
                self._window(client, counted, second).add(second, rows)
            self._ledger.add(client, model, rows)
            return Grant(self, client, model, rows, second)

    def give_back(self, grant: Grant, rows: int) -> None:
        """So many rows of what was granted did not run."""
        if rows <= 0:
            return
        with self._lock:
            for counted in (ANY, grant.model):
                if window := self._windows.get((grant.client, counted)):
                    window.give_back(grant.second, rows)
            self._ledger.add(grant.client, grant.model, -rows)

    def _granted(self, rules: Rules, client: str, model: str) -> tuple[ClientAccess, Quota]:
        access = rules.client(Role.parse(client).name)
        quota = access.of(model) if access else None
        if access is None or quota is None:
            raise RefusedError(f"there is no model {model!r} that {client} may query; its owner and the operators know")
        return access, quota

    def _check_total(self, client: str, whose: str, limit: Quota, counted: str, rows: int) -> None:
        most, used = limit.rows_total, self._ledger.rows(client, None if counted == ANY else counted)
        if most is not None and used + rows > most:
            raise QuotaError(
                f"{client} may ask for {most} rows{whose} in all and has had {used}: {rows} more are too many; ask the "
                "operator of this party for more"
            )

    def _check_minute(self, client: str, whose: str, limit: Quota, counted: str, rows: int, now: float) -> None:
        most = limit.rows_per_minute
        if most is None:
            return
        window = self._window(client, counted, int(now))
        if rows > most:
            raise QuotaError(
                f"{client} may ask for {most} rows{whose} a minute: a query of {rows} is too large; send smaller ones"
            )
        if (excess := window.rows + rows - most) > 0:
            after = max(0.0, window.room_at(excess) - now)
            raise QuotaError(
                f"{client} may ask for {most} rows{whose} a minute and has had {window.rows}: come again in "
                f"{after:.0f} s for {rows} more"
            ).again(after)

    def _window(self, client: str, counted: str, second: int) -> Window:
        if len(self._windows) >= _SWEEP and (client, counted) not in self._windows:
            for each in self._windows.values():
                each.pass_to(second)
            self._windows = {key: each for key, each in self._windows.items() if each.rows}
        window = self._windows.setdefault((client, counted), Window())
        window.pass_to(second)
        return window

    # Owners

    def check_owner(self, owner: str, model: str) -> None:
        """Whether an owner may share and serve a model of that name.

        Raises:
            RefusedError: they may not.
        """
        if self._rules is None:
            return
        access = self._rules.owner(Role.parse(owner).name)
        if access is None or not access.allows(model):
            raise RefusedError(f"{owner} may not share or serve a model {model!r} here; ask the operator of this party")


class AccessWatch:
    """Takes over rules that have changed. Call `look` every few seconds."""

    def __init__(self, config: AccessConfig, access: Access, log: Log) -> None:
        self._config = config
        self._access = access
        self._log = log
        self._watched = Watched([config.source] if config.source else [])

    def look(self, *, now: bool = False) -> None:
        """Rules of no use change nothing, and the log says why.

        Args:
            now: take the file as it is, changed or not.
        """
        if not self._watched.changed(now=now):
            return
        try:
            self._access.replace(self._config.read_again())
        except ConfigError as error:
            self._log.warning("access kept", cause=str(error))
        else:
            self._log.info("access reloaded")
