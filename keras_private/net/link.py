"""The link: how one party's protocol thread reaches its two neighbours.

The three parties stand in a ring. Party i has a connection to next, (i + 1) mod 3, and one to prev, (i - 1) mod 3. The
protocols run in lockstep, so everything they need is one call, `exchange`: send this to each neighbour, and return when
that many bytes came from each. A link is used by one thread; the set of three of them is a *lane*.

Two implementations keep the same promises, and one conformance suite (tests/net/test_link.py) runs over both:
`memory.memory_links` for three threads of one process, `tls_link.TLSLink` for three processes.

A link that failed in the middle of a frame cannot be used again: it closes itself, which the neighbours notice.
"""

from __future__ import annotations

import abc
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from keras_private.errors import LinkError, LinkTimeoutError
from keras_private.net.frames import Buffer

Bytes = NDArray[np.uint8]

DEFAULT_TIMEOUT = 30.0


@dataclass(slots=True)
class LinkStats:
    """What one party sent in its rounds, for the tests of declared costs. Control frames and headers do not count."""

    rounds: int = 0
    sent_bytes: int = 0
    sent_frames: int = 0

    def reset(self) -> None:
        """Starts counting from zero again."""
        self.rounds = self.sent_bytes = self.sent_frames = 0


class Link(abc.ABC):
    """One party's side of one lane. For use by a single thread, except `close`.

    Attributes:
        index: this party's number, 0 to 2.
        phase: what the protocol is doing, in words; it becomes part of every error.
        timeout: seconds that a round may take. A party for which nothing was due in some rounds is that far ahead of
            its neighbours: its next wait may take as long as all of those together.
        stats: rounds and payload bytes sent so far.
    """

    def __init__(self, index: int, names: tuple[str, str, str], timeout: float) -> None:
        self.index = index
        self.names = names
        self.phase = "idle"
        self.timeout = timeout
        self.stats = LinkStats()
        self._rounds_ahead = 0  # just now, in which nothing was due

    @property
    def next(self) -> int:
        """The neighbour's number, (index + 1) mod 3."""
        return (self.index + 1) % 3

    @property
    def prev(self) -> int:
        """The neighbour's number, (index - 1) mod 3."""
        return (self.index - 1) % 3

    @abc.abstractmethod
    def exchange(
        self, to_next: Sequence[Buffer], to_prev: Sequence[Buffer], from_next: int, from_prev: int
    ) -> tuple[Bytes, Bytes]:
        """One round: sends to both neighbours and waits for what is due from them.

        Args:
            to_next, to_prev: contiguous buffers, concatenated into one frame a neighbour; no bytes, no frame.
                They may be changed again as soon as the call returns.
            from_next, from_prev: payload bytes due; 0 means that no frame is.

        Returns:
            What came from next and from prev: uint8 arrays of exactly the sizes asked for, at least 8-byte aligned,
            writable, and never handed out twice.

        Raises:
            LinkTimeoutError: it took more than `timeout` seconds (see there).
            FrameError: a frame came, but not the one that was due.
            LinkError: the neighbour is gone, or this link is closed.
        """

    @abc.abstractmethod
    def send_control(self, peer: int, payload: bytes) -> None:
        """Sends a short message (see `frames.MAX_CONTROL_BYTES`) to neighbour `peer`, between runs.

        Raises:
            LinkError: the neighbour is gone, does not take it within `timeout`, or the payload is too large.
        """

    @abc.abstractmethod
    def receive_control(self, peer: int, timeout: float | None = None) -> bytes:
        """The next short message from neighbour `peer`.

        Args:
            timeout: seconds to wait for it to begin; None waits `self.timeout`.

        Raises:
            LinkTimeoutError: nothing came; the link stays usable if no part of a frame did.
            FrameError: something other than a control frame came.
            LinkError: the neighbour is gone, or this link is closed.
        """

    @abc.abstractmethod
    def close(self, reason: str = "") -> None:
        """Ends the link; the neighbours' waits end with a LinkError, and so does this party's own. Idempotent.

        Args:
            reason: told to the neighbours where that is still possible. It must not hold a secret.
        """

    def _patience(self, due: int) -> float:
        """Seconds that this exchange, in which so many bytes are due, may take."""
        seconds = self.timeout * (1 + self._rounds_ahead)
        self._rounds_ahead = 0 if due else self._rounds_ahead + 1
        return seconds

    def _error(
        self, peer: int | None, cause: str, arrow: str = "←", kind: type[LinkError] = LinkError, party: str = ""
    ) -> LinkError:
        """An error that says who, when and what.

        Args:
            peer: the neighbour's number; None: this side alone.
            party: the name of the party that is blamed, if it is not the neighbour.
        """
        them = "" if peer is None else f" {arrow} {self.names[peer]}"
        far = "" if peer is None else self.names[peer]
        return kind(f"{self.names[self.index]}{them}, {self.phase}: {cause}", party or far)

    def _check_peer(self, peer: int) -> None:
        if peer not in (self.next, self.prev):
            raise self._error(None, f"party {peer} is not a neighbour of party {self.index}")

    def _timed_out(self, peer: int, seconds: float) -> LinkError:
        return self._error(peer, f"nothing came for {seconds:g} s", kind=LinkTimeoutError)
