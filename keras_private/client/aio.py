"""`AsyncClient`: a client for event loops.

Theory of operation. It is a `Client`, and its queries are tickets: one thread of the client's checks, encodes, splits
and sends them, another takes in the answers, and the loop is told. So the loop waits for nothing and computes nothing,
and a query costs it some ten microseconds. What a `Client` does in the thread that calls it, connecting and evaluating,
is done in a thread of the loop's executor.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar

from keras_private.client.client import QUERY_TIMEOUT_S, RETRIES, Client
from keras_private.client.evaluation import Score
from keras_private.client.parts import Prediction
from keras_private.client.target import Cluster
from keras_private.party.messages import EvaluationPort, InputPort, OutputPort

T = TypeVar("T")


class AsyncClient:
    """A client of a served model, for asyncio.

        async with AsyncClient(cluster) as client:
            answer = await client.query(x)
            answers = await asyncio.gather(*[client.query(each) for each in many])

    Any number of queries may be awaited at once, in one loop; a loop of another thread needs another client. More than
    the parties take wait in the client, and are sent in the order of their calls. A cancelled `await` takes its query
    back; `asyncio.timeout` does so too.

    Args:
        cluster: a `TFECluster`.
        input_shape, output_shape: as for `Client.connect_to_model`; None: whatever the model has.
        name, timeout: as for `Client`.
        target: which model is meant, by the other arguments of `Client.connect_to_model`, as in `owner="alice"`.

    Raises:
        ConfigError, InputError: as `Client`.
    """

    def __init__(
        self,
        cluster: Cluster,
        input_shape: Any = None,
        output_shape: Any = None,
        *,
        name: str = "client",
        timeout: float = QUERY_TIMEOUT_S,
        **target: Any,
    ) -> None:
        self._client = Client(name, timeout)
        self._target = partial(self._client.connect_to_model, input_shape, output_shape, cluster, **target)

    def __repr__(self) -> str:
        return f"AsyncClient(<{'connected' if self.connected else 'not connected'}>)"

    async def connect(self) -> Self:
        """Connect to the model; what `async with` does. Raises as `Client.connect_to_model`."""
        await _in_thread(self._target, self._client.close)
        return self

    async def close(self) -> None:
        """Leave the parties; queries on their way end with a StateError. Idempotent."""
        self._client.close()

    async def __aenter__(self) -> Self:
        return await self.connect()

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def query(self, data: Any, timeout: float | None = None, *, retries: float = RETRIES) -> Prediction:
        """The model's prediction for an array of any length, in private.

        The data must stay as it is until the answer is there: it is read by another thread.

        Args:
            data, timeout, retries: as for `Client.query_model`, whose answers and errors these are.
        """
        ticket = self._client.start_query(data, timeout, retries=retries)
        late = asyncio.get_running_loop().call_later(ticket.left, ticket.expire)
        try:
            return await asyncio.wrap_future(ticket)
        finally:
            late.cancel()

    async def evaluate(
        self,
        x: Any,
        y: Any,
        metric: str = "accuracy",
        batch: float | None = None,
        timeout: float | None = None,
        *,
        recipient: str = "client",
        retries: float = RETRIES,
    ) -> Score:
        """How good the model is on this client's data, in private: as `Client.evaluate_model`."""
        given_up = threading.Event()

        def give_up() -> None:
            given_up.set()
            self._client.wake()

        call = partial(self._client.evaluate_until, given_up.is_set, x, y, metric, batch, timeout)
        return await _in_thread(partial(call, recipient=recipient, retries=retries), give_up)

    @property
    def connected(self) -> bool:
        """As `Client.connected`, and so are the following."""
        return self._client.connected

    @property
    def owner(self) -> str | None:
        return self._client.owner

    @property
    def digest(self) -> str | None:
        return self._client.digest

    @property
    def inputs(self) -> tuple[InputPort, ...] | None:
        return self._client.inputs

    @property
    def outputs(self) -> tuple[OutputPort, ...] | None:
        return self._client.outputs

    @property
    def evaluations(self) -> dict[str, EvaluationPort] | None:
        return self._client.evaluations


async def _in_thread(call: Callable[[], T], call_off: Callable[[], None]) -> T:
    """`call()`, in a thread of the loop's executor. Where nobody waits for it any more, `call_off()` is told at once,
    and again at its end."""
    work = asyncio.get_running_loop().run_in_executor(None, call)
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        call_off()

        def over(done: asyncio.Future[T]) -> None:
            if not done.cancelled():
                done.exception()  # nobody else asks
            call_off()

        work.add_done_callback(over)
        raise
