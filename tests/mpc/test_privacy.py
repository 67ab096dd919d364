"""What a party receives is uniform, whatever the secrets are; `test_joint_view` looks at all of it together.

For two chosen secrets (all zeros; large values of both signs) every protocol runs on one long array, and the bytes of
every message are counted. The limit is the chi-square quantile of 255 degrees of freedom at 10^-13 (about 505, found
with scipy.stats.chi2.isf), which makes a false alarm in the some 700 tests of a run rarer than one in 10^10.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from keras_private.mpc.beside import compared
from keras_private.mpc.floor import floor
from keras_private.mpc.ops.product import SecretProduct, lay_values
from keras_private.mpc.party import Party
from keras_private.mpc.relu import relu
from keras_private.mpc.reshare import empty_share, reshare
from keras_private.mpc.rounds import Protocol
from keras_private.mpc.sign import sign
from keras_private.mpc.spline import spline
from keras_private.mpc.truncation import truncation
from keras_private.plan.builder import PlanBuilder
from keras_private.plan.cost import window
from keras_private.plan.optimise import optimise
from keras_private.plan.plan import Op
from keras_private.sharing.share import Share
from tests.plan.spline import handmade

from .test_program import programs_of, small_cnn
from .three import Three, shares_of
from .view import views_of

LIMIT = 505.0
COUNT = 16_384
BESIDE = handmade.compared(51, 40, 36, -99, 200, 30)
SECRETS = {
    "zeros": np.zeros(COUNT, np.int64),
    "large": np.where(np.arange(COUNT) % 2, 2**50 + 12345, -(2**49)).astype(np.int64),
}


def layer(party: Party, x: Share, w: Share) -> Protocol[Share]:
    op = Op("mul", ("x",), ("w",), "y", {"drop": 40, "relu": True, "bound": 55})
    return SecretProduct(op, lay_values, [w])(party, [x], x.shape)


PROTOCOLS: dict[str, Callable[[Party, Share, Share], Protocol[Any]]] = {
    "reshare": lambda party, x, w: reshare(party, x.mine, empty_share(x.shape)),
    "truncation": lambda party, x, w: truncation(party, x, 16),
    "floor": lambda party, x, w: floor(party, x, 16),
    "sign": lambda party, x, w: sign(party, x, window(51, 36, COUNT)),
    "relu": lambda party, x, w: relu(party, x, 51, 36),
    "linear with relu": layer,
    "spline, refined table": lambda party, x, w: spline(party, x, handmade.refined(51, 36, [(-3, 2), (-2, 3)])),
    "spline, uniform table": lambda party, x, w: spline(party, x, handmade.uniform(51, 40, 36, -99, 200)),
    "spline, compared": lambda party, x, w: compared(party, x, BESIDE, empty_share(x.shape)),
    "spline, few places": lambda party, x, w: spline(party, x, handmade.uniform(51, 46, 36, -2, 4)),
}


def chi_square(data: np.ndarray) -> float:
    """Of the byte counts of `data` against equal ones."""
    counts = np.bincount(data, minlength=256)
    expected = data.size / 256
    return float(((counts - expected) ** 2).sum() / expected)


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("name", PROTOCOLS)
def test_received_messages_are_uniform(three: Three, name: str, secret: str) -> None:
    x, w = shares_of(SECRETS[secret].view(np.uint64)), shares_of(np.full(COUNT, 3, np.uint64))
    views = views_of(three, 0, PROTOCOLS[name], x, w)
    assert sum(len(view.received) for view in views) >= 3
    for view in views:
        for data in view.received:
            assert chi_square(data) < LIMIT, f"a message to server{view.party.index}"


def test_the_same_secret_twice_puts_no_equal_words_on_the_wire(three: Three) -> None:
    x = shares_of(SECRETS["zeros"].view(np.uint64))
    seen: list[set[bytes]] = []
    for _ in range(2):
        views = views_of(three, 0, lambda party, x: relu(party, x, 63), x)
        arrived = b"".join(data.tobytes() for view in views for data in view.received)
        seen.append({arrived[at : at + 8] for at in range(0, len(arrived), 8)})
    assert len(seen[0]) > COUNT
    assert not seen[0] & seen[1]


def test_the_same_query_twice_puts_no_equal_words_on_the_wire(three: Three) -> None:
    """A whole plan on the very same shares of the very same input: every message is new."""
    builder = PlanBuilder((9, 8, 2), (0, 1))
    programs = programs_of(optimise(builder.finish(small_cnn(builder)), precision=16))
    x = shares_of(np.full((1, 9 * 8 * 2), 1 << 15, np.uint64))
    seen: list[set[bytes]] = []
    for _ in range(2):
        views = views_of(three, 0, lambda party, program, x: program.protocol(party, x), programs, x)
        arrived = b"".join(data.tobytes() for view in views for data in view.received)
        seen.append({arrived[at : at + 8] for at in range(0, len(arrived), 8)})
    assert len(seen[0]) > 1000
    assert not (seen[0] & seen[1]) - {bytes(8)}  # what fills a message up to whole words is zero


def test_a_leak_would_be_noticed() -> None:
    """A message masked by half a mask is not uniform."""
    mask = np.random.default_rng(0).integers(0, 2**32, COUNT, dtype=np.uint64)
    assert chi_square((mask + np.uint64(5)).view(np.uint8)) > LIMIT
