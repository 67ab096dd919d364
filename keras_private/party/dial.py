"""Calling a party: connect, say what for, ask something and get the answer or its error."""

from __future__ import annotations

import time
from typing import TypeVar

from keras_private.config import PARTY_NAMES
from keras_private.errors import (
    ClusterError,
    FrameError,
    KerasPrivateError,
    LinkError,
    LinkTimeoutError,
    NoModelError,
    PartyError,
    QuotaError,
    RefusedError,
    TrustError,
)
from keras_private.net.frames import printable
from keras_private.party.causes import Cause
from keras_private.party.fields import Message, kind_of
from keras_private.party.messages import (
    BROKEN,
    BUSY,
    CONTROL_BYTES,
    FAILED,
    NO_MODEL,
    QUOTA,
    REFUSED,
    REPLACED,
    STOPPED,
    Error,
    Hello,
    Welcome,
)
from keras_private.party.network import Channel, Network
from keras_private.party.wire import decode, encode

M = TypeVar("M", bound=Message)

_EXCEPTIONS: dict[str, type[ClusterError]] = {
    FAILED: PartyError,
    BROKEN: PartyError,
    NO_MODEL: NoModelError,
    QUOTA: QuotaError,
}


def call(network: Network, index: int, hello: Hello, timeout: float) -> Channel:
    """An established connection to party `index` that has accepted `hello`.

    Raises:
        LinkError: the party is not there, or does not know us; names both sides.
        RefusedError: the party refuses us, and says why.
    """
    channel = network.connect(index, timeout)
    channel.phase = hello.purpose
    try:
        welcome = ask(channel, hello, Welcome, timeout)
    except BaseException:
        channel.close()
        raise
    if welcome.party != PARTY_NAMES[index]:
        channel.close()
        raise LinkError(
            f"{channel.local.name} → {PARTY_NAMES[index]}: {welcome.party!r} answered; is the address right?",
            PARTY_NAMES[index],
        )
    return channel


def ask(channel: Channel, message: Message, answer: type[M], timeout: float, max_bytes: int = CONTROL_BYTES) -> M:
    """Send `message` and wait for an answer of the type given.

    Raises:
        RefusedError, PartyError: the party answered with an error; its text, after the party's name.
        LinkError: the party is gone, silent, or answered with something else.
    """
    channel.send(encode(message))
    return expect(channel, answer, timeout, max_bytes)


def expect(channel: Channel, answer: type[M], timeout: float, max_bytes: int = CONTROL_BYTES) -> M:
    """The next message, which must be of the type given; raises as `ask`."""
    try:
        reply = decode(channel.receive(timeout, max_bytes))
    except FrameError as error:
        channel.close()
        raise FrameError(
            f"{channel.local.name} ← {channel.peer.name}, {channel.phase}: {error}", channel.peer.party
        ) from None
    if isinstance(reply, Error):
        raise error_of(channel, reply)
    if not isinstance(reply, answer):
        channel.close()
        raise FrameError(
            f"{channel.local.name} ← {channel.peer.name}: expected {kind_of(answer)}, got {reply.kind}",
            channel.peer.party,
        )
    return reply


def error_of(channel: Channel, error: Error) -> ClusterError:
    """A party's error message as an exception that names the party, and says whether asking again may help.

    A terminal that shows it must not obey it.
    """
    of_all = error.code in (BROKEN, STOPPED, REPLACED)  # the same sentence from whichever party says it first
    said = "\n".join(printable(line.encode()) for line in error.text.split("\n"))
    text = said if of_all else f"{channel.peer.name}: {said}"
    failure = _EXCEPTIONS.get(error.code, RefusedError)(text)
    failure.transient = error.code in (BUSY, BROKEN, REPLACED, NO_MODEL) or error.after is not None
    failure.after = error.after
    return failure


def code_of(error: KerasPrivateError) -> str:
    """The code under which a party sends an exception, so that `error_of` makes the same one of it."""
    if isinstance(error, NoModelError):
        return NO_MODEL
    if isinstance(error, QuotaError):
        return QUOTA
    if isinstance(error, PartyError):
        return BROKEN if error.transient else FAILED
    return BUSY if error.transient else REFUSED


def refusal_of(error: KerasPrivateError) -> Cause:
    """What a party says of an exception, see `code_of`."""
    return Cause(code_of(error), str(error), error.after)


def message_of(error: KerasPrivateError) -> Error:
    """`refusal_of`, of no request."""
    code, text, after = refusal_of(error)
    return Error(code, text, None, after)


def wait_for(network: Network, index: int, hello: Hello, timeout: float) -> Channel:
    """`call`, again and again until the party is there, `timeout` seconds in all.

    Raises:
        LinkTimeoutError: it did not come up; holds the last cause.
        TrustError, RefusedError: it is somebody else, or refuses us; at once.
    """
    deadline, pause = time.monotonic() + timeout, 0.05
    while True:
        try:
            return call(network, index, hello, min(5.0, timeout))
        except TrustError:
            raise
        except LinkError as error:
            if time.monotonic() + pause > deadline:
                raise LinkTimeoutError(
                    f"{PARTY_NAMES[index]} did not come up within {timeout:.0f} s: {error}", PARTY_NAMES[index]
                ) from None
        time.sleep(pause)
        pause = min(2 * pause, 1.0)
