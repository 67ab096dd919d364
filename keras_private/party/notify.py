"""What a party tells the service manager that runs it: the protocol of sd_notify(3), one datagram for each state."""

from __future__ import annotations

import contextlib
import os
import socket
from typing import Final

READY: Final = "READY=1"
STOPPING: Final = "STOPPING=1"
_WAIT_S = 1.0


def tell(state: str) -> None:
    """Tell it, if there is one that wants to know (systemd's `Type=notify`). Raises nothing."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):  # none, or a kind that a Unix socket cannot reach
        return
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.settimeout(_WAIT_S)
        sender.sendto(state.encode(), address.replace("@", "\0", 1) if address[0] == "@" else address)
