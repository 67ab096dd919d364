"""An upload: how the three parties get their shares of a model, and how it is taken from them again.

Theory of operation. An upload draws the shares anew, under a new random id, one set for the three parties. Shares of
different uploads do not fit together, so a party that comes back empty cannot be given its part again: the whole model
is uploaded anew. For that the owner keeps the encoded weights, 4 bytes each where that is enough, else 8.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from keras_private.config import FOLLOWERS, LEADER, PARTY_NAMES, ClusterConfig
from keras_private.errors import ClusterError, InputError, LinkError, PartyError, PlanError, StateError
from keras_private.net.frames import as_bytes
from keras_private.party.dial import ask, call, expect
from keras_private.party.fields import ID_BYTES
from keras_private.party.messages import (
    PIECE_BYTES,
    Accepted,
    Hello,
    Load,
    Loaded,
    Publish,
    Published,
    Stop,
    Stopped,
    Weight,
)
from keras_private.party.network import Channel, Network
from keras_private.party.wire import encode
from keras_private.plan.plan import Plan
from keras_private.sharing import fixed
from keras_private.sharing.share import Part, split

_LOAD_S = 330.0  # a party may have to compile its kernels first

Words = np.ndarray[tuple[int, ...], np.dtype[np.uint64]]
Weights = list[tuple[str, np.ndarray[tuple[int, ...], np.dtype[Any]]]]
"""Names and encoded values in the order in which they are sent; int32 where that holds them, else int64."""


def encode_weights(plan: Plan, values: Mapping[str, ArrayLike]) -> Weights:
    """Every weight of the plan, encoded and copied.

    Raises:
        PlanError: weights are missing or too many, or as `values_in_order`.
    """
    if missing := plan.weights.keys() ^ values.keys():
        raise PlanError(f"the weights do not match the plan: {', '.join(sorted(missing))}")
    return [(name, _narrow(words)) for name, words in values_in_order(plan, values)]


def values_in_order(plan: Plan, values: Mapping[str, ArrayLike]) -> Iterator[tuple[str, Words]]:
    """Every weight of the plan, encoded, in the order in which it is sent.

    Raises:
        PlanError: a weight has another shape than the plan says, or does not fit into fixed point.
    """
    for name, weight in sorted(plan.weights.items()):  # as the serialised plan lists them
        value = np.asarray(values[name], dtype=np.float64)
        if value.shape != weight.shape:
            raise PlanError(f"weight {name!r} has shape {value.shape}, the plan says {weight.shape}")
        try:
            yield name, fixed.encode(value, weight.frac)
        except InputError as error:
            raise PlanError(f"weight {name!r}: {error}") from None


def upload(
    config: ClusterConfig,
    network: Network,
    name: str,
    version: int,
    made: int,
    plan: bytes,
    expected: str,
    weights: Weights,
    called_off: Callable[[], bool],
    *,
    deploy: bool = False,
) -> tuple[bytes, int]:
    """Draw new shares, give them to the parties, and have the name mean them; where it fails, no party keeps any.

    Args:
        version: which one of that name it is; 0: the next one, which the leader counts.
        made: when it was shared first, see `Load`.
        plan: serialised.
        expected: its hash, which every party has to report.
        called_off: asked from time to time.
        deploy: have the parties serve it, from the moment that the name means it.

    Returns:
        The upload's id, and its version.

    Raises:
        RefusedError, PartyError: a party did not take it.
        LinkError: a party cannot be reached.
        StateError: it was called off.
    """
    timeout = config.limits.timeout_s
    load = Load(os.urandom(ID_BYTES), name, version, made, plan)
    channels: list[Channel] = []
    try:
        channels.extend(call_party(config, network, index) for index in range(len(PARTY_NAMES)))
        version = ask(channels[LEADER], load, Accepted, timeout).version
        for index in FOLLOWERS:
            ask(channels[index], Load(load.model, name, version, made, plan), Accepted, timeout)
        for weight, words in weights:
            if called_off():
                raise StateError("the model was stopped meanwhile")
            for channel, package in zip(channels, split(_widen(words)), strict=True):
                _send_part(channel, weight, "mine", package.mine)
                _send_part(channel, weight, "next", package.next)
        for channel in channels:
            held = expect(channel, Loaded, _LOAD_S).digest
            if held != expected:
                raise PartyError(
                    f"{channel.peer.name} holds plan {held}, {expected} was sent; "
                    "install the same keras-private everywhere"
                )
        ask(channels[LEADER], Publish(load.model, deploy), Published, timeout)
    except BaseException:
        with contextlib.suppress(ClusterError, LinkError):
            take_away(config, network, load.model)  # where it has arrived already
        raise
    finally:
        for channel in channels:
            channel.close()
    return load.model, version


def take_away(config: ClusterConfig, network: Network, id_: bytes) -> None:
    """Have the parties forget an upload; those that are gone hold nothing any more.

    Raises:
        RefusedError: the model is not this owner's.
    """
    refused: ClusterError | None = None
    for index in range(len(PARTY_NAMES)):
        try:
            channel = call_party(config, network, index)
            try:
                ask(channel, Stop(id_), Stopped, config.limits.timeout_s)
            finally:
                channel.close()
        except (LinkError, StateError):
            continue
        except ClusterError as error:
            refused = refused or error
    if refused is not None:
        raise refused


def call_party(config: ClusterConfig, network: Network, index: int) -> Channel:
    """An owner's connection to party `index`; raises as `dial.call`."""
    return call(network, index, Hello.plain("owner", config.cluster), config.limits.timeout_s)


def _narrow(words: Words) -> np.ndarray[tuple[int, ...], np.dtype[Any]]:
    """The same numbers in half the space, where they fit."""
    signed = words.view(np.int64)
    small = signed.astype(np.int32)
    return small if np.array_equal(small, signed) else signed


def _widen(numbers: np.ndarray[tuple[int, ...], np.dtype[Any]]) -> Words:
    return numbers.astype(np.int64).view(np.uint64)


def _send_part(channel: Channel, weight: str, part: str, data: Part) -> None:
    view = as_bytes(data.astype("<u8", copy=False) if isinstance(data, np.ndarray) else data)
    for start in range(0, max(len(view), 1), PIECE_BYTES):
        piece = view[start : start + PIECE_BYTES]
        channel.send(encode(Weight(weight, part, bytes(piece), start + PIECE_BYTES >= len(view))))
